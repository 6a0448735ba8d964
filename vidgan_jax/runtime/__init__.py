"""What all other packages build on: commands, configs, checkpoints, devices, files, processes."""
