"""Sizes of arrays on TPUs, compared with those that libtpu assigns."""

import pytest

from vidgan_jax.analysis.cost import tiles

MIB = 2**20


# From the buffer assignments of DVD-GAN's iterations on v5e, v5p and v6e (libtpu 0.0.42.1).
@pytest.mark.parametrize(
  ("shape", "itemsize", "mib"),
  [
    ((16, 12, 64, 64, 64), 2, 192),  # 64 channels fill half of a tile
    ((16, 48, 64, 64, 16), 2, 192),  # the width in the columns, twice as much as its numbers
    ((16, 12, 128, 128, 64), 2, 384),  # the same without padding: the width fills the columns
    ((8, 12, 128, 128, 16), 2, 48),
    ((16, 64, 64, 48, 48), 4, 1536),  # the weights of attention over time
    ((16, 64, 64, 12, 12), 4, 512),
    ((16, 64, 64, 12, 16), 2, 256),
    ((16, 48, 32, 32), 4, 12),
    ((768, 64, 64, 3), 2, 36),  # colours outside the tile
    ((16, 12, 1024), 4, 1),
    ((1024, 2048), 2, 4),
    ((1, 1, 1, 1, 2048), 2, 8 / 1024),  # two numbers of two bytes share a row
    ((1, 16, 48, 64, 64, 3), 1, 18),
    ((2, 16, 12, 128, 128, 3), 1, 18),
    ((288, 288), 1, 108 / 1024),
    ((16, 4, 2048), 1, 128 / 1024),
  ],
)
def test_sizes_that_the_compiler_assigns(shape, itemsize, mib):
  assert tiles.array_bytes(shape, itemsize) / MIB == mib


@pytest.mark.parametrize("shape", [(), (7,), (0, 5), (5, 0)])
def test_small_and_empty_arrays(shape):
  size = 4
  for axis in shape:
    size *= axis
  assert tiles.array_bytes(shape, 4) == size


def test_the_usual_order():
  """As libtpu copies a gradient for a loop of elementwise operations."""
  assert tiles.ordered_bytes((16, 48, 128, 128, 64), 2) / MIB == 3072
  assert tiles.array_bytes((16, 48, 128, 128, 64), 2) / MIB == 1536
