"""What is frozen before the data in the chain of a store, and whether a hypothesis is still as it was."""
