"""Random streams: every random number of a run is a function of (seed, stream, step, microstep).

Nothing random is stored, so a run that resumes needs its step alone.
"""

import zlib

import jax

INITIALIZATION = "initialization"
LATENTS = "latents"
INPUTS = "inputs"
REAL = "real"
VIEWS_REAL = "views_real"
VIEWS_GENERATED = "views_generated"
NOISE_GENERATOR = "noise_generator"
NOISE_DISCRIMINATOR = "noise_discriminator"
PENALTY = "penalty"
SAMPLING = "sampling"
STANDING = "standing"


def key(seed: int, stream: str, step=0, microstep=0):
  """Returns the key of `stream` at iteration `step` and the update `microstep` within it.

  Args:
    seed: the run's.
    stream: a name of this module; its CRC-32 separates it from the others.
    step: integer, traced or not.
    microstep: number of the update within the iteration.
  """
  # The generator is named, for a program that embeds this one may prefer another.
  base = jax.random.key(seed, impl="threefry2x32")
  base = jax.random.fold_in(base, zlib.crc32(stream.encode()))
  return jax.random.fold_in(jax.random.fold_in(base, step), microstep)
