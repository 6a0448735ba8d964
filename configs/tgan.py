r"""TGAN, TGAN-F and TGAN-TSM: the rows of "Lower Dimensional Kernels for Video Discriminators".

  python -m vidgan_jax.train --config=configs/tgan.py:NAME --workdir=DIR \\
      --config.data.directory=UCF101

NAME,runlocal shrinks any of them to seconds per iteration on a CPU with the same structure, on the
embedded moving shapes. IS and FID are the paper's (C3D, 10,000 samples, UCF-101); none has been
reproduced with this code yet. docs/ldvd.md has all rows with parameters here and there.
Hardware there: one 12 GB Titan-X; 1000 epochs (about 300,000 iterations of 32 clips).

| NAME                  | paper             | IS    | FID  | parameters of D   |
|-----------------------|-------------------|-------|------|-------------------|
| svc                   | Table 3a, row 1   | 11.93 | 9128 | 11.0 M            |
| normal                | Table 3a, row 3   | 8.98  | 10093| 11.0 M            |
| svc_2xtime            | Table 3a, row 5   | 13.28 | 8798 | 11.0 M            |
| f_c0, f_c1, f_c2, f_c3| Table 5a: c0..ci  | 12.86, 13.62 (TGAN-F), 13.11, 12.45        |
| f_c1_sum, f_c1_max    | Figure 5a: how time is pooled; in all others by its mean  |
| tsm_c0, _c1, _c2      | Table 6a: c0..ci  | 11.76, 12.11, 12.32 (TGAN-TSM)             |
| f_128                 | Table 9           | 16.85 |      | 15.7 M with G     |
| f_128_4xtemporal      | Table 9           | 17.72 |      | 26.8 M with G     |
| f_128_2ximage         | Table 9           | 20.35 |      | 24.9 M with G     |
| f_128_2xtime          | Table 9           | 17.23 |      | 15.7 M with G     |
| f_128_all             | Table 9           | 22.91 |      | 69.7 M with G     |
| svc_mug_64, f_mug_64 .. f_mug_512 | 3.1.2, samples of MUG-FED           |
| shapes, shapes_f, shapes_tsm: some minutes on a CPU, embedded set, docs/ldvd.md   |
"""

import ml_collections

from vidgan_jax.models import ldvd_config
from vidgan_jax.runtime import configuration

_F = dict(kind="factorised", level=2)
_ROWS = {
  "svc": dict(),
  "normal": dict(loss="vanilla", clipping_period=0, noise=0.3),
  "svc_2xtime": dict(stride=2),
  **{f"f_c{i}": dict(kind="factorised", level=i + 1) for i in range(4)},
  **{f"tsm_c{i}": dict(kind="tsm", level=i + 1) for i in range(3)},
  # Figure 5a: how what is left of time is pooled before the last layer.
  "f_c1_sum": dict(_F, pooling="sum"),
  "f_c1_max": dict(_F, pooling="max"),
  "f_128": dict(_F, resolution=128),
  "f_128_4xtemporal": dict(_F, resolution=128, temporal=4),
  "f_128_2ximage": dict(_F, resolution=128, image=2),
  "f_128_2xtime": dict(_F, resolution=128, stride=2),
  # The 70 M of Table 9 need a discriminator of twice the channels too.
  "f_128_all": dict(_F, resolution=128, temporal=4, image=2, stride=2, channels=128),
  "svc_mug_64": dict(),
  "f_mug_64": dict(_F),
  "f_mug_128": dict(_F, resolution=128),
  # Widths above 128x128 are not in the paper: wide enough that the last map has 16 channels.
  "f_mug_256": dict(_F, resolution=256, image=2),
  "f_mug_512": dict(_F, resolution=512, image=4, channels=32),
  # A quarter of the channels, twenty times the rate, on the embedded set.
  "shapes": dict(shapes=720),
  "shapes_f": dict(_F, shapes=720),
  "shapes_tsm": dict(shapes=720, kind="tsm", level=3),
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment `argument` names; UserError lists the known ones."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  row = _ROWS[name]
  model = ldvd_config.tgan()
  config = ldvd_config.experiment(model, batch_size=32, num_iterations=300_000, rate=5e-5)
  if "mug" in name:
    config.data.prepare = "--source=folder"
  config.data.stride = row.get("stride", 1)
  config.optimizer.kind = "rmsprop"
  model.resolution = row.get("resolution", 64)
  model.loss = row.get("loss", "wasserstein")
  model.clipping_period = row.get("clipping_period", 5)
  model.generator.temporal_channels = tuple(
    row.get("temporal", 1) * width for width in model.generator.temporal_channels
  )
  model.generator.image_channels *= row.get("image", 1)
  for switch in ("kind", "level", "pooling", "noise", "channels"):
    model.discriminator[switch] = row.get(switch, model.discriminator[switch])
  if row.get("shapes"):
    ldvd_config.on_moving_shapes(config, row["shapes"])
    config.optimizer.generator_lr = config.optimizer.discriminator_lr = 1e-3
    model.generator.temporal_channels = (128, 64, 32, 32)
    model.generator.image_channels = 128
    model.discriminator.channels = 16
  if runlocal:
    configuration.run_local(config)
    model.latent_dim = 8
    model.generator.temporal_channels = (16, 8, 8, 8)
    model.generator.image_channels = 2 ** (model.resolution // 4).bit_length()
    model.discriminator.channels = 4
  return config.lock()
