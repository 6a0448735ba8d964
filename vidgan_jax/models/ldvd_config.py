"""The switches of TGAN, MoCoGAN and VGAN and their defaults; `configs/` sets them per experiment.

Also the fields that the configs of these three systems have in common.
"""

from typing import Any

import ml_collections

from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.runtime.config.base_switches import INITIALIZERS, model_switches
from vidgan_jax.runtime.config.schema import boolean, choice, integer, integers, number


def experiment(
  model: ml_collections.ConfigDict, *, batch_size: int, num_iterations: int, rate: float
) -> ml_collections.ConfigDict:
  """A config that trains `model` on a folder of videos, without a moving average.

  Args:
    model: `config.model`.
    batch_size: clips per update.
    num_iterations: length of the run.
    rate: learning rate of both sides.
  """
  config = configuration.base_config()
  config.model = model
  schema.set_fields(
    config,
    {
      "batch_size": batch_size,
      "num_iterations": num_iterations,
      "data.name": "video_folder",
      "data.prepare": "--source=ucf101 --crop=240",
      "data.crop": "center",
      "optimizer.generator_lr": rate,
      "optimizer.discriminator_lr": rate,
      "optimizer.beta1": 0.5,
      "ema.decay": 0.0,
      "ema.start": 0,
    },
  )
  return config


def on_moving_shapes(config: ml_collections.ConfigDict, iterations: int) -> None:
  """Shortens an experiment in place to some minutes on two CPU cores, with curvature analyses.

  It keeps 64x64 and 16 frames. The data are the built-in moving shapes on plain backgrounds.

  Args:
    config: a config made by `experiment`.
    iterations: length of the run.
  """
  schema.set_fields(
    config,
    {
      "batch_size": 8,
      "num_iterations": iterations,
      "data.name": "moving_shapes",
      "data.variety": 0.0,
      "data.stride": 1,
      "log_every": 10,
      "checkpoint_every": iterations // 4,
      "sample_every": iterations // 4,
      "analysis.every": iterations // 8,
      "analysis.batch_size": 8,
      "analysis.products": 30,
    },
  )


_WIDTH = {"least": 1, "most": 8192}  # channels
_LATENT = {"least": 1, "most": 65_536}
_LEVEL = {"least": 0, "most": 4}


def _initializer(default: str, kernels: str) -> schema.Switch:
  return choice(default, INITIALIZERS, f"Initial distribution of {kernels}.")


def _common(name: str, **defaults: Any) -> dict[str, schema.Switch]:
  return model_switches(name, **{"resolution": 64, "frames": 16, "shared_fakes": True, **defaults})


_TGAN_DISCRIMINATOR = {
  "kind": choice(
    "3d",
    ("3d", "factorised", "tsm"),
    "Convolutions: 3-D, factorised (LDVD 4.1), or 2-D with temporal shifts (LDVD 4.2).",
  ),
  "level": integer(
    0,
    "Number of layers at the start that are factorised, or followed by a shift; the others are "
    "2-D.",
    **_LEVEL,
  ),
  "channels": integer(64, "Channels of the first layer.", **_WIDTH),
  "pooling": choice(
    "mean", ("mean", "sum", "max"), "Pooling over time before the last layer (LDVD Figure 5a)."
  ),
  "noise": number(
    0.0,
    "Standard deviation of the noise before every activation; 0.3 in TGAN's vanilla variant.",
    least=0,
    most=100,
  ),
}

TGAN = {
  **_common("tgan"),
  "latent_dim": integer(100, "Size of the latent vector of a clip.", **_LATENT),
  "loss": choice("wasserstein", ("wasserstein", "vanilla"), "Wasserstein, or cross entropy."),
  "clipping_period": integer(
    5,
    "Iterations between clippings of singular values; 0 never clips.",
    least=0,
    most=schema.LARGEST_STEP,
  ),
  "generator.temporal_channels": integers(
    (512, 256, 128, 128),
    "Channels of the temporal generator's layers, one for each doubling of time.",
    **_WIDTH,
  ),
  "generator.image_channels": integer(
    512, "Channels of the image generator at 4x4.", least=2, most=65_536
  ),
  "generator.image_initializer": _initializer("uniform01", "kernels of the image generator"),
  "generator.temporal_initializer": _initializer(
    "lecun_normal", "kernels of the temporal generator"
  ),
  **schema.within("discriminator", _TGAN_DISCRIMINATOR),
  "discriminator.initializer": _initializer(  # Chainer's
    "lecun_normal", "kernels of the discriminator"
  ),
}

_MOCOGAN_DISCRIMINATOR = {
  "image": boolean(True, "Whether there is a discriminator of single frames."),
  "video": choice(
    "patch",
    ("patch", "categorical", "factorised", "tsm", "tgan", "none"),
    "Kind of the discriminator of clips; none is without.",
  ),
  "level": integer(
    0,
    "Number of layers at the start that are factorised (if video is factorised), or followed by a "
    "shift (if video is tsm).",
    **_LEVEL,
  ),
  "channels": integer(64, "Channels of the first layer.", **_WIDTH),
  "image_window": integer(
    4, "Height and width of the image discriminator's kernels, even.", least=2, most=64
  ),
  "video_window": integer(4, "Size of the video discriminator's kernels, even.", least=2, most=64),
  "noise": number(
    0.0,
    "Standard deviation of the noise in front of layers; MoCoGAN's authors use 0.1 for UCF-101.",
    least=0,
    most=100,
  ),
  "spectral": boolean(False, "Spectral normalisation of all kernels."),
  **schema.within("tgan", _TGAN_DISCRIMINATOR),  # used if `video` is "tgan"
}

MOCOGAN = {
  **_common("mocogan", shared_fakes=False),
  "content_dim": integer(50, "Size of the content vector.", **_LATENT),
  "motion_dim": integer(10, "Size of the motion vectors.", **_LATENT),
  "categories": integer(
    0,
    "Categories that the generator is conditioned on: 0, or the number of classes.",
    least=0,
    most=1_000_000,
  ),
  "infogan": boolean(False, "Add the cross entropy of categories to the generator's loss."),
  "initializer": _initializer("fan_in_uniform", "kernels"),  # PyTorch's
  "generator.channels": integer(64, "Channels at half of the full resolution.", **_WIDTH),
  **schema.within("discriminator", _MOCOGAN_DISCRIMINATOR),
}

VGAN = {
  **_common("vgan"),
  "latent_dim": integer(100, "Size of the latent vector z.", **_LATENT),
  "mask_weight": number(
    0.1, "Weight of the mean of the mask in the generator's loss.", least=0, most=1_000_000
  ),
  "initializer": _initializer("normal01", "kernels"),
  "generator.channels": integer(
    512, "Channels at 4x4; the next three layers halve them.", least=8, most=8192
  ),
  "discriminator.channels": integer(64, "Channels of the first layer.", **_WIDTH),
}


def tgan() -> ml_collections.ConfigDict:
  """`config.model` of TGAN with singular value clipping at 64x64, 16 frames."""
  return schema.defaults(TGAN)


def mocogan() -> ml_collections.ConfigDict:
  """`config.model` of MoCoGAN at 64x64, 16 frames, with LDVD Table 1's discriminators."""
  return schema.defaults(MOCOGAN)


def vgan() -> ml_collections.ConfigDict:
  """`config.model` of VGAN at 64x64, 16 frames."""
  return schema.defaults(VGAN)
