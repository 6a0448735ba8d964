"""Analyses of the clips that a run generates: neighbours, power spectrum, darkness, smoothness."""
