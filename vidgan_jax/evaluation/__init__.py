"""How well a generator does: feature networks, statistics, protocols and reports."""
