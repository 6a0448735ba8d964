"""train --dry_run and --print_config: everything is checked, nothing is trained or written."""

import json
import os
import re
import subprocess
import sys

import jax
import pytest

from tests.runs import train
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import loop
from vidgan_jax.training.starts import dry_run


def described(config, workdir):
  """The lines of a dry run, without compiling anything."""
  lines = []
  quiet = lambda line: None
  start = lambda: loop.Trainer(config, workdir, devices=jax.devices()[:1], report=quiet)
  dry_run.describe(str(workdir), start, lambda config: 10**9, lines.append)
  return lines


def files(folder):
  return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_new_run_is_described_and_leaves_nothing(tmp_path, lean_config):
  config = lean_config(num_iterations=7)
  lines = described(config, tmp_path / "some" / "run")
  text = "\n".join(lines)
  assert f"of {config.model.resolution}x{config.model.resolution}, 8 classes" in text
  assert re.search(r"data: moving_shapes \(generated\): [\d,]+ clips in 8 classes", text)
  assert "activations of one iteration about 1.0 GB" in text
  assert "run is new; it ends at iteration 7" in text
  assert "time per iteration: unknown" in text and "WARNING" not in text
  assert not list(tmp_path.iterdir())


def test_a_run_that_needs_more_memory_than_there_is_is_marked(tmp_path, lean_config):
  lines = []
  start = lambda: loop.Trainer(
    lean_config(), tmp_path / "run", devices=jax.devices()[:1], report=lambda line: None
  )
  dry_run.describe(str(tmp_path / "run"), start, lambda config: 10**15, lines.append)
  assert any(line.startswith("WARNING: this is more than a device has") for line in lines)


def test_a_run_with_checkpoints_continues_and_is_not_touched(tmp_path, lean_config):
  train(lean_config(num_iterations=2, log_every=1), tmp_path / "run")
  before = files(tmp_path / "run")
  text = "\n".join(described(lean_config(num_iterations=9, log_every=1), tmp_path / "run"))
  assert "run continues from the checkpoint at iteration 2; it ends at iteration 9" in text
  assert re.search(r"time per iteration: [\d.e-]+ s so far; 7 are left", text)
  assert files(tmp_path / "run") == before


def test_what_training_refuses_is_refused(tmp_path, lean_config):
  missing = lean_config(**{"data.name": "npz", "data.directory": str(tmp_path / "no.npz")})
  with pytest.raises(UserError, match=r"no\.npz"):
    described(missing, tmp_path / "a" / "run")
  train(lean_config(num_iterations=1), tmp_path / "run")
  with pytest.raises(UserError, match="holds a run of another config: "):
    described(lean_config(num_iterations=1, seed=5), tmp_path / "run")
  assert [path.name for path in tmp_path.iterdir()] == ["run"]


def command(*options):
  return subprocess.run(
    [sys.executable, "-m", "vidgan_jax.train", "--config=quickstart:runlocal", *options],
    capture_output=True,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )


def test_the_command(tmp_path):
  printed = command("--print_config", "--config.batch_size=16")
  assert printed.returncode == 0, printed.stderr
  config = json.loads(printed.stdout)
  assert (config["batch_size"], config["num_iterations"]) == (16, 3)
  dry = command("--dry_run", f"--workdir={tmp_path / 'run'}")
  assert dry.returncode == 0, dry.stderr
  activations = re.search("one iteration about ([0-9.]+) MB", dry.stdout)
  assert 0 < float(activations[1]) < 1000
  assert not list(tmp_path.iterdir())
  for options, message in (
    ((), "--workdir is required"),
    (("--print_config", "--config.batch_size=-1"), "config.batch_size is -1"),
    (("--print_config", "--dry_run"), "--dry_run: no effect with --print_config"),
    (("--dry_run", f"--workdir={tmp_path}", "--restart_from=1"), "--restart_from: no effect with"),
    (
      (f"--workdir={tmp_path}", "--restart_from=1", "--init_from=x"),
      "--init_from and --restart_fr",
    ),
  ):
    refused = command(*options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: {message}"), refused.stderr
