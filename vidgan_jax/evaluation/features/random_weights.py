"""Networks with random weights, to try an evaluation without the published weights.

Scores of such a network are comparable only with scores of the same random weights, and with no
published score. Every record, table and report states it; see `extractor.random_note`.
"""

import zlib

import numpy as np

from vidgan_jax.evaluation.features import extractor

RANDOM = "random"  # the value of --weights that asks for these networks
SEED = 0
_MEAN_PIXEL = 128  # of the mean clip, 0..255


def variables(name: str, seed: int = SEED) -> dict[str, np.ndarray]:
  """Random variables of a network: {path such as "params/fc/kernel": float32 array}.

  Kernels are scaled by the size of their input (He et al. 2015), so that features neither vanish
  nor grow with the depth of the network. Variances and gains are near 1, the others near 0. Only
  uniform numbers are used, which are the same in all versions of NumPy.

  Args:
    name: one of `extractor.NETWORKS`.
    seed: seed of the numbers.

  Raises:
    UserError: the network is unknown.
  """
  shapes = extractor.variable_shapes(extractor.find(name).build())
  return {path: _variable(path, shape, seed) for path, shape in shapes.items()}


def _variable(path: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
  sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(path.encode()),))
  uniform = np.random.Generator(np.random.PCG64(sequence)).random(shape, np.float32)
  leaf = path.rsplit("/", 1)[-1]
  if leaf == "kernel":
    return (2 * uniform - 1) * np.float32(np.sqrt(6 / np.prod(shape[:-1])))
  if leaf in ("scale", "var", "variance"):
    return uniform + np.float32(0.5)
  return (2 * uniform - 1) * np.float32(0.1)


def load(name: str, seed: int = SEED) -> extractor.Extractor:
  """A network with random weights, which its attribute `about` states.

  Raises:
    UserError: the network is unknown.
  """
  constants = {
    key: np.full(shape, _MEAN_PIXEL, np.float32)
    for key, shape in extractor.find(name).build().constants.items()
  }
  about = {"network": name, "random_weights": f"seed {seed}"}
  return extractor.from_arrays(name, variables(name, seed), constants, about)
