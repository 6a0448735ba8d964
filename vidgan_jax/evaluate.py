r"""Evaluates clips of a trained run, or any videos, with a named protocol.

  vidgan evaluate --workdir=DIR --protocol=moving_shapes
  vidgan evaluate --workdir=DIR --protocol=fvd_unterthiner2018 --every_checkpoint
  vidgan evaluate --workdir=DIR --protocol=dvd_gan_fid_is_k600 \
      --truncations=0.2,0.44,0.7,1 --count=10000
  vidgan evaluate --workdir=DIR --protocol=recommended --follow --patience=120
  vidgan evaluate --clips=VIDEOS --real=VIDEOS --protocol=fvd --output=DIR
  vidgan evaluate --list
  vidgan evaluate --convert=i3d_kinetics400 --source=FILE_OR_FOLDER [--output=FILE]

--follow evaluates each new checkpoint as training writes it, and ends after --patience minutes
without one.

A protocol fixes networks, resizing, frames, numbers of clips and statistics; --list shows all
protocols. Scores are written to DIR/evaluation/PROTOCOL: results.json (new scores are added),
results.tex and report.html. Each score has a fingerprint of all its settings. Only scores with
equal fingerprints are comparable. Features of the real clips are cached in $VIDGAN_JAX_REFERENCES
(by default vidgan_jax/references in the user's cache folder, $XDG_CACHE_HOME or ~/.cache).

VIDEOS is a folder of videos or of folders of pictures, a zip of either, one video, or an .npz of
clips. Videos are sorted by name. In CLASS/VIDEO, the folders are classes; videos that are not in
folders have no classes. The protocol or --frames sets the number of frames of a clip. Frames of
real videos are the protocol's stride apart, or that of --stride; those of generated videos are
consecutive. A longer video gives the protocol's windows, random ones or the first; a generated one
gives one window. One video alone is cut into successive clips. Real videos that are too short are
left out and counted; generated ones are refused. Generated clips must have one size. Larger real
videos are resized to it by their shorter side, and a square is cropped; smaller ones are refused.
If there are more videos than the protocol takes, --seed chooses them. The fingerprint depends on
the pixels of the clips and not on their paths.

--convert verifies a file of published weights and converts it to a file for --weights. By default
it is stored in $VIDGAN_JAX_WEIGHTS (vidgan_jax/weights in the user's cache folder), where later
evaluations find it.

Exit codes: 0 done; 1 a network or a bucket failed (try again), or a bug; 2 bad input.
"""

from absl import flags

from vidgan_jax.evaluation.request import Request
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import base_switches, requests, schema
from vidgan_jax.runtime.errors import UserError

requests.define(Request)
_LIST = flags.DEFINE_bool("list", False, "List protocols and metrics, and exit.")
_CONVERT = flags.DEFINE_string("convert", None, "Name of the network whose weights to convert.")
_MEAN = flags.DEFINE_string("mean", None, "With --convert=c3d_ucf101: .npz file of its mean clip.")
_ALLOW_UNKNOWN = flags.DEFINE_bool(
  "allow_unknown", False, "Also convert a well-formed file that is not a known published one."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a converted file.")
_SOURCE = flags.DEFINE_string("source", None, "File or folder of the published weights.")
_CACHE = schema.define("compilation_cache", base_switches.COMPILATION_CACHE)

_CONVERTING = ("source", "mean", "allow_unknown", "overwrite")  # flags for --convert only


def _check_flags():
  """Raises UserError if a flag has no effect in combination with the others."""
  present = set(door.present_flags()) - {"compilation_cache"}
  if _LIST.value:
    door.check_unused(present - {"list"}, "with --list, which lists all protocols")
  elif _CONVERT.value:
    door.check_unused(present - {"convert", "output", "list", *_CONVERTING}, "with --convert")
  else:
    door.check_unused(_CONVERTING, "without --convert")
  value = flags.FLAGS
  if value.truncations is not None:
    door.check_unused(["truncation"], "with --truncations, which names all of them")
  if value.clips:
    door.check_unused(["ema", "standing_passes"], "with --clips, which are already generated")
  if value.real:
    door.check_unused(["data_directory"], "with --real, which names the real clips")
  if value.clips and value.real:
    door.check_unused(["workdir"], "with --clips and --real, which need no run")


def _convert():
  if not _SOURCE.value:
    raise UserError("--convert needs --source=FILE_OR_FOLDER")
  from vidgan_jax.evaluation.features import convert

  convert.convert(
    _CONVERT.value,
    _SOURCE.value,
    flags.FLAGS.output,
    mean=_MEAN.value,
    allow_unknown=_ALLOW_UNKNOWN.value,
    overwrite=_OVERWRITE.value,
    report=door.report,
  )


def main(argv):
  """Lists protocols, converts weights, or evaluates clips and writes the scores."""
  del argv
  _check_flags()
  from vidgan_jax.evaluation.protocols import listing, registry

  if _LIST.value:
    for line in listing.lines():
      door.report(line)
    return
  if _CONVERT.value:
    _convert()
    return
  request = requests.read(Request)
  # Refuses misspelt names before JAX is imported.
  registry.with_metrics(registry.get_protocol(request.protocol), request.metrics)
  from vidgan_jax.evaluation import cli
  from vidgan_jax.runtime.hardware import compilation, memory
  from vidgan_jax.sampling import run, stream

  memory.keep_freed_on_cpu()
  compilation.enable_cache(_CACHE.value, door.report)
  opener = cli.Opener(run.load, stream.Stream, stream.of_conditioned)
  lines = cli.fulfil(request, opener, report=door.report)
  for line in lines:
    door.report(line)


if __name__ == "__main__":
  door.run(main)
