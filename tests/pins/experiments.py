"""The experiments whose numbers are pinned: all config files, and tiny ones of each family."""

import importlib.util
import pathlib

from vidgan_jax.runtime.config import schema

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))

_G, _D = "model.generator.", "model.discriminator."
_DVD_GAN = {
  "batch_size": 4,
  "ema.start": 1,
  "ema.decay": 0.9,
  "model.frames": 4,
  "model.resolution": 8,
  "model.num_classes": 3,
  "model.latent_dim": 4,
  "model.embedding_dim": 4,
  "model.generator.channels": 4,
  "model.generator.doubled": False,
  "model.generator.multipliers": (2, 1),
  "model.discriminator.channels": 4,
  "model.discriminator.multipliers": (1, 2),
  "model.discriminator.sampled_frames": 2,
}
_ONE = {f"{_D}temporal": False, "model.discriminator_steps": 1}  # one small discriminator
_LEAN = {**_DVD_GAN, **_ONE}
_TGAN = {
  "batch_size": 4,
  "model.resolution": 16,
  "model.latent_dim": 4,
  f"{_G}temporal_channels": (4, 4, 4, 4),
}
_TGAN_V2 = {  # three levels, two subsampling layers
  "batch_size": 4,
  "model.resolution": 8,
  "model.frames": 4,
  f"{_G}multipliers": (2, 1, 1),
  f"{_G}lstm_channels": 4,
  f"{_D}multipliers": (1, 2),
}
_AUGMENTATION = ("colour", "translation", "cutout")
_MOCOGAN = {"batch_size": 4, "model.resolution": 16}
_PROGRESSIVE = {  # at its last level, whose fade ends at iteration 11
  "model.resolution": 8,
  "model.frames": 8,
  "model.channel_base": 8,
  "model.channel_most": 4,
  "model.batch_sizes": (4, 4),
  "model.rate_factors": (1.0, 1.0),
  "model.fade_clips": 40,
}

# {name: (config file, argument, changes)}, each of its own path through a model or the step.
CASES = {
  "dvd_gan": ("dvd_gan", "kinetics600_64x12", {**_DVD_GAN, f"{_G}doubled": True}),
  "dvd_gan stacked": ("dvd_gan", "kinetics600_64x12_stacked", _LEAN),
  "dvd_gan thesis": (
    "dvd_gan",
    "thesis_kinetics400_code",
    {**_DVD_GAN, "model.discriminator_steps": 1},
  ),
  "dvd_gan in groups": (
    "dvd_gan",
    "kinetics600_64x12",
    {**_LEAN, "microbatch": 2, "optimizer.orthogonal_penalty": 1e-3, "model.savings": False},
  ),
  "dvd_gan without classes": (
    "dvd_gan",
    "kinetics600_64x12",
    {**_LEAN, "model.num_classes": 0, "model.pixel_loss.weight": 2.0},
  ),
  **{f"tgan {row}": ("tgan", row, _TGAN) for row in ("svc", "normal", "f_c1", "tsm_c1")},
  **{
    f"mocogan {row}": ("mocogan", row, _MOCOGAN)
    for row in ("base", "f_c1", "f_sn", "tsm_c1", "tgan_f")
  },
  "mocogan categorical": ("mocogan", "categorical", {"batch_size": 2}),
  "vgan": ("vgan", "ucf101_16", {"batch_size": 2}),
  "tgan_v2": ("tgan_v2", "shapes", {**_TGAN_V2, "r1.weight": 0.5}),
  "dvd_gan with R1 and augmentation": (
    "dvd_gan",
    "kinetics600_64x12",
    {**_LEAN, "r1.weight": 0.1, **{f"augmentation.{k}": True for k in _AUGMENTATION}},
  ),
  **{
    f"progressive_vgan {head}": ("progressive_vgan", "shapes", {**_PROGRESSIVE, "model.head": head})
    for head in ("wgan_gp", "sliced")
  },
}


def _module(file: str):
  specification = importlib.util.spec_from_file_location(
    f"pinned_{file}", ROOT / "configs" / f"{file}.py"
  )
  module = importlib.util.module_from_spec(specification)
  specification.loader.exec_module(module)
  return module


def rows() -> list[tuple[str, str]]:
  """All (config file, argument), those of laptops left out."""
  return [(file, row) for file in FILES for row in getattr(_module(file), "_ROWS", [""])]


def load(file: str, argument: str):
  """A config file's config."""
  return _module(file).get_config(argument)


def tiny(name: str):
  """The config of one of `CASES`, in float64."""
  file, row, changes = CASES[name]
  config = load(file, f"{row},runlocal" if row else "runlocal")
  with config.unlocked():
    schema.set_fields(config, {"precision": "float64", **changes})
  return config
