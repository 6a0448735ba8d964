"""Nearest neighbours of generated clips among those of training: has the model memorised?

Thesis 4.3 shows, for each generated clip, the closest clip of the same class in the training set.
Pictures tell most; beside them stands a number: the distance to the nearest training clip over the
distance to the nearest of equally many clips that were held out. A model that copies is nearer to
what it has seen (below 1), one that generalises is as near to either (about 1). Which clips happen
to be in both sets moves the ratio too, and the interval, taken over generated clips, does not tell
of that; a control does: the ratio of other held-out clips against the same two sets.

Distances are Euclidean per number: between pixels, the root mean square difference in 0..255;
between features, the root mean square difference. They are computed in float64, where products of
bytes sum without rounding: the distance of an exact copy is 0.
"""

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidgan_jax.runtime.text import printable

_BLOCK_BYTES = 64 * 2**20  # of one side's float64 numbers at a time
_TILE = 200  # pixels in width that a clip's frames take at least, so that words fit below them
_GROUND, _INK = 24, 235
_TITLES = ("generated", "nearest", "2nd nearest", "3rd nearest")


def distances(a: np.ndarray, b: np.ndarray, block_bytes: int = _BLOCK_BYTES) -> np.ndarray:
  """Root mean square differences between all of a [N, ...] and all of b [M, ...]; float64 [N, M].

  Memory is bounded: at most `block_bytes` of each side are float64 at a time.
  """
  a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
  size = a.shape[1]
  step = max(1, block_bytes // (8 * size))
  found = np.empty((len(a), len(b)))
  for top in range(0, len(a), step):
    rows = a[top : top + step].astype(np.float64)
    for left in range(0, len(b), step):
      columns = b[left : left + step].astype(np.float64)
      squares = np.einsum("nd,nd->n", rows, rows)[:, None] - 2 * rows @ columns.T
      squares += np.einsum("nd,nd->n", columns, columns)
      found[top : top + step, left : left + step] = squares
  return np.sqrt(np.maximum(found, 0) / size)


class Found:
  """Distances from each of the queries to what has been seen of its own class.

  Clips pass by in blocks; kept are 8 bytes for each query and clip of its class.

  Args:
    queries: [N, ...], pixels or features.
    labels: int [N].
  """

  def __init__(self, queries: np.ndarray, labels: np.ndarray):
    self._queries, self._labels = queries, np.asarray(labels)
    self._distances = [[] for _ in queries]
    self._places = [[] for _ in queries]
    self._seen = 0

  def add(self, others: np.ndarray, labels: np.ndarray) -> None:
    """Looks at the next block, [M, ...] with labels int [M]."""
    labels = np.asarray(labels)
    for label in np.intersect1d(self._labels, labels):
      rows, columns = np.flatnonzero(self._labels == label), np.flatnonzero(labels == label)
      for row, found in zip(rows, distances(self._queries[rows], others[columns]), strict=True):
        self._distances[row].append(found)
        self._places[row].append(self._seen + columns)
    self._seen += len(others)

  def of(self, query: int) -> np.ndarray:
    """Distances of one query to the clips of its class, in the order in which they came."""
    return np.concatenate([*self._distances[query], np.zeros(0)])

  def nearest(self, query: int, k: int) -> list[tuple[int, float]]:
    """(number in the order of coming, distance) of its k nearest, nearest first."""
    own = self.of(query)
    places = np.concatenate([*self._places[query], np.zeros(0, int)])
    order = np.argsort(own, kind="stable")[:k]
    return [(int(places[i]), float(own[i])) for i in order]


def search(
  queries: np.ndarray,
  labels: np.ndarray,
  blocks: Iterable[tuple[np.ndarray, np.ndarray]],
  spaces: dict[str, Callable[[np.ndarray], np.ndarray]],
) -> dict[str, Found]:
  """Distances in several spaces in one pass over the clips to search.

  Args:
    queries: uint8 [N, T, H, W, 3].
    labels: int [N].
    blocks: yields (clips uint8 [M, T, H, W, 3], labels int [M]).
    spaces: {name: function from clips to vectors [M, ...]}.

  Returns:
    {name: `Found`}.
  """
  found = {name: Found(embed(queries), labels) for name, embed in spaces.items()}
  for clips, own in blocks:
    for name, embed in spaces.items():
      found[name].add(embed(clips), own)
  return found


def nearest_of_equally_many(
  train: Found, held_out: Found, queries
) -> tuple[np.ndarray, np.ndarray]:
  """Distances to the nearest training and held-out clip among the first n of each.

  n is, class by class, the smaller of both numbers: the nearest of many is nearer than that of few.

  Args:
    train, held_out: of the same queries.
    queries: which of them.

  Returns:
    (float64 [N], float64 [N]); infinite where a class has none.
  """
  pairs = []
  for query in queries:
    one, other = train.of(query), held_out.of(query)
    count = min(len(one), len(other))
    pairs.append([rows[:count].min(initial=np.inf) for rows in (one, other)])
  one, other = np.array(pairs, np.float64).reshape(-1, 2).T
  return one, other


def held_out_ratio(to_train: np.ndarray, to_held_out: np.ndarray, seed: int = 0) -> dict:
  """Compares distances to the nearest training clip with those to the nearest held-out one.

  Args:
    to_train, to_held_out: float [N], of the same clips among equally many of each; pairs that are
      not finite are left out.
    seed: of the bootstrap.

  Returns:
    {"count", "median_ratio", "interval" (95 %, bootstrap over clips), "closer_to_train"}: the
    median of train / held-out, and the share of clips nearer to training (ties count half; a half
    is what a model that has not memorised shows). None where nothing is left.
  """
  good = np.isfinite(to_train) & np.isfinite(to_held_out)
  train, held_out = to_train[good], to_held_out[good]
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
  found: list[list[np.ndarray]],
  captions: list[list[str]],
  frames: int = 4,
) -> np.ndarray:
  """One picture: a row per generated clip, its frames, and after a gap those of each neighbour.

  Small clips are enlarged by a whole number. Columns have titles, and each clip a caption below it.

  Args:
    queries: uint8 [N, T, H, W, 3].
    found: for each of them its neighbours, uint8 [T, H, W, 3], nearest first; rows may be short.
    captions: for each of them that of the generated clip, then those of its neighbours.
    frames: of each clip, evenly spaced, that are shown.

  Returns:
    uint8 [height, width, 3].
  """
  length, height, width = queries.shape[1:4]
  shown = np.unique(np.linspace(0, length - 1, min(frames, length)).round().astype(int))
  scale = -(-_TILE // (len(shown) * width))
  tile, height = len(shown) * width * scale, height * scale
  size = max(13, tile // 18)  # of text, pixels
  line, gap = size * 8 // 5, max(6, tile // 24)
  columns = 1 + max(map(len, found))
  below = height + line
  sheet = Image.new(
    "RGB", (columns * (tile + gap) - gap, line + len(queries) * below), (_GROUND,) * 3
  )
  pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)

  def write(words, left, top):
    words = printable(words)
    while pen.textlength(words, font) > tile:
      words = words[:-2] + "…" if len(words) > 1 else ""
    pen.text((left, top + line / 2), words, fill=(_INK,) * 3, font=font, anchor="lm")

  for column in range(columns):
    write(_TITLES[column] if column < len(_TITLES) else f"{column}th", column * (tile + gap), 0)
  for row, (query, others, told) in enumerate(zip(queries, found, captions, strict=True)):
    for column, (clip, words) in enumerate(zip([query, *others], told, strict=True)):
      left, top = column * (tile + gap), line + row * below
      strip = np.concatenate(list(clip[shown]), axis=1).repeat(scale, 0).repeat(scale, 1)
      sheet.paste(Image.fromarray(strip), (left, top))
      write(words, left, top + height)
  return np.asarray(sheet)
