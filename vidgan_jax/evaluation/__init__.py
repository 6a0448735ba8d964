"""How a generator is judged: feature networks, statistics, protocols and their reports."""
