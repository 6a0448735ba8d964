"""Random streams: every random number of a run is a function of (seed, stream, step, microstep).

No random key is stored, so a run that resumes needs only its step.
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
  """Returns the random key of a stream.

  Args:
    seed: of the run.
    stream: one of the names above. Its CRC-32 separates it from the other streams.
    step: number of the iteration, an integer that may be traced.
    microstep: number of the update within the iteration.
  """
  # Named explicitly, because a program that embeds this one may set another default generator.
  base = jax.random.key(seed, impl="threefry2x32")
  base = jax.random.fold_in(base, zlib.crc32(stream.encode()))
  return jax.random.fold_in(jax.random.fold_in(base, step), microstep)
