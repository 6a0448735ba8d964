"""The switches of SSW-GAN's upsampling stages, without JAX.

A stage upsamples clips of an earlier stage, which is trained before and then frozen.
`config.model.earlier` is the whole model part of the earlier stage's config, whose own
`earlier` describes the stage before it. `config.model.earlier_run` is the folder of its run.
"""

import ml_collections

from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.config.base_switches import INITIALIZERS, model_switches
from vidgan_jax.runtime.config.schema import boolean, choice, integer, integers, number, text
from vidgan_jax.runtime.errors import UserError

EARLIER = "earlier"  # name of the frozen stage, and of its part of `config.model`
_SYSTEMS = ("dvd_gan", "ssw_gan")  # that may be an earlier stage
_WIDTH = {"least": 1, "most": 8192}  # channels
_MULTIPLIERS = {"least": 1, "most": 1024}
_LATENT = {"least": 1, "most": 65_536}

_STAGE = {
  "latent_dim": integer(128, "Size of the latent vector z.", **_LATENT),
  "embedding_dim": integer(128, "Size of the generator's class embedding.", **_LATENT),
  "initializer": choice("orthogonal", INITIALIZERS, "Initial distribution of kernels."),
  "spectral_eps": number(
    1e-8, "Lower bound of norms in spectral normalisation.", least=1e-20, most=1
  ),
  "discriminator_steps": integer(
    2, "Discriminator updates for each generator update.", least=1, most=32
  ),
  "aggregation": choice(
    "concat_mean",
    ("sum_before", "mean_after", "concat_mean"),
    "Hinge loss of a discriminator's several scores, as in dvd_gan; SSW-GAN has concat_mean.",
  ),
  "generated_labels": choice(
    "uniform",
    ("uniform", "batch"),
    "Labels of generated clips: drawn at random, or those of the real clips.",
  ),
  "temporal_factor": integer(
    2, "Frames of a clip for each frame of the earlier stage's clip.", least=1, most=64
  ),
  "x_l_source": choice(
    "stage",
    ("stage", "real", "folder"),
    "Low-resolution clips (x_l) that the generator upsamples in training: of the frozen earlier "
    "stage, subsampled real clips, or clips in the file earlier_samples.",
  ),
  "earlier_run": text(
    "",
    "Folder of the earlier stage's finished run; if it has moved, a folder of the same name beside "
    "this run's is used.",
    enters_update=False,
  ),
  "earlier_samples": text(
    "",
    "For x_l_source=folder: a folder that `sample` wrote with the earlier stage, or its "
    "samples.npz.",
    enters_update=False,
  ),
  "unroll_window": integer(
    12,
    "Frames that a generator computes at a time in clips longer than in training, besides those "
    "of its temporal receptive field on both sides; 0 computes a clip at once.",
    least=0,
    most=4096,
    enters_update=False,
  ),
}

_GENERATOR = {
  "channels": integer(128, "ch, the unit of all widths.", **_WIDTH),
  "multipliers": integers(
    (8, 8, 4, 2, 1),
    "Channels after each unit, in multiples of ch; 4x4 has the first.",
    **_MULTIPLIERS,
  ),
  "temporal": choice(
    "separable_block",
    ("separable_block", "separable", "gru"),
    "Layer of each unit that connects frames: a residual block of two separable 3-D convolutions "
    "(Figure 1), one separable convolution (B.2), or a ConvGRU (appendix C).",
  ),
  "condition": choice(
    "z_class", ("z_class", "class", "z"), "Input of conditional batch normalisation."
  ),
  "statistics": choice(
    "per_step",
    ("per_step", "shared"),
    "Statistics of batch normalisation: of each time step, or of all together.",
  ),
}

_DISCRIMINATOR = {
  "channels": integer(96, "ch of all discriminators, the unit of their widths.", **_WIDTH),
  "multipliers": integers(
    (1, 2, 4, 8, 16, 16), "Channels of the blocks, in multiples of ch.", **_MULTIPLIERS
  ),
  "sampled_frames": integer(
    8,
    "Frames that the spatial discriminator scores, at most all of a clip; 0 leaves this "
    "discriminator out.",
    least=0,
    most=4096,
  ),
  "temporal": boolean(True, "Whether there is a temporal discriminator."),
  "matching": boolean(True, "Whether there is a matching discriminator."),
  "downsampling": choice(
    "pool2",
    ("identity", "pool2", "pool4", "half_crop"),
    "Downsampling of clips for the temporal discriminator.",
  ),
}

