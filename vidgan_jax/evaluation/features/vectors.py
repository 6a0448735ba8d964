"""Clips as vectors of a feature network, for those who only want distances between them."""

from collections.abc import Callable

import numpy as np

from vidgan_jax.runtime.errors import UserError

_BATCH = 32


def of_network(name: str) -> Callable[[np.ndarray], np.ndarray]:
  """A function from uint8 clips [N, T, H, W, 3] to float32 vectors [N, d] of a network.

  Preprocessing and output are those of the first protocol that compares features of this network.

  Args:
    name: of an extractor.

  Raises:
    UserError: no protocol compares its features, or see `extractor.load_extractor`.
  """
  import jax

  from vidgan_jax.evaluation.features import extractor, preprocessing
  from vidgan_jax.evaluation.protocols import registry as protocols

  network = extractor.load_extractor(name)
  every = [metric for protocol in protocols.known().values() for metric in protocol.metrics]
  own = [metric for metric in every if metric.network == name and metric.compares]
  if not own:
    raise UserError(f"no protocol compares features of {name}")
  metric = own[0]

  @jax.jit
  def vectors(variables, clips):
    prepared = preprocessing.apply(clips, metric.preprocess, network.constants)
    return network.apply(variables, prepared)[metric.output]

  def embed(clips):
    found = []
    for begin in range(0, len(clips), _BATCH):
      own = clips[begin : begin + _BATCH]
      filled = np.concatenate([own, np.repeat(own[-1:], _BATCH - len(own), axis=0)])
      found.append(np.asarray(vectors(network.variables, filled))[: len(own)])
    return np.concatenate(found)

  return embed
