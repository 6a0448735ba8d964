"""A class-conditional DVD-GAN for a laptop: 32x32, 6 frames, eight classes of moving shapes.

  ./launch/quickstart.sh

It runs the code of the paper's models with a lower resolution and fewer channels. An iteration
takes about 0.3 s on two CPU cores. The paper reports nothing at this size. For visible results
within some minutes, it also differs from `configs/dvd_gan.py` as follows:

- One residual block per stage.
- The standard ConvGRU, and statistics of batch normalisation shared over time. At the start, the
  frames of such a generator differ seven times more than with the multiplicative ConvGRU and
  statistics per time step. It learns motion in 250 iterations; the latter has not after 700.
- A small z, so that the class embedding keeps its influence beside it.
- The mean of the hinge losses of single scores ("mean_after").
- One discriminator update per iteration, at twice the generator's learning rate. Here this is as
  good as two updates, and cheaper.
- Large shapes on a plain dark background (`data.variety`).
"""

import ml_collections

from vidgan_jax.models import dvd_gan_config
from vidgan_jax.runtime.config import configuration, schema

_FIELDS = {
  **dvd_gan_config.SMALL,
  "model.resolution": 32,
  "model.frames": 6,
  "model.num_classes": 8,
  "model.latent_dim": 12,
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
