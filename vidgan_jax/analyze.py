r"""Looks into a trained run.

  python -m vidgan_jax.analyze --workdir=DIR --what=hessian
  python -m vidgan_jax.analyze --workdir=DIR --what=hessian,gradients --every_checkpoint \
      --discriminators=video --batch_size=32
  python -m vidgan_jax.analyze --workdir=DIR --what=neighbours,power_spectrum,darkness,smoothness
  python -m vidgan_jax.analyze --workdir=DIR,DIR --what=compare --output=DIR

  hessian    the ten leading eigenvalues of the Hessian of the discriminators' loss by the
             parameters of each discriminator, on a fixed batch (Lanczos on exact Hessian-vector
             products; of normalised weights as training differentiates them, with the vectors
             of the power iteration held): hessian.json, hessian.png
  gradients  norms of the gradient by each layer's parameters, of real and of generated clips:
             gradient_norms.json, gradient_norms.png
  compare    what the hessian.json of several runs, or in several folders, tell, on one scale:
             comparison.png
  neighbours      the training clips nearest to generated ones of their class, and how much nearer
                  they are than clips held out: neighbours.json, neighbours_pixel.png
  power_spectrum  of real and of generated frames 1, 10, 25 and 50, or those there are, in three
                  disjoint sets (SSW-GAN: --clips=1800 --frames=50): power_spectrum.json, .png
  darkness        mean pixels and dark clips over training, from the log, and by class, of drawn
                  clips: darkness.json, .png
  smoothness      how evenly clips change between two latents and between two classes:
                  smoothness.json, .png, smoothness_latent.png, smoothness_class.png

The numbers that matter most are printed. Files go to DIR/analysis, where a run with
--config.analysis.every=N puts those of the first two while it trains; what they hold is added to.
The last four are of one checkpoint, and replaced by --overwrite alone.

Exit codes: 0 done, 2 bad input.
"""

from absl import flags

from vidgan_jax.analysis.request import Request
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import requests

requests.define(Request)
_FEATURES = flags.DEFINE_list(
  "features", [], "Networks in whose features distances are taken too, beside pixels."
)
_CACHE = flags.DEFINE_string(
  "compilation_cache", None, "Folder of compiled programs; empty turns the cache off."
)

_CURVATURE = {"discriminators", "checkpoint", "every_checkpoint", "batch_size", "seed"}
_CURVATURE |= {"data_directory"}
_DRAWN = {"checkpoint", "every_checkpoint", "batch_size", "seed", "clips", "frames", "truncation"}
_DRAWN |= {"overwrite"}
_ALWAYS = {"workdir", "what", "output", "compilation_cache"}
# The flags that each of --what takes; it refuses --every_checkpoint in its own words.
_TAKES = {
  "hessian": _CURVATURE | {"eigenvalues", "products"},
  "gradients": _CURVATURE,
  "neighbours": _DRAWN | {"data_directory", "search", "held_out", "features"},
  "power_spectrum": _DRAWN | {"data_directory"},
  "darkness": _DRAWN | {"data_directory"},
  "smoothness": _DRAWN | {"features"},
  "compare": {"discriminators"},
}


def _check_flags():
  """UserError where a flag is set that nothing of --what takes."""
  what = flags.FLAGS.what or []
  if set(what) <= set(_TAKES):  # a misspelt one is refused later, with those that are known
    taken = _ALWAYS.union(*(_TAKES[each] for each in what))
    door.check_unused(set(door.given()) - taken, f"with --what={','.join(what)}")


def main(argv):
  """Looks and writes."""
  del argv
  _check_flags()
  from vidgan_jax.analysis import cli
  from vidgan_jax.analysis.samples.analyses import Tools
  from vidgan_jax.evaluation.features import vectors
  from vidgan_jax.runtime.hardware import compilation  # JAX loads here
  from vidgan_jax.sampling import interpolation
  from vidgan_jax.sampling import run as runs

  compilation.enable_cache(_CACHE.value, door.report)
  tools = Tools(
    open_run=runs.load,
    walks={"latent": interpolation.latent_walk, "class": interpolation.class_walk},
    features={name: vectors.of_network(name) for name in _FEATURES.value},
  )
  lines = cli.fulfil(
    requests.read(Request),
    report=door.report,
    tools=tools,
  )
  for line in lines:
    door.report(line)


if __name__ == "__main__":
  door.run(main)
