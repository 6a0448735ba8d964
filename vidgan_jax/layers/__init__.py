"""Flax modules and pure functions that the models are built from."""
