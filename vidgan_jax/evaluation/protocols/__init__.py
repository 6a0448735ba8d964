"""Protocols: what is computed, on which clips, and what identifies a number."""
