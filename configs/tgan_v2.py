r"""TGANv2: "Efficient Training of Large Models for Video Generation" (arXiv 1811.09245).

  vidgan train --config=configs/tgan_v2.py:NAME --workdir=DIR \\
      --config.data.directory=UCF101

NAME,runlocal shrinks any of them to seconds per iteration on a CPU with the same structure, on the
built-in moving shapes. IS and FID are of C3D on UCF-101 (Table 2; protocol tganv2_is_fid_c3d); none
has been reproduced with this code yet. Hardware there: 4 x P100 with 12 GB, about three days for
100,000 iterations. Chainer samples with running averages of the batch statistics: pass
--standing_passes=0 to `sample` and `evaluate`.

| NAME                    | what                                              | IS    | FID  |
|-------------------------|---------------------------------------------------|-------|------|
| ucf101_192x16           | the paper, batch 4 x 16                           | 22.70 | 3591 |
| ucf101_192x16_batch256  | the paper, batch 16 x 16                          | 24.34 | 3620 |
| ucf101_192x16_readme    | command in the README of the released code: batch |       |      |
|                         | 4 x 32, frames subsampled, clips not              | 25.07 | 3457 |
| ucf101_192x16_ch16      | half of the width: the 312 MB of the paper's text |       |      |
| faceforensics_256x16    | Figure 3, batch 8 x 8                             |       |      |
| ucf101_conditional      | with UCF-101's classes; not in the paper          |       |      |
| shapes                  | eight classes of moving shapes, for a CPU         |       |      |

Each but shapes also with the suffixes of section 5, at the batch sizes of its Table 1:

| suffix           | subsampling layers               | clips by level       | IS    | FID  |
|------------------|----------------------------------|----------------------|-------|------|
| _frames_only     | keep all clips                   | 1/8 of the batch     | 21.01 | 3723 |
| _batch_only      | one, keeps all frames            | 1/8, then 1/16       | 14.30 | 4525 |
| _no_subsampling  | none                             | 1/16 of the batch    | 12.10 | 5222 |
| _layers1, _layers2 | one or two instead of three    | at the same batch    |       |      |

Subsampling of clips needs, for every device and micro-batch, a multiple of 8 clips.
"""

from typing import Any

import ml_collections

from vidgan_jax.models import tgan_v2_config
from vidgan_jax.runtime.config import configuration, schema

_CROP: dict[str, Any] = {"data.prepare": "--source=ucf101 --crop=240", "data.horizontal_flip": True}
_WIDE: dict[str, Any] = {
  "data.prepare": "--source=ucf101",
  "data.horizontal_flip": True,
  "data.crop": "random",
}
_LAYERS, _BATCH = "model.subsampling.layers", "model.subsampling.batch"
_FRAMES = "model.subsampling.frames"

# {name: (GPUs in the paper or the released code, changes)}; R1 sums over the clips of one GPU.
_BASES: dict[str, tuple[int, dict[str, Any]]] = {
  "ucf101_192x16": (4, _CROP),
  "ucf101_192x16_batch256": (16, {**_CROP, "batch_size": 256}),
  # Frames of 192x256 with a random column of 192, as the released code's, whose margins are 4 less.
  "ucf101_192x16_readme": (4, {**_WIDE, "batch_size": 128, _BATCH: False}),
  "ucf101_192x16_ch16": (4, {**_CROP, "model.generator.channels": 16}),
  "faceforensics_256x16": (8, {"data.prepare": "--source=folder", "model.resolution": 256}),
  "ucf101_conditional": (4, {**_CROP, "model.num_classes": 101}),
}
# {suffix: (the batch is divided by, changes)}
_ABLATIONS: dict[str, tuple[int, dict[str, Any]]] = {
  "": (1, {}),
  "_frames_only": (8, {_BATCH: False}),
  "_batch_only": (8, {_LAYERS: 1, _BATCH: True, _FRAMES: False}),
  "_no_subsampling": (16, {_LAYERS: 0}),
  "_layers1": (1, {_LAYERS: 1}),
  "_layers2": (1, {_LAYERS: 2}),
}
_SHAPES: dict[str, Any] = {
  "batch_size": 16,
  "num_iterations": 3000,
  "model.resolution": 32,
  "model.frames": 8,
  "model.num_classes": 8,
  "model.latent_dim": 32,
  "model.levels": 3,
  _LAYERS: 2,
  "model.generator.channels": 8,
  "model.generator.multipliers": (8, 4, 2),
  "model.generator.lstm_channels": 64,
  "model.discriminator.channels": 16,
  "model.discriminator.multipliers": (1, 2, 4, 8),
  "data.name": "moving_shapes",
  "data.crop": "random",
  "data.variety": 0.0,
  "optimizer.generator_lr": 1e-3,
  "optimizer.discriminator_lr": 1e-3,
  "optimizer.decay_iterations": 3000,
  "r1.weight": 0.1,
  "r1.reference_count": 2,
  # Unlike in the paper, samples come from an average of the generator: here they are cleaner.
  "ema.decay": 0.99,
  "ema.start": 100,
  "log_every": 20,
  "checkpoint_every": 600,
  "checkpoints_kept": 5,
  "sample_every": 600,
}
_RUNLOCAL: dict[str, Any] = {
  "batch_size": 8,
  "model.latent_dim": 8,
  "model.generator.channels": 1,
  "model.generator.lstm_channels": 8,
  "model.discriminator.channels": 2,
}
_ROWS = [*(base + suffix for base in _BASES for suffix in _ABLATIONS), "shapes"]


def _fields(name: str) -> dict[str, Any]:
  """The changes of a row other than shapes."""
  base = max((base for base in _BASES if name.startswith(base)), key=len)
  gpus, changes = _BASES[base]
  divisor, ablation = _ABLATIONS[name.removeprefix(base)]
  fields: dict[str, Any] = {"batch_size": 64, **changes, **ablation}
  fields["batch_size"] //= divisor
  each, layers = fields["batch_size"] // gpus, fields.get(_LAYERS, 3)
  halvings = layers if fields.get(_BATCH, True) else 0
  # A GPU's single clip is not split further (section 5.4).
  levels = [max(1, each >> min(level, halvings)) for level in range(4)]
  return fields | {"r1.reference_count": sum(levels)}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment `argument` names; UserError lists the known ones."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  config = tgan_v2_config.experiment()
  schema.set_fields(config, _SHAPES if name == "shapes" else _fields(name))
  if runlocal:
    configuration.run_local(config)
    schema.set_fields(config, _RUNLOCAL)
    if name != "shapes":  # as many blocks and levels, at a third or a quarter of the size
      schema.set_fields(config, {"model.resolution": 64})
  return config.lock()
