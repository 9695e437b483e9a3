"""Intervals and summaries on tidy numbers. NumPy and SciPy only."""
