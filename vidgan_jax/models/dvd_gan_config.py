"""The switches of DVD-GAN; `configs/` sets them per experiment."""

import itertools
from collections.abc import Sequence

import ml_collections

from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.config.base_switches import model_switches
from vidgan_jax.runtime.config.schema import boolean, choice, integer, integers, number
from vidgan_jax.runtime.errors import UserError

_WIDTH = {"least": 1, "most": 8192}  # channels
_MULTIPLIERS = {"least": 1, "most": 1024}
_LATENT = {"least": 1, "most": 65_536}

_SYSTEM = {
  "latent_dim": integer(120, "Size of the latent vector z.", **_LATENT),
  "embedding_dim": integer(120, "Size of the generator's class embedding.", **_LATENT),
  "initializer": choice(
    "orthogonal",
    ("orthogonal", "normal02", "normal01", "lecun_normal", "uniform01", "fan_in_uniform"),
    "How kernels are drawn.",
  ),
  "spectral_eps": number(
    1e-8, "Lower bound of norms in spectral normalisation.", least=1e-20, most=1
  ),
  "discriminator_steps": integer(
    2, "Discriminator updates for each generator update.", least=1, most=32
  ),
  "aggregation": choice(
    "sum_before",
    ("sum_before", "mean_after", "concat_mean"),
    "How scores become a hinge loss: summed before it, mean after it (thesis), or the mean of all "
    "(SSW-GAN).",
  ),
  "generated_labels": choice(
    "uniform", ("uniform", "batch"), "Labels of generated clips: drawn, or those of the real clips."
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
    "channel_means", ("channel_means", "pixels"), "What is averaged in the pixel loss."
  ),
}

_GENERATOR = {
  "variant": choice(
    "single_rnn",
    ("single_rnn", "stacked_rnn"),
    "One ConvGRU at 4x4, or one in front of each resolution's blocks.",
  ),
  "channels": integer(128, "ch; the paper has 64 above 64x64 or for 48 frames.", **_WIDTH),
  "multipliers": integers(
    (), "Width at 4x4 and after each block, in ch; empty is the paper's.", **_MULTIPLIERS
  ),
  "doubled": boolean(True, "Two residual blocks per stage."),
  "final_multiplier": integer(
    0, "Width in ch of a further block at full resolution; 0 is none.", least=0, most=1024
  ),
  "condition": choice(
    "z_class", ("z_class", "class", "z"), "What conditional batch normalisation sees."
  ),
  "statistics": choice(
    "per_step",
    ("per_step", "shared"),
    "Statistics of batch normalisation: of each time step, or of all together.",
  ),
  "rnn": choice(
    "multiplicative",
    ("multiplicative", "standard"),
    "Form of the ConvGRU; the paper has standard for 48 frames.",
  ),
  "rnn_activation": choice("relu", ("relu", "tanh"), "Activation of the ConvGRU's candidate."),
  "rnn_spectral": boolean(True, "Spectral normalisation of the ConvGRU."),
  "linear_spectral": boolean(True, "Spectral normalisation of the first linear layer."),
  "full_attention": boolean(True, "Attention over all positions and frames at 4x4."),
  "attention_before": choice(
    "last_block",
    ("last_block", "last_pair", "last_upsampling", "none"),
    "Block in front of which separable attention stands.",
  ),
  "attention_order": choice(
    "hwt",
    tuple("".join(order) for order in itertools.permutations("thw")),
    "Axes of separable attention: the text has hwt, the pseudo-code thw, the thesis' code wht.",
  ),
  "attention_style": choice(
    "sagan", ("sagan", "bare"), "Form of attention: SAGAN's, or the pseudo-code's."
  ),
}

_DISCRIMINATOR = {
  "channels": integer(128, "ch of both discriminators.", **_WIDTH),
  "multipliers": integers((), "Widths of the blocks, in ch; empty is the paper's.", **_MULTIPLIERS),
  "sampled_frames": integer(
    8, "k, frames that the spatial discriminator sees; 0 leaves it out.", least=0, most=4096
  ),
  "temporal": boolean(True, "Whether there is a temporal discriminator."),
  "downsampling": choice(
    "pool2",
    ("identity", "pool2", "pool4", "half_crop"),
    "phi, what shrinks clips for the temporal discriminator.",
  ),
  "temporal_multipliers": integers(
    (), "Widths of the temporal discriminator, in ch; empty is the spatial one's.", **_MULTIPLIERS
  ),
  "temporal_min_size": integer(
    1, "The temporal discriminator halves no map below this size.", least=1, most=1024
  ),
  "pool_time": boolean(True, "3-D blocks halve time too."),
  "plain_3d": boolean(False, "Plain 3-D convolutions instead of 3-D residual blocks."),
  "time_into": choice(
    "batch", ("batch", "channel"), "Axis that time goes into after the 3-D blocks."
  ),
  "attention_resolution": integer(
    0, "Size of the map with self-attention; 64 is BigGAN's, 0 none.", least=0, most=1024
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
  """DVD-GAN's first version at 64x64x12 with every switch at its default."""
  return schema.defaults(SWITCHES)


# Channels in multiples of ch (A.2). The generator's list begins with the width at 4x4. The lists of
# 256 are BigGAN's: the paper reports results there and prints no list. Those of 32 are ours, for
# small machines.
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


def generator_multipliers(resolution: int, given: Sequence[int]) -> tuple[int, ...]:
  """Channels at 4x4 and after each stage, in multiples of ch.

  Args:
    resolution: of the clips.
    given: by the config. If it is empty, the paper's list for `resolution` holds.

  Raises:
    UserError: if neither exists.
  """
  return _multipliers(_GENERATOR_MULTIPLIERS, resolution, given)


def discriminator_multipliers(resolution: int, given: Sequence[int]) -> tuple[int, ...]:
  """Channels after each block, in multiples of ch; see `generator_multipliers`."""
  return _multipliers(_DISCRIMINATOR_MULTIPLIERS, resolution, given)


def _multipliers(table, resolution, given):
  if given:
    return tuple(given)
  if resolution not in table:
    raise UserError(
      f"no width list for resolution {resolution}; known: {', '.join(map(str, table))} "
      "(or give `multipliers`)"
    )
  return table[resolution]
