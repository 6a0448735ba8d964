"""How a run begins: with the weights of another model, or at an earlier checkpoint of a run."""
