"""Clips as vectors of a feature network, for those who only want distances between them."""

from collections.abc import Callable

import numpy as np

_BATCH = 32
_DISTANCES = ("fid", "fvd", "kvd")


def of_network(name: str) -> Callable[[np.ndarray], np.ndarray]:
  """A function from uint8 clips [N, T, H, W, 3] to float32 vectors [N, d] of a network.

  Preprocessing and output are those with which the first protocol that takes distances between
  features of this network does so.

  Args:
    name: of an extractor.

  Raises:
    UserError: see `extractor.load_extractor`.
  """
  import jax

  from vidgan_jax.evaluation.features import extractor, preprocessing
  from vidgan_jax.evaluation.protocols import base as protocols

  network = extractor.load_extractor(name)
  measures = [m for p in protocols.known().values() for m in p.measures if m.network == name]
  measure = next(m for m in measures if m.metric in _DISTANCES)

  @jax.jit
  def vectors(variables, clips):
    prepared = preprocessing.apply(clips, measure.preprocess, network.constants)
    return network.apply(variables, prepared)[measure.output]

  def embed(clips):
    found = []
    for begin in range(0, len(clips), _BATCH):
      own = clips[begin : begin + _BATCH]
      filled = np.concatenate([own, np.repeat(own[-1:], _BATCH - len(own), axis=0)])
      found.append(np.asarray(vectors(network.variables, filled))[: len(own)])
    return np.concatenate(found)

  return embed
