"""The figures and tables of iterative pruning, reinitialization and mask similarity (arXiv:2001.05050)."""
