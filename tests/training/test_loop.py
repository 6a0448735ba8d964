"""Runs of the training loop: killed, resumed, refused, stopped by guards."""

import errno
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from tensorboardX.event_file_writer import EventsWriter

from tests.runs import losses, same, train
from vidgan_jax.data.sources.base import InMemorySource
from vidgan_jax.data.sources.moving_shapes import MovingShapes
from vidgan_jax.models import switches
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.runtime.errors import Stopped, UserError
from vidgan_jax.runtime.hooks import Hook
from vidgan_jax.training import loop
from vidgan_jax.training import state as states
from vidgan_jax.training.guards import DarkGuard
from vidgan_jax.training.logs import read_log

# Trains a run with the config in its folder. Tests kill this program. It sleeps in every iteration,
# so that a signal can arrive at any moment of one.
PROGRAM = """
import pathlib, sys, time
from vidgan_jax.models import stored_config
from vidgan_jax.runtime import door, hooks, preemption
from vidgan_jax.training import loop

class Pause(hooks.Hook):
  def due(self, step, last):
    return True

  def before_save(self, context):
    time.sleep(0.05)

def main(argv):
  workdir = pathlib.Path(argv[1])
  config = stored_config.from_json((workdir / "wanted.json").read_text())
  trainer = loop.Trainer(config, workdir / "run", [Pause()],
                         devices=__import__("jax").devices()[:1], report=door.report)
  trainer.run()
  sys.exit(preemption.EXIT_CODE if trainer.stopped else 0)

try:
  main(sys.argv)
except (door.UserError, door.Stopped) as error:
  door._fail(error, 2)
"""


@pytest.fixture(scope="module")
def long_config(lean_config):
  return lean_config(num_iterations=24, checkpoint_every=5, log_every=1)


@pytest.fixture(scope="module")
def uninterrupted(long_config, tmp_path_factory):
  """The folder of a run that was never interrupted, and its last state on the host."""
  workdir = tmp_path_factory.mktemp("uninterrupted")
  return workdir, jax.device_get(train(long_config, workdir))


