"""One file per paper system, the contract they fulfil, and the registry."""
