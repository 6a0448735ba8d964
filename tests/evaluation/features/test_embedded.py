"""The packaged weights of the built-in moving shapes' classifier, and its training."""

import hashlib
import json
import pathlib
import sys
import tomllib

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vidgan_jax.data.sources import moving_shapes as data
from vidgan_jax.evaluation.features import embedded_training, extractor
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz

FILE = extractor.find(extractor.PACKAGED).file
FRAMES, COUNT = 6, 192  # frames as in the quickstart; twelve clips of each class
MOTION = np.arange(16) // 4
SHAPE = np.arange(16) % 4


def load(path=None):
  """The classifier, by default with the packaged weights."""
  return extractor.load_extractor(extractor.PACKAGED, path)


@pytest.fixture(scope="module")
def classify():
  """A function from clips [N, T, R, R, 3] in [-1, 1] to predicted classes [N]."""
  opened = load()
  apply = jax.jit(opened.apply)
  return lambda clips: np.asarray(apply(opened.variables, clips)["logits"]).argmax(-1)


def _draw(variety, seed=90_210, frames=FRAMES, resolution=32, count=COUNT):
  """(clips, labels) of scenes from a seed that training does not use."""
  source = data.MovingShapes(count, frames, resolution, 16, seed, "test", variety=variety)
  clips, labels = zip(*(source.example(i, None) for i in range(count)), strict=True)
  return np.stack(clips).astype(np.float32) / 127.5 - 1.0, np.array(labels)


def test_weights_are_part_of_the_package_and_small():
  assert FILE.stat().st_size < 2_000_000
  assert FILE.is_relative_to(pathlib.Path(sys.modules["vidgan_jax"].__file__).parent)
  settings = tomllib.loads((pathlib.Path(__file__).parents[3] / "pyproject.toml").read_text())
  packaged = settings["tool"]["setuptools"]["package-data"]
  assert "*.npz" in packaged["vidgan_jax.evaluation.features"]
  opened = extractor.load_extractor("moving_shapes_classifier")
  assert opened.name == opened.about["network"] == "moving_shapes_classifier"
  assert opened.outputs == {"logits": 16, "features": 64} and opened.min_frames == 4
  assert opened.about["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(opened.variables))


def test_the_hash_is_that_of_the_weights():
  opened = load()
  arrays = flatten_dict(opened.variables, sep="/")
  digest = hashlib.sha256()
  for path in sorted(arrays):
    digest.update(path.encode() + arrays[path].astype("<f4").tobytes())
  assert opened.weights_hash == digest.hexdigest() == opened.about["weights_hash"]


@pytest.mark.parametrize("variety, threshold", [(0.0, 0.99), (1.0, 0.94)])
def test_accuracy_on_scenes_of_another_seed(classify, variety, threshold):
  clips, labels = _draw(variety)
  assert (classify(clips) == labels).mean() >= threshold


def test_accuracy_on_larger_clips(classify):
  clips, labels = _draw(0.0, resolution=64, count=64)
  assert (classify(clips) == labels).mean() >= 0.97


def test_predictions_depend_on_motion_and_shape(classify):
  clips, labels = _draw(0.0)
  # The motions of the set are symmetric in time.
  assert (classify(clips[:, ::-1]) == labels).mean() >= 0.95
  # In frozen clips the shape is still visible, but the motion is not: a guess is right in 1/4.
  frozen = classify(np.repeat(clips[:, :1], FRAMES, axis=1))
  assert (SHAPE[frozen] == SHAPE[labels]).mean() >= 0.9
  assert (MOTION[frozen] == MOTION[labels]).mean() <= 0.45
  # Swapping height and width turns horizontal motion into vertical motion.
  disks = clips[np.isin(labels, (0, 4))]
  turned = classify(disks.swapaxes(2, 3))
  assert (turned == 4 - labels[np.isin(labels, (0, 4))]).mean() >= 0.95


def test_training_is_reproducible():
  batch = lambda step, size: embedded_training.draw_clips(
    "train", step * size, size, 4, 32, np.zeros(size)
  )
  variables, losses = embedded_training.train(24, 16, 2e-3, batch)
  assert losses[-4:].mean() < 0.8 * losses[:4].mean()
  again, _ = embedded_training.train(2, 16, 2e-3, batch)
  once_more, _ = embedded_training.train(2, 16, 2e-3, batch)
  hashes = [extractor.weights_hash(flatten_dict(v, sep="/")) for v in (variables, again, once_more)]
  assert hashes[1] == hashes[2] != hashes[0]


def test_batches_depend_only_on_the_step():
  clips, labels = embedded_training.training_batch(7, 16)
  again, _ = embedded_training.training_batch(7, 16)
  other, _ = embedded_training.training_batch(8, 16)
  assert np.array_equal(clips, again) and not np.array_equal(clips[:, :4], other[:, :4])
  assert clips.shape[1] in embedded_training.LENGTHS and clips.shape[2] in embedded_training.SIZES
  assert np.abs(clips).max() <= 1 and clips.min() < -0.5 and sorted(labels) == list(range(16))


def test_saved_weights_can_be_loaded(tmp_path):
  variables = load().variables
  path = tmp_path / "again.npz"
  digest = embedded_training.save(path, variables, {"steps": 1})
  read = load(path)
  assert read.weights_hash == digest and read.about["training"] == {"steps": 1}
  jax.tree.map(np.testing.assert_array_equal, read.variables, variables)
  first = path.read_bytes()
  embedded_training.save(path, variables, {"steps": 1})
  assert path.read_bytes() == first


def test_invalid_weights_files_are_refused(tmp_path):
  variables = load().variables
  path = tmp_path / "weights.npz"
  with pytest.raises(UserError, match=r"embedded_training --output=.* makes it"):
    load(path)
  whole = FILE.read_bytes()
  path.write_bytes(whole[:-2000])
  with pytest.raises(UserError, match="not a readable"):
    load(path)
  about = {"format": 1, "network": "i3d_kinetics400"}
  np.savez(path, __about__=np.frombuffer(json.dumps(about).encode(), np.uint8))
  with pytest.raises(UserError, match=r"i3d_kinetics400 .*not moving_shapes_classifier"):
    load(path)
  embedded_training.save(path, variables, {})
  arrays = npz.read(path)
  npz.write(path, {**arrays, "params/logits/bias": np.zeros(8, np.float32)})
  with pytest.raises(UserError, match=r"params/logits/bias' has shape \[8\], expected \[16\]"):
    load(path)
  npz.write(path, {k: v for k, v in arrays.items() if k != "params/logits/bias"})
  with pytest.raises(UserError, match="params/logits/bias is missing"):
    load(path)
  arrays["params/logits/bias"][3] += 1e-6
  npz.write(path, arrays)
  with pytest.raises(UserError, match="damaged or altered"):
    load(path)
