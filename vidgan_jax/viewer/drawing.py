"""Generates the clips that a request of the page asks for, with one generator at a time."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from vidgan_jax.models.contract import Arrays
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.config.schema import LARGEST_SEED
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import memory
from vidgan_jax.runtime.text import printable
from vidgan_jax.sampling import files, generation, interpolation
from vidgan_jax.sampling.run import Run

# Clips generated at once. Every request fills whole batches, so that one program per number of
# frames is compiled, whatever the number of clips.
BATCH = 8
MOST_CLIPS = 64  # of one generator in one request
_LARGEST_TRUNCATION = 2.0
KINDS = ("clips", "classes", "latents")


@dataclasses.dataclass(frozen=True)
class Wanted:
  """Clips to generate; each generator gets the same.

  Attributes:
    kind: "clips" by class; "classes", mixtures of two with the same latents; or "latents", clips
      on the line between two latents.
    classes: names of the classes; for "classes" the two ends, for "latents" one. Generators
      without classes ignore them.
    count: clips per class, or clips from one end to the other.
    seed: of the latents.
    truncation: factor on the latents; see `generation.draw_latents`. Rounded to hundredths, because
      standing statistics are collected and kept for each value.
    length: factor on the number of frames in training.
  """

  kind: str = "clips"
  classes: tuple[str, ...] = ()
  count: int = 1
  seed: int = 0
  truncation: float = 1.0
  length: int = 1

  def __post_init__(self) -> None:
    """UserError if a value is not allowed."""
    generation.check_truncation(self.truncation)
    if not 0.005 <= self.truncation <= _LARGEST_TRUNCATION:
      raise UserError(f"truncation is {self.truncation}, must be at most {_LARGEST_TRUNCATION}")
    object.__setattr__(self, "truncation", round(float(self.truncation), 2))
    if not (isinstance(self.seed, int) and 0 <= self.seed <= LARGEST_SEED):
      raise UserError(f"the seed is {self.seed}, must be an integer from 0 to {LARGEST_SEED}")
    least = 1 if self.kind == "clips" else 2
    many = self.count * (len(self.classes) or 1) if self.kind == "clips" else self.count
    if not (isinstance(self.count, int) and self.count >= least and many <= MOST_CLIPS):
      raise UserError(
        f"{many} clips are asked for; there may be {least} to {MOST_CLIPS} in one request"
      )
    if not (isinstance(self.length, int) and 1 <= self.length <= 4):
      raise UserError(f"the length is {self.length}, must be 1 to 4 times that of training")


@dataclasses.dataclass(frozen=True)
class Drawn:
  """Clips of one generator.

  Attributes:
    clips: uint8 [N, T, H, W, 3].
    captions: what each shows.
    exists: whether the generator has the class of each clip.
    flags: flags of `vidgan sample` that ask for the same clips.
  """

  clips: np.ndarray
  captions: Sequence[str]
  exists: Sequence[bool]
  flags: str


def draw(run: Run, wanted: Wanted, labels: Sequence[int | None]) -> Drawn:
  """Generates clips.

  Args:
    run: the generator.
    wanted: the request.
    labels: numbers of `wanted.classes` in this run; None for a class that it does not have.

  Raises:
    UserError: the generator cannot generate them, or the memory does not suffice.
  """
  frames = run.gan.frames * wanted.length if wanted.length > 1 else None
  run.check_frames(frames)
  options: dict[str, Any] = dict(frames=frames, truncation=wanted.truncation)
  key = streams.key(wanted.seed, streams.SAMPLING)
  classes = wanted.classes if run.gan.num_classes else ()
  if wanted.kind == "clips":
    # Clips of classes that this generator lacks are generated too, for a clip's latents depend on
    # its number: in all generators the same clips then have the same latents.
    exists = [label is not None for label in labels or [0] for _ in range(wanted.count)]
    numbers = np.repeat(np.asarray([label or 0 for label in labels or [0]]), wanted.count)
    names = [name for name in wanted.classes for _ in range(wanted.count)]
    captions = names or [f"clip {number + 1}" for number in range(len(numbers))]
    latents = generation.draw_latents(run.gan, key, len(numbers), **options)
  else:
    if None in labels:
      missing = [name for name, label in zip(classes, labels, strict=True) if label is None]
      raise UserError(f"there is no class {printable(', '.join(missing))}")
    walk = interpolation.latent_walk
    if wanted.kind == "classes":
      walk = interpolation.class_walk
    ends = [label or 0 for label in labels or [0]]
    latents, numbers = walk(run.gan, key, ends, wanted.count, **options)
    captions, exists = _steps(wanted), [True] * len(numbers)
  clips = _generate(run, latents, numbers, frames, wanted.truncation)
  return Drawn(clips, captions, exists, _flags(run, wanted, labels, frames))


def _steps(wanted: Wanted) -> list[str]:
  """Captions of the clips of an interpolation."""
  shares = [round(100 * n / (wanted.count - 1)) for n in range(wanted.count)]
  if wanted.kind == "latents":
    return [f"{share} %" for share in shares]
  first, last = wanted.classes
  ends = {0: first, 100: last}
  return [ends.get(share) or f"{100 - share} : {share}" for share in shares]


def _generate(
  run: Run, latents: Arrays, labels: np.ndarray, frames: int | None, truncation: float
) -> np.ndarray:
  """Clips of latents and labels, in whole batches: copies of the last clip fill up the last one."""
  count = len(labels)
  index = np.minimum(np.arange(-(-count // BATCH) * BATCH), count - 1)
  latents = jax.tree.map(lambda array: np.asarray(array)[index], latents)
  with memory.reported_if_full("fewer frames need less"):
    clips = run.generate(
      latents, labels[index], truncation=truncation, frames=frames, batch_size=BATCH
    )
  return clips[:count]


def _flags(run: Run, wanted: Wanted, labels: Sequence[int | None], frames: int | None) -> str:
  """Flags of `vidgan sample`, without --workdir and --output; the defaults are left out."""
  flags: dict[str, object] = {}
  if run.gan.num_classes:
    flags["labels"] = _labels(run, [label or 0 for label in labels])
  else:
    flags["count"] = wanted.count * (len(labels) or 1) if wanted.kind == "clips" else 1
  if wanted.kind != "clips":
    flags["interpolate"] = "class" if wanted.kind == "classes" else "latent"
    flags["interpolation_steps"] = wanted.count
  elif run.gan.num_classes:
    flags["per_label"] = wanted.count
  if wanted.seed:
    flags["seed"] = wanted.seed
  if wanted.truncation != 1:
    flags["truncation"] = f"{wanted.truncation:g}"
  if frames:
    flags["frames"] = frames
  return shlex.join(f"--{name}={value}" for name, value in flags.items())


def _labels(run: Run, numbers: Sequence[int]) -> str:
  """The text of --labels: numbers, or index:NUMBER where a class of this name exists."""
  text = ",".join(map(str, numbers))
  try:
    if files.parse_labels(text, run.class_names, run.gan.num_classes) == list(numbers):
      return text
  except UserError:
    pass
  return ",".join(f"index:{number}" for number in numbers)
