"""What can be told of a model or a run beside its scores: cost, spectra, what it has memorised."""
