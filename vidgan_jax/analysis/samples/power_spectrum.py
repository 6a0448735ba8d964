"""Radially averaged power spectra of frames, real against generated (SSW-GAN, appendix E).

Blurred frames lack power at high frequencies, checkerboards and noise have too much. If generated
frames lose it from the first to the last, a model blurs as it goes on.

The spectrum of a frame Z of L x L pixels is |FFT(Z)|^2 / L^2, averaged over the frequencies whose
distance from zero rounds to r = 0, 1, ..., L/2 (Ayzel et al. 2020). So white noise of variance s^2
is flat at s^2, and the sum over all frequencies is that of the squared pixels (Parseval). Frames
are luma (Rec. 601) in [0, 1]; the paper does not say what it does with colour. r = L/2, half a
cycle per pixel, is kept; what lies in the corners beyond it is left out, as there.
"""

from typing import Any

import numpy as np

from vidgan_jax.analysis.samples import figures
from vidgan_jax.runtime.drawing import plain_style
from vidgan_jax.runtime.errors import UserError

FRAMES = (1, 10, 25, 50)  # the paper's, counted from 1
SETS = 3
_LUMA = np.array([0.299, 0.587, 0.114]) / 255.0
_TINY = 1e-12  # power below it is rounding


def luma(frames: np.ndarray) -> np.ndarray:
  """Luma by Rec. 601 in [0, 1], float64 [..., H, W], of uint8 frames [..., H, W, 3]."""
  return frames @ _LUMA


def power(images: np.ndarray) -> np.ndarray:
  """|FFT|^2 / (H W) of images [N, H, W], zero frequency in the middle; float64 [N, H, W]."""
  transformed = np.fft.fftshift(np.fft.fft2(images), axes=(-2, -1))
  return np.square(np.abs(transformed)) / (images.shape[-2] * images.shape[-1])


def radii(size: int) -> np.ndarray:
  """Whole distances from the zero frequency of `power`'s result, int [size, size]."""
  line = np.arange(size) - size // 2
  return np.round(np.hypot(line[:, None], line)).astype(int)


def radial_average(spectra: np.ndarray) -> np.ndarray:
  """Means over rings of `power`'s result [N, L, L]; float64 [N, L // 2 + 1], r = 0 to L / 2.

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
  """Those of `wanted`, counted from 1, that clips of so many frames have; else first and last."""
  found = [frame for frame in wanted if frame <= frames]
  return found if len(found) > 1 else sorted({1, frames})


class Spectra:
  """Sums of spectra over clips, in disjoint sets: clip i of N is in set i * sets // N.

  Args:
    count: clips N in all, at least `sets`.
    frames: of the clips to look at, counted from 1.
    sets: how many.
  """

  def __init__(self, count: int, frames: list[int], sets: int = SETS):
    if count < sets:
      raise UserError(f"{count} clips do not make {sets} disjoint sets")
    self.count, self.frames, self.sets = count, frames, sets
    self._seen, self._counts = 0, np.zeros(sets, int)
    self._sums: Any = None  # its shape is known with the first clips

  def add(self, clips: np.ndarray) -> None:
    """Adds the next clips, uint8 [n, T, L, L, 3]."""
    chosen = luma(clips[:, [frame - 1 for frame in self.frames]])
    size = chosen.shape[-1]
    found = radial_average(power(chosen.reshape(-1, *chosen.shape[2:])))
    found = found.reshape(len(clips), len(self.frames), -1)
    if self._sums is None:
      self._sums = np.zeros((self.sets, len(self.frames), size // 2 + 1))
    places = np.arange(self._seen, self._seen + len(clips)) * self.sets // self.count
    np.add.at(self._sums, places, found)
    np.add.at(self._counts, places, 1)
    self._seen += len(clips)

  def means(self) -> np.ndarray:
    """Each set's mean spectrum, float64 [sets, frames, L // 2 + 1]."""
    return self._sums / self._counts[:, None, None]


def compare(real: np.ndarray, generated: np.ndarray, frames: list[int]) -> list[dict]:
  """Spectra of each frame as records of `power_spectrum.json`.

  Args:
    real, generated: from `Spectra.means`, [sets, frames, bins].
    frames: counted from 1.

  Returns:
    [{"frame", "real": {"mean", "std"}, "generated": {...}, "high_frequency_db"}]: means and
    standard deviations (n - 1) over the sets for each radius, and by how many decibels the
    generated frames' power differs from the real ones', on average over the upper half of the
    frequencies. 0 is as sharp as real, -3 half the power, None where there is no power at all.
  """
  records = []
  for place, frame in enumerate(frames):
    record: dict[str, Any] = {"frame": frame}
    for name, sets in (("real", real), ("generated", generated)):
      own = sets[:, place]
      record[name] = {"mean": own.mean(0).tolist(), "std": own.std(0, ddof=1).tolist()}
    upper = slice((real.shape[-1] + 1) // 2, None)
    pair = [np.asarray(record[name]["mean"])[upper] for name in ("generated", "real")]
    seen = np.logical_and(pair[0] > _TINY, pair[1] > _TINY)
    decibels = 10 * np.log10(pair[0][seen] / pair[1][seen])
    record["high_frequency_db"] = float(decibels.mean()) if seen.any() else None
    records.append(record)
  return records


@plain_style
def plot(found: dict, path) -> None:
  """Draws mean +- standard deviation over the sets, a panel for each frame, on log scales.

  Args:
    found: content of `power_spectrum.json`.
    path: the PNG to write.
  """
  records, frequency = found["records"], np.asarray(found["frequency"])[1:]
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
    told = "" if difference is None else f": {difference:+.1f} dB at high frequencies"
    axes.set_title(f"frame {record['frame']}{told}", fontsize=figures.TITLE)
  panels[0].set_ylabel("power (luma)", fontsize=figures.TEXT)
  panels[0].legend(fontsize=figures.SMALL)
  figures.write_figure(figure, path)
