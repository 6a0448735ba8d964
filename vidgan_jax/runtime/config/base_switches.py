"""The switches of every config, and those that several models and commands share.

Each model declares its own switches in its `models/*_config.py`; `models.switches` collects them.
docs/settings.md lists all of them.
"""

import dataclasses

from vidgan_jax.runtime.config import data_switches, schema
from vidgan_jax.runtime.config.schema import boolean, choice, integer, number, text

LARGEST_BATCH = 2**20  # clips
_MANY = 2**31 - 1
_FREE = {"enters_update": False}
_UNIT = {"least": 0, "most": 1}
# Decays above this round to 1 in float32: averages would not change, and Adam would divide by zero.
_DECAY = {"least": 0, "most": 0.999999}
_STEPS = {"most": schema.LARGEST_STEP}

_RUN = {
  "seed": integer(0, "Seed of all random numbers of a run.", least=0, most=schema.LARGEST_SEED),
  "batch_size": integer(512, "Clips per update, over all devices.", least=1, most=LARGEST_BATCH),
  "microbatch": integer(
    0,
    "Clips, over all devices, that pass through the networks at a time, to save memory; batch "
    "normalisation uses the statistics of each micro-batch. 0 is the whole batch.",
    least=0,
    most=LARGEST_BATCH,
    absent=0,
  ),
  "chunks": integer(
    1,
    "Parts of a batch, on each device, that pass one after the other through discriminators, "
    "frozen earlier stages and, between batch normalisations, generators, to save memory; "
    "statistics and results are those of the whole batch.",
    least=1,
    most=LARGEST_BATCH,
    absent=1,
    **_FREE,
  ),
  "num_iterations": integer(
    300_000, "Number of generator updates of the run.", least=1, **_STEPS, **_FREE
  ),
  "sharding": choice(
    "replicated",
    ("replicated", "zero1"),
    "How parameters, optimizer and average are stored: a copy on every device, or split over the "
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
    "Iterations between records of the log; the first iteration is always logged.",
    least=1,
    **_STEPS,
    **_FREE,
  ),
  "checkpoint_every": integer(1000, "Iterations between checkpoints.", least=1, **_STEPS, **_FREE),
  "checkpoints_kept": integer(
    3,
    "Number of newest checkpoints to keep; at least two are kept, even for 1.",
    least=1,
    most=1_000_000,
    **_FREE,
  ),
  "sample_every": integer(
    1000, "Iterations between sample videos; 0 makes none.", least=0, **_STEPS, **_FREE
  ),
}

_OPTIMIZER = {
  "kind": choice(
    "adam", ("adam", "rmsprop"), "Optimizer: Adam, or RMSProp as in Chainer.", absent="adam"
  ),
  "generator_lr": number(1e-4, "Learning rate of the generator.", least=0, most=10),
  "discriminator_lr": number(2e-4, "Learning rate of the discriminators.", least=0, most=10),
  "schedule": choice(
    "constant",
    ("constant", "linear"),
    "Learning rates: constant, or falling linearly from the first iteration's to 0.",
    absent="constant",
  ),
  "decay_iterations": integer(
    100_000,
    "Iterations after which the rates of the linear schedule are 0; num_iterations is no larger.",
    least=1,
    absent=100_000,
    **_STEPS,
  ),
  "beta1": number(0.0, "Adam's decay rate of the mean gradient.", **_DECAY),
  "beta2": number(0.999, "Adam's decay rate of the mean squared gradient.", **_DECAY),
  "rmsprop_decay": number(
    0.99, "RMSProp's decay rate of the mean squared gradient.", absent=0.99, **_DECAY
  ),
  "eps": number(1e-8, "Added to the root of the mean squared gradient.", least=1e-20, most=1),
  "eps_form": choice(
    "corrected",
    ("corrected", "uncorrected"),
    "Whether Adam corrects the mean squared gradient for its start at 0 before eps is added to its "
    "root (PyTorch), or only afterwards (Chainer).",
    absent="corrected",
  ),
  "weight_decay": number(
    0.0, "Weight of the L2 penalty, whose gradient is added; 0 is none.", absent=0.0, **_UNIT
  ),
  "orthogonal_penalty": number(
    0.0,
    "Weight (beta) of BigGAN's orthogonality penalty on the generator; 0 is none.",
    least=0,
    most=1000,
  ),
}

_R1 = {
  "weight": number(
    0.0,
    "Weight (lambda) of R1, the penalty on discriminators' gradients at real clips; 0 is none.",
    least=0,
    most=1_000_000,
    absent=0.0,
  ),
  "reference_count": integer(
    1,
    "R1 is the weight times this number times a mean over clips; 1 is the usual mean. TGANv2 sums "
    "over the 30 clips of its four levels.",
    least=1,
    most=1_000_000,
    absent=1,
  ),
}

_AUGMENTATION = {
  "colour": boolean(
    False,
    "Differentiable augmentation of all clips that discriminators see: brightness, saturation, "
    "contrast.",
    absent=False,
  ),
  "translation": boolean(
    False, "Differentiable augmentation: shifts by up to an eighth of the size.", absent=False
  ),
  "cutout": boolean(
    False, "Differentiable augmentation: a grey square of half of the size.", absent=False
  ),
}

