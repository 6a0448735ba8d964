"""One file per paper, the contract that all systems implement, and their registry."""
