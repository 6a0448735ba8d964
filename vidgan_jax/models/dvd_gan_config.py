"""The switches of DVD-GAN and their defaults; the files in `configs/` set them per experiment."""

import itertools
from collections.abc import Sequence

import ml_collections

from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.config.base_switches import INITIALIZERS, model_switches
from vidgan_jax.runtime.config.schema import boolean, choice, integer, integers, number
from vidgan_jax.runtime.errors import UserError

_WIDTH = {"least": 1, "most": 8192}  # channels
_MULTIPLIERS = {"least": 1, "most": 1024}
_LATENT = {"least": 1, "most": 65_536}

_SYSTEM = {
  "latent_dim": integer(120, "Size of the latent vector z.", **_LATENT),
  "embedding_dim": integer(120, "Size of the generator's class embedding.", **_LATENT),
  "initializer": choice("orthogonal", INITIALIZERS, "Initial distribution of kernels."),
  "spectral_eps": number(
    1e-8, "Lower bound of norms in spectral normalisation.", least=1e-20, most=1
  ),
  "discriminator_steps": integer(
    2, "Discriminator updates for each generator update.", least=1, most=32
  ),
  "aggregation": choice(
    "sum_before",
    ("sum_before", "mean_after", "concat_mean"),
    "Hinge loss of a discriminator's several scores: sum_before takes the hinge of their sum, "
    "mean_after the mean of their hinges (thesis), concat_mean the mean over the scores of all "
    "discriminators (SSW-GAN).",
  ),
  "generated_labels": choice(
    "uniform",
    ("uniform", "batch"),
    "Labels of generated clips: drawn at random, or those of the real clips.",
  ),
}

_PIXEL_LOSS = {
  "weight": number(
    0.0, "Weight of the thesis' average pixel loss (4.5); 0 is none.", least=0, most=1_000_000
  ),
  "start": integer(
    0, "First iteration of the average pixel loss.", least=0, most=schema.LARGEST_STEP
  ),
  "form": choice(
    "channel_means",
    ("channel_means", "pixels"),
    "What the pixel loss compares: means of the channels, or single pixels.",
  ),
}

_GENERATOR = {
  "variant": choice(
    "single_rnn",
    ("single_rnn", "stacked_rnn"),
    "One ConvGRU at 4x4, or one in front of the blocks of each resolution.",
  ),
  "channels": integer(
    128, "ch, the unit of all widths; the paper has 64 above 64x64 or for 48 frames.", **_WIDTH
  ),
  "multipliers": integers(
    (),
    "Channels at 4x4 and after each stage, in multiples of ch; empty is the paper's list.",
    **_MULTIPLIERS,
  ),
  "doubled": boolean(True, "Two residual blocks per stage."),
  "final_multiplier": integer(
    0,
    "Channels of a further block at full resolution, in multiples of ch; 0 is none.",
    least=0,
    most=1024,
  ),
  "condition": choice(
    "z_class", ("z_class", "class", "z"), "Input of conditional batch normalisation."
  ),
  "statistics": choice(
    "per_step",
    ("per_step", "shared"),
    "Statistics of batch normalisation: of each time step, or of all together.",
  ),
  "rnn": choice(
    "multiplicative",
    ("multiplicative", "standard"),
    "Kind of the ConvGRU; the paper has standard for 48 frames.",
  ),
  "rnn_activation": choice("relu", ("relu", "tanh"), "Activation of the ConvGRU's candidate."),
  "rnn_spectral": boolean(True, "Spectral normalisation of the ConvGRU."),
  "linear_spectral": boolean(True, "Spectral normalisation of the first linear layer."),
  "full_attention": boolean(True, "Attention over all positions and frames at 4x4."),
  "attention_before": choice(
    "last_block",
    ("last_block", "last_pair", "last_upsampling", "none"),
    "Where separable attention is: in front of the last block, of the last two blocks, or of the "
    "last upsampling block.",
  ),
  "attention_order": choice(
    "hwt",
    tuple("".join(order) for order in itertools.permutations("thw")),
    "Order of the axes in separable attention: the paper's text has hwt, its pseudo-code thw, the "
    "thesis' code wht.",
  ),
  "attention_style": choice(
    "sagan", ("sagan", "bare"), "Form of attention: SAGAN's, or that of the paper's pseudo-code."
  ),
}

