"""Protocols: which metrics are computed on which clips, and the fingerprints of numbers."""
