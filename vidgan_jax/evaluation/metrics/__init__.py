"""Metrics: from features to the numbers of a protocol."""
