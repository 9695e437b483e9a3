"""Masks, weights and predictions to numbers: pure functions on arrays."""
