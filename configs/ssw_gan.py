r"""SSW-GAN: "Scalable Stage-wise Training of Video GANs" (Castrejon, Ballas, Courville 2021).

  launch/cascade.sh --folder=FOLDER ssw_gan:kinetics600_stage1 ssw_gan:kinetics600_stage2_12 \
      --config.data.directory=PREPARED
  vidgan sample --workdir=FOLDER/kinetics600_stage2_12 --output=DIR --frames=50 \
      --standing_passes=200

trains the stages in order and samples from all of them. docs/ssw_gan.md explains it. To train one
stage alone, pass --config=configs/ssw_gan.py:NAME and --config.model.earlier_run=FOLDER of the run
of the stage before it. NAME,runlocal shrinks any stage to seconds per iteration on a CPU: few
channels, a quarter of the height and width (weizmann, shapes: half), and two (one) units fewer.

| NAME                          | generates              | from    | paper                      |
|-------------------------------|------------------------|---------|----------------------------|
| kinetics600_stage1            | 25 x 32x32, stride 8   |         | 300,000 iterations         |
| kinetics600_stage2_12         | 12 x 128x128, stride 4 | 6 of 25 | Table 1; 50 frames         |
| kinetics600_stage2_6          | 6 x 128x128, stride 4  | 3 of 25 | Tables 1 and 2             |
| kinetics600_stage2_6_no_matching | the same            | 3 of 25 | Table 2                    |
| kinetics600_stage2_12_gru     | 12 x 128x128, stride 4 | 6 of 25 | appendix C                 |
| bdd100k_stage1                | 25 x 32x32, stride 8   |         | 35,000 iterations          |
| bdd100k_stage2                | 12 x 64x64, stride 4   | 6 of 25 | 50 frames                  |
| bdd100k_stage3                | 12 x 128x128, stride 2 | 6 of 12 | 100 frames                 |
| weizmann_stage1               | 12 x 32x32, stride 4   |         | none; for a CPU            |
| weizmann_stage2               | 8 x 64x64, stride 2    | 4 of 12 | none; 24 frames            |
| shapes_stage1                 | 24 x 16x16             |         | none; for a CPU            |
| shapes_stage2, shapes_stage3  | 12 x 32x32, 12 x 64x64 | 6       | none; 48 and 96 frames     |

The paper trains with batch 512 on up to 128 GPUs and reports, for Kinetics-600 at 128x128, better
Inception Scores than DVD-GAN at 12 frames (Table 1). None of its scores has been reproduced with
this code yet. The ablations without the matching discriminator and with ConvGRUs run for 100,000
iterations there; compare them with --config.num_iterations=100000 of the others.
"""

from typing import Any

import ml_collections

from vidgan_jax.models import dvd_gan_config
from vidgan_jax.models.ssw_gan import config as ssw_gan_config
from vidgan_jax.runtime.config import configuration, schema

_BASE: dict[str, Any] = {
  "optimizer.generator_lr": 1e-4,
  "optimizer.discriminator_lr": 5e-4,
  "ema.decay": 0.0,
  "ema.start": 0,
  "data.name": "video_folder",
}
_FIRST: dict[str, Any] = {
  "resolution": 32,
  "frames": 25,
  "latent_dim": 128,
  "embedding_dim": 128,
  "aggregation": "concat_mean",
  "generator.variant": "stacked_rnn",
  "generator.multipliers": (8, 8, 8, 4, 2),
  "generator.rnn": "standard",
  "generator.full_attention": False,
  "generator.attention_before": "none",
  "discriminator.multipliers": (2, 4, 8, 16, 16),
}
# The middle stage's lists are not printed; these follow those of the last stage.
_BDD: dict[str, Any] = {"num_classes": 0, "generator.channels": 96, "discriminator.channels": 64}
_MIDDLE: dict[str, Any] = {
  **_BDD,
  "resolution": 64,
  "generator.multipliers": (8, 4, 4, 2),
  "discriminator.multipliers": (2, 4, 8, 16, 16),
}
_LAST: dict[str, Any] = {
  **_BDD,
  "generator.multipliers": (8, 4, 4, 2, 2),
  "discriminator.multipliers": (1, 2, 4, 8, 8, 16),
}
_ABLATION: dict[str, Any] = {"num_iterations": 100_000}
_KINETICS: dict[str, Any] = {"data.prepare": "--source=kinetics"}
_BDD_DATA: dict[str, Any] = {"data.prepare": "--source=folder", "num_iterations": 35_000}
_WEIZMANN_DATA: dict[str, Any] = {
  "data.prepare": "--source=ucf101",
  "batch_size": 8,
  "num_iterations": 600,
  "log_every": 10,
  "checkpoint_every": 100,
  "sample_every": 300,
  "optimizer.generator_lr": 5e-4,
  "optimizer.discriminator_lr": 1e-3,
}
_SHAPES_DATA: dict[str, Any] = {
  **_WEIZMANN_DATA,
  "data.prepare": "",
  "data.name": "moving_shapes",
  "data.variety": 0.0,
  "num_iterations": 1200,
}
_SMALL: dict[str, Any] = {
  "latent_dim": 16,
  "embedding_dim": 16,
  "discriminator_steps": 1,
  "aggregation": "mean_after",
  "generator.channels": 8,
  "generator.statistics": "shared",
  "discriminator.channels": 8,
  "discriminator.sampled_frames": 4,
}
_SMALL_UP: dict[str, Any] = {**_SMALL, "generator.statistics": "per_step", "num_classes": 8}
_SMALL_FIRST: dict[str, Any] = {**_FIRST, **_SMALL, "num_classes": 8, "generator.doubled": False}

