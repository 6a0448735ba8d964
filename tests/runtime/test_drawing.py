"""Plots do not depend on the user's matplotlibrc."""

import ast
import json
import os
import pathlib
import subprocess
import sys

import matplotlib
import pytest

from vidgan_jax.runtime.drawing import plain_style
from vidgan_jax.training import curves

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "vidgan_jax"
MAKERS = ("new_figure", "_panels")  # create figures for the functions that draw
STYLE = {"text.usetex": True, "font.family": ["no such font"], "savefig.transparent": True}


def _called(function) -> set[str]:
  calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
  return {getattr(call, "attr", getattr(call, "id", "")) for call in calls}


def _drawing_functions():
  for path in sorted(PACKAGE.rglob("*.py")):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if isinstance(node, ast.FunctionDef) and node.name not in MAKERS:
        if _called(node) & {"Figure", *MAKERS}:
          decorators = {getattr(one, "id", "") for one in node.decorator_list}
          yield pytest.param(decorators, id=f"{path.stem}.{node.name}")


DRAWING = list(_drawing_functions())


def test_the_functions_that_draw_are_found():
  assert {"curves.plot", "darkness.plot", "plots.spectra"} <= {one.id for one in DRAWING}


@pytest.mark.parametrize("decorators", DRAWING)
def test_every_function_that_draws_has_the_plain_style(decorators):
  assert "plain_style" in decorators


def test_curves_are_the_same_under_any_style(tmp_path):
  records = [{"step": step, "loss/generator": step * 0.5} for step in (1, 2, 3)]
  log = tmp_path / "log.jsonl"
  log.write_text("".join(json.dumps(record) + "\n" for record in records))
  curves.plot(log, tmp_path / "plain.png")
  with matplotlib.rc_context(STYLE):
    curves.plot(log, tmp_path / "styled.png")
    assert matplotlib.rcParams["text.usetex"]  # the user's settings apply again
  assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "styled.png").read_bytes()


@pytest.mark.parametrize("backend", ["TkAgg", "module://no_such_backend"])
def test_curves_need_no_display(tmp_path, backend):
  (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "loss/generator": 0.5}) + "\n")
  program = "import sys; from vidgan_jax.training import curves; curves.plot(*sys.argv[1:])"
  environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": str(PACKAGE.parent)}
  environment.pop("DISPLAY", None)
  subprocess.run(
    [sys.executable, "-c", program, tmp_path / "log.jsonl", tmp_path / "curves.png"],
    env=environment,
    check=True,
  )
  assert (tmp_path / "curves.png").exists()


def test_the_first_plot_of_a_machine_logs_nothing(tmp_path):
  (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "loss/generator": 0.5}) + "\n")
  program = "import logging, sys; logging.basicConfig(level=logging.INFO)\n"
  program += "from vidgan_jax.training import curves; curves.plot(*sys.argv[1:])"
  environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
  command = [sys.executable, "-c", program, tmp_path / "log.jsonl", tmp_path / "curves.png"]
  done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
  assert done.stdout == done.stderr == ""
  assert list(tmp_path.glob("fontlist*"))


def test_results_and_errors_pass_through():
  assert plain_style(lambda a, b: a - b)(5, b=3) == 2
  with pytest.raises(ZeroDivisionError):
    plain_style(lambda: 1 / 0)()
