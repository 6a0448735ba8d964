"""The notebooks in colabs/: made from their sources, without outputs, run from top to bottom."""

import ast
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "colabs" / "notebooks.py"
INSTALL = "pip install 'vidgan_jax[notebooks]' installs it"


def script():
  """colabs/notebooks.py as a module."""
  spec = importlib.util.spec_from_file_location("notebooks", SCRIPT)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


notebooks = script()
every = pytest.mark.parametrize("name", notebooks.NAMES)


def cells(name, kind):
  content = json.loads((ROOT / "colabs" / f"{name}.ipynb").read_text("utf-8"))
  return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


def test_every_source_is_a_notebook():
  others = {"notebooks", "first_cell"}
  assert {path.stem for path in (ROOT / "colabs").glob("*.py")} - others == set(notebooks.NAMES)
  assert {path.stem for path in (ROOT / "colabs").glob("*.ipynb")} == set(notebooks.NAMES)


@every
def test_a_notebook_is_that_of_its_source(name):
  pytest.importorskip("jupytext", reason=f"jupytext is not installed: {INSTALL}")
  text = (ROOT / "colabs" / f"{name}.ipynb").read_text("utf-8")
  assert text == notebooks.build(name), "run python colabs/notebooks.py build"


@every
def test_a_notebook_has_no_outputs_a_badge_and_a_cell_that_installs(name):
  content = json.loads((ROOT / "colabs" / f"{name}.ipynb").read_text("utf-8"))
  assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
  assert all(cell["outputs"] == [] for cell in content["cells"] if cell["cell_type"] == "code")
  first, second = content["cells"][:2]
  assert "".join(first["source"]).startswith("[![Open In Colab](https://colab.research.google.com/")
  assert f"/colabs/{name}.ipynb)\n\n# " in "".join(first["source"])
  assert "".join(second["source"]) == notebooks.first_cell()
  assert any(notebooks.FAST in source for source in cells(name, "code"))


@every
def test_what_a_notebook_imports_exists(name):
  """Without running it: a renamed module is found where nbclient is not installed."""
  for source in cells(name, "code"):
    for node in ast.walk(ast.parse(source)):
      if isinstance(node, ast.ImportFrom) and node.module.startswith("vidgan_jax"):
        module = importlib.import_module(node.module)
        for alias in node.names:
          found = hasattr(module, alias.name)
          assert found or importlib.util.find_spec(f"{node.module}.{alias.name}"), alias.name


class Pip:
  """Stands for the module `subprocess` in the first cell, and records what pip would get."""

  def __init__(self, code=0):
    self.code, self.command, self.constraints = code, None, ""

  def run(self, command, **options):
    self.command = command
    path = command[command.index("--constraint") + 1]
    self.constraints = pathlib.Path(path).read_text("utf-8")
    return types.SimpleNamespace(returncode=self.code, stderr="no matching jax", stdout="")


def run_first_cell(monkeypatch, pip, *, missing=True):
  find = importlib.util.find_spec
  absent = lambda name, *rest: None if missing and name == "vidgan_jax" else find(name, *rest)
  monkeypatch.setattr(importlib.util, "find_spec", absent)
  source = notebooks.first_cell().replace("import subprocess\n", "")
  exec(compile(source, "first_cell", "exec"), {"subprocess": pip})


def test_the_first_cell_keeps_the_installed_jax(monkeypatch):
  pip = Pip()
  run_first_cell(monkeypatch, pip)
  assert pip.command[1:4] == ["-m", "pip", "install"] and "--upgrade" not in pip.command
  assert pip.command[-1].endswith(notebooks.REPOSITORY)
  for name in ("jax", "jaxlib", "numpy"):
    assert f"{name}=={importlib.metadata.version(name)}" in pip.constraints.splitlines()


def test_the_first_cell_says_what_pip_said(monkeypatch):
  with pytest.raises(RuntimeError, match="no matching jax"):
    run_first_cell(monkeypatch, Pip(code=1))


def test_the_first_cell_leaves_an_installed_package_alone(monkeypatch):
  pip = Pip()
  run_first_cell(monkeypatch, pip, missing=False)
  assert pip.command is None


def test_a_package_that_is_loaded_and_was_replaced_needs_another_session(monkeypatch, capsys):
  pytest.importorskip("PIL")
  pip, version = Pip(), importlib.metadata.version

  def install(command, **options):
    monkeypatch.setattr(
      importlib.metadata, "version", lambda name: "0.0" if name == "pillow" else version(name)
    )
    return Pip.run(pip, command, **options)

  pip.run = install
  run_first_cell(monkeypatch, pip)
  assert "Restart the session once, because pillow was replaced" in capsys.readouterr().out


@every
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path):
  for package in ("nbclient", "ipykernel"):
    pytest.importorskip(package, reason=f"{package} is not installed: {INSTALL}")
  environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
  # The tests simulate eight devices, over which small batches cannot be divided.
  flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
  environment["XLA_FLAGS"] = flags
  done = subprocess.run(
    [sys.executable, SCRIPT, "run", "--fast", f"--output={tmp_path / 'out'}", name],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert done.returncode == 0, done.stderr[-5000:]
  executed = json.loads((tmp_path / "out" / f"{name}.ipynb").read_text("utf-8"))
  outputs = [o for cell in executed["cells"] for o in cell.get("outputs", [])]
  pages = ["".join(o["data"]["text/html"]) for o in outputs if "text/html" in o.get("data", {})]
  assert len(pages) >= 2 and all("<video src=" in page for page in pages)


def test_unknown_notebooks_are_refused():
  done = subprocess.run(
    [sys.executable, SCRIPT, "run", "no_such"], capture_output=True, text=True, timeout=60
  )
  assert done.returncode == 2 and "unknown notebook no_such; known: " in done.stderr
