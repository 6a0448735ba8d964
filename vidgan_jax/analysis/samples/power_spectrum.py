"""Radially averaged power spectra of real and generated frames (SSW-GAN, appendix E).

Blurred frames have too little power at high frequencies; frames with noise or checkerboards have
too much. Power that falls from the first to the last generated frame shows that a model blurs its
clips over time.

The spectrum of a frame Z of L x L pixels is |FFT(Z)|^2 / L^2, averaged over the frequencies whose
distance from zero rounds to r = 0, 1, ..., L/2 (Ayzel et al. 2020). With this definition, white
noise of variance s^2 has the constant spectrum s^2, and the sum over all frequencies is the sum of
the squared pixels (Parseval). Frames are luma (Rec. 601) in [0, 1]; the paper does not say how it
treats colour. The largest radius is L/2, half a cycle per pixel. As in the paper, the higher
frequencies in the corners of the spectrum are left out.
"""

from typing import Any

import numpy as np

from vidgan_jax.analysis.samples import figures
from vidgan_jax.runtime.drawing import plain_style
from vidgan_jax.runtime.errors import UserError

FRAMES = (1, 10, 25, 50)  # as in the paper, counted from 1
SETS = 3
_LUMA = np.array([0.299, 0.587, 0.114]) / 255.0
_TINY = 1e-12  # power below this is rounding error


def luma(frames: np.ndarray) -> np.ndarray:
  """Converts uint8 frames [..., H, W, 3] to luma (Rec. 601) in [0, 1], float64 [..., H, W]."""
  return frames @ _LUMA


def power(images: np.ndarray) -> np.ndarray:
  """|FFT|^2 / (H W) of images [N, H, W], zero frequency in the middle; float64 [N, H, W]."""
  transformed = np.fft.fftshift(np.fft.fft2(images), axes=(-2, -1))
  return np.square(np.abs(transformed)) / (images.shape[-2] * images.shape[-1])


def radii(size: int) -> np.ndarray:
  """Rounded distance of each frequency in `power`'s result from zero, int [size, size]."""
  line = np.arange(size) - size // 2
  return np.round(np.hypot(line[:, None], line)).astype(int)


def radial_average(spectra: np.ndarray) -> np.ndarray:
  """Averages the result of `power`, [N, L, L], over rings of radius r = 0 to L / 2.

  Returns:
    float64 [N, L // 2 + 1].

  Raises:
    ValueError: the images are not square.
  """
  size = spectra.shape[-1]
  if spectra.shape[-2] != size:
    raise ValueError(f"expected square images, got {list(spectra.shape)}")
  rings = radii(size).ravel()
  counts = np.bincount(rings)
  flat = spectra.reshape(-1, size * size)
  sums = np.stack([np.bincount(rings, weights=row) for row in flat])
  return (sums / counts)[:, : size // 2 + 1]


def chosen_frames(frames: int, wanted=FRAMES) -> list[int]:
  """Chooses the frames to analyze in clips of `frames` frames, counted from 1.

  Returns:
    the `wanted` frames that the clips have, or the first and the last frame if that is fewer than
    two.
  """
  available = [frame for frame in wanted if frame <= frames]
  return available if len(available) > 1 else sorted({1, frames})


class Spectra:
  """Mean spectra over clips, in disjoint sets. Clip i of N belongs to set i * sets // N.

  Args:
    count: total number of clips N, at least `sets`.
    frames: frames of each clip to analyze, counted from 1.
    sets: number of sets.
  """

  def __init__(self, count: int, frames: list[int], sets: int = SETS):
    if count < sets:
      raise UserError(f"{count} clips do not make {sets} disjoint sets")
    self.count, self.frames, self.sets = count, frames, sets
    self._added, self._counts = 0, np.zeros(sets, int)
    self._sums: Any = None  # allocated with the first clips, which have its shape

  def add(self, clips: np.ndarray) -> None:
    """Adds the next clips, uint8 [n, T, L, L, 3]."""
    chosen = luma(clips[:, [frame - 1 for frame in self.frames]])
    size = chosen.shape[-1]
    spectra = radial_average(power(chosen.reshape(-1, *chosen.shape[2:])))
    spectra = spectra.reshape(len(clips), len(self.frames), -1)
    if self._sums is None:
      self._sums = np.zeros((self.sets, len(self.frames), size // 2 + 1))
    sets = np.arange(self._added, self._added + len(clips)) * self.sets // self.count
    np.add.at(self._sums, sets, spectra)
    np.add.at(self._counts, sets, 1)
    self._added += len(clips)

  def means(self) -> np.ndarray:
    """Mean spectrum of each set, float64 [sets, frames, L // 2 + 1]."""
    return self._sums / self._counts[:, None, None]


def compare(real: np.ndarray, generated: np.ndarray, frames: list[int]) -> list[dict]:
  """Spectra of each frame as records of `power_spectrum.json`.

  Args:
    real, generated: from `Spectra.means`, [sets, frames, bins].
    frames: of the second axis, counted from 1.

  Returns:
    [{"frame", "real": {"mean", "std"}, "generated": {...}, "high_frequency_db"}]. "mean" and "std"
    are the mean and the standard deviation (n - 1) over the sets, for each radius.
    "high_frequency_db" is the power of generated frames over that of real frames in decibels,
    averaged over the upper half of the frequencies: 0 is as sharp as real frames, -3 is half the
    power. It is None if no frequency has power in both.
  """
  records = []
  for index, frame in enumerate(frames):
    record: dict[str, Any] = {"frame": frame}
    for name, sets in (("real", real), ("generated", generated)):
      of_frame = sets[:, index]
      record[name] = {"mean": of_frame.mean(0).tolist(), "std": of_frame.std(0, ddof=1).tolist()}
    upper = slice((real.shape[-1] + 1) // 2, None)
    pair = [np.asarray(record[name]["mean"])[upper] for name in ("generated", "real")]
    nonzero = np.logical_and(pair[0] > _TINY, pair[1] > _TINY)
    decibels = 10 * np.log10(pair[0][nonzero] / pair[1][nonzero])
    record["high_frequency_db"] = float(decibels.mean()) if nonzero.any() else None
    records.append(record)
  return records


@plain_style
def plot(content: dict, path) -> None:
  """Draws mean +- standard deviation over the sets on logarithmic scales, one panel per frame.

  Args:
    content: of `power_spectrum.json`.
    path: of the PNG to write.
  """
  records, frequency = content["records"], np.asarray(content["frequency"])[1:]
  figure, panels = figures.new_figure(len(records), share_y=True)
  for axes, record in zip(panels, records, strict=True):
    for name, color in (("real", figures.REAL), ("generated", figures.GENERATED)):
      mean, std = (np.asarray(record[name][key])[1:] for key in ("mean", "std"))
      axes.plot(frequency, np.maximum(mean, _TINY), color=color, label=name, linewidth=1.4)
      low, high = np.maximum(mean - std, np.maximum(mean / 10, _TINY)), mean + std
      axes.fill_between(frequency, low, high, color=color, alpha=0.2, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("frequency, cycles per pixel", fontsize=figures.TEXT)
    difference = record["high_frequency_db"]
    note = "" if difference is None else f": {difference:+.1f} dB at high frequencies"
    axes.set_title(f"frame {record['frame']}{note}", fontsize=figures.TITLE)
  panels[0].set_ylabel("power (luma)", fontsize=figures.TEXT)
  panels[0].legend(fontsize=figures.SMALL)
  figures.write_figure(figure, path)