SWITCHES = {
  **model_switches("ssw_gan", resolution=128, frames=12, num_classes=600, remat="none"),
  **_STAGE,
  **schema.within("generator", _GENERATOR),
  **schema.within("discriminator", _DISCRIMINATOR),
}


def default(earlier: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """`config.model` of the paper's second stage for Kinetics-600.

  Args:
    earlier: `config.model` of the earlier stage.
  """
  model = schema.defaults(SWITCHES)
  model[EARLIER] = earlier.copy_and_resolve_references()
  return model


def reach(model: ml_collections.ConfigDict) -> int:
  """Largest number of frames that the stages of `model` can generate together.

  The first stage generates as many as in training, and each later one multiplies them.
  """
  if EARLIER not in model:
    return model.frames
  return model.temporal_factor * reach(model[EARLIER])


def low_frames(model: ml_collections.ConfigDict) -> int:
  """Frames of the low-resolution clip that this stage upsamples in training."""
  return model.frames // model.temporal_factor


def check(config: ml_collections.ConfigDict) -> None:
  """UserError if fields of a config contradict each other."""
  check_model(config.model)
  model = config.model
  draws = [
    f"config.{name}"
    for name, every in (
      ("sample_every", config.sample_every),
      ("evaluation.every", config.get("evaluation", {}).get("every")),
      ("analysis.every", config.get("analysis", {}).get("every")),
    )
    if every
  ]
  if not model.earlier_run and model.x_l_source == "real" and draws:
    raise UserError(
      "config.model.x_l_source is real and config.model.earlier_run is empty: without an earlier "
      f"stage no clips can be drawn, so {draws[0]} must be 0"
    )
  if model.discriminator.matching and any(config.get("augmentation", {}).values()):
    raise UserError(
      "augmentation changes a clip, but not the x_l beside it: config.model.discriminator.matching "
      "must be False"
    )
  if model.x_l_source == "folder" and not model.earlier_samples:
    raise UserError(
      "config.model.x_l_source is folder, but config.model.earlier_samples names none"
    )


def check_model(model: ml_collections.ConfigDict, name: str = "config.model") -> None:
  """UserError if fields of a stage, or of a stage before it, do not fit each other."""
  earlier = model.get(EARLIER)
  if not hasattr(earlier, "get"):
    raise UserError(f"{name}.{EARLIER} is missing: it describes the earlier stage's model")
  if earlier.name not in _SYSTEMS:
    raise UserError(
      f"{name}.{EARLIER}.name is {earlier.name!r}, must be one of {', '.join(_SYSTEMS)}"
    )
  if earlier.num_classes != model.num_classes:
    raise UserError(
      f"{name}.num_classes is {model.num_classes}, but the earlier stage has {earlier.num_classes}"
    )
  units, doublings = len(model.generator.multipliers), (model.resolution // 4).bit_length() - 1
  if model.resolution != 4 << doublings or not 1 <= doublings <= units:
    raise UserError(
      f"{units} {name}.generator.multipliers cannot grow 4x4 to {model.resolution} pixels; the "
      "resolution must be 4 times a power of two, with a multiplier for every doubling"
    )
  small = earlier.resolution
  if model.resolution % small or small & (small - 1) or small < 4:
    raise UserError(
      f"{name}.resolution is {model.resolution}, must be a multiple of the earlier stage's, {small}"
    )
  if model.frames % model.temporal_factor:
    raise UserError(
      f"{name}.frames is {model.frames}, must be a multiple of {name}.temporal_factor, "
      f"{model.temporal_factor}"
    )
  if low_frames(model) > earlier.frames:
    raise UserError(
      f"{name}.frames is {model.frames}: the generator would upsample {low_frames(model)} frames, "
      f"but the earlier stage generates {earlier.frames}"
    )
  if model.unroll_window % model.temporal_factor:
    raise UserError(
      f"{name}.unroll_window is {model.unroll_window}, must be a multiple of "
      f"{name}.temporal_factor, {model.temporal_factor}"
    )
  options = model.discriminator
  if not (options.sampled_frames or options.temporal or options.matching):
    raise UserError("no discriminator: sampled_frames is 0, temporal and matching are off")
  if not options.multipliers:
    raise UserError("discriminator.multipliers is empty: a discriminator needs a block")
  if earlier.name == "ssw_gan":
    check_model(earlier, f"{name}.{EARLIER}")
