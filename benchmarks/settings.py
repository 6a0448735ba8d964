"""What is measured, shared by the benchmarks."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
  sys.path.insert(0, str(ROOT))

from configs import dvd_gan  # noqa: E402


def get_config(channels: int = 16, precision: str = "float32", savings: bool = True):
  """Returns DVD-GAN at 64x64x12, `kinetics600_64x12` on a CPU's scale.

  Args:
    channels: ch of the generator and of the discriminators, 128 in the paper.
    precision: "float32" or "float64".
    savings: see `layers.settings.LayerSettings`.
  """
  config = dvd_gan.get_config("kinetics600_64x12")
  with config.unlocked():
    config.batch_size = 2
    config.precision = precision
    config.model.num_classes = 101
    config.model.generator.channels = config.model.discriminator.channels = channels
    config.model.savings = savings
  return config