_EMA = {
  "decay": number(
    0.9999, "Decay rate of the generator's moving average; 0 makes it a copy.", **_DECAY
  ),
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
  "batch_size": integer(
    16, "Number of clips of the fixed batch that is analysed.", least=1, most=LARGEST_BATCH
  ),
  "eigenvalues": integer(10, "Number of leading eigenvalues to compute.", least=1, most=1000),
  "products": integer(
    60,
    "Largest number of Hessian-vector products, each of which stores a vector; at least the number "
    "of eigenvalues.",
    least=1,
    most=1000,
  ),
}

_EVALUATION = {
  "every": integer(
    0, "Iterations between evaluations during training; 0 makes none.", least=0, **_STEPS
  ),
  "protocol": text("moving_shapes", "Name of the protocol; `evaluate --list` shows all."),
  "count": integer(
    0,
    "Number of generated clips, at least 2; 0 is the protocol's number.",
    least=0,
    most=10_000_000,
  ),
  "real_count": integer(
    0, "Number of real clips, at least 2; 0 is the protocol's number.", least=0, most=10_000_000
  ),
  "best": text(
    "",
    "Metric that selects the best state, which is saved in WORKDIR/best, such as fid; empty saves "
    "none.",
  ),
}

_GUARD = {
  "dark_level": number(
    0.05,
    "A clip is dark if its mean pixel value (0 is black, 1 is white) is below this.",
    **_UNIT,
  ),
  "dark_fraction": number(
    0.95, "An iteration is dark if more than this fraction of its generated clips is.", **_UNIT
  ),
  "dark_patience": integer(
    10,
    "Number of dark logged iterations in a row that stops the run; 0 never stops it.",
    least=0,
    most=_MANY,
  ),
  "restarts": integer(
    0,
    "Number of times that a run which a guard stops (losses or weights that are not finite, dark "
    "clips) goes back to an earlier checkpoint by itself and trains on in WORKDIR/branches; 0 "
    "never does.",
    least=0,
    most=100,
  ),
  "restart_rate": number(
    1.0, "Factor on both learning rates at each such restart.", least=0, above=True, most=1
  ),
}


def _outside_updates(group: str, switches) -> dict[str, schema.Switch]:
  """The switches of a group that no update uses, and that old configs may lack."""
  return {
    path: dataclasses.replace(switch, enters_update=False, absent=switch.default)
    for path, switch in schema.within(group, switches).items()
  }


SWITCHES = {
  **_RUN,
  **schema.within("data", data_switches.SWITCHES),
  **schema.within("optimizer", _OPTIMIZER),
  **schema.within("ema", _EMA),
  **schema.within("r1", _R1),
  **schema.within("augmentation", _AUGMENTATION),
  **_outside_updates("analysis", _ANALYSIS),
  **_outside_updates("evaluation", _EVALUATION),
  **_outside_updates("guard", _GUARD),
}

# Switches that several models share; their paths lack the prefix "model.". Each model sets its own
# defaults.
MODEL = {
  "name": text("", "Name of the model."),
  "resolution": integer(64, "Height and width of frames in pixels.", least=8, most=1024),
  "frames": integer(12, "Number of frames of a clip.", least=1, most=4096),
  "num_classes": integer(
    0, "Number of classes; 0 is a model without labels.", least=0, most=1_000_000
  ),
  "savings": boolean(True, "Use cheaper forms of the layers that are equal up to rounding."),
  "shared_fakes": boolean(
    False,
    "Whether the generator's update uses the generated clips of the last discriminator update (of "
    "the first one, if the generator is updated first), which saves a pass of the generator.",
    absent=False,
  ),
  "remat": choice(
    "none",
    ("none", "conv_outputs", "block_inputs"),
    "Which activations to recompute in the backward pass instead of storing them: none, all but "
    "the outputs of convolutions, or all but the inputs of blocks.",
    **_FREE,
  ),
}

# Names of the distributions of initial kernels, the keys of `layers.settings.INITIALIZERS`.
INITIALIZERS = (
  "orthogonal",
  "normal02",
  "normal01",
  "lecun_normal",
  "uniform01",
  "fan_in_uniform",
  "glorot_uniform",
  "glorot_uniform_sqrt2",
)


def model_switches(name: str, **defaults) -> dict[str, schema.Switch]:
  """The shared switches of one model.

  Args:
    name: of the model.
    **defaults: its defaults, {path: value}. A model without a default for `remat` has no `remat`.
  """
  switches = {}
  for path, switch in MODEL.items():
    if path == "name":
      switch = choice(name, (name,), switch.help)
    elif path in defaults:
      switch = dataclasses.replace(switch, default=defaults[path])
    if path != "remat" or path in defaults:
      switches[path] = switch
  return switches


# Flags that several commands share.
COMPILATION_CACHE = text(
  None, "Folder of cached compiled programs; by default in the user's cache, empty for none."
)
CHECKPOINT = integer(
  None, "Iteration of the checkpoint; by default the last.", least=0, most=schema.LARGEST_STEP
)
TRUNCATION = number(
  1.0,
  "Standard deviation of the latents; 1 as in training (figures of the DVD-GAN paper use 0.44).",
  least=0,
  above=True,
  most=100,
)
STANDING_PASSES = integer(
  16,
  "Forward passes that estimate the statistics of batch normalisation; 0 uses the running "
  "statistics of training.",
  least=0,
  most=10_000,
)
