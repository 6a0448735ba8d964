"""Parts of `benchmarks/league.py`: all systems of the project under one budget, on one table."""
