"""Hardware: processor cores, memory, FLOPs, and options of the compiler."""
