"""Analyses of a run's clips: neighbours, power spectrum, darkness, smoothness."""
