"""Scores of generated videos by named protocols: FVD, FID, Inception Score and relatives."""
