"""What `sensitivity.py` does to clips, each in strengths from hardly to utterly.

All are functions (clips uint8 [N, T, H, W, 3], strength, numpy Generator) -> clips of that shape;
strength 0 changes nothing.
"""

import io

import numpy as np
from PIL import Image


def noise(clips, strength, rng):
  """Adds normal noise of a standard deviation of `strength` grey levels of 255."""
  out = np.empty_like(clips)
  for i, clip in enumerate(clips):  # one by one: float64 noise for all would take gigabytes
    noisy = clip + strength * rng.standard_normal(clip.shape)
    out[i] = np.clip(np.rint(noisy), 0, 255)
  return out


def blur(clips, strength, rng):
  """Blurs frames by a normal window of standard deviation `strength` pixels; edges are repeated."""
  del rng
  if not strength:
    return clips.copy()
  rows, columns = (_blur_matrix(size, strength) for size in clips.shape[2:4])
  out = np.empty_like(clips)
  for i, clip in enumerate(clips):
    soft = np.einsum("ij,tjkc,lk->tilc", rows, clip.astype(np.float64), columns, optimize=True)
    out[i] = np.clip(np.rint(soft), 0, 255)
  return out


def _blur_matrix(size, deviation):
  """[size, size], each row the window about its pixel; what lies outside counts as the border."""
  reach = int(np.ceil(4 * deviation))
  offsets = np.arange(-reach, reach + 1)
  window = np.exp(-0.5 * (offsets / deviation) ** 2)
  window /= window.sum()
  matrix = np.zeros((size, size))
  for offset, weight in zip(offsets, window, strict=True):
    np.add.at(matrix, (np.arange(size), np.clip(np.arange(size) + offset, 0, size - 1)), weight)
  return matrix


def jpeg(clips, strength, rng):
  """Compresses frames as JPEG of quality 100 - `strength`."""
  del rng
  if not strength:
    return clips.copy()
  out = np.empty_like(clips)
  for i, clip in enumerate(clips):
    for t, frame in enumerate(clip):
      buffer = io.BytesIO()
      Image.fromarray(frame).save(buffer, "JPEG", quality=100 - strength)
      out[i, t] = np.asarray(Image.open(buffer))
  return out


def frozen(clips, strength, rng):
  """Stops each clip early: the last `strength` of its changes of frame do not happen."""
  del rng
  last = round((clips.shape[1] - 1) * (1.0 - strength))
  return clips[:, np.minimum(np.arange(clips.shape[1]), last)]


def shuffled(clips, strength, rng):
  """Permutes `strength` of each clip's frames; none of those stays at its place."""
  frames = clips.shape[1]
  count = round(strength * frames)
  out = clips.copy()
  if count < 2:
    return out
  for i in range(len(clips)):
    places = rng.permutation(frames)[:count]
    out[i, places] = clips[i, np.roll(places, 1)]
  return out


def reversed_clips(clips, strength, rng):
  """Plays `strength` of the clips backwards."""
  out = clips.copy()
  chosen = rng.permutation(len(clips))[: round(strength * len(clips))]
  out[chosen] = clips[chosen, ::-1]
  return out


# The strengths are those of 64 pixels; a window's width is halved for 32.
CORRUPTIONS = {
  "noise": (noise, (4, 8, 16, 32, 64)),
  "blur": (blur, (0.5, 1, 2, 4, 8)),
  "jpeg": (jpeg, (20, 50, 75, 90, 97)),
  "frozen": (frozen, (0.25, 0.5, 0.75, 1.0)),
  "shuffled": (shuffled, (0.25, 0.5, 0.75, 1.0)),
  "reversed": (reversed_clips, (0.25, 0.5, 0.75, 1.0)),
}
