"""Labels of any value, in every door: those of classes, or one line before memory is taken."""

import contextlib
import tracemalloc

import numpy as np
import pytest

from vidgan_jax.data.formats import index
from vidgan_jax.data.sources import base as sources
from vidgan_jax.evaluation import clips
from vidgan_jax.evaluation.features import references
from vidgan_jax.evaluation.statistics.moments import FeatureSet, Moments
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import files, generation

MANY = 10**9
LABELS = {
  "negative": np.array([0, 1, -1, 0]),
  "large": np.array([0, 1, MANY, 0]),
  "largest": np.array([0, 1, 2**63 - 1, 0]),
  "beyond int64": np.array([0, 1, 2**63, 0], np.uint64),
  "float": np.array([0.0, 1, 1, 0]),
  "nan": np.array([0.0, 1, np.nan, 0]),
  "bool": np.array([True, False, True, False]),
  "complex": np.array([0j, 1, 1, 0]),
  "text": np.array(["0", "1", "1", "0"]),
  "objects": np.array([0, None, 1, 2**70], object),
  "few": np.array([0, 1]),
  "many": np.array([0, 1, 1, 0, 1]),
  "scalar": np.array(1),
  "none": np.zeros(0, int),
  "column": np.array([[0], [1], [1], [0]]),
  "one_hot": np.eye(4, dtype=int),
}


@contextlib.contextmanager
def refused_with_little_memory():
  tracemalloc.start()
  try:
    with pytest.raises(UserError) as refusal:
      yield
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < 20e6
  assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def shown():
  return np.random.default_rng(0).integers(256, size=(4, 3, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("num_classes", [None, 2, 10**5])
def test_of_training_clips(shown, tmp_path, name, num_classes):
  path = tmp_path / "a.npz"
  np.savez(path, clips=shown, labels=LABELS[name])
  with refused_with_little_memory():
    sources.load_npz(path, frames=2, num_classes=num_classes)


@pytest.mark.parametrize("name", LABELS)
def test_of_arrays_in_memory(shown, name):
  labels = LABELS[name]
  with refused_with_little_memory():
    sources.InMemorySource(shown, labels, None, 2)
  with refused_with_little_memory():
    clips.ArrayClips(shown, labels)


@pytest.mark.parametrize("name", LABELS)
def test_of_clips_to_evaluate(shown, tmp_path, name):
  path = tmp_path / "a.npz"
  np.savez(path, clips=shown, labels=LABELS[name])
  with refused_with_little_memory():
    clips.read(path)


def test_numbers_of_classes(shown, tmp_path):
  path = tmp_path / "a.npz"
  np.savez(path, clips=shown, labels=np.arange(4))
  for count in (-1, 10**5 + 1, MANY, 2**70):
    with refused_with_little_memory():
      sources.load_npz(path, frames=2, num_classes=count)


@pytest.mark.parametrize("name", [n for n in LABELS if n not in ("objects", "text", "complex")])
def test_of_kept_features(tmp_path, name):
  features = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  about = {"network": "stand_in", "outputs": ["features"], "count": 4}
  path = tmp_path / "a.npz"
  gathered = {"features": FeatureSet(Moments.of(features), features)}
  references.save(path, gathered, np.arange(4), about, "c0de")
  with np.load(path) as archive:
    np.savez(path, **{**archive, "labels": LABELS[name]})
  with refused_with_little_memory():
    references.load(path, about, "c0de")


@pytest.mark.parametrize("label", [-1, 2, MANY, -(2**31)])
def test_of_prepared_sets(tmp_path, label):
  rows = np.array([(0, 0, 0, 1, label, 8, 8, 25.0)], index.CLIP)
  frames = np.array([(12, 4, 0)], index.FRAME)
  split = index.Split(
    1, 1, (index.Shard("s", 100, ""),), index.write_index(tmp_path, "train", rows, frames)
  )
  prepared = index.Prepared("a", ("x", "y"), {}, {}, {"train": split}, 0)
  with refused_with_little_memory():
    index.read_index(tmp_path, prepared, "train")


@pytest.mark.parametrize("text", ["-1", "2", str(MANY), str(2**63), "nan", "1.0", "", ",", "0,x"])
def test_of_the_sample_door(text):
  with refused_with_little_memory():
    files.parse_labels(text, ("a", "b"), 2)


@pytest.mark.parametrize("classes", [0, 2])
@pytest.mark.parametrize("name", ["text", "objects", "scalar", "none", "complex"])
def test_of_drawn_clips(classes, name):
  """A model without classes ignores labels, but they must be numbers."""
  with refused_with_little_memory():
    generation.check_labels(LABELS[name], classes)


@pytest.mark.parametrize(
  "name", ["negative", "large", "largest", "beyond int64", "nan", "bool", "column"]
)
def test_of_drawn_clips_of_classes(name):
  with refused_with_little_memory():
    generation.check_labels(LABELS[name], 2)


def test_the_largest_label_that_is_taken(shown):
  source = clips.ArrayClips(shown, np.array([0, 1, 99_999, 5]))
  assert (source.num_classes, source.class_names[-1]) == (100_000, "99999")
  assert source(0, 4)[1].tolist() == [0, 1, 99_999, 5]
