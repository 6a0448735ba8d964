"""The switches that every config has, and those that several models share.

A model declares its own next to itself, see `models.switches`. docs/settings.md shows all.
"""

import dataclasses

from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.config.schema import boolean, choice, integer, number, text, texts

LARGEST_BATCH = 2**20  # clips
_MANY = 2**31 - 1
_FREE = {"enters_update": False}
_UNIT = {"least": 0, "most": 1}
# Decays above this are 1 in float32, where averages stand still and Adam divides by zero.
_DECAY = {"least": 0, "most": 0.999999}
_STEPS = {"most": schema.LARGEST_STEP}

_RUN = {
  "seed": integer(
    0, "Seed of everything that is random in a run.", least=0, most=schema.LARGEST_SEED
  ),
  "batch_size": integer(
    512, "Clips of each update, over all devices.", least=1, most=LARGEST_BATCH
  ),
  "microbatch": integer(
    0,
    "Clips, over all devices, that pass through the networks at a time, for smaller memories; "
    "batch normalisation takes its statistics over these. 0 is the whole batch.",
    least=0,
    most=LARGEST_BATCH,
    absent=0,
  ),
  "num_iterations": integer(300_000, "Generator updates of the run.", least=1, **_STEPS, **_FREE),
  "sharding": choice(
    "replicated",
    ("replicated", "zero1"),
    "Where parameters, optimizer and average are: copies on every device, or split over the "
    "devices (zero1).",
    **_FREE,
  ),
  "precision": choice(
    "auto",
    ("auto", "bfloat16", "float32", "float64"),
    "Type of activations; auto is bfloat16 on accelerators and float32 on CPU, float64 is for "
    "tests.",
  ),
  "log_every": integer(
    100,
    "Iterations between records of the log; the first is always logged.",
    least=1,
    **_STEPS,
    **_FREE,
  ),
  "checkpoint_every": integer(1000, "Iterations between checkpoints.", least=1, **_STEPS, **_FREE),
  "checkpoints_kept": integer(
    3, "Newest checkpoints that are kept; never fewer than 2.", least=1, most=1_000_000, **_FREE
  ),
  "sample_every": integer(
    1000, "Iterations between sample videos; 0 draws none.", least=0, **_STEPS, **_FREE
  ),
}

_DATA = {
  "name": choice(
    "moving_shapes",
    ("moving_shapes", "npz", "video_folder", "prepared"),
    "Where clips come from: drawn by the package, a .npz file, a folder of videos, a prepared set.",
  ),
  "directory": text("", "The folder, or the .npz file.", **_FREE),
  "num_examples": integer(50_000, "Clips of moving_shapes.", least=1, most=20_000_000),
  "seed": integer(0, "Which clips moving_shapes draws.", least=0, most=schema.LARGEST_SEED),
  "variety": number(
    1.0, "Of moving_shapes; 0 has plain dark backgrounds and no occlusion.", **_UNIT
  ),
  "stride": integer(
    1, "Frames of a video from one frame of a clip to the next.", least=1, most=10_000
  ),
  "split": text(
    "train",
    "Part of the data: train, test; of folders also val and all; of prepared sets any.",
    absent="train",
  ),
  "split_folders": text(
    "auto",
    "Which folders of videos are splits: auto takes those named like train and test, none takes "
    "none, FOLDER=SPLIT,... names them.",
    absent="auto",
  ),
  "split_number": integer(1, "Which of UCF-101's official lists.", least=1, most=99),
  "horizontal_flip": boolean(False, "Mirror half of the clips."),
  "crop": choice(
    "random", ("random", "center"), "Where a square is cut out of frames that are not square."
  ),
  "cache_directory": text("", "Folder of decoded frames; empty is the user's cache.", **_FREE),
  "min_clips": integer(
    1, "Usable clips that a folder must have, or training refuses.", least=1, most=_MANY, **_FREE
  ),
  "prepare": text(
    "", "Options of `prepare` for this set, shown where the set is missing.", absent="", **_FREE
  ),
  "mixture": texts(
    (),
    "Further folders of prepared sets; one named twice is shown twice per epoch.",
    absent=(),
    **_FREE,  # as data.directory: the run compares the data itself
  ),
  "classes": texts(
    (), "Names of the classes to use, in the order of their labels; empty is all.", absent=()
  ),
  "min_frames": integer(
    0, "Stored frames a clip must have, besides those of an example.", least=0, most=_MANY, absent=0
  ),
  "temporal_reversal": boolean(False, "Play half of the clips backwards.", absent=False),
  "damaged": choice(
    "stop",
    ("stop", "skip"),
    "What happens at a damaged clip of a prepared set: stop, or show another clip.",
    absent="stop",
    **_FREE,
  ),
  "reader": choice(
    "python",
    ("python", "tensorflow"),
    "What decodes prepared sets: Python threads or tf.data; the clips are the same.",
    absent="python",
    **_FREE,
  ),
  "workers": integer(
    0,
    "Threads that decode; 0 is one for each core, at most 16.",
    least=0,
    most=1024,
    absent=0,
    **_FREE,
  ),
}

