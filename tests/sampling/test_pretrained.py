"""The model that comes with the package."""

import json
import pathlib
import tomllib

import jax
import numpy as np
import pytest

import vidgan_jax
import vidgan_jax.training.state as states
from configs import quickstart
from vidgan_jax.evaluation import checks
from vidgan_jax.evaluation import request as evaluation_request
from vidgan_jax.evaluation.features import extractor
from vidgan_jax.models import stored_config
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.sampling.exported import without_paths
from vidgan_jax.sampling.request import Request

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "vidgan_jax" / "pretrained" / "moving_shapes"


@pytest.fixture(scope="module")
def run():
  return vidgan_jax.load("moving_shapes")


def test_it_is_small_and_part_of_the_package():
  files = [path for path in FOLDER.iterdir() if path.is_file()]
  assert sum(path.stat().st_size for path in files) < 2_000_000
  settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
  assert settings["package-data"]["vidgan_jax.pretrained"] == ["*/*"]
  assert paths.pretrained() == ["moving_shapes"]


def test_it_is_the_one_that_the_script_trains():
  script = (ROOT / "launch" / "pretrained.sh").read_text()
  # Switches that are younger than the model have the value that changes nothing.
  stored = json.loads(stored_config.from_json((FOLDER / "config.json").read_text()).to_json())
  config = quickstart.get_config().copy_and_resolve_references()
  for name in ("num_iterations", "sample_every"):
    assert f"--config.{name}={stored[name]}" in script
    config[name] = stored[name]
  assert json.loads(without_paths(config).to_json()) == stored
  assert json.loads((FOLDER / "export.json").read_text())["step"] == stored["num_iterations"]


def test_its_clips_show_the_classes_that_are_asked_for(run):
  labels = np.repeat(np.arange(8), 4)
  clips = run.sample(1, labels=labels)
  assert clips.shape == (32, 6, 32, 32, 3) and clips.dtype == np.uint8
  classifier = extractor.load_extractor("moving_shapes_classifier")
  names = list(classifier.class_names)
  wanted = np.array([names.index(run.class_names[label]) for label in labels])
  inputs = jax.numpy.asarray(clips, jax.numpy.float32) / 127.5 - 1
  logits = classifier.apply(classifier.variables, inputs)["logits"]
  assert np.mean(np.argmax(logits, -1) == wanted) > 0.9


def test_labels_may_be_names_of_classes(run):
  names = ["cross_vertical", "DISK_HORIZONTAL"]
  np.testing.assert_array_equal(run.sample(3, labels=names), run.sample(3, labels=[7, 0]))
  with pytest.raises(UserError, match="no class 'disc'; known: disk_horizontal, square_horizontal"):
    run.sample(3, labels=["disc"])


def test_its_name_is_its_folder_unless_there_is_one(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  request = lambda name: Request(workdir=name, output="out").workdir
  assert request("moving_shapes") == str(FOLDER)
  assert request("other") == "other" and request("./moving_shapes") == "./moving_shapes"
  (tmp_path / "moving_shapes").mkdir()
  assert request("moving_shapes") == "moving_shapes"
  with pytest.raises(UserError, match="no run in moving_shapes"):
    vidgan_jax.load("moving_shapes")


def test_results_need_a_folder_of_their_own(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(
    UserError, match="moving_shapes is a model of the package: --output=DIR is re"
  ):
    checks.check(evaluation_request.Request(workdir="moving_shapes"))
  with pytest.raises(UserError, match="--output=DIR is required"):
    paths.results_folder(FOLDER, "analysis")
  assert paths.results_folder("run", "a", "b") == pathlib.Path("run/a/b")
  checks.check(evaluation_request.Request(workdir="moving_shapes", output=str(tmp_path / "out")))


def test_a_misspelt_model_of_the_package_is_suggested():
  with pytest.raises(UserError, match=r"no run in moving_shape: .*; did you mean moving_shapes, a"):
    states.read_config("moving_shape")
