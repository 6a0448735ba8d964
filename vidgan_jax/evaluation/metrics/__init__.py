"""Metrics: compute the numbers of a protocol from features of clips."""
