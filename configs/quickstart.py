"""A class-conditional DVD-GAN for a laptop: 32x32, 6 frames, eight classes of moving shapes.

  ./launch/quickstart.sh

The same code as the paper's models, one resolution smaller and narrow. What differs from
`configs/dvd_gan.py` in kind, so that some minutes on two CPU cores show something: one residual
block per stage; the standard ConvGRU with batch statistics shared over time, because at the start
that generator's frames differ seven times more than those of the multiplicative unit with
statistics per time step, and motion is found in 250 iterations instead of not at all in 700; a
small z, beside which the class is heard; the hinge after the mean; one discriminator step per
iteration at twice the generator's rate, as good here as two and cheaper; and large shapes on plain
dark ground (`data.variety`). About 0.3 s per iteration on two cores.
"""

import ml_collections

from vidgan_jax.models import dvd_gan_config
from vidgan_jax.runtime import configuration


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the config; `runlocal` shortens it to seconds."""
  _, runlocal = configuration.parse_argument(argument, ["quickstart"])
  config = configuration.base_config()
  config.model = model = dvd_gan_config.default()
  model.resolution, model.frames, model.num_classes = 32, 6, 8
  model.latent_dim, model.embedding_dim = 12, 32
  model.discriminator_steps = 1
  model.aggregation = "mean_after"
  model.generator.channels = model.discriminator.channels = 8
  model.generator.doubled = False
  model.generator.rnn = "standard"
  model.generator.statistics = "shared"
  model.discriminator.sampled_frames = 3
  config.data.variety = 0.0
  config.batch_size = 8
  config.num_iterations = 3 if runlocal else 1200
  config.log_every = 1 if runlocal else 10
  config.checkpoint_every = 2 if runlocal else 100
  config.sample_every = 3 if runlocal else 300
  config.optimizer.generator_lr = 6e-4
  config.optimizer.discriminator_lr = 1.2e-3
  config.ema.decay = 0.99
  config.ema.start = 100
  return config.lock()
