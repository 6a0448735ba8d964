"""State, step, loop, checkpoints and hooks."""
