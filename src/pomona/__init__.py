"""The experimental science of neural-network pruning."""
