r"""Generates clips with a trained run.

  vidgan sample --workdir=DIR --output=DIR
  vidgan sample --workdir=DIR --output=DIR --labels=0,3,jetskiing --per_label=4 \
      --truncation=0.44 --frames=48 --seed=1
  vidgan sample --workdir=DIR --output=DIR --interpolate=latent --labels=2,5
  vidgan sample --workdir=DIR --output=DIR --interpolate=class --labels=2,5
  vidgan sample --workdir=DIR --output=DIR --conditioning=test --futures=4

Writes grid.mp4, grid.gif, contact_sheet.png (frames as columns), clips/ and samples.npz
(uint8 [N, T, H, W, 3] and labels) into the output folder. The same seed gives the same bytes.

--conditioning is for runs that continue given frames (DVD-GAN-FP): test or another split of the
run's data, FILE.npz, or VIDEO,VIDEO,... Clips that continue the same frames are in one row; given
frames have a coloured border in the grid and the contact sheet.

Exit codes: 0 done; 1 a network or a bucket failed (try again), or a bug; 2 bad input.
"""

from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import base_switches, requests, schema
from vidgan_jax.sampling.request import Request

requests.define(Request)
_CACHE = schema.define("compilation_cache", base_switches.COMPILATION_CACHE)


def main(argv):
  """Generates clips and writes them."""
  del argv
  from vidgan_jax.runtime.hardware import compilation  # imports JAX
  from vidgan_jax.sampling import cli

  compilation.enable_cache(_CACHE.value, door.report)
  lines = cli.fulfil(
    requests.read(Request),
    report=door.report,
  )
  for line in lines:
    door.report(line)


if __name__ == "__main__":
  door.run(main)
