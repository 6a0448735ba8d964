"""Hessian eigenvalues and gradient norms of a run's losses."""
