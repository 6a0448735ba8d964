r"""MoCoGAN and its kin: the rows of "Lower Dimensional Kernels for Video Discriminators".

  python -m vidgan_jax.train --config=configs/mocogan.py:NAME --workdir=DIR \\
      --config.data.directory=UCF101

NAME,runlocal shrinks any of them to seconds per iteration on a CPU with the same structure, on the
embedded moving shapes. IS and FID are the paper's (C3D, 10,000 samples, UCF-101); none has been
reproduced with this code yet. docs/ldvd.md has all rows with parameters here and there.
Hardware there: one 12 GB Titan-X; 100,000 iterations of 32 clips.

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
| shapes, shapes_f            | none: some minutes on a CPU, embedded set, docs/ldvd.md       |
"""

import ml_collections

from vidgan_jax.models import ldvd_config
from vidgan_jax.runtime import configuration

_ROWS = {
  "base": dict(),
  "no_subsampling": dict(stride=1),
  "video_only": dict(image=False),
  "image_only": dict(video="none"),
  "double": dict(double=True),
  "double_video_only": dict(double=True, image=False),
  "video_only_k2": dict(image=False, video_window=2),
  "image_only_k8": dict(video="none", image_window=8),
  **{f"f_c{i}": dict(image=False, video="factorised", level=i + 1) for i in range(4)},
  "f_sn": dict(image=False, video="factorised", level=2, spectral=True),
  **{f"tsm_c{i}": dict(image=False, video="tsm", level=i + 1) for i in range(3)},
  "tgan_f": dict(image=False, video="tgan"),
  "categorical": dict(video="categorical", noise=0.1, categories=101),
  **{f"mug_{size}": dict(resolution=size) for size in (64, 128, 256, 512)},
  **{
    f"mug_f_{size}": dict(image=False, video="factorised", level=2, resolution=size)
    for size in (64, 128, 256, 512)
  },
  # A quarter of the channels, twice the rate, on the embedded set.
  "shapes": dict(shapes=400),
  "shapes_f": dict(shapes=400, image=False, video="factorised", level=2),
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment `argument` names; UserError lists the known ones."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  row = _ROWS[name]
  model = ldvd_config.mocogan()
  config = ldvd_config.experiment(model, batch_size=32, num_iterations=100_000, rate=2e-4)
  if "mug" in name:
    config.data.prepare = "--source=folder"
  config.data.stride = row.get("stride", 2)
  config.optimizer.weight_decay = 1e-5
  model.resolution = row.get("resolution", 64)
  model.num_classes = model.categories = row.get("categories", 0)
  model.infogan = bool(model.categories)
  for switch in ("image", "video", "level", "noise", "spectral", "image_window", "video_window"):
    model.discriminator[switch] = row.get(switch, model.discriminator[switch])
  model.discriminator.tgan.kind, model.discriminator.tgan.level = "factorised", 2  # TGAN-F
  if row.get("double"):
    model.generator.channels = model.discriminator.channels = 128
  if row.get("shapes"):
    ldvd_config.on_moving_shapes(config, row["shapes"])
    config.optimizer.generator_lr = config.optimizer.discriminator_lr = 4e-4
    model.generator.channels = model.discriminator.channels = 16
  if runlocal:
    configuration.run_local(config)
    model.num_classes = model.categories = min(model.categories, 8)
    model.generator.channels = model.discriminator.channels = 4
    model.discriminator.tgan.channels = 4
  return config.lock()
