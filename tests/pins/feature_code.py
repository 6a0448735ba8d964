r"""Digests of the code that computes features, to compare with its declared versions.

  python -m tests.pins.feature_code            tells which parts differ from the pin
  python -m tests.pins.feature_code --replace  writes the pin anew

A digest is of the syntax tree: comments, docstrings, layout and imports do not count. It covers a
network's own modules and those of its folder that it imports. What these use of the rest of the
project is pinned by the scores of the built-in moving shapes.
"""

import argparse
import ast
import hashlib
import importlib
import importlib.util
import json
import pathlib
import sys

from vidgan_jax.evaluation.features import code, extractor, preprocessing, resizing
from vidgan_jax.evaluation.features.architectures import moving_shapes

PIN = pathlib.Path(__file__).parent / "data" / "feature_code.json"
_IGNORED = ("ctx", "kind", "type_comment", "type_params", "type_ignores")


def syntax(source: str) -> str:
  """A digest of a source's syntax tree without docstrings and imports.

  It is the same by all versions of Python.
  """
  return hashlib.sha256(repr(_described(ast.parse(source))).encode()).hexdigest()[:16]


def _described(node):
  """A tree of tuples; fields that are empty do not count, as versions of Python differ in these."""
  if isinstance(node, ast.AST):
    fields = {name: getattr(node, name, None) for name in node._fields if name not in _IGNORED}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
      fields["body"] = [each for each in fields["body"] if not _is_left_out(each)]
    kept = {name: _described(value) for name, value in fields.items() if value not in (None, [])}
    return (type(node).__name__, *sorted(kept.items()))
  return [_described(each) for each in node] if isinstance(node, list) else node


def _is_left_out(node) -> bool:
  text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
  return text or isinstance(node, ast.Import | ast.ImportFrom)


def _source(module: str) -> str:
  return pathlib.Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")


def _own_modules(module: str) -> list[str]:
  """A network's module and those of its folder that it imports, in the order of imports."""
  folder, found, waiting = module.rpartition(".")[0], [], [module]
  while waiting:
    name = waiting.pop(0)
    if name in found:
      continue
    found.append(name)
    for node in ast.walk(ast.parse(_source(name))):
      if isinstance(node, ast.ImportFrom) and node.module == folder:
        waiting += [f"{folder}.{alias.name}" for alias in node.names]
      elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{folder}."):
        waiting.append(node.module)
  return found


def computed() -> dict[str, dict]:
  """{part: {"version": declared, "syntax": digests of its modules}}."""
  modules = {"preprocessing": [preprocessing.__name__, resizing.__name__]}
  modules["moving_shapes"] = _own_modules(moving_shapes.__name__)
  for network in extractor.NETWORKS.values():
    modules[network.code] = _own_modules(type(network.build().module).__module__)
  return {
    part: {"version": code.VERSIONS[part], "syntax": [syntax(_source(name)) for name in names]}
    for part, names in sorted(modules.items())
  }


def differing() -> list[str]:
  """A line for each part whose code or version is not the pinned one."""
  pinned, found = json.loads(PIN.read_text()) if PIN.exists() else {}, computed()
  lines = []
  for part in sorted({*pinned, *found}):
    old, new = pinned.get(part, {}), found.get(part, {})
    if old == new:
      continue
    if old.get("version") == new.get("version"):
      lines.append(
        f"the code of {part} differs, its version does not: where features move by more than "
        "rounding, raise it in VERSIONS; then run python -m tests.pins.feature_code --replace"
      )
    else:
      lines.append(f"{part} has another version; run python -m tests.pins.feature_code --replace")
  return lines


def main() -> int:
  """Tells what differs; writes the pin."""
  parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.pins.feature_code")
  parser.add_argument("--replace", action="store_true", help="write the pin anew")
  replace = parser.parse_args().replace
  lines = differing()
  print("\n".join(lines) or "nothing differs")
  if replace:
    PIN.write_text(json.dumps(computed(), indent=1) + "\n")
    print(f"written: {PIN}")
  return 2 if lines and not replace else 0


if __name__ == "__main__":
  sys.exit(main())
