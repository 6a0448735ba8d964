"""The packaged weights of the embedded set's classifier, and how they are made."""

import pathlib
import sys

import jax
import numpy as np
import pytest

from vidgan_jax.data import moving_shapes as data
from vidgan_jax.evaluation import embedded, embedded_training
from vidgan_jax.evaluation.networks import moving_shapes as network
from vidgan_jax.runtime.errors import UserError

FRAMES, COUNT = 6, 192  # as the quickstart's clips; twelve of each class
MOTION = np.arange(16) // 4
SHAPE = np.arange(16) % 4


@pytest.fixture(scope="module")
def classify():
  """A function of clips [N, T, R, R, 3] in [-1, 1] that returns classes."""
  variables, _ = embedded.load()
  apply = jax.jit(network.apply)
  return lambda clips: np.asarray(apply(variables, clips)["logits"]).argmax(-1)


def _draw(variety, seed=90_210, frames=FRAMES, resolution=32, count=COUNT):
  """Scenes of a seed that training does not use."""
  source = data.MovingShapes(count, frames, resolution, 16, seed, "test", variety=variety)
  clips, labels = zip(*(source.example(i, None) for i in range(count)), strict=True)
  return np.stack(clips).astype(np.float32) / 127.5 - 1.0, np.array(labels)


def test_weights_come_with_the_package_and_are_small():
  assert embedded.FILE.stat().st_size < 2_000_000
  assert embedded.FILE.is_relative_to(pathlib.Path(sys.modules["vidgan_jax"].__file__).parent)
  text = (pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text()
  assert '"vidgan_jax.evaluation.weights" = ["*.npz"]' in text
  variables, about = embedded.load()
  assert about["network"] == "moving_shapes_classifier"
  assert about["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_hash_is_of_paths_and_bytes():
  variables, about = embedded.load()
  arrays = embedded.flatten(variables)
  assert embedded.weights_hash(arrays) == about["sha256"]
  changed = dict(arrays)
  changed["params/logits/bias"] = changed["params/logits/bias"].copy()
  changed["params/logits/bias"][3] = np.nextafter(changed["params/logits/bias"][3], 9)
  assert embedded.weights_hash(changed) != about["sha256"]
  renamed = {path.replace("path0", "path2"): array for path, array in arrays.items()}
  assert embedded.weights_hash(renamed) != about["sha256"]


@pytest.mark.parametrize("variety, bar", [(0.0, 0.97), (1.0, 0.85)])
def test_accuracy_on_scenes_of_another_seed(classify, variety, bar):
  clips, labels = _draw(variety)
  assert (classify(clips) == labels).mean() >= bar


def test_larger_clips_are_as_easy(classify):
  clips, labels = _draw(0.0, resolution=64, count=64)
  assert (classify(clips) == labels).mean() >= 0.97


def test_the_class_is_seen_in_motion_and_shape(classify):
  clips, labels = _draw(0.0)
  # Played backwards every motion of the set is itself.
  assert (classify(clips[:, ::-1]) == labels).mean() >= 0.95
  # Standing still the shape is left, and the motion guessed: at most one of four is right.
  frozen = classify(np.repeat(clips[:, :1], FRAMES, axis=1))
  assert (SHAPE[frozen] == SHAPE[labels]).mean() >= 0.9
  assert (MOTION[frozen] == MOTION[labels]).mean() <= 0.45
  # Turned by a quarter, what went across goes down.
  disks = clips[np.isin(labels, (0, 4))]
  turned = classify(disks.swapaxes(2, 3))
  assert (turned == 4 - labels[np.isin(labels, (0, 4))]).mean() >= 0.95


def test_weights_are_remade_the_same():
  batch = lambda step, size: embedded_training.draw_clips(
    "train", step * size, size, 4, 32, np.zeros(size)
  )
  variables, losses = embedded_training.train(24, 16, 2e-3, batch)
  assert losses[-4:].mean() < 0.8 * losses[:4].mean()
  again, _ = embedded_training.train(2, 16, 2e-3, batch)
  once_more, _ = embedded_training.train(2, 16, 2e-3, batch)
  hashes = [embedded.weights_hash(embedded.flatten(v)) for v in (variables, again, once_more)]
  assert hashes[1] == hashes[2] != hashes[0]


def test_batches_are_a_function_of_the_step():
  clips, labels = embedded_training.training_batch(7, 16)
  again, _ = embedded_training.training_batch(7, 16)
  other, _ = embedded_training.training_batch(8, 16)
  assert np.array_equal(clips, again) and not np.array_equal(clips[:, :4], other[:, :4])
  assert clips.shape[1] in embedded_training.LENGTHS and clips.shape[2] in embedded_training.SIZES
  assert np.abs(clips).max() <= 1 and clips.min() < -0.5 and sorted(labels) == list(range(16))


def test_saved_weights_come_back(tmp_path):
  variables, _ = embedded.load()
  path = tmp_path / "again.npz"
  digest = embedded.save(path, variables, {"steps": 1})
  read, about = embedded.load(path)
  assert about["sha256"] == digest and about["training"] == {"steps": 1}
  jax.tree.map(np.testing.assert_array_equal, read, variables)
  first = path.read_bytes()
  embedded.save(path, variables, {"steps": 1})
  assert path.read_bytes() == first


def test_bad_files_of_weights_are_refused(tmp_path):
  variables, _ = embedded.load()
  path = tmp_path / "weights.npz"
  with pytest.raises(UserError, match="embedded_training makes one"):
    embedded.load(path)
  path.write_bytes(embedded.FILE.read_bytes()[:-2000])
  with pytest.raises(UserError, match="no readable file"):
    embedded.load(path)
  np.savez(path, __about__=np.frombuffer(b'{"network": "i3d_kinetics400"}', np.uint8))
  with pytest.raises(UserError, match="i3d_kinetics400, not of moving_shapes_classifier"):
    embedded.load(path)
  wrong = jax.tree.map(lambda leaf: leaf, variables)
  wrong["params"]["logits"]["bias"] = np.zeros(8, np.float32)
  embedded.save(path, wrong, {})
  with pytest.raises(UserError, match=r"params/logits/bias should be float32 \[16\], is .*\[8\]"):
    embedded.load(path)
