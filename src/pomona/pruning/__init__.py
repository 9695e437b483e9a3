"""Criteria, granularities, scopes, counts and treatments: which weights stay and what happens to them."""
