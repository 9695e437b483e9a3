"""States, recipes and probes as a graph of keys, in a store that owns the truth. No torch."""
