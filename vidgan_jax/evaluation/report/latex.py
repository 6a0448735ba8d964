"""Rows of LaTeX tables."""

from collections.abc import Iterable


def escape(text: str) -> str:
  """Text as a LaTeX document prints it, on one line; a backslash becomes a slash."""
  text = text.replace("\\", "/").replace("\n", " ")
  return "".join("\\" + c if c in "&%$#_{}" else {"~": "-", "^": "-"}.get(c, c) for c in text)


def cell(value: str, std: float | None, interval: tuple[str, str] | None = None) -> str:
  """A number in math mode, with its standard deviation and its interval if there are any."""
  if std is not None:
    value += rf" \pm {std:.2g}"
  if interval:
    low, high = interval
    value += rf"\;[{low}, {high}]"
  return f"${value}$"


def row(name: str, cells: Iterable[str]) -> str:
  """A row of a table: a name, which is escaped, and cells."""
  return " & ".join([escape(name), *cells]) + r" \\"
