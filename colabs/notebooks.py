"""Makes the notebooks from their sources, and runs them.

  python colabs/notebooks.py build               writes colabs/NAME.ipynb from colabs/NAME.py
  python colabs/notebooks.py check               exit code 1 if a notebook is not that of its source
  python colabs/notebooks.py run [--fast] [--output=DIR] [NAME ...]

The sources are Python files in which "# %%" begins a cell (jupytext's format py:percent). `build`
puts a badge into the first cell, adds the cell that installs the package (first_cell.py), and
writes no outputs.

`run` runs notebooks top to bottom, each in an empty temporary folder, prints how long they took,
and writes them with their outputs to DIR/NAME.ipynb (by default runs/notebooks). --fast sets
VIDGAN_JAX_FAST=1: a few iterations and clips, for tests. Without it, a notebook that takes more
than five minutes fails.

Needs `pip install vidgan_jax[notebooks]`. Exit codes: 0 done; 1 a notebook failed or is out of
date; 2 wrong arguments.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

COLABS = pathlib.Path(__file__).resolve().parent
NAMES = ("sample_and_explore", "train_quickstart", "score_your_videos", "predict_and_unroll")
FAST = "VIDGAN_JAX_FAST"  # environment variable
LIMIT = 300  # seconds for a notebook, on two CPU cores

# The project's address on GitHub, for the badges and the cell that installs. Set it when the
# project is published, and build again. GitHub has no account of this name: it allows no
# underscores.
REPOSITORY = "YOUR_ACCOUNT/vidgan_jax"
_COLAB = "https://colab.research.google.com"
_METADATA = {
  "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
  "language_info": {"name": "python"},
}


def badge(name):
  """The badge of a notebook, as Markdown: a link that opens it in Colab."""
  address = f"{_COLAB}/github/{REPOSITORY}/blob/main/colabs/{name}.ipynb"
  return f"[![Open In Colab]({_COLAB}/assets/colab-badge.svg)]({address})"


def first_cell():
  """The source of the cell that installs the package."""
  text = (COLABS / "first_cell.py").read_text(encoding="utf-8")
  return text.replace("{repository}", REPOSITORY).rstrip()


def build(name):
  """The text of a notebook, made from its source: JSON in nbformat 4.5, without outputs."""
  import jupytext

  source = (COLABS / f"{name}.py").read_text(encoding="utf-8")
  cells = [(c.cell_type, c.source) for c in jupytext.reads(source, fmt="py:percent").cells]
  (kind, head), *others = cells
  if kind != "markdown":
    raise ValueError(f"{name}.py must begin with a Markdown cell")
  cells = [(kind, f"{badge(name)}\n\n{head}"), ("code", first_cell()), *others]
  content = {
    "cells": [_cell(number, *cell) for number, cell in enumerate(cells)],
    "metadata": _METADATA,
    "nbformat": 4,
    "nbformat_minor": 5,
  }
  return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _cell(number, kind, source):
  """A cell as nbformat stores it. Its id is its number, so that equal sources give equal files."""
  cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
  if kind == "code":
    cell |= {"execution_count": None, "outputs": []}
  return cell | {"source": source.splitlines(keepends=True)}


def run(name, output, fast):
  """Runs a notebook in an empty folder; returns the seconds it took.

  `output`/NAME.ipynb is the notebook with its outputs, those up to the error if a cell fails.

  Raises:
    nbclient.exceptions.CellExecutionError: a cell fails.
  """
  import nbclient
  import nbformat

  notebook = nbformat.read(COLABS / f"{name}.ipynb", as_version=4)
  output.mkdir(parents=True, exist_ok=True)
  os.environ.pop(FAST, None)
  if fast:
    os.environ[FAST] = "1"  # the kernel gets this process's environment
  begin = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    client = nbclient.NotebookClient(
      notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    try:
      client.execute()
    finally:
      nbformat.write(notebook, output / f"{name}.ipynb")
  return time.monotonic() - begin


def _run_all(names, output, fast):
  """Runs notebooks; returns the exit code."""
  from nbclient.exceptions import CellExecutionError

  code = 0
  for name in names:
    try:
      seconds = run(name, output, fast)
    except CellExecutionError as error:
      print(f"{name}: failed\n{error}", file=sys.stderr)
      code = 1
      continue
    late = not fast and seconds > LIMIT
    print(f"{name}: {seconds:.0f} s{f', more than {LIMIT} s' if late else ''}")
    code = 1 if late else code
  for name in names:
    print(f"written: {output / name}.ipynb")
  return code


def main(arguments=None):
  """Runs the command; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("command", choices=("build", "check", "run"))
  parser.add_argument(
    "names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(NAMES)}"
  )
  parser.add_argument("--fast", action="store_true", help="run with few iterations and clips")
  parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/notebooks"))
  options = parser.parse_intermixed_args(arguments)  # names may follow options
  names = options.names or NAMES
  if unknown := set(names) - set(NAMES):
    parser.error(f"unknown notebook {sorted(unknown)[0]}; known: {', '.join(NAMES)}")
  if options.command == "run":
    return _run_all(names, options.output.resolve(), options.fast)
  stale = []
  for name in names:
    path, text = COLABS / f"{name}.ipynb", build(name)
    if options.command == "build":
      path.write_text(text, encoding="utf-8")
      print(f"written: {path}")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
      stale.append(name)
  if stale:
    print(f"out of date: {', '.join(stale)}; python colabs/notebooks.py build", file=sys.stderr)
  return 1 if stale else 0


if __name__ == "__main__":
  sys.exit(main())
