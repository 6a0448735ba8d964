"""The switches of TGANv2; `configs/tgan_v2.py` sets them per experiment."""

import ml_collections

from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.runtime.config.base_switches import model_switches
from vidgan_jax.runtime.config.schema import boolean, choice, integer, integers
from vidgan_jax.runtime.errors import UserError

_WIDTH = {"least": 1, "most": 8192}  # channels
_MULTIPLIERS = {"least": 1, "most": 1024}

_GENERATOR = {
  "channels": integer(32, "ch; 16 gives the 312 MB that the paper's text reports.", **_WIDTH),
  "multipliers": integers(
    (16, 8, 4, 2, 1, 1),
    "Widths of the blocks, in ch; each block doubles height and width.",
    **_MULTIPLIERS,
  ),
  "lstm_channels": integer(1024, "Channels of the convolutional LSTM.", **_WIDTH),
  "shortcut": choice(
    "always",
    ("always", "where_width_changes"),
    "Which blocks have a 1x1 convolution in their shortcut: all (released code), or those that "
    "change the width (paper).",
  ),
}

_SUBSAMPLING = {
  "layers": integer(3, "Subsampling layers, one after each of the first levels.", least=0, most=7),
  "batch": boolean(True, "Subsampling layers keep every second clip (adaptive batch reduction)."),
  "frames": boolean(True, "Subsampling layers keep every second frame, from a random offset."),
}

_DISCRIMINATOR = {
  "channels": integer(64, "Channels of the first block of each discriminator.", **_WIDTH),
  "multipliers": integers(
    (1, 2, 4, 8, 16), "Widths of the blocks, relative to the first.", **_MULTIPLIERS
  ),
  "pad_single_axis": boolean(
    False, "Pad axes of size 1 to 3 when maps are halved, as the released code does by mistake."
  ),
}

SWITCHES = {
  **model_switches("tgan_v2", resolution=192, frames=16, shared_fakes=True, remat="none"),
  "latent_dim": integer(256, "Size of the latent vector z.", least=1, most=65_536),
  "levels": integer(
    4, "Rendering blocks, after the last blocks; each has a discriminator.", least=1, most=8
  ),
  "aggregation": choice(
    "concatenated",
    ("concatenated", "summed"),
    "How scores of all levels enter the loss: side by side (released code), or summed for each "
    "clip (equation 7), which needs subsampling.batch off.",
  ),
  **schema.within("generator", _GENERATOR),
  **schema.within("subsampling", _SUBSAMPLING),
  **schema.within("discriminator", _DISCRIMINATOR),
}


def default() -> ml_collections.ConfigDict:
  """TGANv2 at 192x192, 16 frames, with every switch at its default."""
  return schema.defaults(SWITCHES)


def experiment() -> ml_collections.ConfigDict:
  """A config of clips from a folder around the default model; the generator itself is sampled."""
  config = configuration.base_config()
  config.model = default()
  schema.set_fields(
    config,
    {
      "batch_size": 64,
      "num_iterations": 100_000,
      "data.name": "video_folder",
      "data.crop": "center",
      "optimizer.generator_lr": 1e-4,
      "optimizer.discriminator_lr": 1e-4,
      "optimizer.beta2": 0.9,
      "optimizer.eps": 8e-8,
      "optimizer.eps_form": "uncorrected",
      "optimizer.schedule": "linear",
      "optimizer.decay_iterations": 100_000,
      "r1.weight": 0.5,
      "r1.reference_count": 30,
      "ema.decay": 0.0,
      "ema.start": 0,
    },
  )
  return config


def check_sizes(model: ml_collections.ConfigDict) -> None:
  """UserError if sizes in `config.model` do not fit each other."""
  blocks, levels, thinning = len(model.generator.multipliers), model.levels, model.subsampling
  if model.resolution % 2**blocks or not blocks:
    raise UserError(
      f"{blocks} generator.multipliers double a map {blocks} times: resolution {model.resolution} "
      f"must be a multiple of {2**blocks}"
    )
  if levels > blocks:
    raise UserError(f"levels is {levels}, must be at most the number of generator.multipliers")
  if thinning.layers >= levels:
    raise UserError(
      f"subsampling.layers is {thinning.layers}, must be below the number of levels, {levels}"
    )
  if thinning.frames and model.frames % 2**thinning.layers:
    raise UserError(
      f"frames {model.frames} cannot be halved {thinning.layers} times (subsampling.layers)"
    )
  if not model.discriminator.multipliers:
    raise UserError("discriminator.multipliers is empty: a discriminator needs a block")
  if model.aggregation == "summed" and thinning.batch and thinning.layers:
    raise UserError(
      "aggregation summed needs one score of each clip at every level: subsampling.batch must be "
      "off"
    )
