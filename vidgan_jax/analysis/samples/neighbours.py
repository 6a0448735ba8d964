"""Nearest training clips of generated clips: has the model memorised its training set?

Thesis 4.3 shows, for each generated clip, the closest clip of the same class in the training set.
This module makes such pictures and adds a number: the distance to the nearest training clip divided
by the distance to the nearest held-out clip, among equally many clips of each set. The ratio is
below 1 for a model that copies training clips and about 1 for a model that generalises.

The ratio also depends on which clips are in the two sets. Its confidence interval, a bootstrap over
generated clips, does not cover this. The control does: it is the same ratio for further held-out
clips, which no model has produced.

Distances are root mean square differences: between pixels in 0..255, or between features. They are
computed in float64, where sums of products of bytes are exact, so an exact copy has distance 0.
"""

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidgan_jax.runtime.text import printable

_BLOCK_BYTES = 64 * 2**20  # maximum size of the float64 numbers of one side
_TILE = 200  # minimum width of a clip's frames in pixels, so that a caption fits below them
_BACKGROUND, _FOREGROUND = 24, 235  # grey levels
_TITLES = ("generated", "nearest", "2nd nearest", "3rd nearest")


def distances(a: np.ndarray, b: np.ndarray, block_bytes: int = _BLOCK_BYTES) -> np.ndarray:
  """Root mean square differences between all of a [N, ...] and all of b [M, ...]; float64 [N, M].

  Memory is bounded: at most `block_bytes` of each side are float64 at a time.
  """
  a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
  size = a.shape[1]
  step = max(1, block_bytes // (8 * size))
  result = np.empty((len(a), len(b)))
  for top in range(0, len(a), step):
    rows = a[top : top + step].astype(np.float64)
    for left in range(0, len(b), step):
      columns = b[left : left + step].astype(np.float64)
      squares = np.einsum("nd,nd->n", rows, rows)[:, None] - 2 * rows @ columns.T
      squares += np.einsum("nd,nd->n", columns, columns)
      result[top : top + step, left : left + step] = squares
  return np.sqrt(np.maximum(result, 0) / size)


class ClassDistances:
  """Distances from each query to all searched clips of the same class.

  The searched clips are added in blocks and not stored. Memory is 16 bytes per pair of a query and
  a searched clip of its class.

  Args:
    queries: [N, ...], pixels or features.
    labels: int [N].
  """

  def __init__(self, queries: np.ndarray, labels: np.ndarray):
    self._queries, self._labels = queries, np.asarray(labels)
    self._distances = [[] for _ in queries]
    self._positions = [[] for _ in queries]
    self._count = 0

  def add(self, others: np.ndarray, labels: np.ndarray) -> None:
    """Adds the next block of searched clips, [M, ...], with labels int [M]."""
    labels = np.asarray(labels)
    for label in np.intersect1d(self._labels, labels):
      rows, columns = np.flatnonzero(self._labels == label), np.flatnonzero(labels == label)
      between = distances(self._queries[rows], others[columns])
      for row, of_query in zip(rows, between, strict=True):
        self._distances[row].append(of_query)
        self._positions[row].append(self._count + columns)
    self._count += len(others)

  def of(self, query: int) -> np.ndarray:
    """Distances of one query to the clips of its class, in the order in which they were added."""
    return np.concatenate([*self._distances[query], np.zeros(0)])

  def nearest(self, query: int, k: int) -> list[tuple[int, float]]:
    """The k nearest clips of a query as (position, distance), nearest first.

    The position is the clip's index among all added clips.
    """
    of_query = self.of(query)
    positions = np.concatenate([*self._positions[query], np.zeros(0, int)])
    order = np.argsort(of_query, kind="stable")[:k]
    return [(int(positions[i]), float(of_query[i])) for i in order]


def search(
  queries: np.ndarray,
  labels: np.ndarray,
  blocks: Iterable[tuple[np.ndarray, np.ndarray]],
  spaces: dict[str, Callable[[np.ndarray], np.ndarray]],
) -> dict[str, ClassDistances]:
  """Computes distances in several spaces in one pass over the clips to search.

  Args:
    queries: uint8 [N, T, H, W, 3].
    labels: int [N].
    blocks: yields (clips uint8 [M, T, H, W, 3], labels int [M]).
    spaces: {name: function from clips to vectors [M, ...]}.

  Returns:
    {name: `ClassDistances`}.
  """
  result = {name: ClassDistances(embed(queries), labels) for name, embed in spaces.items()}
  for clips, clip_labels in blocks:
    for name, embed in spaces.items():
      result[name].add(embed(clips), clip_labels)
  return result


def nearest_of_equally_many(
  train: ClassDistances, held_out: ClassDistances, queries
) -> tuple[np.ndarray, np.ndarray]:
  """Distances to the nearest training clip and to the nearest held-out clip, for each query.

  Both are searched among the first n clips of the query's class, n the number of clips in the
  smaller set: the nearest of many clips is nearer than the nearest of few.

  Args:
    train, held_out: distances of the same queries.
    queries: indices of the queries to compare.

  Returns:
    (float64 [N] to training clips, float64 [N] to held-out clips); infinite if a class has no clip.
  """
  pairs = []
  for query in queries:
    to_train, to_held_out = train.of(query), held_out.of(query)
    count = min(len(to_train), len(to_held_out))
    pairs.append([row[:count].min(initial=np.inf) for row in (to_train, to_held_out)])
  nearest_train, nearest_held_out = np.array(pairs, np.float64).reshape(-1, 2).T
  return nearest_train, nearest_held_out


def held_out_ratio(to_train: np.ndarray, to_held_out: np.ndarray, seed: int = 0) -> dict:
  """Compares distances to the nearest training clip with those to the nearest held-out one.

  Args:
    to_train, to_held_out: float [N], from `nearest_of_equally_many`. Pairs that are not finite are
      left out.
    seed: of the bootstrap.

  Returns:
    {"count": number of pairs, "median_ratio": median of to_train / to_held_out, "interval": its
    95 % confidence interval (bootstrap over clips), "closer_to_train": fraction of clips that are
    nearer to training clips, ties counted half; 0.5 is expected without memorisation}. All but
    "count" are None if no pair is left.
  """
  finite = np.isfinite(to_train) & np.isfinite(to_held_out)
  train, held_out = to_train[finite], to_held_out[finite]
  if not len(train):
    return dict.fromkeys(("median_ratio", "interval", "closer_to_train")) | {"count": 0}
  equal = train == held_out
  ratio = np.where(equal, 1.0, train / np.maximum(held_out, np.finfo(float).tiny))
  draws = np.random.default_rng(seed).integers(len(ratio), size=(1000, len(ratio)))
  return {
    "count": len(ratio),
    "median_ratio": float(np.median(ratio)),
    "interval": np.quantile(np.median(ratio[draws], axis=1), (0.025, 0.975)).tolist(),
    "closer_to_train": float(np.mean((train < held_out) + 0.5 * equal)),
  }


def picture(
  queries: np.ndarray,
  neighbours: list[list[np.ndarray]],
  captions: list[list[str]],
  frames: int = 4,
) -> np.ndarray:
  """Draws one row per generated clip: some of its frames, then the same frames of its neighbours.

  Small clips are enlarged by a whole factor. Each column has a title, and each clip has a caption
  below it.

  Args:
    queries: generated clips, uint8 [N, T, H, W, 3].
    neighbours: for each generated clip its neighbours, uint8 [T, H, W, 3], nearest first. The
      number of neighbours may vary.
    captions: for each generated clip its own caption, then those of its neighbours.
    frames: number of frames to show of each clip, evenly spaced.

  Returns:
    uint8 [height, width, 3].
  """
  length, height, width = queries.shape[1:4]
  shown = np.unique(np.linspace(0, length - 1, min(frames, length)).round().astype(int))
  scale = -(-_TILE // (len(shown) * width))
  tile, height = len(shown) * width * scale, height * scale
  size = max(13, tile // 18)  # of text, pixels
  line, gap = size * 8 // 5, max(6, tile // 24)
  columns = 1 + max(map(len, neighbours))
  row_height = height + line
  sheet = Image.new(
    "RGB", (columns * (tile + gap) - gap, line + len(queries) * row_height), (_BACKGROUND,) * 3
  )
  draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)

  def write(text, left, top):
    text = printable(text)
    while draw.textlength(text, font) > tile:
      text = text[:-2] + "…" if len(text) > 1 else ""
    draw.text((left, top + line / 2), text, fill=(_FOREGROUND,) * 3, font=font, anchor="lm")

  for column in range(columns):
    write(_TITLES[column] if column < len(_TITLES) else f"{column}th", column * (tile + gap), 0)
  for row, (query, others, texts) in enumerate(zip(queries, neighbours, captions, strict=True)):
    for column, (clip, text) in enumerate(zip([query, *others], texts, strict=True)):
      left, top = column * (tile + gap), line + row * row_height
      strip = np.concatenate(list(clip[shown]), axis=1).repeat(scale, 0).repeat(scale, 1)
      sheet.paste(Image.fromarray(strip), (left, top))
      write(text, left, top + height)
  return np.asarray(sheet)
