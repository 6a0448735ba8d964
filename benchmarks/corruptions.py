"""The corruptions of clips that `sensitivity.py` uses, with their strengths from weak to strong.

Each corruption is a function (clips uint8 [N, T, H, W, 3], strength, numpy Generator) -> clips of
the same shape. Corruptions of single frames call `vidgan_jax.evaluation.statistics.controls`. The
corruptions of time are implemented here, because those of `controls` have no strength.
"""

import numpy as np

from vidgan_jax.evaluation.statistics import controls


def noise(clips, strength, rng):
  """Adds normal noise with a standard deviation of `strength` grey levels (of 255)."""
  return controls.noise(clips, strength, seed=int(rng.integers(2**31)))


def blur(clips, strength, rng):
  """Blurs frames with a Gaussian of standard deviation `strength` pixels."""
  del rng
  return controls.blur(clips, strength)


def jpeg(clips, strength, rng):
  """Compresses frames as JPEG of quality 100 - `strength`."""
  del rng
  return controls.jpeg(clips, 100 - strength) if strength else clips.copy()


def frozen(clips, strength, rng):
  """Repeats one frame at the end of each clip: a fraction `strength` of the changes is removed."""
  del rng
  last = round((clips.shape[1] - 1) * (1.0 - strength))
  return clips[:, np.minimum(np.arange(clips.shape[1]), last)]


def shuffled(clips, strength, rng):
  """Permutes a fraction `strength` of each clip's frames; each of these frames moves."""
  frames = clips.shape[1]
  count = round(strength * frames)
  out = clips.copy()
  if count < 2:
    return out
  for i in range(len(clips)):
    positions = rng.permutation(frames)[:count]
    out[i, positions] = clips[i, np.roll(positions, 1)]
  return out


def reversed_clips(clips, strength, rng):
  """Reverses a fraction `strength` of the clips in time."""
  out = clips.copy()
  chosen = rng.permutation(len(clips))[: round(strength * len(clips))]
  out[chosen] = clips[chosen, ::-1]
  return out


# The strengths are for frames of 64x64 pixels. At 32x32 the blur's strength is halved.
CORRUPTIONS = {
  "noise": (noise, (4, 8, 16, 32, 64)),
  "blur": (blur, (0.5, 1, 2, 4, 8)),
  "jpeg": (jpeg, (20, 50, 75, 90, 97)),
  "frozen": (frozen, (0.25, 0.5, 0.75, 1.0)),
  "shuffled": (shuffled, (0.25, 0.5, 0.75, 1.0)),
  "reversed": (reversed_clips, (0.25, 0.5, 0.75, 1.0)),
}
