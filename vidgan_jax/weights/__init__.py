"""Published weights: the known files, and readers of their formats."""
