"""What `sensitivity.py` does to clips, each in strengths from hardly to utterly.

All are functions (clips uint8 [N, T, H, W, 3], strength, numpy Generator) -> clips of that shape.
Pictures are worsened by `vidgan_jax.evaluation.statistics.controls`; those of time have strengths here.
"""

import numpy as np

from vidgan_jax.evaluation.statistics import controls


def noise(clips, strength, rng):
  """Adds normal noise of a standard deviation of `strength` grey levels of 255."""
  return controls.noise(clips, strength, seed=int(rng.integers(2**31)))


def blur(clips, strength, rng):
  """Blurs frames by a normal window of standard deviation `strength` pixels."""
  del rng
  return controls.blur(clips, strength)


def jpeg(clips, strength, rng):
  """Compresses frames as JPEG of quality 100 - `strength`."""
  del rng
  return controls.jpeg(clips, 100 - strength) if strength else clips.copy()


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
