"""Networks of the field by name, or a user's own module, built without touching global random state."""
