"""HTML of clips, scores and messages. Text from files and folders is escaped."""

import dataclasses
import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from vidgan_jax.runtime.text import printable

FOLDER = "clips"  # of the addresses of the MP4 files


@dataclasses.dataclass(frozen=True)
class Shown:
  """Files of the clips of one generator.

  Attributes:
    name: of the generator.
    captions: what each clip shows.
    files: names in `KeptClips`; "" for a class that the generator does not have.
    together: name of the file with all clips in a grid.
    command: the call of `vidgan sample` that generates the same clips.
  """

  name: str
  captions: Sequence[str]
  files: Sequence[str]
  together: str
  command: str


def element(template: str, *values: object) -> Markup:
  """HTML with values in place of {}; text is put on one line and escaped."""
  texts = (printable(v) if isinstance(v, str) and not isinstance(v, Markup) else v for v in values)
  return Markup(template).format(*texts)


def joined(parts: Iterable[Markup]) -> Markup:
  """Some HTML after other."""
  return Markup("").join(parts)


def error(message: str) -> Markup:
  """A refusal as one line."""
  return element('<p class="vidgan-refusal" role="alert">error: {}</p>', " ".join(message.split()))


def note(message: str) -> Markup:
  """A remark."""
  return element('<p class="vidgan-remark">{}</p>', message)


def _file_name(*words: str) -> str:
  """A name for a download, with letters that every system accepts."""
  return "_".join(re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-") or "clip" for word in words)


def _link(file: str, name: str, text: str) -> Markup:
  address = f"{FOLDER}/{file}"
  return element('<a href="{}" download="{}.mp4">{}</a>', address, name, text)


def _tile(file: str, caption: str, name: str, link: str = "MP4") -> Markup:
  """A clip that plays, with a caption and a link to its file; without a file, a sign for that."""
  if not file:
    return element(
      '<figure><div class="vidgan-missing">no such class</div><figcaption><bdi dir="auto">{}</bdi>'
      "</figcaption></figure>",
      caption,
    )
  return element(
    '<figure><video src="{}" autoplay loop muted playsinline preload="auto" aria-label="{}">'
    '</video><figcaption><bdi dir="auto">{}</bdi> {}</figcaption></figure>',
    f"{FOLDER}/{file}",
    caption,
    caption,
    _link(file, name, link),
  )


def by_clip(shown: Sequence[Shown]) -> Markup:
  """One card for each clip, in it the same clip of each generator."""
  count = max(len(each.files) for each in shown)
  cards = []
  for number in range(count):
    caption = shown[0].captions[number]
    tiles = joined(
      _tile(
        each.files[number],
        each.name if len(shown) > 1 else caption,
        _file_name(each.name, caption, str(number)),
      )
      for each in shown
    )
    if len(shown) == 1:
      cards.append(tiles)
      continue
    head = element('<h3><bdi dir="auto">{}</bdi></h3>', caption)
    cards.append(
      element(
        '<section class="vidgan-card">{}<div class="vidgan-row">{}</div></section>', head, tiles
      )
    )
  kind = "vidgan-tiles" if len(shown) == 1 else "vidgan-cards"
  return element('<div class="{}">{}</div>{}', kind, joined(cards), joined(map(_footer, shown)))


def by_generator(shown: Sequence[Shown]) -> Markup:
  """One row of clips for each generator."""
  rows = []
  for each in shown:
    tiles = joined(
      _tile(file, caption, _file_name(each.name, str(number), caption))
      for number, (file, caption) in enumerate(zip(each.files, each.captions, strict=True))
    )
    head = element('<h3><bdi dir="auto">{}</bdi></h3>', each.name)
    rows.append(element('<section>{}<div class="vidgan-tiles">{}</div></section>', head, tiles))
  return joined([*rows, *map(_footer, shown)])


def _footer(shown: Shown) -> Markup:
  """The file of all clips, and the command that generates them."""
  return element(
    '<details class="vidgan-source"><summary><bdi dir="auto">{}</bdi>: {}</summary>The same '
    "clips in a shell: <code>{}</code></details>",
    shown.name,
    _link(shown.together, _file_name(shown.name, "all"), "all clips in one MP4"),
    shown.command,
  )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
  """A table of texts; on a narrow page each row becomes a block, with the heads as labels."""
  heads = joined(element("<th>{}</th>", name) for name in head)
  lines = []
  for row in rows:
    pairs = zip(head, row, strict=True)
    cells = (element('<td data-head="{}"><bdi dir="auto">{}</bdi></td>', *pair) for pair in pairs)
    lines.append(element("<tr>{}</tr>", joined(cells)))
  return element(
    '<table class="vidgan-scores"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>',
    heads,
    joined(lines),
  )
