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
from vidgan_jax.runtime.config import configuration, schema

_FIELDS = {
  "model.resolution": 32,
  "model.frames": 6,
  "model.num_classes": 8,
  "model.latent_dim": 12,
  "model.embedding_dim": 32,
  "model.discriminator_steps": 1,
  "model.aggregation": "mean_after",
  "model.generator.channels": 8,
  "model.generator.doubled": False,
  "model.generator.rnn": "standard",
  "model.generator.statistics": "shared",
  "model.discriminator.channels": 8,
  "model.discriminator.sampled_frames": 3,
  "data.variety": 0.0,
  "batch_size": 8,
  "num_iterations": 1200,
  "log_every": 10,
  "checkpoint_every": 100,
  "sample_every": 300,
  "optimizer.generator_lr": 6e-4,
  "optimizer.discriminator_lr": 1.2e-3,
  "ema.decay": 0.99,
  "ema.start": 100,
}
_RUNLOCAL = {"num_iterations": 3, "log_every": 1, "checkpoint_every": 2, "sample_every": 3}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the config; `runlocal` shortens it to seconds."""
  _, runlocal = configuration.parse_argument(argument, ["quickstart"])
  config = configuration.base_config()
  config.model = dvd_gan_config.default()
  schema.set_fields(config, _FIELDS | (_RUNLOCAL if runlocal else {}))
  return config.lock()
