r"""Analyses a trained run: curvature, gradients, copies of training clips, spectra, smoothness.

  vidgan analyze --workdir=DIR --what=hessian
  vidgan analyze --workdir=DIR --what=hessian,gradients --every_checkpoint \
      --discriminators=video --batch_size=32
  vidgan analyze --workdir=DIR --what=neighbours,power_spectrum,darkness,smoothness
  vidgan analyze --workdir=DIR,DIR --what=compare --output=DIR

The analyses, and the files that they write:

  hessian         the ten leading eigenvalues of the Hessian of the discriminators' loss with
                  respect to the parameters of each discriminator, on a fixed batch, by Lanczos
                  iteration with exact Hessian-vector products. Spectral normalisation is
                  differentiated as in training, with constant power-iteration vectors.
                  hessian.json, hessian.png
  gradients       norms of the gradient with respect to each layer's parameters, for real and for
                  generated clips. gradient_norms.json, gradient_norms.png
  compare         the eigenvalues in the hessian.json of several runs or folders, on one scale.
                  comparison.png
  neighbours      the training clips nearest to generated clips of the same class, and the ratio of
                  their distance to that of the nearest held-out clips. neighbours.json,
                  neighbours_pixel.png
  power_spectrum  power spectra of frames 1, 10, 25 and 50 (those that exist) of real and generated
                  clips, in three disjoint sets (SSW-GAN: --clips=1800 --frames=50).
                  power_spectrum.json, power_spectrum.png
  darkness        mean pixel and fraction of dark clips over training, from the log, and per class,
                  from generated clips. darkness.json, darkness.png
  smoothness      how evenly clips change between two latents and between two classes.
                  smoothness.json, smoothness.png, smoothness_latent.png, smoothness_class.png

The most important numbers are printed. Files are written to DIR/analysis. Results of hessian and
gradients are added to existing files; a run with --config.analysis.every=N adds them while it
trains. Results of the last four are of one checkpoint, and only --overwrite replaces them.

Exit codes: 0 done; 1 a network or a bucket failed (try again), or a bug; 2 bad input.
"""

from absl import flags

from vidgan_jax.analysis.request import Request
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import base_switches, requests, schema

requests.define(Request)
_FEATURES = flags.DEFINE_list(
  "features", [], "Networks in whose features to measure distances too, besides pixels."
)
_CACHE = schema.define("compilation_cache", base_switches.COMPILATION_CACHE)

_CURVATURE = {"discriminators", "checkpoint", "every_checkpoint", "batch_size", "seed"}
_CURVATURE |= {"data_directory"}
_SAMPLES = {"checkpoint", "every_checkpoint", "batch_size", "seed", "clips", "frames", "truncation"}
_SAMPLES |= {"overwrite"}
_ALWAYS = {"workdir", "what", "output", "compilation_cache"}
# The flags of each analysis. The analyses of samples list --every_checkpoint, although they refuse
# it, because `analysis.cli` refuses it with a better message.
_FLAGS = {
  "hessian": _CURVATURE | {"eigenvalues", "products"},
  "gradients": _CURVATURE,
  "neighbours": _SAMPLES | {"data_directory", "search", "held_out", "features"},
  "power_spectrum": _SAMPLES | {"data_directory"},
  "darkness": _SAMPLES | {"data_directory"},
  "smoothness": _SAMPLES | {"features"},
  "compare": {"discriminators"},
}


def _check_flags():
  """Raises UserError if a flag is set that no analysis of --what uses."""
  what = flags.FLAGS.what or []
  if set(what) <= set(_FLAGS):  # a misspelt analysis is refused later, with the list of known ones
    used = _ALWAYS.union(*(_FLAGS[each] for each in what))
    door.check_unused(set(door.present_flags()) - used, f"with --what={','.join(what)}")


def main(argv):
  """Runs the analyses and writes their results."""
  del argv
  _check_flags()
  from vidgan_jax.analysis import cli
  from vidgan_jax.analysis.samples.analyzed_run import Tools
  from vidgan_jax.evaluation.features import vectors
  from vidgan_jax.runtime.hardware import compilation  # imports JAX
  from vidgan_jax.sampling import conditioning, interpolation
  from vidgan_jax.sampling import run as runs

  compilation.enable_cache(_CACHE.value, door.report)
  tools = Tools(
    open_run=runs.load,
    walks={"latent": interpolation.latent_walk, "class": interpolation.class_walk},
    features={name: vectors.of_network(name) for name in _FEATURES.value},
    conditioning=conditioning.of_split,
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
