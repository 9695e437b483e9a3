"""One plain loop that trains any module under masks, with checkpoints, snapshots and early stops."""
