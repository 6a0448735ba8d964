"""What every config holds besides its model, and how config files read their argument."""

import json
import zlib

import ml_collections

from vidgan_jax.runtime import json_files
from vidgan_jax.runtime.errors import UserError


def base_config() -> ml_collections.ConfigDict:
  """Returns the fields that every experiment has, without `model`.

  A config file fills in `config.model` and changes what its experiment needs.
  """
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.batch_size = 512  # clips per update, over all devices
  # Clips, over all devices, that pass through the networks at a time, for smaller memories; batch
  # normalisation takes its statistics over these. 0 is the whole batch.
  config.microbatch = 0
  config.num_iterations = 300_000  # generator updates
  config.sharding = "replicated"  # or zero1: parameters and optimizer split over the devices
  config.precision = "auto"  # auto, bfloat16, float32 (float64 for tests)

  config.data = ml_collections.ConfigDict()
  config.data.name = "moving_shapes"  # moving_shapes, npz, video_folder, prepared
  config.data.directory = ""  # folder, or the .npz file
  config.data.num_examples = 50_000  # moving_shapes: scenes
  config.data.seed = 0  # moving_shapes: which scenes
  config.data.variety = 1.0  # moving_shapes: 0 has plain dark backgrounds and no occlusion
  config.data.stride = 1  # frames from one to the next
  config.data.split = "train"  # or test, all; of prepared sets any that they have
  config.data.split_number = 1  # UCF-101: which of the official lists
  config.data.horizontal_flip = False
  config.data.crop = "random"  # random or center
  config.data.cache_directory = ""  # decoded frames; empty is the user's cache folder
  config.data.min_clips = 1  # fewer usable clips refuse to train
  # Of prepared sets, which video_folder takes too:
  config.data.prepare = ""  # prepare's options for this set, told where it is missing
  config.data.mixture = ()  # further folders; one named twice is shown twice per epoch
  config.data.classes = ()  # names of those in use, in the order of their labels; empty is all
  config.data.min_frames = 0  # stored frames a clip needs, besides those of an example
  config.data.temporal_reversal = False
  config.data.damaged = "stop"  # or skip: show other clips in the place of damaged ones
  config.data.reader = "python"  # or tensorflow: by tf.data, the same bytes
  config.data.workers = 0  # threads that decode; 0 is one for each core, at most 16

  config.optimizer = ml_collections.ConfigDict()
  config.optimizer.kind = "adam"  # or rmsprop, in Chainer's form
  config.optimizer.generator_lr = 1e-4
  config.optimizer.discriminator_lr = 2e-4
  config.optimizer.beta1 = 0.0
  config.optimizer.beta2 = 0.999
  config.optimizer.rmsprop_decay = 0.99
  config.optimizer.eps = 1e-8
  config.optimizer.weight_decay = 0.0  # L2, into the gradient
  config.optimizer.orthogonal_penalty = 0.0  # beta of BigGAN's penalty on the generator

  config.ema = ml_collections.ConfigDict()
  config.ema.decay = 0.9999
  config.ema.start = 20_000  # before this iteration the average is a copy

  config.log_every = 100  # iterations; the first is always logged
  config.checkpoint_every = 1000
  config.checkpoints_kept = 3
  config.sample_every = 1000  # iterations; 0 never draws samples

  config.analysis = ml_collections.ConfigDict()  # of the discriminators' curvature
  config.analysis.every = 0  # iterations between looks; 0 never looks
  config.analysis.batch_size = 16  # clips of the fixed batch
  config.analysis.eigenvalues = 10
  config.analysis.products = 60  # Hessian-vector products at most, and vectors kept

  config.evaluation = ml_collections.ConfigDict()  # scores while training
  config.evaluation.every = 0  # iterations between them; 0 never
  config.evaluation.protocol = "moving_shapes"  # evaluate --list tells them
  config.evaluation.count = 0  # generated clips; 0 is the protocol's number
  config.evaluation.real_count = 0  # real ones; likewise
  config.evaluation.best = ""  # keep the state of the best such score, e.g. fid, in WORKDIR/best

  config.guard = ml_collections.ConfigDict()
  config.guard.dark_level = 0.05  # a clip whose mean pixel in [0, 1] is below is dark
  config.guard.dark_fraction = 0.95  # stop where more generated clips than this are dark ...
  config.guard.dark_patience = 10  # ... at this many logged iterations in a row; 0 never stops
  return config


