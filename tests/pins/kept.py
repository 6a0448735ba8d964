"""The files of the pins."""

import json
import pathlib

import numpy as np

from tests.pins import compute

FOLDER = pathlib.Path(__file__).parent / "data"
NAMES = ("training", "scores", "parameters")


def exists() -> bool:
  """Whether any pins are there."""
  return any((FOLDER / f"{name}.json").exists() for name in NAMES)


def same_jax() -> bool:
  """Whether the pins were written with this version of JAX."""
  path = FOLDER / "machine.json"
  return path.exists() and json.loads(path.read_text())["jax"] == compute.machine()["jax"]


def read() -> dict[str, tuple[dict, dict]]:
  """{part: (its JSON, its arrays)}."""
  found = {}
  for name in NAMES:
    path = FOLDER / f"{name}.json"
    content, arrays = json.loads(path.read_text()) if path.exists() else {}, {}
    if path.with_suffix(".npz").exists():
      with np.load(path.with_suffix(".npz"), allow_pickle=False) as archive:
        arrays = dict(archive)
    found[name] = content, arrays
  return found


def write(found) -> list[pathlib.Path]:
  """Writes what `compute.run` returned; returns the files."""
  FOLDER.mkdir(exist_ok=True)
  written = []
  for name in NAMES:
    content, arrays = found[name]
    written.append(FOLDER / f"{name}.json")
    # A line for each entry: what a change moves is seen in a diff.
    lines = [
      f"{json.dumps(key)}: {json.dumps(value, sort_keys=True)}" for key, value in content.items()
    ]
    if name == "parameters":
      lines = _by_row(content)
    written[-1].write_text("{\n" + ",\n".join(lines) + "\n}\n")
    if arrays:
      written.append(FOLDER / f"{name}.npz")
      np.savez_compressed(written[-1], **arrays)
  written.append(FOLDER / "machine.json")
  written[-1].write_text(json.dumps(compute.machine(), indent=1) + "\n")
  return written


def _by_row(content) -> list[str]:
  lines = []
  for key, rows in content.items():
    own = [f" {json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in rows.items()]
    lines.append(f"{json.dumps(key)}: {{\n" + ",\n".join(own) + "\n}")
  return lines
