"""The programs of a run, compiled for hardware that is not here: memory, traffic, time."""