def parse_argument(argument: str, known) -> tuple[str, bool]:
  """Reads a config file's argument, "name" or "name,runlocal".

  Args:
    argument: what follows the colon in --config=file.py:argument.
    known: names the file knows; the first is taken where the argument names none.

  Returns:
    (name, whether to shrink the experiment to a laptop).

  Raises:
    UserError: on anything else, listing what is known.
  """
  known = list(known)
  words = [word for word in (argument or "").split(",") if word]
  runlocal = "runlocal" in words
  names = [word for word in words if word != "runlocal"]
  if len(names) > 1 or any(name not in known for name in names):
    raise UserError(
      f"unknown config argument {argument!r}; known: {', '.join(known)} "
      "(each also as name,runlocal)"
    )
  return (names[0] if names else known[0]), runlocal


def run_local(config) -> None:
  """Shrinks batch, cadences and data of an experiment in place, not the model."""
  config.batch_size = 2
  config.num_iterations = 3
  config.log_every = 1
  config.checkpoint_every = 2
  config.sample_every = 3
  config.analysis.every = 0
  config.evaluation.every = 0
  config.data.name = "moving_shapes"
  config.data.num_examples = 64
  config.data.stride = 1


def to_json(config) -> str:
  """The config as indented JSON."""
  return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ml_collections.ConfigDict:
  """Reads what `to_json` wrote.

  Fields that did not exist yet when it was written have the values that change nothing.

  Raises:
    ValueError: where `text` is no config.
  """
  found = json_files.parse(text, "config.json")
  for name in ("data", "ema", "model", "optimizer"):
    if not isinstance(found, dict) or not isinstance(found.get(name), dict):
      raise ValueError(f"it holds no config (no {name!r} with fields)")
  config = ml_collections.ConfigDict(found)
  for name, value in _ADDED.items():
    *path, last = name.split(".")
    part = config
    for step in path:
      part = part.get(step, ml_collections.ConfigDict())
    if part and last not in part:
      part[last] = value
  return config


_ADDED = {
  "microbatch": 0,
  "optimizer.kind": "adam",
  "optimizer.rmsprop_decay": 0.99,
  "optimizer.weight_decay": 0.0,
  "model.shared_fakes": False,
  "data.prepare": "",
  "data.split": "train",
  "data.mixture": (),
  "data.classes": (),
  "data.min_frames": 0,
  "data.temporal_reversal": False,
  "data.damaged": "stop",
  "data.reader": "python",
  "data.workers": 0,
}


# What may change when a run continues: none of it enters an update.
_FREE = (
  "num_iterations",
  "log_every",
  "checkpoint_every",
  "checkpoints_kept",
  "sample_every",
  "analysis",
  "evaluation",
  "guard",
  "data.directory",
  "data.cache_directory",
  "data.min_clips",
  "data.prepare",
  "data.mixture",  # as data.directory: the run knows its data
  "data.damaged",
  "data.reader",
  "data.workers",
  "model.remat",
  "sharding",
)


def _entering(config) -> dict:
  """{field: value} of all that enters an update."""
  free = lambda name: any(name == f or name.startswith(f + ".") for f in _FREE)
  return {name: value for name, value in _flatten(config).items() if not free(name)}


def identity(config) -> str:
  """Eight digits that tell runs apart whose updates differ."""
  text = json.dumps(_entering(config), sort_keys=True, default=str)
  return f"{zlib.crc32(text.encode()):08x}"


def first_difference(old, new) -> str | None:
  """Names the first field, in the order of their names, in which a run's config differs.

  Fields that do not enter an update (lengths, cadences, folders, the guard) may differ.

  Returns:
    "field: old value there, new value here", or None.
  """
  old, new = _entering(old), _entering(new)
  for name in sorted({*old, *new}):
    if old.get(name) != new.get(name):
      return f"{name}: {old.get(name)!r} there, {new.get(name)!r} here"
  return None


def _flatten(config, prefix=""):
  flat = {}
  for name, value in config.items():
    if isinstance(value, dict | ml_collections.ConfigDict):
      flat.update(_flatten(value, f"{prefix}{name}."))
    else:
      flat[prefix + name] = list(value) if isinstance(value, tuple | list) else value
  return flat
