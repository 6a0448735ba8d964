"""Clips that are degraded in a known way, to test whether a metric responds.

There are controls of motion only (frozen, shuffled and reversed frames; FVD with I3D hardly changes
with some of these, Ge et al. 2024), of pictures only (noise, blur, JPEG), and of variety (a class
is left out). All take and return uint8 clips [N, T, H, W, 3]. The random numbers of a clip depend
on the seed and the clip's index in the data set (`first` + its index in the block), so the result
does not depend on how clips are divided into blocks.
"""

import io
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from PIL import Image

from vidgan_jax.evaluation.statistics.moments import as_labels
from vidgan_jax.runtime.errors import UserError

# Strengths of the picture controls, from weak to strong; for JPEG, the quality.
LADDERS = {"noise": (4.0, 16.0, 64.0), "blur": (0.5, 1.0, 2.0), "jpeg": (75, 30, 10)}
MOTIONS = ("frozen", "shuffled", "reversed")


def _check(clips):
  clips = np.asarray(clips)
  if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[-1] != 3 or not clips.size:
    raise UserError(f"clips must be uint8 [N, T, H, W, 3], got {clips.dtype} {list(clips.shape)}")
  return clips


def _random(seed, index):
  return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))


def _to_bytes(x):
  return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def frozen(
  clips: np.ndarray, seed: int = 0, first: int = 0, *, frame: int | None = None
) -> np.ndarray:
  """Repeats one frame of each clip: no motion, and unchanged frames.

  Args:
    clips: uint8 [N, T, H, W, 3].
    seed: seed of the choice of frames.
    first: index of the first clip.
    frame: index of the frame; None draws one for each clip, which keeps the distribution of frames.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: the clips are not as above, or have no such frame.
  """
  clips = _check(clips)
  length = clips.shape[1]
  if frame is not None and not 0 <= frame < length:
    raise UserError(f"clips of {length} frames have no frame {frame}")
  out = np.empty_like(clips)
  for i, clip in enumerate(clips):
    out[i] = clip[_random(seed, first + i).integers(length) if frame is None else frame]
  return out


def shuffled(clips: np.ndarray, seed: int = 0, first: int = 0) -> np.ndarray:
  """Permutes the frames of each clip at random, never into the original order.

  Args:
    clips: uint8 [N, T, H, W, 3], T at least 2.
    seed: seed of the permutations.
    first: index of the first clip.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: the clips are not as above.
  """
  clips = _check(clips)
  length = clips.shape[1]
  if length < 2:
    raise UserError("one frame cannot be shuffled")
  out = np.empty_like(clips)
  for i, clip in enumerate(clips):
    random, order = _random(seed, first + i), np.arange(length)
    while np.array_equal(order, np.arange(length)):
      order = random.permutation(length)
    out[i] = clip[order]
  return out


def reversed_(clips: np.ndarray, seed: int = 0, first: int = 0) -> np.ndarray:
  """Reverses the order of the frames.

  Args:
    clips: uint8 [N, T, H, W, 3].
    seed, first: unused; all controls have these arguments.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: the clips are not as above.
  """
  del seed, first
  return np.ascontiguousarray(_check(clips)[:, ::-1])


def noise(clips: np.ndarray, strength: float, seed: int = 0, first: int = 0) -> np.ndarray:
  """Adds normal noise to every value, then rounds and clips to 0..255.

  Args:
    clips: uint8 [N, T, H, W, 3].
    strength: standard deviation of the noise, on the scale 0..255.
    seed: seed of the noise.
    first: index of the first clip.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: the clips are not as above, or the strength is negative.
  """
  clips = _check(clips)
  if not 0 <= strength < np.inf:
    raise UserError(f"noise must not be negative, got {strength}")
  out = np.empty_like(clips)
  for i, clip in enumerate(clips):
    out[i] = _to_bytes(clip + strength * _random(seed, first + i).standard_normal(clip.shape))
  return out


