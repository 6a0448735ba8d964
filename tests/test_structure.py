"""What a program can check of WORKSPACE.md: floors, import circles, sizes, ambient state."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vidgan_jax"

# A module imports from floors below its own, from its own room, and what is listed here.
FLOORS = {
  "runtime": 0,
  "data": 1,
  "ops": 1,
  "layers": 1,
  "objectives": 2,
  "weights": 2,
  "models": 3,
  "training": 4,
  "sampling": 4,
  "evaluation": 4,
  "analysis": 4,
  "viewer": 5,
}
COMMANDS = 6
ACROSS = {
  ("layers", "ops"),  # modules above what they compute with
}
# Packages and rooms: the cost summary counts the operations of the training step itself; programs
# of training and sampling are compiled for other hardware.
ACROSS_PACKAGES = {
  ("vidgan_jax.analysis.cost", "training"),
  ("vidgan_jax.analysis.topology", "training"),
  ("vidgan_jax.analysis.topology", "sampling"),
}
# A run's state and its frozen earlier stages, which sampling and others read.
ACROSS_MODULES = {"vidgan_jax.training.state", "vidgan_jax.training.earlier"}


def module_name(path: pathlib.Path) -> str:
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def sources() -> dict[str, ast.Module]:
  return {module_name(p): ast.parse(p.read_text("utf-8")) for p in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def imports(name: str) -> frozenset[str]:
  """Modules of the package that a module imports, within functions too."""
  found = set()
  for node in ast.walk(sources()[name]):
    if isinstance(node, ast.Import):
      found.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
      parts = {f"{node.module}.{alias.name}" for alias in node.names}
      found.update(parts if parts <= set(sources()) else parts | {node.module})
  packages = {module_name(p) for p in PACKAGE.rglob("__init__.py")}
  return frozenset((found & set(sources())) - packages - {name})


def room(name: str) -> str:
  return name.split(".")[1] if name.count(".") > 1 else ""


def test_every_room_has_a_floor():
  assert {room(name) for name in sources()} - {""} <= set(FLOORS)
  rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
  assert rooms <= set(FLOORS)


@pytest.mark.parametrize("name", sorted(sources()))
def test_imports_come_from_floors_below(name):
  floor = FLOORS.get(room(name), COMMANDS)
  for other in imports(name):
    if other == "vidgan_jax" or room(other) == room(name) or other in ACROSS_MODULES:
      continue
    below = FLOORS.get(room(other), COMMANDS) < floor
    package = (name.rpartition(".")[0], room(other))
    listed = (room(name), room(other)) in ACROSS or package in ACROSS_PACKAGES
    assert below or listed, f"{name} imports {other}"


def test_no_circle_of_imports():
  done, path = set(), []

  def visit(name):
    if name in path:
      raise AssertionError(" -> ".join([*path[path.index(name) :], name]))
    if name not in done:
      path.append(name)
      for other in sorted(imports(name)):
        visit(other)
      done.add(path.pop())

  for name in sources():
    visit(name)


def test_folders_have_at_most_16_modules():
  for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
    count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
    assert count <= 16, f"{folder.relative_to(ROOT)} has {count} modules"


@pytest.mark.parametrize("name", sorted(sources()))
def test_files_and_functions_are_short(name):
  path = PACKAGE.parent / pathlib.Path(*name.split("."))
  path = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
  lines = len(path.read_text("utf-8").splitlines())
  assert lines <= 400, f"{name} has {lines} lines"
  for node in ast.walk(sources()[name]):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      length = node.end_lineno - node.lineno + 1
      assert length <= 80, f"{name}.{node.name} has {length} lines"


@pytest.mark.parametrize("name", sorted(sources()))
def test_no_ambient_state_above_runtime(name):
  """A program may be traced here for another device: nothing asks for this process's backend."""
  if room(name) == "runtime":
    return
  for node in ast.walk(sources()[name]):
    words = {getattr(node, key, None) for key in ("id", "attr", "name")}
    assert not words & {"ContextVar", "default_backend"}, f"{name}:{node.lineno}"
