"""Statistics of features (NumPy): distances, scores, intervals and controls."""
