r"""A small class-conditional DVD-GAN at 64x64 x 12 on a folder of real videos in UCF-101's layout.

  vidgan train --config=configs/weizmann.py --workdir=DIR \
      --config.data.directory=VIDEOS

VIDEOS is a folder of six classes. The config is made for six actions of the Weizmann set (Gorelick
et al. 2007), with nine people and up to two clips of each person and action: 56 clips for training
and 16 for testing, 64x64, 25 frames per second. Clips are not flipped, because the same action to
the left and to the right are two classes here. 300 iterations take some minutes on two CPU cores.
They show that everything runs on real videos, but do not give good samples. No paper reports scores
for this experiment.
"""

import ml_collections

from vidgan_jax.models import dvd_gan_config
from vidgan_jax.runtime.config import configuration, schema

_FIELDS = {
  **dvd_gan_config.SMALL,
  "model.num_classes": 6,
  "model.latent_dim": 32,
  "model.discriminator.sampled_frames": 4,
  "data.name": "video_folder",
  "data.prepare": "--source=ucf101",
  "data.stride": 2,
  "batch_size": 4,
  "num_iterations": 300,
  "log_every": 1,
  "checkpoint_every": 50,
  "sample_every": 100,
  "optimizer.generator_lr": 5e-4,
  "optimizer.discriminator_lr": 1e-3,
  "ema.decay": 0.98,
  "ema.start": 50,
}
_RUNLOCAL = {
  "data.name": "moving_shapes",
  "data.stride": 1,
  "num_iterations": 3,
  "checkpoint_every": 2,
  "sample_every": 3,
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the config; `runlocal` shortens it to seconds."""
  _, runlocal = configuration.parse_argument(argument, ["weizmann"])
  config = configuration.base_config()
  config.model = dvd_gan_config.default()
  schema.set_fields(config, _FIELDS | (_RUNLOCAL if runlocal else {}))
  return config.lock()
