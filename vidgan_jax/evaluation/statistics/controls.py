"""Clips made worse in a known way, to see whether a metric notices.

Motion alone: frozen, shuffled, reversed (FVD by I3D hardly sees some of these: Ge et al. 2024).
Pictures alone: noise, blur, JPEG. Variety: a class left out. All take and give uint8 clips
[N, T, H, W, 3]. What is drawn for a clip follows from the seed and the clip's number (`first` + its
place), so that blocks of clips give what all of them would at once.
"""

import io

import numpy as np
from PIL import Image

from vidgan_jax.evaluation.statistics.moments import as_labels
from vidgan_jax.runtime.errors import UserError

# Rising strengths of what has one; of JPEG it is the quality, which falls.
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


def frozen(clips, seed: int = 0, first: int = 0, *, frame: int | None = None) -> np.ndarray:
  """One frame of each clip throughout: no motion, and frames as they were.

  Args:
    clips: uint8 [N, T, H, W, 3].
    seed: of the draw.
    first: number of the first clip.
    frame: which; None draws one for each clip, so that frames keep their distribution.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: other clips, or no such frame.
  """
  clips = _check(clips)
  length = clips.shape[1]
  if frame is not None and not 0 <= frame < length:
    raise UserError(f"clips of {length} frames have no frame {frame}")
  out = np.empty_like(clips)
  for i, clip in enumerate(clips):
    out[i] = clip[_random(seed, first + i).integers(length) if frame is None else frame]
  return out


def shuffled(clips, seed: int = 0, first: int = 0) -> np.ndarray:
  """Frames of each clip in another order, never in their own.

  Args:
    clips: uint8 [N, T, H, W, 3], T at least 2.
    seed: of the draw.
    first: number of the first clip.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: other clips.
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


def reversed_(clips, seed: int = 0, first: int = 0) -> np.ndarray:
  """Frames from last to first; `seed` and `first` change nothing.

  Args:
    clips: uint8 [N, T, H, W, 3].
    seed, first: as the others have them.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: other clips.
  """
  del seed, first
  return np.ascontiguousarray(_check(clips)[:, ::-1])


def noise(clips, strength: float, seed: int = 0, first: int = 0) -> np.ndarray:
  """Normal noise on every value, rounded and clipped.

  Args:
    clips: uint8 [N, T, H, W, 3].
    strength: standard deviation in levels of 0..255.
    seed: of the draw.
    first: number of the first clip.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: other clips, or a negative strength.
  """
  clips = _check(clips)
  if not 0 <= strength < np.inf:
    raise UserError(f"noise must not be negative, got {strength}")
  out = np.empty_like(clips)
  for i, clip in enumerate(clips):
    out[i] = _to_bytes(clip + strength * _random(seed, first + i).standard_normal(clip.shape))
  return out


def blur(clips, strength: float, seed: int = 0, first: int = 0) -> np.ndarray:
  """Gaussian blur of each frame, mirrored at the borders, cut off at 4 deviations.

  Args:
    clips: uint8 [N, T, H, W, 3].
    strength: standard deviation in pixels; 0 changes nothing.
    seed, first: as the others have them; nothing is drawn.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: other clips, or a negative strength.
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


def jpeg(clips, strength: int, seed: int = 0, first: int = 0) -> np.ndarray:
  """Each frame written as JPEG and read again, by Pillow, colours at half resolution.

  Args:
    clips: uint8 [N, T, H, W, 3].
    strength: Pillow's quality, 1 (worst) to 95.
    seed, first: as the others have them; nothing is drawn.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: other clips, or no such quality.
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


def without_classes(clips, labels, classes, seed: int = 0, *, refill: bool = True):
  """Clips of all but some classes.

  Args:
    clips: uint8 [N, T, H, W, 3].
    labels: integers [N].
    classes: which to leave out; each occurs.
    seed: of the draw.
    refill: puts clips of the other classes in their place, each drawn at most once more than any
      other, so that the count stays. These are duplicates.

  Returns:
    (clips uint8 [N or fewer, T, H, W, 3], labels).

  Raises:
    UserError: other clips or labels, a class that does not occur, or nothing left.
  """
  clips = _check(clips)
  labels = as_labels(labels, len(clips))
  classes = sorted({int(c) for c in classes})
  for label in classes:
    if label not in labels:
      raise UserError(f"class {label} does not occur, so it cannot be left out")
  gone = np.isin(labels, classes)
  rest = np.flatnonzero(~gone)
  if not len(rest):
    raise UserError("all classes left out: no clips are left")
  if not refill:
    return clips[rest], labels[rest]
  random, needed = np.random.default_rng(seed), int(gone.sum())
  rounds = [random.permutation(rest) for _ in range(-(-needed // len(rest)))]
  indices = np.arange(len(clips))
  indices[gone] = np.concatenate([*rounds, rest[:0]])[:needed]
  return clips[indices], labels[indices]


def apply(name: str, clips, strength=None, seed: int = 0, first: int = 0) -> np.ndarray:
  """A control by its name: one of MOTIONS, or of LADDERS with a strength.

  Args:
    name: which.
    clips: uint8 [N, T, H, W, 3].
    strength: of a ladder's, None for a motion's.
    seed: of the draw.
    first: number of the first clip.

  Returns:
    uint8, the same shape.

  Raises:
    UserError: an unknown name, a strength that is missing or not wanted, or see the control.
  """
  if name in MOTIONS and strength is None:
    control = {"frozen": frozen, "shuffled": shuffled, "reversed": reversed_}[name]
    return control(clips, seed, first)
  if name in LADDERS and strength is not None:
    return {"noise": noise, "blur": blur, "jpeg": jpeg}[name](clips, strength, seed, first)
  if name in MOTIONS or name in LADDERS:
    raise UserError(f"control {name!r} takes {'no' if name in MOTIONS else 'a'} strength")
  raise UserError(f"unknown control {name!r}; known: {', '.join([*MOTIONS, *LADDERS])}")
