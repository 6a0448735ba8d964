"""Writes the results of analyses as JSON and PNG files. A file is complete or absent."""

import json
import math
import os
import pathlib

from vidgan_jax.runtime.files.atomic_files import atomic_file

REAL, GENERATED = "#2563a8", "#c2410c"  # colours, the same in all plots and in the report
TITLE, TEXT, SMALL = 12, 11, 10  # font sizes in points, readable when a plot fills a screen


def write_json(path: str | os.PathLike, content: dict) -> pathlib.Path:
  """Writes a dictionary as JSON; numbers that are not finite become null.

  Raises:
    UserError: the file cannot be written.
  """
  path = pathlib.Path(path)
  with atomic_file(path) as temporary:
    pathlib.Path(temporary).write_text(
      json.dumps(_finite(content), indent=1) + "\n", encoding="utf-8"
    )
  return path


def _finite(value):
  """The same value with NaN and infinities, which JSON does not have, replaced by None."""
  if isinstance(value, dict):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def new_figure(columns: int, *, rows: int = 1, share_y: bool = False, height: float = 3.9):
  """Makes a figure of rows x columns panels; returns (figure, panels [rows * columns]).

  Args:
    columns, rows: numbers of panels.
    share_y: whether all panels share the vertical axis.
    height: of a row in inches. Panels are 5.2 inches wide.
  """
  from matplotlib.figure import Figure  # takes a second to import, and only plots need it

  figure = Figure(figsize=(5.2 * columns, height * rows), layout="constrained")
  return figure, figure.subplots(rows, columns, squeeze=False, sharey=share_y).ravel()


def write_figure(figure, path: str | os.PathLike) -> pathlib.Path:
  """Writes a figure as PNG.

  Raises:
    UserError: the file cannot be written.
  """
  path = pathlib.Path(path)
  with atomic_file(path) as temporary:
    figure.savefig(temporary, format="png", dpi=110)
  return path
