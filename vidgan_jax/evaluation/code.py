"""Which code makes features: kept with them, so that those of other code are not taken for its own.

The code of a network is its module and what that imports of the rooms that compute. Any change of a
source file counts, of a comment too: features made anew cost time, stale ones a wrong number.
"""

import ast
import functools
import hashlib
import importlib.util
import pathlib
from collections.abc import Iterable

# Imports of these packages are followed.
_ROOMS = ("vidgan_jax.evaluation.networks.", "vidgan_jax.layers.", "vidgan_jax.ops.")
_ALWAYS = ("vidgan_jax.evaluation.preprocessing", "vidgan_jax.evaluation.resizing")
_DIGITS = 12


def digest(modules: Iterable[str]) -> str:
  """Twelve digits of the sources that turn clips into features.

  Args:
    modules: names of those of a network; preprocessing is added, and what they import.

  Raises:
    ModuleNotFoundError: where there is no such module.
  """
  found, waiting = {}, [*_ALWAYS, *modules]
  while waiting:
    name = waiting.pop()
    if name not in found:
      found[name] = _source(name)
      waiting += _imported(found[name])
  total = hashlib.sha256()
  for name, source in sorted(found.items()):
    total.update(f"{name} {len(source)}\n{source}".encode())
  return total.hexdigest()[:_DIGITS]


def _source(name: str) -> str:
  spec = importlib.util.find_spec(name)
  if spec is None or spec.origin is None:
    raise ModuleNotFoundError(f"no source of {name}")
  return pathlib.Path(spec.origin).read_text(encoding="utf-8")  # line ends become one kind


@functools.cache
def _imported(source: str) -> tuple[str, ...]:
  """Modules of the rooms that a source imports, wherever in it it does."""
  names = []
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
      names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
  return tuple(name for name in names if name.startswith(_ROOMS) and _is_module(name))


def _is_module(name: str) -> bool:
  try:
    return importlib.util.find_spec(name) is not None
  except ModuleNotFoundError:  # its parent is a module that has no parts, as of a function's name
    return False
