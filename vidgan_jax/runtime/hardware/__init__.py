"""The machine: cores, memory, operation counts and compiler options."""
