from __future__ import annotations

from hypothesis import settings

# A deadline would be a timing assertion, and machines are shared.
settings.register_profile("pomona", deadline=None)
settings.load_profile("pomona")