_DISCRIMINATOR = {
  "channels": integer(128, "ch of both discriminators, the unit of their widths.", **_WIDTH),
  "multipliers": integers(
    (), "Channels of the blocks, in multiples of ch; empty is the paper's list.", **_MULTIPLIERS
  ),
  "sampled_frames": integer(
    8,
    "k, number of frames that the spatial discriminator scores; 0 leaves this discriminator out.",
    least=0,
    most=4096,
  ),
  "temporal": boolean(True, "Whether there is a temporal discriminator."),
  "downsampling": choice(
    "pool2",
    ("identity", "pool2", "pool4", "half_crop"),
    "phi, the downsampling of clips for the temporal discriminator.",
  ),
  "temporal_multipliers": integers(
    (),
    "Channels of the temporal discriminator's blocks, in multiples of ch; empty is as in the "
    "spatial one.",
    **_MULTIPLIERS,
  ),
  "temporal_min_size": integer(
    1, "The temporal discriminator halves no map below this size.", least=1, most=1024
  ),
  "pool_time": boolean(True, "3-D blocks also halve time."),
  "plain_3d": boolean(False, "Plain 3-D convolutions instead of 3-D residual blocks."),
  "time_into": choice(
    "batch", ("batch", "channel"), "Axis that time is merged into after the 3-D blocks."
  ),
  "attention_resolution": integer(
    0,
    "Height of the map to which self-attention is applied; BigGAN has 64, 0 is none.",
    least=0,
    most=1024,
  ),
}

SWITCHES = {
  **model_switches("dvd_gan", num_classes=600, remat="none"),
  **_SYSTEM,
  **schema.within("pixel_loss", _PIXEL_LOSS),
  **schema.within("generator", _GENERATOR),
  **schema.within("discriminator", _DISCRIMINATOR),
}


def default() -> ml_collections.ConfigDict:
  """`config.model` of DVD-GAN's first version at 64x64, 12 frames: all switches at defaults."""
  return schema.defaults(SWITCHES)


# Switches of experiments on small machines: with them, a narrow DVD-GAN learns within a few hundred
# iterations. configs/quickstart.py explains them.
SMALL = {
  "model.embedding_dim": 32,
  "model.discriminator_steps": 1,
  "model.aggregation": "mean_after",
  "model.generator.channels": 8,
  "model.generator.doubled": False,
  "model.generator.rnn": "standard",
  "model.generator.statistics": "shared",
  "model.discriminator.channels": 8,
}


# Channels in multiples of ch (A.2), by resolution. The generator's list begins with the channels at
# 4x4. The lists of 256 are BigGAN's: the paper reports results at 256x256 but prints no list. The
# lists of 32 are for small machines and come from no paper.
_GENERATOR_MULTIPLIERS = {
  32: (8, 8, 4, 2),
  64: (8, 8, 8, 4, 2),
  128: (16, 16, 8, 4, 2, 1),
  256: (16, 16, 8, 8, 4, 2, 1),
}
_DISCRIMINATOR_MULTIPLIERS = {
  32: (2, 4, 8, 8),
  64: (2, 4, 8, 16, 16),
  128: (1, 2, 4, 8, 16, 16),
  256: (1, 2, 4, 8, 8, 16, 16),
}


def generator_multipliers(resolution: int, configured: Sequence[int]) -> tuple[int, ...]:
  """Channels at 4x4 and after each stage, in multiples of ch.

  Args:
    resolution: height of the clips.
    configured: the config's list. If it is empty, the paper's list for `resolution` is returned.

  Raises:
    UserError: `configured` is empty, and the paper has no list for `resolution`.
  """
  return _multipliers(_GENERATOR_MULTIPLIERS, resolution, configured)


def discriminator_multipliers(
  model: ml_collections.ConfigDict,
) -> tuple[Sequence[int], Sequence[int]]:
  """Channels after each block of the spatial and of the temporal discriminator.

  Args:
    model: `config.model`. If it has no list, the paper's list for its resolution is returned.

  Returns:
    Two lists, in multiples of ch.

  Raises:
    UserError: neither the config nor the paper has a list.
  """
  configured = model.discriminator
  spatial = _multipliers(_DISCRIMINATOR_MULTIPLIERS, model.resolution, configured.multipliers)
  return spatial, configured.temporal_multipliers or spatial


def _multipliers(
  table: dict[int, tuple[int, ...]], resolution: int, configured: Sequence[int]
) -> tuple[int, ...]:
  if configured:
    return tuple(configured)
  if resolution not in table:
    raise UserError(
      f"no width list for resolution {resolution}; known: {', '.join(map(str, table))} "
      "(or give `multipliers`)"
    )
  return table[resolution]


def attention_fault(model: ml_collections.ConfigDict) -> str:
  """A message if no map of a discriminator has the size `attention_resolution`, otherwise ""."""
  options = model.discriminator
  blocks, temporal_blocks = (len(widths) for widths in discriminator_multipliers(model))
  start = {"identity": 1, "pool4": 4}.get(options.downsampling, 2)
  sizes = {model.resolution >> block for block in range(1, blocks) if options.sampled_frames}
  if options.temporal:
    halved = {model.resolution // start >> block for block in range(1, temporal_blocks)}
    sizes |= {size for size in halved if size >= options.temporal_min_size}
  sizes -= {0}
  if options.attention_resolution in {0, *sizes}:
    return ""
  available = ", ".join(map(str, sorted(sizes))) or "no other size than the clips"
  return (
    f"discriminator.attention_resolution is {options.attention_resolution}, but the "
    f"discriminators' maps have {available}; 0 leaves attention out"
  )
