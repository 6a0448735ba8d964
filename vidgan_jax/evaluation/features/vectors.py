"""Feature vectors of clips, for analyses that compute distances between clips."""

from collections.abc import Callable

import numpy as np

from vidgan_jax.runtime.errors import UserError

_BATCH = 32


def of_network(name: str) -> Callable[[np.ndarray], np.ndarray]:
  """A function from uint8 clips [N, T, H, W, 3] to float32 feature vectors [N, d].

  It uses the preprocessing and the output of the first metric in `published` that compares features
  of this network with real clips.

  Args:
    name: name of the network.

  Raises:
    UserError: no metric compares features of this network, or see `extractor.load_extractor`.
  """
  import jax

  from vidgan_jax.evaluation.features import extractor, preprocessing
  from vidgan_jax.evaluation.protocols import registry as protocols

  network = extractor.load_extractor(name)
  metrics = [
    metric
    for protocol in protocols.all_protocols().values()
    for metric in protocol.metrics
    if metric.network == name and metric.compares
  ]
  if not metrics:
    raise UserError(f"no protocol compares features of {name} with real clips")
  metric = metrics[0]

  @jax.jit
  def vectors(variables, clips):
    prepared = preprocessing.apply(clips, metric.preprocess, network.constants)
    return network.apply(variables, prepared)[metric.output]

  def embed(clips):
    batches = []
    for begin in range(0, len(clips), _BATCH):
      batch = clips[begin : begin + _BATCH]
      padded = np.concatenate([batch, np.repeat(batch[-1:], _BATCH - len(batch), axis=0)])
      batches.append(np.asarray(vectors(network.variables, padded))[: len(batch)])
    return np.concatenate(batches)

  return embed
