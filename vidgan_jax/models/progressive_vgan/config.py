"""The switches of ProgressiveVGAN, without JAX."""

import dataclasses
import math

from ml_collections import ConfigDict

from vidgan_jax.models.phases import Phase
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.config.base_switches import LARGEST_BATCH, model_switches
from vidgan_jax.runtime.config.schema import choice, integer, integers, number, numbers
from vidgan_jax.runtime.errors import UserError

FIRST = 4  # pixels and frames of the first level
# Resolutions that have twice the frames of the one before, and all that the table covers.
_DOUBLINGS, RESOLUTIONS = (8, 32, 128), (8, 16, 32, 64, 128, 256)
_WIDTH = {"least": 1, "most": 8192}  # channels
_CLIPS = {"most": 100_000_000}
GROUP = 4  # clips of mini-batch standard deviation: the batch of a device is a multiple of it

SWITCHES = {
  **model_switches("progressive_vgan", resolution=128, frames=32),
  "latent_dim": integer(128, "Size of the latent vector z.", least=1, most=65_536),
  "head": choice(
    "sliced",
    ("wgan_gp", "sliced"),
    "Head and loss of the discriminator: WGAN-GP, or sliced Wasserstein.",
  ),
  "channel_base": integer(
    1024, "Channels at R pixels are 2 channel_base / R, and at most channel_most.", **_WIDTH
  ),
  "channel_most": integer(128, "Channels of the widest layers.", **_WIDTH),
  "penalty_weight": number(
    10.0, "Weight of the gradient penalty, or of both sliced penalties.", least=0, most=1_000_000
  ),
  "drift": number(
    1e-3, "wgan_gp: weight of the mean squared score of real clips.", least=0, most=1000
  ),
  "projection_penalty": choice(
    "released",
    ("released", "derivative"),
    "sliced: the penalty on projections as the released code has it, or as the paper has it.",
  ),
  "batch_sizes": integers(
    (32, 32, 16, 16, 8, 8),
    "Clips of each update at 4, 8, 16, ... pixels.",
    least=1,
    most=LARGEST_BATCH,
  ),
  "batch_factor": integer(
    1,
    "Multiplies batch_sizes, for more devices; phases keep their clips and have fewer iterations.",
    least=1,
    most=LARGEST_BATCH,
  ),
  "fade_clips": integer(
    600_000, "Clips during which new layers fade in; 0 has no fades.", least=0, **_CLIPS
  ),
  "stay_clips": integer(
    600_000, "Clips for which a level trains at full strength before the next.", least=1, **_CLIPS
  ),
  "rate_factors": numbers(
    (1.0, 1.0, 1.0, 1.0, 1.0, 1.5),
    "Factors on both learning rates at 4, 8, 16, ... pixels.",
    least=0,
    most=1000,
  ),
}


@dataclasses.dataclass(frozen=True)
class Level:
  """Clips of one size, and the width of the layers that work on them.

  Attributes:
    resolution: height and width in pixels.
    frames: of a clip.
    features: channels.
    grows: factors (time, height, width) from the level before to this one.
  """

  resolution: int
  frames: int
  features: int
  grows: tuple[int, int, int]


def default() -> ConfigDict:
  """ProgressiveVGAN at 128x128, 32 frames, with the sliced Wasserstein head."""
  return schema.defaults(SWITCHES)


def frames_at(resolution: int) -> int:
  """Frames of a clip of `resolution` pixels: 4 at 4x4, doubled at 8, 32 and 128."""
  return FIRST * 2 ** sum(size <= resolution for size in _DOUBLINGS)


def phases(model: ConfigDict) -> tuple[Phase, ...]:
  """The phases of a model, one for each level from 4x4 to its resolution; the last has no end.

  Level 4x4 trains for `stay_clips` clips, each further level fades in for `fade_clips` and trains
  for `stay_clips`. Both are rounded up to whole iterations.

  Args:
    model: `config.model`.

  Raises:
    UserError: on a resolution without a table of frames, other frames than the table's, or lists
      that do not have one element for each level.
  """
  if model.resolution not in RESOLUTIONS:
    raise UserError(
      f"config.model.resolution is {model.resolution}; ProgressiveVGAN has a table of frames for "
      f"{', '.join(map(str, RESOLUTIONS))} pixels"
    )
  if model.frames != frames_at(model.resolution):
    raise UserError(
      f"config.model.frames is {model.frames}; ProgressiveVGAN has {frames_at(model.resolution)} "
      f"frames at {model.resolution}x{model.resolution}"
    )
  count = int(math.log2(model.resolution // FIRST)) + 1
  for name in ("batch_sizes", "rate_factors"):
    if len(model[name]) != count:
      raise UserError(
        f"config.model.{name} has {len(model[name])} elements, must have {count}: one for each "
        f"level from 4x4 to {model.resolution}x{model.resolution}"
      )
  all_phases, begin, clip = [], 0, 0
  for level in range(count):
    resolution, batch = FIRST * 2**level, model.batch_sizes[level] * model.batch_factor
    fade = math.ceil(model.fade_clips / batch) if level else 0
    rate = float(model.rate_factors[level])
    all_phases.append(Phase(begin, resolution, frames_at(resolution), batch, clip, fade, rate))
    iterations = fade + math.ceil(model.stay_clips / batch)
    begin, clip = begin + iterations, clip + iterations * batch
  return tuple(all_phases)


def levels(model: ConfigDict) -> tuple[Level, ...]:
  """The levels of `config.model`, from 4x4 to its resolution; UserError as in `phases`."""
  all_levels: list[Level] = []
  for phase in phases(model):
    features = min(2 * model.channel_base // phase.resolution, model.channel_most)
    time = phase.frames // all_levels[-1].frames if all_levels else 1
    all_levels.append(Level(phase.resolution, phase.frames, max(features, 1), (time, 2, 2)))
  return tuple(all_levels)


def check(config: ConfigDict) -> None:
  """Refuses phases and batch sizes that do not fit each other, and decay of the weights.

  Args:
    config: the whole config, whose fields were checked one by one.

  Raises:
    UserError: see `phases`; on a batch that cannot be trained with; or on a penalty on weights,
      which would change the levels whose phases have not begun.
  """
  model = config.model
  all_phases = phases(model)
  for phase in all_phases:
    at = f"the batch at {phase.resolution}x{phase.resolution} is {phase.batch_size}"
    if phase.batch_size > LARGEST_BATCH:
      raise UserError(f"{at}; it must be at most {LARGEST_BATCH}")
    if phase.batch_size % GROUP:
      raise UserError(f"{at}, must be a multiple of {GROUP} (config.model.batch_sizes)")
    if config.get("microbatch", 0) and phase.batch_size % config.microbatch:
      raise UserError(f"{at}, which is not divisible by microbatch {config.microbatch}")
  if config.batch_size != all_phases[-1].batch_size:
    raise UserError(
      f"config.batch_size is {config.batch_size}, must be {all_phases[-1].batch_size}: the last "
      "of config.model.batch_sizes times config.model.batch_factor"
    )
  for name in ("weight_decay", "orthogonal_penalty"):
    if config.optimizer.get(name, 0):
      raise UserError(
        f"config.optimizer.{name} is {config.optimizer[name]}, must be 0: it would change the "
        "levels of ProgressiveVGAN before they are trained"
      )
