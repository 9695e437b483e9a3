"""The lane engine: sequential networks as programs of a native CPU engine, the batch innermost."""
