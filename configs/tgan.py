r"""TGAN, TGAN-F and TGAN-TSM: experiments of "Lower Dimensional Kernels for Video Discriminators"
(Kahembwe & Ramamoorthy 2020).

  vidgan train --config=configs/tgan.py:NAME --workdir=DIR \\
      --config.data.directory=UCF101

UCF101 is the folder of the UCF-101 videos, or a folder made by `vidgan prepare`.

NAME,runlocal shrinks any of these experiments to seconds per iteration on a CPU. It keeps the
structure of the networks and trains on the built-in moving shapes. IS and FID are the paper's (C3D,
10,000 samples, UCF-101); none has been reproduced with this code yet. docs/ldvd.md compares the
numbers of parameters with the paper's. The paper trains on one 12 GB Titan-X, for 1000 epochs
(about 300,000 iterations of 32 clips).

c0, c1, ... are the layers of the discriminator D. In NAME:

  svc             the original TGAN: 3-D convolutions, singular value clipping
  normal          its discriminator with the GAN's logistic loss and noise, without clipping
  f_ci, tsm_ci    TGAN-F and TGAN-TSM: layers c0 to ci are factorised, or 2-D with temporal shifts
  2xtime          every second frame of the videos, so that clips last twice as long
  4xtemporal      four times the channels of the generator's temporal part
  2ximage         twice the channels of the generator's image part
  all             all three

The table has one score per name, separated by commas where a row lists several names.

| NAME                  | paper             | IS    | FID  | parameters of D   |
|-----------------------|-------------------|-------|------|-------------------|
| svc                   | Table 3a, row 1   | 11.93 | 9128 | 11.0 M            |
| normal                | Table 3a, row 3   | 8.98  | 10093| 11.0 M            |
| svc_2xtime            | Table 3a, row 5   | 13.28 | 8798 | 11.0 M            |
| f_c0, f_c1, f_c2, f_c3| Table 5a: c0..ci  | 12.86, 13.62 (TGAN-F), 13.11, 12.45        |
| f_c1_sum, f_c1_max    | Figure 5a: time is pooled by sum or maximum, otherwise by mean |
| tsm_c0, _c1, _c2      | Table 6a: c0..ci  | 11.76, 12.11, 12.32 (TGAN-TSM)             |
| f_128                 | Table 9           | 16.85 |      | 15.7 M with G     |
| f_128_4xtemporal      | Table 9           | 17.72 |      | 26.8 M with G     |
| f_128_2ximage         | Table 9           | 20.35 |      | 24.9 M with G     |
| f_128_2xtime          | Table 9           | 17.23 |      | 15.7 M with G     |
| f_128_all             | Table 9           | 22.91 |      | 69.7 M with G     |
| svc_mug_64, f_mug_64 .. f_mug_512 | 3.1.2, samples of MUG-FED           |
| shapes, shapes_f, shapes_tsm: built-in moving shapes, some minutes on a CPU; docs/ldvd.md   |
"""

import ml_collections

from vidgan_jax.models import ldvd_config
from vidgan_jax.runtime.config import configuration, schema

_D = "model.discriminator."
_IMAGE = "model.generator.image_channels"  # 512 by default
_TEMPORAL = "model.generator.temporal_channels"
_WIDE = {_TEMPORAL: (2048, 1024, 512, 512)}  # four times the default
_F = {f"{_D}kind": "factorised", f"{_D}level": 2}
_F_128 = {**_F, "model.resolution": 128}
_TSM = {f"{_D}kind": "tsm"}
_MUG = {"data.prepare": "--source=folder"}
# For the built-in moving shapes: a quarter of the paper's channels. `get_config` sets twenty times
# its learning rate.
_SHAPES = {_TEMPORAL: (128, 64, 32, 32), _IMAGE: 128, f"{_D}channels": 16}
_ROWS: dict[str, dict] = {
  "svc": {},
  "normal": {"model.loss": "vanilla", "model.clipping_period": 0, f"{_D}noise": 0.3},
  "svc_2xtime": {"data.stride": 2},
  **{f"f_c{i}": {**_F, f"{_D}level": i + 1} for i in range(4)},
  **{f"tsm_c{i}": {**_TSM, f"{_D}level": i + 1} for i in range(3)},
  # Figure 5a: pooling over time before the last layer.
  "f_c1_sum": {**_F, f"{_D}pooling": "sum"},
  "f_c1_max": {**_F, f"{_D}pooling": "max"},
  "f_128": _F_128,
  "f_128_4xtemporal": {**_F_128, **_WIDE},
  "f_128_2ximage": {**_F_128, _IMAGE: 1024},
  "f_128_2xtime": {**_F_128, "data.stride": 2},
  # To reach the 70 M parameters of Table 9, the discriminator also needs twice the channels.
  "f_128_all": {**_F_128, **_WIDE, _IMAGE: 1024, "data.stride": 2, f"{_D}channels": 128},
  "svc_mug_64": _MUG,
  "f_mug_64": {**_MUG, **_F},
  "f_mug_128": {**_MUG, **_F_128},
  # The paper has no widths above 128x128. With these the generator's last map has 16 channels.
  "f_mug_256": {**_MUG, **_F, "model.resolution": 256, _IMAGE: 1024},
  "f_mug_512": {**_MUG, **_F, "model.resolution": 512, _IMAGE: 2048, f"{_D}channels": 32},
  "shapes": _SHAPES,
  "shapes_f": {**_SHAPES, **_F},
  "shapes_tsm": {**_SHAPES, **_TSM, f"{_D}level": 3},
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment called `argument`; UserError lists the known names."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  shapes = name.startswith("shapes")
  config = ldvd_config.experiment(
    ldvd_config.tgan(), batch_size=32, num_iterations=300_000, rate=1e-3 if shapes else 5e-5
  )
  schema.set_fields(config, {"optimizer.kind": "rmsprop"} | _ROWS[name])
  if shapes:
    ldvd_config.on_moving_shapes(config, 720)
  if runlocal:
    configuration.run_local(config)
    small = {
      "model.latent_dim": 8,
      _TEMPORAL: (16, 8, 8, 8),
      _IMAGE: 2 ** (config.model.resolution // 4).bit_length(),
      f"{_D}channels": 4,
    }
    schema.set_fields(config, small)
  return config.lock()
