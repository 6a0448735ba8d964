r"""DVD-GAN-FP: frame prediction with DVD-GAN (Clark, Donahue, Simonyan 2019, 4.2, A.4 and B.1).

  vidgan train --config=configs/dvd_gan_fp.py:NAME --workdir=DIR \
      --config.data.directory=PREPARED

PREPARED is a folder made by `vidgan prepare`; `weizmann_fp` also takes a folder of
videos. NAME,runlocal shrinks any of these experiments to seconds per iteration on a CPU and trains
on moving shapes; `shapes_fp,runlocal` also shrinks to 16x16 pixels and compiles fastest. None of
the scores has been reproduced with this code yet. The FVD is that of Table 3 (test set) and Table
4: of the paper's first version for one ConvGRU at 4x4, of its second version for `_stacked`, a
ConvGRU at each resolution. `vidgan evaluate --protocol=k600_fvd_5_11` or
`bair_fvd_1_15` computes it.

| NAME                         | given + generated | FVD    | G with encoder, D_S, D_T params |
|------------------------------|-------------------|--------|---------------------------------|
| kinetics600_fp_5_11          | 5 + 11, 64x64     | 103.78 | 542, 153, 161 M                 |
| kinetics600_fp_5_11_stacked  | 5 + 11, 64x64     | 69.15  | 668, 153, 161 M                 |
| bair_fp_1_15                 | 1 + 15, 64x64     | 127.1  | 397, 153, 161 M                 |
| bair_fp_1_15_stacked         | 1 + 15, 64x64     | 109.8  | 522, 153, 161 M                 |
| weizmann_fp                  | 3 + 9, 64x64      | -      | small                           |
| shapes_fp                    | 3 + 5, 32x32      | -      | small                           |

The last two are for a CPU and come from no paper: `weizmann_fp` trains on a folder of six classes
of videos (see `configs/weizmann.py`), `shapes_fp` on the built-in moving shapes. The synthesis row
of Table 3 is `configs/dvd_gan.py:kinetics600_64x16_stride1`.

The paper states neither batch size nor learning rates of these experiments; they are those of its
other experiments. Time: `vidgan summarize` prints operations and the shortest time.
"""

import ml_collections

from vidgan_jax.models import dvd_gan_config
from vidgan_jax.models.dvd_gan_fp import config as dvd_gan_fp_config
from vidgan_jax.runtime.config import configuration, schema

# As in configs/dvd_gan.py: the standard ConvGRU, and 5e-4 as the discriminators' learning rate.
_STACKED = {
  "model.generator.variant": "stacked_rnn",
  "model.generator.rnn": "standard",
  "optimizer.discriminator_lr": 5e-4,
}
_KINETICS = {"data.name": "video_folder", "data.prepare": "--source=kinetics"}
_BAIR = {
  "data.name": "prepared",
  "data.prepare": "--source=bair --camera=aux1",
  "model.conditioning.frames": 1,
}
_SMALL = {
  **dvd_gan_config.SMALL,
  "model.conditioning.frames": 3,
  "model.latent_dim": 12,
  "model.discriminator.sampled_frames": 4,
  "batch_size": 8,
  "log_every": 10,
  "checkpoint_every": 100,
  "sample_every": 300,
  "optimizer.generator_lr": 6e-4,
  "optimizer.discriminator_lr": 1.2e-3,
  "ema.decay": 0.99,
  "ema.start": 100,
}
_ROWS: dict[str, dict] = {
  "kinetics600_fp_5_11": _KINETICS,
  "kinetics600_fp_5_11_stacked": {**_KINETICS, **_STACKED},
  "bair_fp_1_15": _BAIR,
  "bair_fp_1_15_stacked": {**_BAIR, **_STACKED},
  "weizmann_fp": {
    **_SMALL,
    "model.frames": 12,
    "data.name": "video_folder",
    "data.prepare": "--source=ucf101",
    "data.stride": 2,
    "batch_size": 4,
    "num_iterations": 300,
  },
  "shapes_fp": {
    **_SMALL,
    "model.frames": 8,
    "model.resolution": 32,
    "data.variety": 0.0,
    "num_iterations": 1200,
  },
}


_RUNLOCAL: dict[str, dict] = {
  # One stage less, for tests and first steps: most of their time is compilation.
  "shapes_fp": {
    "model.resolution": 16,
    "model.generator.multipliers": (8, 4, 2),
    "model.discriminator.multipliers": (2, 4, 4),
    "model.savings": False,
  },
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment called `argument`; UserError lists the known names."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  config = configuration.base_config()
  config.model = dvd_gan_fp_config.default()
  schema.set_fields(config, _ROWS[name])
  if runlocal:
    run_local(config)
    schema.set_fields(config, _RUNLOCAL.get(name, {}))
  return config.lock()


def run_local(config) -> None:
  """Reduces widths, batch size and intervals in place; keeps depth, resolution and frames."""
  configuration.run_local(config)
  schema.set_fields(
    config,
    {
      "ema.start": 1,
      "model.latent_dim": 8,
      "model.generator.channels": 4,
      "model.discriminator.channels": 4,
    },
  )