def start(folder, config):
  (folder / "wanted.json").write_text(configuration.to_json(config))
  environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
  return subprocess.Popen(
    [sys.executable, "-c", PROGRAM, str(folder)],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def wait_for_steps(folder, count, process, limit=300):
  """Waits until the log has `count` iterations; fails if the process ends before, or hangs."""
  end = time.monotonic() + limit
  while True:
    ended = process.poll() is not None  # before the log is read: it may write its last line and end
    if len(read_log(folder / "run" / "log.jsonl")) >= count:
      return
    assert not ended, process.communicate()[0]
    assert time.monotonic() < end, f"no iteration {count} within {limit} s"
    time.sleep(0.02)


def check_same(folder, uninterrupted):
  workdir, final = uninterrupted
  _, _, state = states.load(folder / "run", report=print)
  assert same(state, final)
  assert losses(folder / "run") == losses(workdir)


def test_killed_at_random_moments_it_ends_the_same(tmp_path, long_config, uninterrupted):
  """Killed five times and resumed, a run has the same state and losses bit for bit."""
  moments = random.Random(os.urandom(8))
  for kill in range(5):
    process = start(tmp_path, long_config)
    wait_for_steps(tmp_path, min(4 * kill + moments.randint(1, 5), 23), process)
    time.sleep(moments.random() * 0.1)
    process.kill()
    process.communicate()
  process = start(tmp_path, long_config)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  check_same(tmp_path, uninterrupted)


def test_tgan_v2_killed_at_random_moments_ends_the_same(tmp_path, load_config):
  """The generator moves first, on clips that it shares with the discriminators; rates decay."""
  config = load_config("tgan_v2", "shapes,runlocal")
  changes = {
    "num_iterations": 12,
    "checkpoint_every": 3,
    "sample_every": 0,
    "model.resolution": 8,
    "model.frames": 2,
    "model.levels": 2,
    "model.subsampling.layers": 1,
    "model.generator.multipliers": (1, 1),
    "model.generator.lstm_channels": 2,
    "model.discriminator.multipliers": (1, 2),
    "optimizer.decay_iterations": 12,
  }
  with config.unlocked():
    schema.set_fields(config, changes)
  whole = tmp_path / "whole"
  final = jax.device_get(train(config, whole))
  moments = random.Random(os.urandom(8))
  for kill in range(3):
    process = start(tmp_path, config)
    wait_for_steps(tmp_path, min(3 * kill + moments.randint(1, 4), 11), process)
    time.sleep(moments.random() * 0.1)
    process.kill()
    process.communicate()
  process = start(tmp_path, config)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  check_same(tmp_path, (whole, final))


def test_sigterm_saves_leaves_and_resumes_exactly(tmp_path, long_config, uninterrupted):
  process = start(tmp_path, long_config)
  wait_for_steps(tmp_path, 7, process)
  begin = time.monotonic()
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 75 and time.monotonic() - begin < 30, output
  assert "stopped by a signal: saved at iteration" in output
  assert "it/s" not in output  # no progress bar in a file
  assert output.count("iteration 1 of 24: D ") == 1
  step = states.load(tmp_path / "run")[2].step
  assert 7 <= int(step) < 24 and int(step) % 5  # not a step at which it saves anyway
  process = start(tmp_path, long_config)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0 and f"continuing from the checkpoint at iteration {step}" in output
  check_same(tmp_path, uninterrupted)


def test_killed_on_a_prepared_set_it_ends_the_same(tmp_path, lean_config, write_prepared):
  """Exact with shuffling, windows, crops, flips, reversals and another number of threads."""
  clips = np.random.default_rng(0).integers(256, size=(10, 9, 10, 14, 3), dtype=np.uint8)
  folder = write_prepared(tmp_path / "set", list(clips), np.arange(10) % 8, "abcdefgh")
  data = {"data.name": "prepared", "data.directory": str(folder), "data.stride": 2}
  data |= {"data.horizontal_flip": True, "data.temporal_reversal": True}
  changes = {**data, "num_iterations": 12, "checkpoint_every": 3, "log_every": 1}
  final = jax.device_get(train(lean_config(**changes, **{"data.workers": 1}), tmp_path / "whole"))
  run = lean_config(**changes, **{"data.workers": 3})
  process = start(tmp_path, run)
  wait_for_steps(tmp_path, 8, process)  # the checkpoint at 3 was finished before that at 6
  process.kill()
  process.communicate()
  assert len(read_log(tmp_path / "run" / "log.jsonl")) < 12
  process = start(tmp_path, run)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0 and "continuing from the checkpoint" in output, output
  check_same(tmp_path, (tmp_path / "whole", final))


def test_a_finished_run_is_reported_and_not_changed(long_config, uninterrupted):
  workdir, final = uninterrupted
  reported = []
  assert same(train(long_config, workdir, report=reported.append), final)
  assert "already trained for 24 iterations" in reported


def test_eight_devices_continue_what_one_began(tmp_path, lean_config):
  config = lean_config(batch_size=8)
  short = lean_config(batch_size=8, num_iterations=2)
  train(short, tmp_path)
  state = train(config, tmp_path, devices=jax.devices())
  assert int(state.step) == 4 and len(state.step.devices()) == 8


def test_nothing_is_compiled_after_the_second_iteration(tmp_path, lean_config):
  """Nothing is sent to the devices inside an iteration either; the loop's guard checks that."""
  compiled, step = [], 0

  class Step(Hook):
    def due(self, step, last):
      return True

    def before_save(self, context):
      nonlocal step
      step = context.step

  def listen(event, seconds, **_):
    if listening and event.endswith("backend_compile_duration"):
      compiled.append(step)

  listening = True
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    config = lean_config(checkpoint_every=1, log_every=1, num_iterations=6)
    train(config, tmp_path, extra_hooks=[Step()])
    jax.jit(lambda x: x + len(compiled))(np.zeros(3))
  finally:
    listening = False  # JAX 0.7 cannot unregister a listener
  assert compiled[-1] == 6, "the test does not see what is compiled"
  assert step == 6 and max(compiled[:-1]) <= 1, compiled


def test_sending_inside_an_iteration_is_refused(tmp_path, lean_config, monkeypatch):
  monkeypatch.setattr(loop.meshes, "put_batch", lambda batch, mesh: batch)
  with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
    train(lean_config(), tmp_path)


def test_damaged_newest_checkpoint_is_replayed(tmp_path, lean_config):
  config = lean_config()
  final = jax.device_get(train(config, tmp_path))
  for path in (tmp_path / "checkpoints" / "4").rglob("manifest.ocdbt"):
    path.write_bytes(path.read_bytes()[:20])
  reported = []
  again = train(config, tmp_path, report=reported.append)
  assert same(again, final)
  assert any("falling back to the checkpoint at iteration 2" in line for line in reported)


def test_other_config_is_refused_by_its_first_field(tmp_path, lean_config):
  train(lean_config(num_iterations=1), tmp_path)
  before = (tmp_path / "config.json").read_text()
  with pytest.raises(UserError, match=r"another config: model.generator.channels: 4 there, 6 here"):
    train(lean_config(**{"model.generator.channels": 6}), tmp_path)
  assert (tmp_path / "config.json").read_text() == before
  # A run may continue to more iterations.
  assert int(train(lean_config(num_iterations=2), tmp_path).step) == 2


def test_a_run_that_has_lost_its_config_is_refused(tmp_path, lean_config):
  train(lean_config(num_iterations=1), tmp_path)
  (tmp_path / "config.json").unlink()
  with pytest.raises(UserError, match=r"has checkpoints but no config.json"):
    train(lean_config(num_iterations=2), tmp_path)
  assert not (tmp_path / "config.json").exists()


def test_a_run_that_a_newer_check_refuses_still_opens(tmp_path, lean_config):
  """Older runs with such a config trained without attention, because no map has its size."""
  name, before = "model.discriminator.attention_resolution", tmp_path / "before"
  train(lean_config(num_iterations=1), before)
  config = lean_config(num_iterations=2, **{name: 5})
  (before / states.CONFIG).write_text(configuration.to_json(config))
  lines = []
  train(config, before, report=lines.append)
  assert any("WARNING: discriminator.attention_resolution is 5" in line for line in lines)
  assert int(states.load(before)[2].step) == 2
  with pytest.raises(UserError, match="attention_resolution is 5, but the discriminators' maps"):
    train(config, tmp_path / "new")
  assert not (tmp_path / "new").exists()


def test_unwritable_workdir_is_refused(tmp_path, lean_config):
  blocked = tmp_path / "file"
  blocked.write_text("")
  with pytest.raises(UserError, match=r"cannot use .* as workdir"):
    train(lean_config(), blocked / "run")


def test_a_wrong_reader_is_refused_before_anything_is_compiled(tmp_path, lean_config):
  config = lean_config(**{"data.reader": "cpp"})
  with pytest.raises(
    UserError, match=r"config\.data\.reader is 'cpp', must be one of python, tens"
  ):
    loop.Trainer(config, tmp_path / "run", devices=jax.devices()[:1], report=lambda line: None)
  assert not (tmp_path / "run").exists()


def test_other_data_is_refused(tmp_path, lean_config):
  config = lean_config(num_iterations=1)
  source = lambda examples, seed: MovingShapes(examples, 4, 8, 8, seed)
  train(config, tmp_path, source=source(40, 0))
  with pytest.raises(UserError, match="on other data: num_examples 40 there, 39 here"):
    train(config, tmp_path, source=source(39, 0))
  clips = np.zeros((40, 4, 8, 8, 3), np.uint8)
  names = source(40, 0).class_names
  with pytest.raises(UserError, match="on other data: checksum"):
    train(config, tmp_path, source=InMemorySource(clips, np.arange(40) % 8, names, 4))


@pytest.mark.parametrize(
  "name", ["num_iterations", "log_every", "checkpoint_every", "analysis.batch_size"]
)
def test_zero_lengths_and_intervals_are_refused(tmp_path, lean_config, name):
  with pytest.raises(UserError, match=f"config.{name} is 0, must be an integer from 1"):
    train(lean_config(**{name: 0}), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_disk_that_fills_up_under_the_log_keeps_the_checkpoint(tmp_path, lean_config, monkeypatch):
  write = EventsWriter.flush

  def flush(self):
    if len(read_log(tmp_path / "log.jsonl")) > 3:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return write(self)

  monkeypatch.setattr(EventsWriter, "flush", flush)
  with pytest.raises(UserError, match=r"cannot write to .*: No space left on device$"):
    train(lean_config(log_every=1, num_iterations=8), tmp_path)
  monkeypatch.undo()
  assert int(states.load(tmp_path)[2].step) == 2
  assert int(train(lean_config(log_every=1, num_iterations=8), tmp_path).step) == 8


@pytest.mark.parametrize("resumed", [False, True])
def test_guard_keeps_the_last_good_checkpoint(tmp_path, lean_config, monkeypatch, resumed):
  replay = DarkGuard.replay
  dark = lambda step: {"pixel/generated_dark": float(step >= 5)}
  monkeypatch.setattr(DarkGuard, "replay", lambda self, step, _: replay(self, step, dark(step)))
  changes = {"guard.dark_patience": 4, "log_every": 1}
  if resumed:  # stopped during a series of dark iterations
    train(lean_config(**changes, num_iterations=6), tmp_path)
  with pytest.raises(Stopped, match=r"stopped at iteration 8: .* dark at 4 logged iterations"):
    train(lean_config(**changes, num_iterations=12), tmp_path)
  assert Checkpoints(tmp_path / "checkpoints").steps() == ([2, 4, 6] if resumed else [2, 4])


def test_non_finite_run_never_saves_it(tmp_path, lean_config, monkeypatch):
  monkeypatch.setattr(switches, "check", lambda config: None)  # it would refuse this learning rate
  config = lean_config(
    **{"optimizer.generator_lr": 1e30, "num_iterations": 8, "checkpoint_every": 1}
  )
  with pytest.raises(Stopped, match="not finite"):
    train(config, tmp_path)
  _, _, state = states.load(tmp_path)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))
  last = losses(tmp_path)[-1]  # the record that shows why the run stopped
  assert last["finite"] == 0 and last["step"] > int(state.step)


