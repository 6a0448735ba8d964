"""The systems of the league, each at three small widths.

Learning rates and averages are those of the system's own small config for a CPU; a system without
one has its paper's rates. Where the small config is known to fail, `note` says what differs. The
rates never fall, because time ends a run and not a number of iterations. Batches have 8 clips,
those of TGANv2 16, of which its last level sees 4.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

Fields = Mapping[str, Any]  # {dotted name of a field of a config: value}

SIDE, FRAMES = 32, 16  # pixels and frames of the clips that are scored
_G, _D = "model.generator.", "model.discriminator."


@dataclasses.dataclass(frozen=True)
class Stage:
  """One run; most systems have one, a cascade trains several in order.

  Attributes:
    config: name, as for `vidgan train --config`.
    fields: changes, besides those of the task and the width.
    trial: further changes in a trial of its speed.
    frames: of a clip in training.
    side: height and width of a clip in training, in pixels.
    every: keeps every n-th frame of the task's clips.
  """

  config: str
  fields: Fields = dataclasses.field(default_factory=dict)
  frames: int = FRAMES
  side: int = SIDE
  every: int = 1
  trial: Fields = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Entry:
  """A system of the league.

  Attributes:
    name: short name, part of commands and files.
    title: name in tables.
    stages: its runs. They share the budget equally.
    widths: three sets of fields, from narrow to wide.
    conditional: whether it draws clips of a given class.
    given: frames of a clip that it is given and continues.
    standing_passes: as for `vidgan sample`.
    like: the entry whose trials choose the width; its own if empty.
    note: what a reader must know beside the scores.
  """

  name: str
  title: str
  stages: tuple[Stage, ...]
  widths: Sequence[Fields]
  conditional: bool = False
  given: int = 0
  standing_passes: int = 16
  like: str = ""
  note: str = ""

  @property
  def chosen_like(self) -> str:
    """Name of the entry whose trials choose the width."""
    return self.like or self.name


def _channels(*widths: int) -> tuple[Fields, ...]:
  """The same base width of generator and discriminators."""
  return tuple({f"{_G}channels": width, f"{_D}channels": width} for width in widths)


_DVD_WIDTHS = _channels(4, 8, 16)
_MOCOGAN_WIDTHS = _channels(8, 16, 32)
_TGAN_WIDTHS = tuple(
  {
    f"{_G}temporal_channels": (4 * c, 2 * c, c, c),
    f"{_G}image_channels": 4 * c,
    f"{_D}channels": c // 2,
  }
  for c in (16, 32, 64)
)
_DVD = {f"{_D}sampled_frames": 8}
_THESIS = {
  **_DVD,
  "optimizer.generator_lr": 1.2e-3,
  "optimizer.discriminator_lr": 6e-4,
  "model.initializer": "normal02",
  f"{_G}final_multiplier": 1,
  f"{_G}attention_before": "last_upsampling",
  f"{_G}attention_order": "thw",
  f"{_D}temporal_multipliers": (1, 2, 4, 8),
  f"{_D}temporal_min_size": 4,
}
_PUBLISHED_RATE = {"optimizer.generator_lr": 2e-4, "optimizer.discriminator_lr": 2e-4}
_TGAN_V2 = {"optimizer.schedule": "constant", "batch_size": 16}
_BFLOAT16 = {"precision": "bfloat16"}


def _dvd_gan(name: str, title: str, fields: Fields, **others: Any) -> Entry:
  stage = Stage("quickstart", {**_DVD, **fields})
  return Entry(name, title, (stage,), _DVD_WIDTHS, conditional=True, **others)


def _tgan(name: str, title: str, config: str) -> Entry:
  return Entry(name, title, (Stage(f"tgan:{config}"),), _TGAN_WIDTHS)


def _mocogan(name: str, title: str, config: str, fields: Fields) -> Entry:
  stage = Stage(f"mocogan:{config}", {**_PUBLISHED_RATE, **fields})
  note = "the published learning rate, half of the small config's"
  return Entry(name, title, (stage,), _MOCOGAN_WIDTHS, note=note)


def _tgan_v2(name: str, title: str, fields: Fields, **others: Any) -> Entry:
  widths = tuple(
    {f"{_G}channels": c, f"{_G}lstm_channels": 8 * c, f"{_D}channels": 2 * c} for c in (4, 8, 16)
  )
  stage = Stage("tgan_v2:shapes", {**_TGAN_V2, **fields})
  return Entry(name, title, (stage,), widths, conditional=True, standing_passes=0, **others)


_VGAN = Entry(
  "vgan",
  "VGAN",
  (Stage("vgan:ucf101_16", side=2 * SIDE),),
  tuple({f"{_G}channels": 8 * c, f"{_D}channels": c} for c in (8, 16, 32)),
  note="draws 64x64 only; trains on the same clips at 64x64, its own are averaged to 32x32",
)
_PROGRESSIVE = Entry(
  "progressive_vgan",
  "ProgressiveVGAN",
  (
    Stage(
      "progressive_vgan:shapes",
      {"model.fade_clips": 800, "model.stay_clips": 1600},
      trial={"model.fade_clips": 16, "model.stay_clips": 16},  # at full size at once
    ),
  ),
  tuple({"model.channel_base": 8 * c, "model.channel_most": c} for c in (16, 32, 64)),
  note="grows within its first 7,200 clips",
)
_SSW_GAN = Entry(
  "ssw_gan",
  "SSW-GAN, two stages",
  (
    Stage("ssw_gan:shapes_stage1", frames=8, side=16, every=2),
    Stage("ssw_gan:shapes_stage2", frames=8),
  ),
  _channels(4, 8, 16),
  conditional=True,
  note="each stage has half of the budget; trains on windows of 8 frames and unrolls 16",
)
_FP = Entry(
  "dvd_gan_fp",
  "DVD-GAN-FP",
  (Stage("dvd_gan_fp:shapes_fp", _DVD),),
  _DVD_WIDTHS,
  given=3,
  note="is given the first 3 frames of a held-out clip, which are scored too: no fair comparison",
)

ENTRIES: tuple[Entry, ...] = (
  _dvd_gan("dvd_gan", "DVD-GAN", {}),
  _tgan("tgan", "TGAN", "shapes"),
  _mocogan("mocogan", "MoCoGAN", "shapes", {}),
  _tgan_v2("tgan_v2", "TGANv2", {}),
  _SSW_GAN,
  _dvd_gan("dvd_gan_stacked", "DVD-GAN, a ConvGRU per resolution", {f"{_G}variant": "stacked_rnn"}),
  _dvd_gan("thesis", "DVD-GAN of Du's thesis", _THESIS),
  _FP,
  _VGAN,
  _PROGRESSIVE,
  _tgan("tgan_f", "TGAN-F", "shapes_f"),
  _tgan("tgan_tsm", "TGAN-TSM", "shapes_tsm"),
  _mocogan("mocogan_f", "MoCoGAN-F", "shapes_f", {}),
  _mocogan("mocogan_tsm", "MoCoGAN-TSM", "shapes_f", {f"{_D}video": "tsm"}),
  _dvd_gan("dvd_gan_bfloat16", "DVD-GAN in bfloat16", _BFLOAT16, like="dvd_gan"),
  _tgan_v2("tgan_v2_bfloat16", "TGANv2 in bfloat16", _BFLOAT16, like="tgan_v2"),
)
BY_NAME = {entry.name: entry for entry in ENTRIES}
MAIN = ("dvd_gan", "tgan", "mocogan", "tgan_v2", "ssw_gan")  # those with several seeds


def fields(entry: Entry, number: int, width: int, classes: int, seed: int) -> dict[str, Any]:
  """The changes of a stage's config, besides the data and the run of the stage before.

  Args:
    entry: the system.
    number: of the stage, from 0.
    width: 0, 1 or 2.
    classes: of the task.
    seed: of the run.
  """
  run = {
    "seed": seed,
    "batch_size": 8,
    "log_every": 10,
    "checkpoints_kept": 2,
    "sample_every": 0,
    "guard.dark_patience": 0,  # a collapsed run trains on, and its row says so
  }
  before = _model(entry, number - 1, width, classes) if number else {}
  earlier = {name.replace("model.", "model.earlier.", 1): value for name, value in before.items()}
  return {**run, **earlier, **_model(entry, number, width, classes)}


def _model(entry: Entry, number: int, width: int, classes: int) -> dict[str, Any]:
  """The fields of a stage that depend on the system, its width and the task."""
  stage = entry.stages[number]
  size = {
    "model.frames": stage.frames,
    "model.resolution": stage.side,
    "model.num_classes": classes if entry.conditional else 0,
  }
  return {**size, **entry.widths[width], **stage.fields}
