"""Runs in a bucket: trained, killed, continued elsewhere, sampled."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import vidgan_jax
from tests import fake_gcs, runs
from vidgan_jax.runtime.buckets import staged
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import state as states
from vidgan_jax.training.logs import read_log

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = "gs://bucket/run"
# The command `train`, with locks of killed processes that are taken sooner.
TRAIN = """
import runpy, sys
from vidgan_jax.runtime.buckets import leases
leases.EVERY, leases.SILENT = 0.2, 2.0
sys.argv[0] = "train"
runpy.run_module("vidgan_jax.train", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def elsewhere(bucket):
  """A function that makes this process forget its local copies, as on another machine."""
  return fake_gcs.forget_copies


def sums(bucket, step, run="run"):
  """The checksums of all arrays of a checkpoint."""
  return json.loads(bucket.read(f"{run}/checkpoints/{step}/extra/metadata"))["checksums"]


def losses(text):
  """The records of a log without their times."""
  records = [json.loads(line) for line in text.splitlines()]
  return [{k: v for k, v in each.items() if not k.startswith("time/")} for each in records]


def test_a_run_in_a_bucket_is_the_run_in_a_local_folder(bucket, elsewhere, lean_config, tmp_path):
  lines = []
  local = runs.train(lean_config(), tmp_path / "run")
  state = runs.train(lean_config(num_iterations=2), RUN, report=lines.append)
  elsewhere()
  assert runs.same(runs.train(lean_config(), RUN, report=lines.append), local)
  assert "continuing from the checkpoint at iteration 2" in lines and int(state.step) == 2
  names = bucket.names("run/")
  kept = {name.split("/")[1] for name in names}
  assert kept == {"checkpoints", "config.json", "data.json", "log.jsonl", "tensorboard"}
  assert {n.split("/")[2] for n in names if "/checkpoints/" in n} == {"2", "4"}
  assert losses(bucket.read("run/log.jsonl")) == runs.losses(tmp_path / "run")
  elsewhere()
  run, expected = vidgan_jax.load(RUN), vidgan_jax.load(tmp_path / "run")
  assert run.step == 4 and np.array_equal(run.sample(3, count=2), expected.sample(3, count=2))


@pytest.fixture(scope="module")
def flags(lean_config, load_config):
  """The flags that turn the quickstart's config into the tiny one, for eight devices."""
  whole = schema.flatten(load_config("quickstart", "runlocal"))
  tiny = schema.flatten(lean_config(batch_size=8, num_iterations=6))
  return ["--config=quickstart:runlocal"] + [
    f"--config.{name}={tuple(value) if isinstance(value, list) else value}"
    for name, value in tiny.items()
    if whole[name] != value
  ]


def train(flags, workdir, folder):
  """Starts the command; `folder` is its folder for temporary files."""
  folder.mkdir()
  return subprocess.Popen(
    [sys.executable, "-c", TRAIN, *flags, f"--workdir={workdir}"],
    env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_a_killed_run_continues_from_the_bucket_alone(bucket, flags, tmp_path):
  first = train(flags, RUN, tmp_path / "first")

  def kill(method, path, query):
    if method in ("POST", "PUT") and "checkpoints/4/state" in query.get("name", ""):
      first.send_signal(signal.SIGKILL)
      return 503
    return None

  bucket.broken = kill  # within the save of the second checkpoint
  _, errors = first.communicate(timeout=500)
  assert first.returncode == -signal.SIGKILL, errors
  bucket.broken = lambda method, path, query: None
  names = bucket.names("run/checkpoints/")
  assert "run/checkpoints/2/commit_success.txt" in names and ".lock" in bucket.names()[0]
  assert any("/4/" in n for n in names) and "run/checkpoints/4/commit_success.txt" not in names

  for workdir in (RUN, "gs://bucket/whole"):
    process = train(flags, workdir, tmp_path / workdir.rpartition("/")[2])
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert ("continuing from the checkpoint at iteration 2" in output) == (workdir == RUN)
    assert f"checkpoints: {workdir}/checkpoints" in output
  assert sums(bucket, 6) == sums(bucket, 6, "whole")
  assert losses(bucket.read("run/log.jsonl")) == losses(bucket.read("whole/log.jsonl"))
  assert not [name for name in bucket.names() if name.endswith(".lock")]
  assert os.listdir(tmp_path / "whole") == os.listdir(tmp_path / "run") == []


def test_checkpoints_in_a_bucket(bucket, tmp_path):
  state = {"step": np.int32(2), "a": np.arange(6.0, dtype=np.float32)}
  state = jax.tree.map(jax.numpy.asarray, state)
  folder = pathlib.Path(staged.open_folder(RUN, "--workdir")) / states.CHECKPOINTS
  checkpoints = Checkpoints(folder, keep=2)
  assert checkpoints.steps() == []
  for step in (2, 4, 6):
    checkpoints.save(step, state, {"seconds": 1.0})
  checkpoints.wait()
  assert checkpoints.steps() == [4, 6]
  assert not [name for name in bucket.names() if "/2/" in name]
  checkpoints.read_back(6, state)
  checkpoints.set_aside(after=4)
  assert checkpoints.steps() == [4]
  assert "run/checkpoints/6.damaged/commit_success.txt" in bucket.names()
  checkpoints.save(6, state, {"seconds": 1.0})
  checkpoints.close()
  assert checkpoints.steps() == [4, 6]
  Checkpoints(folder).remove(4)
  assert checkpoints.steps() == [6]


def test_a_bucket_that_cannot_be_written_ends_training_with_one_line(bucket, lean_config):
  bucket.broken = lambda method, path, query: 403 if "upload" in path else None
  with pytest.raises(UserError, match=r"gs://bucket/run/.lock cannot be written: no permission"):
    runs.train(lean_config(), RUN)
  assert bucket.names() == []


def test_a_second_process_is_refused(bucket, lean_config):
  bucket.put("run/.lock", b"process 1 on elsewhere, 2026-01-01 00:00:00 UTC")
  count = iter(range(1000))

  def beat(method, path, query):
    if method == "GET" and path.endswith("run%2F.lock"):
      bucket.put("run/.lock", b"process 1 on elsewhere, 2026-01-01 00:00:00 UTC, %d" % next(count))

  bucket.broken = beat
  with pytest.raises(UserError, match=r"cannot use .*: process 1 on elsewhere has been using it"):
    runs.train(lean_config(), RUN)
  assert bucket.names() == ["run/.lock"]


def test_the_log_in_the_bucket_reaches_as_far_as_its_newest_checkpoint(bucket, lean_config):
  seen = {}

  def look(method, path, query):
    name = query.get("name", "")
    if "commit_success" in name and name.count("/") == 3:
      folder = pathlib.Path(staged.local(RUN))
      text = bucket.read("run/log.jsonl").decode()
      seen[int(name.split("/")[2])] = max(json.loads(line)["step"] for line in text.splitlines())
      assert read_log(folder / "log.jsonl")

  bucket.broken = look
  runs.train(lean_config(), RUN)
  assert seen == {2: 2, 4: 4}