def test_a_state_that_is_not_finite_stops_the_run_though_losses_are(
  tmp_path, lean_config, monkeypatch
):
  """No loss depends on the average, so a check of the losses alone would miss it."""
  create = states.create

  def spoilt(*arguments):
    state = create(*arguments)
    leaves, structure = jax.tree.flatten(state.ema.params)
    leaves[0] = leaves[0].at[(0,) * leaves[0].ndim].set(np.nan)
    return state.replace(ema=state.ema.replace(params=structure.unflatten(leaves)))

  monkeypatch.setattr(states, "create", spoilt)
  with pytest.raises(Stopped, match=r"at iteration 1: ema/params/.* is not finite"):
    train(lean_config(checkpoint_every=1), tmp_path)
  assert Checkpoints(tmp_path / "checkpoints").steps() == []
  assert losses(tmp_path)[-1]["finite"] == 0


def test_log_holds_the_first_iteration_and_speed(uninterrupted):
  workdir, _ = uninterrupted
  records = read_log(workdir / "log.jsonl")
  assert [r["step"] for r in records] == list(range(1, 25))
  assert records[-1]["time/videos_per_second"] > 0
  assert all(0 <= r["time/input_seconds"] < r["time/step_seconds"] for r in records)
  assert states.class_names(workdir)[0] == "disk_horizontal"
