"""Data sets by name with content fingerprints, splits and fixed orders."""
