"""Weights that others published: known files, and their conversion."""
