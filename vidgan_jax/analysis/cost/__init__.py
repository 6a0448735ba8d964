"""Parameters, operations, memory and collectives of an iteration; nothing runs."""
