"""Runs, data and results in a bucket: what each command reads there, and what it writes."""

import io
import json
import pathlib

import jax
import numpy as np
import pytest

import vidgan_jax
from tests import fake_gcs, runs
from vidgan_jax.runtime.buckets import staged
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import cli as sampling
from vidgan_jax.sampling import export, export_request
from vidgan_jax.training import earlier, loop
from vidgan_jax.training.starts import restarts

RUN = "gs://bucket/run"


@pytest.fixture
def elsewhere(bucket, monkeypatch, tmp_path):
  """A function that makes this process forget its local copies, as on another machine."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  return fake_gcs.forget_copies


@pytest.fixture
def run(elsewhere, lean_config):
  """A run in the bucket with checkpoints at iterations 2 and 4, opened."""
  folder = pathlib.Path(staged.open_folder(RUN, "--workdir"))
  folder.mkdir(parents=True)
  runs.write_run(folder, lean_config(), ())
  staged.push()
  elsewhere()
  return vidgan_jax.load(RUN)


def sample(**fields):
  request = sampling.Request(**{"workdir": RUN, "output": "gs://bucket/clips", **fields})
  return sampling.fulfil(request, report=lambda line: None)


def test_samples_are_written_to_the_bucket(run, bucket, elsewhere):
  assert run.step == 4
  lines = sample(labels="0,3", per_label=1)
  assert any("gs://bucket/clips/samples.npz" in staged.named(line) for line in lines)
  clips = np.load(io.BytesIO(bucket.read("clips/samples.npz")))["clips"]
  np.testing.assert_array_equal(clips, run.sample(0, labels=[0, 3]))
  elsewhere()
  with pytest.raises(UserError, match=r"already holds .*; --overwrite replaces samples"):
    sample(labels="1")
  bucket.put("clips/notes.txt", b"mine")
  sample(labels="1", per_label=1, overwrite=True)
  names = bucket.names("clips/")
  assert "clips/notes.txt" in names and len([n for n in names if "/clips/" in n]) == 1
  clips = np.load(io.BytesIO(bucket.read("clips/samples.npz")))["clips"]
  np.testing.assert_array_equal(clips, run.sample(0, labels=[1]))


def test_a_model_is_exported_to_the_bucket_and_opened_there(run, bucket, elsewhere):
  request = export_request.Request(RUN, "gs://bucket/model", standing_passes=2)
  export.fulfil(request, lambda workdir, step: (), version="1", report=lambda line: None)
  assert "model/export.json" in bucket.names()
  elsewhere()
  model = vidgan_jax.load("gs://bucket/model", standing_passes=2)
  expected = vidgan_jax.load(RUN, standing_passes=2)
  np.testing.assert_array_equal(model.sample(1, count=2), expected.sample(1, count=2))


def test_training_on_prepared_data_in_the_bucket(
  bucket, elsewhere, lean_config, write_prepared, tmp_path
):
  generator = np.random.default_rng(0)
  clips = [generator.integers(0, 256, (5, 8, 8, 3), np.uint8) for _ in range(12)]
  write_prepared(tmp_path / "data", clips, np.arange(12) % 8, list("abcdefgh"), png=True)
  for path in (tmp_path / "data").rglob("*"):
    if path.is_file():
      bucket.put(f"sets/{path.relative_to(tmp_path / 'data')}", path.read_bytes())

  def config(directory):
    data = {"data.name": "prepared", "data.directory": directory}
    return lean_config(num_iterations=2, **data)

  expected = runs.train(config(str(tmp_path / "data")), tmp_path / "run")
  assert runs.same(runs.train(config("gs://bucket/sets"), RUN), expected)
  stored = json.loads(bucket.read("run/config.json"))
  assert stored["data"]["directory"] == "gs://bucket/sets"  # not the copy on this machine


def test_a_branch_in_the_bucket(bucket, elsewhere, lean_config, tmp_path):
  def train(workdir):
    start = lambda config, workdir: loop.Trainer(
      config, workdir, devices=jax.devices()[:1], report=lambda line: None
    )
    config = lean_config(**{"optimizer.generator_lr": 1e-5})
    return restarts.train(config, workdir, start, restart_from=2, report=lambda line: None)

  for workdir in (RUN, tmp_path / "run"):
    runs.train(lean_config(), workdir)
  elsewhere()
  trainer = train(RUN)
  assert staged.address(trainer.workdir) == f"{RUN}/branches/1"
  sums = lambda content: json.loads(content)["checksums"]
  expected = train(tmp_path / "run").workdir / "checkpoints/4/extra/metadata"
  there = bucket.read("run/branches/1/checkpoints/4/extra/metadata")
  assert sums(there) == sums(expected.read_bytes())
  assert "run/branches/1/branch.json" in bucket.names()
  assert not [name for name in bucket.names() if "tmp" in name or name.endswith(".lock")]


def test_the_address_of_an_earlier_run_stays_in_the_config(bucket, elsewhere, lean_config):
  config = lean_config()
  with config.unlocked():
    config.model.earlier_run = "gs://bucket/first/"
  config = earlier.with_absolute_run(config)
  assert config.model.earlier_run == "gs://bucket/first"
  bucket.put("first/config.json", b"{}")
  folder = earlier._locate(config.model.earlier_run, "a")
  assert pathlib.Path(folder, "config.json").read_text() == "{}"
