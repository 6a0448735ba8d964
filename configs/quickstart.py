"""A class-conditional DVD-GAN for a laptop: 32x32, 8 frames, eight classes of moving shapes.

  ./launch/quickstart.sh

Same code and structure as the paper's 64x64x12 model with one resolution less and narrow layers.
"""

import ml_collections

from vidgan_jax.models import dvd_gan_config
from vidgan_jax.runtime import configuration


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the config; `runlocal` shortens it to seconds."""
  _, runlocal = configuration.parse_argument(argument, ["quickstart"])
  config = configuration.base_config()
  config.model = model = dvd_gan_config.default()
  model.resolution, model.frames, model.num_classes = 32, 8, 8
  model.latent_dim = model.embedding_dim = 32
  model.generator.channels = 12
  model.discriminator.channels = 12
  model.discriminator.sampled_frames = 4
  config.batch_size = 16
  config.num_iterations = 3 if runlocal else 2000
  config.log_every = 1 if runlocal else 10
  config.checkpoint_every = 2 if runlocal else 200
  config.sample_every = 3 if runlocal else 500
  config.optimizer.generator_lr = 2e-4
  config.optimizer.discriminator_lr = 4e-4
  config.ema.decay = 0.995
  config.ema.start = 200
  return config.lock()
