r"""MoCoGAN, MoCoGAN-F, MoCoGAN-TSM: experiments of "Lower Dimensional Kernels for Video
Discriminators" (Kahembwe & Ramamoorthy 2020).

  vidgan train --config=configs/mocogan.py:NAME --workdir=DIR \\
      --config.data.directory=UCF101

UCF101 is the folder of the UCF-101 videos, or a folder made by `vidgan prepare`.

NAME,runlocal shrinks any of these experiments to seconds per iteration on a CPU. It keeps the
structure of the networks and trains on the built-in moving shapes. IS and FID are the paper's (C3D,
10,000 samples, UCF-101); none has been reproduced with this code yet. docs/ldvd.md compares the
numbers of parameters with the paper's. The paper trains on one 12 GB Titan-X, for 100,000
iterations of 32 clips.

| NAME                        | paper              | IS    | FID   | parameters of D       |
|-----------------------------|--------------------|-------|-------|-----------------------|
| base                        | Table 2, row 1     | 11.58 | 9485  | 3.3 M                 |
| no_subsampling              | Table 2, row 2     | 10.35 | 9657  | 3.3 M                 |
| video_only                  | Table 2, row 3     | 11.09 | 9566  | 2.7 M                 |
| image_only                  | Table 2, row 4     | 8.26  | 10494 | .7 M                  |
| double                      | Table 2, row 5     | 12.61 | 9167  | 13.2 M                |
| double_video_only           | Table 2, row 6     | 11.73 | 9461  | 10.5 M                |
| video_only_k2               | Table 2, row 7     | 3.98  | 13665 | .3 M                  |
| image_only_k8               | Table 2, row 8     | 7.62  | 10338 | 2.7 M                 |
| f_c0, f_c1, f_c2, f_c3      | Table 5b: c0..ci   | 9.71, 11.60 (MoCoGAN-F), 10.56, 10.20 |
| f_sn                        | 5.1, Table 8       | 12.33 | 9069  | c0-c1 + spectral norm |
| tsm_c0, tsm_c1, tsm_c2      | Table 6b: c0..ci   | 8.90, 9.82 (MoCoGAN-TSM), 9.60        |
| tgan_f                      | Table 8, last row  | 12.53 | 9038  | TGAN-F's              |
| categorical                 | the authors' code  |       |       | 101 classes, InfoGAN  |
| mug_64, _128, _256, _512    | 3.1.2, samples     |       |       | MUG-FED               |
| mug_f_64, .. mug_f_512      | 3.1.2, samples     |       |       | MUG-FED, MoCoGAN-F    |
| shapes, shapes_f            | not in the paper: built-in shapes, minutes on a CPU; docs/ldvd.md |
"""

import ml_collections

from vidgan_jax.models import ldvd_config
from vidgan_jax.runtime.config import configuration, schema

_D = "model.discriminator."
_VIDEO_ONLY = {f"{_D}image": False}
_IMAGE_ONLY = {f"{_D}video": "none"}
_DOUBLE = {"model.generator.channels": 128, f"{_D}channels": 128}
_F = {**_VIDEO_ONLY, f"{_D}video": "factorised", f"{_D}level": 2}
_SIZES = (64, 128, 256, 512)
_MUG = {"data.prepare": "--source=folder"}
_SMALL = {"model.generator.channels": 16, f"{_D}channels": 16}
_ROWS: dict[str, dict] = {
  "base": {},
  "no_subsampling": {"data.stride": 1},
  "video_only": _VIDEO_ONLY,
  "image_only": _IMAGE_ONLY,
  "double": _DOUBLE,
  "double_video_only": {**_DOUBLE, **_VIDEO_ONLY},
  "video_only_k2": {**_VIDEO_ONLY, f"{_D}video_window": 2},
  "image_only_k8": {**_IMAGE_ONLY, f"{_D}image_window": 8},
  **{f"f_c{i}": {**_F, f"{_D}level": i + 1} for i in range(4)},
  "f_sn": {**_F, f"{_D}spectral": True},
  **{f"tsm_c{i}": {**_F, f"{_D}video": "tsm", f"{_D}level": i + 1} for i in range(3)},
  "tgan_f": {**_VIDEO_ONLY, f"{_D}video": "tgan"},
  "categorical": {
    "model.num_classes": 101,
    "model.categories": 101,
    "model.infogan": True,
    f"{_D}video": "categorical",
    f"{_D}noise": 0.1,
  },
  **{f"mug_{size}": {**_MUG, "model.resolution": size} for size in _SIZES},
  **{f"mug_f_{size}": {**_MUG, **_F, "model.resolution": size} for size in _SIZES},
  # For the built-in moving shapes: a quarter of the paper's channels. `get_config` sets twice its
  # learning rate.
  "shapes": _SMALL,
  "shapes_f": {**_SMALL, **_F},
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment called `argument`; UserError lists the known names."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  shapes = name.startswith("shapes")
  config = ldvd_config.experiment(
    ldvd_config.mocogan(), batch_size=32, num_iterations=100_000, rate=4e-4 if shapes else 2e-4
  )
  common = {
    "data.stride": 2,
    "optimizer.weight_decay": 1e-5,
    f"{_D}tgan.kind": "factorised",  # TGAN-F, used if `video` is "tgan"
    f"{_D}tgan.level": 2,
  }
  schema.set_fields(config, common | _ROWS[name])
  if shapes:
    ldvd_config.on_moving_shapes(config, 400)
  if runlocal:
    configuration.run_local(config)
    classes = min(config.model.categories, 8)
    small = {
      "model.num_classes": classes,
      "model.categories": classes,
      "model.generator.channels": 4,
      f"{_D}channels": 4,
      f"{_D}tgan.channels": 4,
    }
    schema.set_fields(config, small)
  return config.lock()