def blur(clips: np.ndarray, strength: float, seed: int = 0, first: int = 0) -> np.ndarray:
  """Blurs each frame with a Gaussian, truncated at 4 deviations; borders are mirrored.

  Args:
    clips: uint8 [N, T, H, W, 3].
    strength: standard deviation in pixels; 0 changes nothing.
    seed, first: unused; all controls have these arguments.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: the clips are not as above, or the strength is negative.
  """
  del seed, first
  clips = _check(clips)
  if not 0 <= strength < np.inf:
    raise UserError(f"blur must not be negative, got {strength}")
  radius = int(4 * strength + 0.5)
  if not radius:
    return clips.copy()
  kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / strength) ** 2)
  kernel /= kernel.sum()
  out = np.empty_like(clips)
  for i, clip in enumerate(clips):
    values = clip.astype(np.float64)
    for axis in (1, 2):
      size = values.shape[axis]
      padding = [(radius, radius) if a == axis else (0, 0) for a in range(4)]
      padded = np.moveaxis(np.pad(values, padding, mode="symmetric"), axis, 0)
      smooth = sum(w * padded[j : j + size] for j, w in enumerate(kernel))
      values = np.moveaxis(smooth, 0, axis)
    out[i] = _to_bytes(values)
  return out


def jpeg(clips: np.ndarray, strength: int, seed: int = 0, first: int = 0) -> np.ndarray:
  """Encodes each frame as JPEG (Pillow, chroma subsampling 4:2:0) and decodes it.

  Args:
    clips: uint8 [N, T, H, W, 3].
    strength: Pillow's quality, 1 (worst) to 95.
    seed, first: unused; all controls have these arguments.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: the clips are not as above, or the quality is out of range.
  """
  del seed, first
  clips = _check(clips)
  if not 1 <= strength <= 95:
    raise UserError(f"JPEG quality must be 1 to 95, not {strength}")
  frames = clips.reshape(-1, *clips.shape[2:])
  out = np.empty_like(frames)
  for i, frame in enumerate(frames):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=int(strength), subsampling="4:2:0")
    out[i] = np.asarray(Image.open(file))
  return out.reshape(clips.shape)


def without_classes(
  clips: np.ndarray,
  labels: np.ndarray,
  classes: Iterable[int],
  seed: int = 0,
  *,
  refill: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
  """Removes the clips of some classes.

  Args:
    clips: uint8 [N, T, H, W, 3].
    labels: integers [N].
    classes: the classes to remove; each must occur.
    seed: seed of the replacements.
    refill: replaces the removed clips by copies of clips of the other classes, so that the count
      stays the same. The copies are spread evenly: two clips differ by at most one copy.

  Returns:
    (clips uint8 [N or fewer, T, H, W, 3], labels).

  Raises:
    UserError: clips or labels are not as above, a class does not occur, or no clips would remain.
  """
  clips = _check(clips)
  labels = as_labels(labels, len(clips))
  classes = sorted({int(c) for c in classes})
  for label in classes:
    if label not in labels:
      raise UserError(f"class {label} does not occur, so it cannot be left out")
  removed = np.isin(labels, classes)
  remaining = np.flatnonzero(~removed)
  if not len(remaining):
    raise UserError("all classes are left out: no clips remain")
  if not refill:
    return clips[remaining], labels[remaining]
  random, needed = np.random.default_rng(seed), int(removed.sum())
  rounds = [random.permutation(remaining) for _ in range(-(-needed // len(remaining)))]
  indices = np.arange(len(clips))
  indices[removed] = np.concatenate([*rounds, remaining[:0]])[:needed]
  return clips[indices], labels[indices]


def apply(
  name: str, clips: np.ndarray, strength: float | None = None, seed: int = 0, first: int = 0
) -> np.ndarray:
  """Applies the control of a given name.

  Args:
    name: one of MOTIONS or LADDERS.
    clips: uint8 [N, T, H, W, 3].
    strength: strength of one of LADDERS; None for MOTIONS.
    seed: seed of all random numbers.
    first: index of the first clip.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: the name is unknown, a strength is missing or not allowed, or see the control.
  """
  if name in MOTIONS and strength is None:
    control = {"frozen": frozen, "shuffled": shuffled, "reversed": reversed_}[name]
    return control(clips, seed, first)
  if name in LADDERS and strength is not None:
    strong: Mapping[str, Callable] = {"noise": noise, "blur": blur, "jpeg": jpeg}
    return strong[name](clips, strength, seed, first)
  if name in MOTIONS or name in LADDERS:
    raise UserError(f"control {name!r} takes {'no' if name in MOTIONS else 'a'} strength")
  raise UserError(f"unknown control {name!r}; known: {', '.join([*MOTIONS, *LADDERS])}")
