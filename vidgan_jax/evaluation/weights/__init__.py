"""Weights that others trained: how their files are read, verified and converted."""
