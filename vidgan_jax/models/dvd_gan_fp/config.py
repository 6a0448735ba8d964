"""The switches of DVD-GAN-FP: those of DVD-GAN, and those of its given frames."""

import ml_collections
from ml_collections import ConfigDict

from vidgan_jax.models import dvd_gan_config
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.config.base_switches import model_switches
from vidgan_jax.runtime.config.schema import boolean, choice, integer
from vidgan_jax.runtime.errors import UserError

_CONDITIONING = {
  "frames": integer(5, "C, number of given frames at the start of a clip.", least=1, most=4095),
  "skips": choice(
    "concatenate",
    ("concatenate", "average"),
    "How a skip combines the encoder's features of several frames: concatenated on the channels, "
    "or averaged.",
  ),
  "least_skip": integer(
    4, "Height of the smallest maps with a skip; 8 leaves out the skip at 4x4.", least=4, most=1024
  ),
  "final_activation": boolean(False, "ReLU after the encoder's last block, before the 1x1."),
}

SWITCHES = {
  **dvd_gan_config.SWITCHES,
  **model_switches("dvd_gan_fp", frames=16, num_classes=0, remat="none"),
  **schema.within("conditioning", _CONDITIONING),
}


def default() -> ml_collections.ConfigDict:
  """`config.model` of DVD-GAN-FP for Kinetics, 5 given and 11 generated frames at 64x64."""
  return schema.defaults(SWITCHES)


def check(config: ConfigDict) -> None:
  """Refuses classes, and clips of which all frames are given.

  Raises:
    UserError: the model has classes, or no frame is left to generate.
  """
  model = config.model
  if model.num_classes:
    raise UserError(
      f"config.model.num_classes is {model.num_classes}, must be 0: DVD-GAN-FP has no classes"
    )
  if model.conditioning.frames >= model.frames:
    raise UserError(
      f"config.model.conditioning.frames is {model.conditioning.frames}, must be below "
      f"config.model.frames, {model.frames}: no frame is left to generate"
    )