# {name: (name of the earlier stage or "", fields of the model, other fields)}
_STAGES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
  "kinetics600_stage1": ("", _FIRST, {**_KINETICS, "data.stride": 8}),
  "kinetics600_stage2_12": ("kinetics600_stage1", {}, {**_KINETICS, "data.stride": 4}),
  "kinetics600_stage2_6": ("kinetics600_stage1", {"frames": 6}, {**_KINETICS, "data.stride": 4}),
  "kinetics600_stage2_6_no_matching": (
    "kinetics600_stage1",
    {"frames": 6, "discriminator.matching": False},
    {**_KINETICS, **_ABLATION, "data.stride": 4},
  ),
  "kinetics600_stage2_12_gru": (
    "kinetics600_stage1",
    {"generator.temporal": "gru"},
    {**_KINETICS, **_ABLATION, "data.stride": 4},
  ),
  "bdd100k_stage1": ("", {**_FIRST, "num_classes": 0}, {**_BDD_DATA, "data.stride": 8}),
  "bdd100k_stage2": ("bdd100k_stage1", _MIDDLE, {**_BDD_DATA, "data.stride": 4}),
  "bdd100k_stage3": ("bdd100k_stage2", _LAST, {**_BDD_DATA, "data.stride": 2}),
  "weizmann_stage1": (
    "",
    {
      **_SMALL_FIRST,
      "num_classes": 6,
      "frames": 12,
      "generator.multipliers": (8, 8, 4, 2),
      "discriminator.multipliers": (2, 4, 8, 8),
    },
    {**_WEIZMANN_DATA, "data.stride": 4},
  ),
  "weizmann_stage2": (
    "weizmann_stage1",
    {
      **_SMALL_UP,
      "num_classes": 6,
      "resolution": 64,
      "frames": 8,
      "generator.multipliers": (8, 4, 4, 2),
      "discriminator.multipliers": (1, 2, 4, 8, 8),
    },
    {**_WEIZMANN_DATA, "data.stride": 2},
  ),
  "shapes_stage1": (
    "",
    {
      **_SMALL_FIRST,
      "resolution": 16,
      "frames": 24,
      "generator.multipliers": (8, 8, 4),
      "discriminator.multipliers": (2, 4, 8),
    },
    {**_SHAPES_DATA, "data.time_step": 1.0},
  ),
  "shapes_stage2": (
    "shapes_stage1",
    {
      **_SMALL_UP,
      "resolution": 32,
      "generator.multipliers": (4, 4, 2),
      "discriminator.multipliers": (1, 2, 4, 4),
    },
    {**_SHAPES_DATA, "data.time_step": 0.5},
  ),
  "shapes_stage3": (
    "shapes_stage2",
    {
      **_SMALL_UP,
      "resolution": 64,
      "generator.multipliers": (4, 4, 2, 1),
      "discriminator.multipliers": (1, 2, 4, 4, 4),
    },
    {**_SHAPES_DATA, "data.time_step": 0.25},
  ),
}
_ROWS = _STAGES  # names of the arguments, as in the other config files
_FULL = {"kinetics600": 128, "bdd100k": 128, "weizmann": 64, "shapes": 64}  # pixels of the data
_TINY: dict[str, Any] = {
  "latent_dim": 8,
  "embedding_dim": 8,
  "generator.channels": 4,
  "discriminator.channels": 4,
}


def _halvings(name: str) -> int:
  """How often `runlocal` halves height and width; each time the networks lose a unit or block."""
  return 2 if _FULL[name.split("_")[0]] == 128 else 1


def _shrink(model: ml_collections.ConfigDict, halvings: int) -> None:
  """Makes a stage small, in place, for `runlocal`."""
  fields = {
    **_TINY,
    "num_classes": min(model.num_classes, 8),
    "resolution": model.resolution >> halvings,
    "generator.multipliers": model.generator.multipliers[:-halvings],
    "discriminator.multipliers": model.discriminator.multipliers[:-halvings],
  }
  schema.set_fields(model, fields)


def _model(name: str, runlocal: bool) -> ml_collections.ConfigDict:
  """`config.model` of a stage, with those of the stages before it."""
  earlier, fields, _ = _STAGES[name]
  if earlier:
    model = ssw_gan_config.default(_model(earlier, runlocal))
  else:
    model = dvd_gan_config.default()
  schema.set_fields(model, fields)
  if runlocal:
    _shrink(model, _halvings(name))
  return model


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment called `argument`; UserError lists the known names."""
  name, runlocal = configuration.parse_argument(argument, _STAGES)
  config = configuration.base_config()
  config.model = _model(name, runlocal)
  _, _, fields = _STAGES[name]
  full = _FULL[name.split("_")[0]] >> (_halvings(name) if runlocal else 0)
  view = {"data.view": "nearest", "data.view_resolution": full}
  small = config.model.resolution < full
  schema.set_fields(config, _BASE | fields | (view if small else {}))
  if runlocal:
    configuration.run_local(config)
  return config.lock()
