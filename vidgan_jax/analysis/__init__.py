"""Analyses of models and runs besides their scores: cost, curvature, generated clips."""