_OPTIMIZER = {
  "kind": choice("adam", ("adam", "rmsprop"), "Adam, or RMSProp in Chainer's form.", absent="adam"),
  "generator_lr": number(1e-4, "Learning rate of the generator.", least=0, most=10),
  "discriminator_lr": number(2e-4, "Learning rate of the discriminators.", least=0, most=10),
  "beta1": number(0.0, "Adam's decay of the mean gradient.", **_DECAY),
  "beta2": number(0.999, "Adam's decay of the mean squared gradient.", **_DECAY),
  "rmsprop_decay": number(
    0.99, "RMSProp's decay of the mean squared gradient.", absent=0.99, **_DECAY
  ),
  "eps": number(1e-8, "Added to the root of the mean squared gradient.", least=1e-20, most=1),
  "weight_decay": number(0.0, "L2 penalty, added to the gradient; 0 is none.", absent=0.0, **_UNIT),
  "orthogonal_penalty": number(
    0.0, "Weight (beta) of BigGAN's penalty on the generator; 0 is none.", least=0, most=1000
  ),
}

_EMA = {
  "decay": number(0.9999, "Decay of the generator's moving average; 0 is a copy.", **_DECAY),
  "start": integer(
    20_000, "Before this iteration the average is a copy of the generator.", least=0, **_STEPS
  ),
}

_ANALYSIS = {
  "every": integer(
    0,
    "Iterations between analyses of the discriminators' curvature; 0 makes none.",
    least=0,
    **_STEPS,
  ),
  "batch_size": integer(16, "Clips of the fixed batch.", least=1, most=LARGEST_BATCH),
  "eigenvalues": integer(10, "Leading eigenvalues to find.", least=1, most=1000),
  "products": integer(
    60,
    "Hessian-vector products at most, and vectors kept; no fewer than eigenvalues.",
    least=1,
    most=1000,
  ),
}

_EVALUATION = {
  "every": integer(0, "Iterations between scores while training; 0 makes none.", least=0, **_STEPS),
  "protocol": text("moving_shapes", "Name of the protocol; `evaluate --list` shows all."),
  "count": integer(
    0, "Generated clips, 2 or more; 0 is the protocol's number.", least=0, most=10_000_000
  ),
  "real_count": integer(
    0, "Real clips, 2 or more; 0 is the protocol's number.", least=0, most=10_000_000
  ),
  "best": text(
    "", "Score by which the best state is kept in WORKDIR/best, e.g. fid; empty keeps none."
  ),
}

_GUARD = {
  "dark_level": number(
    0.05, "A clip whose mean pixel, 0 black to 1 white, is below this is dark.", **_UNIT
  ),
  "dark_fraction": number(
    0.95, "Stop where more than this fraction of the generated clips is dark ...", **_UNIT
  ),
  "dark_patience": integer(
    10, "... at so many logged iterations in a row; 0 never stops.", least=0, most=_MANY
  ),
}


def _none_in_updates(group: str, switches) -> dict[str, schema.Switch]:
  """A group of which no switch enters an update, and which old configs may lack."""
  return {
    path: dataclasses.replace(switch, enters_update=False, absent=switch.default)
    for path, switch in schema.within(group, switches).items()
  }


SWITCHES = {
  **_RUN,
  **schema.within("data", _DATA),
  **schema.within("optimizer", _OPTIMIZER),
  **schema.within("ema", _EMA),
  **_none_in_updates("analysis", _ANALYSIS),
  **_none_in_updates("evaluation", _EVALUATION),
  **_none_in_updates("guard", _GUARD),
}

# Switches that several models have, without the group's name `model`. A model takes them with its
# own defaults.
MODEL = {
  "name": text("", "The system."),
  "resolution": integer(64, "Height and width of frames in pixels.", least=8, most=1024),
  "frames": integer(12, "Frames of a clip.", least=1, most=4096),
  "num_classes": integer(0, "Classes; 0 is without labels.", least=0, most=1_000_000),
  "savings": boolean(True, "Algebraically equal, cheaper forms of the layers."),
  "shared_fakes": boolean(
    False,
    "Update the generator on the clips that the discriminators saw last: one pass less.",
    absent=False,
  ),
  "remat": choice(
    "none",
    ("none", "conv_outputs", "block_inputs"),
    "Activations that are kept for the backward pass: all, or less memory for more work.",
    **_FREE,
  ),
}


def model_switches(name: str, **defaults) -> dict[str, schema.Switch]:
  """The shared switches of the model `name`, with its `defaults`; `remat` where it names one."""
  found = {}
  for path, switch in MODEL.items():
    if path == "name":
      switch = choice(name, (name,), switch.help)
    elif path in defaults:
      switch = dataclasses.replace(switch, default=defaults[path])
    if path != "remat" or path in defaults:
      found[path] = switch
  return found


# Flags that several commands have.
CHECKPOINT = integer(
  None, "Iteration of the checkpoint; default last.", least=0, most=schema.LARGEST_STEP
)
TRUNCATION = number(
  1.0,
  "Standard deviation of z; 1 as in training, the paper shows 0.44.",
  least=0,
  above=True,
  most=100,
)
STANDING_PASSES = integer(
  16, "Passes for batch statistics; 0 takes training's.", least=0, most=10_000
)
