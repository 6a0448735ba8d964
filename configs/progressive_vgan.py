r"""ProgressiveVGAN (Acharya et al. 2018): progressive growing of video GANs to 128x128 and 256x256.

  vidgan train --config=configs/progressive_vgan.py:NAME --workdir=DIR \\
      --config.data.directory=UCF101

NAME,runlocal shrinks it to seconds per iteration on a CPU with the same structure, on the built-in
moving shapes. Not reproduced with this code yet. Inception Scores are of 10,000 samples by C3D, as
TGANv2's Table 2 quotes them.

| NAME              | head                              | frames        | IS             |
|-------------------|-----------------------------------|---------------|----------------|
| ucf101_128x32_sw  | sliced Wasserstein                | 32 of 128x128 | 14.56 +- .05   |
| ucf101_128x32_wgan| WGAN-GP                           | 32 of 128x128 | 13.59 +- .07   |
| ucf101_256x32_sw  | sliced Wasserstein                | 32 of 256x256 | not published  |
| shapes            | WGAN-GP, for a CPU                | 16 of 32x32   |                |

The run shows 12 million clips: 600,000 at 4x4, 1.2 million at each further level, the rest at full
size. The batch falls from 32 clips to 8 (at 256x256 to 4), and a device needs a multiple of 4. For
more devices, set for example --config.model.batch_factor=8 --config.batch_size=64
--config.num_iterations=147656: phases keep their numbers of clips.
"""

from typing import Any

import ml_collections

from vidgan_jax.models.progressive_vgan import config as progressive_vgan_config
from vidgan_jax.runtime.config import configuration, schema

_PAPER = {
  "batch_size": 8,
  "num_iterations": 1_181_250,  # 12 million clips
  "data.name": "video_folder",
  "data.prepare": "--source=ucf101 --crop=240",
  "data.crop": "center",
  "data.horizontal_flip": True,
  "optimizer.generator_lr": 1e-3,
  "optimizer.discriminator_lr": 1e-3,
  "optimizer.beta2": 0.99,
  "ema.decay": 0.999,
  "ema.start": 0,
}
_ROWS: dict[str, dict[str, Any]] = {
  "ucf101_128x32_sw": {},
  "ucf101_128x32_wgan": {"model.head": "wgan_gp"},
  "ucf101_256x32_sw": {
    "model.resolution": 256,
    "model.batch_sizes": (32, 32, 16, 16, 8, 8, 4),
    "model.rate_factors": (1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 1.0),
    "batch_size": 4,
    "num_iterations": 1_856_250,  # 12 million clips
  },
  "shapes": {
    "model.resolution": 32,
    "model.frames": 16,
    "model.latent_dim": 32,
    "model.head": "wgan_gp",
    "model.channel_base": 256,
    "model.channel_most": 32,
    "model.batch_sizes": (16, 16, 16, 8),
    "model.rate_factors": (1.0, 1.0, 1.0, 1.0),
    "model.fade_clips": 3_200,
    "model.stay_clips": 9_600,
    "batch_size": 8,
    "num_iterations": 3_600,
    "optimizer.generator_lr": 3e-3,
    "optimizer.discriminator_lr": 3e-3,
    "ema.decay": 0.99,
    "data.name": "moving_shapes",
    "data.horizontal_flip": False,
    "data.variety": 0.0,
    "log_every": 20,
    "checkpoint_every": 200,
    "checkpoints_kept": 18,
    "sample_every": 200,
  },
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment `argument` names; UserError lists the known ones."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  config = configuration.base_config()
  config.model = progressive_vgan_config.default()
  schema.set_fields(config, {**_PAPER, **_ROWS[name]})
  if runlocal:
    _run_local(config)
  return config.lock()


def _run_local(config) -> None:
  """Few channels; a level fades in within one iteration and has one more. Three reach 8x8."""
  configuration.run_local(config)
  levels = len(config.model.batch_sizes)
  schema.set_fields(
    config,
    {
      "batch_size": 4,
      "data.horizontal_flip": False,
      "model.latent_dim": 8,
      "model.channel_base": 32,
      "model.channel_most": 8,
      "model.batch_sizes": (4,) * levels,
      "model.fade_clips": 4,
      "model.stay_clips": 4,
    },
  )
