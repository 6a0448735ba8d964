r"""VGAN (Vondrick et al. 2016), a baseline for UCF-101 at 64x64.

  vidgan train --config=configs/vgan.py:NAME --workdir=DIR \\
      --config.data.directory=UCF101

UCF101 is the folder of the UCF-101 videos, or a folder made by `vidgan prepare`.

NAME,runlocal shrinks it to seconds per iteration on a CPU. It keeps the structure of the networks
and trains on the built-in moving shapes. The scores have not been reproduced with this code yet.
LDVD is "Lower Dimensional Kernels for Video Discriminators" (Kahembwe & Ramamoorthy 2020). The
hardware and the training time are not reported there.

| NAME      | paper                        | IS           |
|-----------|------------------------------|--------------|
| ucf101_16 | LDVD, Table 8: 16 frames     | 8.18         |
| ucf101_32 | VGAN paper: 32 frames        | not reported |
"""

import ml_collections

from vidgan_jax.models import ldvd_config
from vidgan_jax.runtime.config import configuration, schema

_ROWS: dict[str, dict] = {"ucf101_16": {"model.frames": 16}, "ucf101_32": {"model.frames": 32}}
_RUNLOCAL = {
  "model.latent_dim": 8,
  "model.generator.channels": 32,
  "model.discriminator.channels": 4,
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment called `argument`; UserError lists the known names."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  config = ldvd_config.experiment(
    ldvd_config.vgan(), batch_size=64, num_iterations=100_000, rate=2e-4
  )
  schema.set_fields(config, _ROWS[name])
  if runlocal:
    configuration.run_local(config)
    schema.set_fields(config, _RUNLOCAL)
  return config.lock()
