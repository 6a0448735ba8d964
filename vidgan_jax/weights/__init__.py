"""Weights that others published: which files are known, and readers of their formats."""
