"""TensorFlow Datasets reads prepared sets, and `prepare` reads its sets."""

import json

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data.formats import index

REASON = "needs TensorFlow Datasets: pip install -r requirements-data.txt"


@pytest.fixture(scope="module")
def tfds():
  pytest.importorskip("tensorflow", reason=REASON)
  return pytest.importorskip("tensorflow_datasets", reason=REASON)


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_clip):
  folder = tmp_path_factory.mktemp("videos")
  for number in range(7):
    split = "test" if number > 4 else "train"
    write_clip(folder / split / f"c{number % 2}" / f"{number} é.mp4", 3 + number, seed=number)
  (folder / "train" / "c0" / "page.mp4").write_text("<html>")
  return folder


def read_with_tfds(tfds, directory, split):
  builder = tfds.builder_from_directory(directory)
  examples = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
  return builder, {example["id"].decode(): example for example in examples}


@pytest.mark.parametrize("quality", [None, 95])
def test_it_reads_a_prepared_set(tfds, videos, prepare, read_clips, quality):
  # One shard per clip; the shard of the clip without frames is empty.
  directory, prepared, _ = prepare("folder", videos, quality=quality, clips_per_shard=1)
  assert 0 in [shard.bytes for shard in prepared.splits["train"].shards]
  for split in ("train", "test"):
    builder, read = read_with_tfds(tfds, directory, split)
    assert builder.info.splits[split].num_examples == prepared.splits[split].clips
    assert tuple(builder.info.features["label"].names) == ("c0", "c1")
    ours = read_clips(directory, split)
    assert read.keys() == ours.keys()
    for name, (frames, label, rate) in ours.items():
      example = read[name]
      assert example["label"] == label and example["frame_rate"] == rate == 10.0
      if quality is None:
        assert np.array_equal(example["video"], frames)
      else:
        # TensorFlow Datasets decodes with the fast transform; the accurate one gives our pixels.
        assert np.abs(example["video"].astype(int) - frames).mean() < 3


def test_the_accurate_transform_gives_our_pictures(tfds, videos, prepare, read_clips):
  import tensorflow

  directory, prepared, _ = prepare("folder", videos)
  clips, frames = index.read_index(directory, prepared, "train")
  first = frames[int(clips["first"][0])]
  content = (directory / prepared.splits["train"].shards[0].file).read_bytes()
  jpeg = content[int(first["offset"]) : int(first["offset"] + first["length"])]
  theirs = tensorflow.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE").numpy()
  assert np.array_equal(theirs, next(iter(read_clips(directory).values()))[0][0])


def test_a_set_without_classes_is_read(tfds, videos, prepare):
  directory, _, _ = prepare("folder", videos, class_level=0)
  _, read = read_with_tfds(tfds, directory, "train")
  assert {tuple(sorted(example)) for example in read.values()} == {("frame_rate", "id", "video")}


def test_the_description_is_as_it_writes_it_itself(tfds, videos, prepare, tmp_path):
  directory, _, _ = prepare("folder", videos)
  features = tfds.features.FeaturesDict({
    "frame_rate": tfds.features.Scalar(np.float32),
    "id": tfds.features.Text(),
    "label": tfds.features.ClassLabel(names=["c0", "c1"]),
    "video": tfds.features.Video((None, None, None, 3), encoding_format="jpeg"),
  })  # fmt: skip
  (tmp_path / "theirs").mkdir()
  features.save_config(tmp_path / "theirs")
  theirs = json.loads((tmp_path / "theirs" / "features.json").read_text())
  assert json.loads((directory / "features.json").read_text()) == theirs
  labels = (tmp_path / "theirs" / "label.labels.txt").read_text()
  assert (directory / "label.labels.txt").read_text() == labels


def test_what_it_prepared_can_be_prepared(tfds, videos, prepare, read_clips):
  first, before, _ = prepare("folder", videos, quality=None, clips_per_shard=2)
  second, after, _ = prepare("tfds", first, "again", quality=None, resolution=8)
  assert after.classes == before.classes
  assert {s: p.clips for s, p in after.splits.items()} == {"test": 2, "train": 5}
  bodies = lambda clips, size: sorted(
    (label, len(frames), [np.asarray(Image.fromarray(f).resize(size, 2)).tobytes() for f in frames])
    for frames, label, _ in clips.values()
  )
  for split in before.splits:
    expected = bodies(read_clips(first, split), (12, 8))
    assert bodies(read_clips(second, split), (12, 8)) == expected


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_set_that_it_wrote_itself_is_prepared(
  tfds, prepare, read_clips, tmp_path, file_format, channels
):
  generator = np.random.default_rng(0)
  clips = generator.integers(256, size=(4, 3, 8, 10, channels), dtype=np.uint8)
  image = tfds.features.Image(shape=(8, 10, channels), encoding_format="png")
  builder = tfds.dataset_builders.AdhocBuilder(
    name="small",
    version="1.0.0",
    features=tfds.features.FeaturesDict(
      {
        "name": tfds.features.Text(),
        "action": tfds.features.ClassLabel(names=["run", "sit"]),
        "frames": tfds.features.Sequence(image),
      }
    ),
    split_datasets={
      "train": [(i, {"name": f"{i}", "action": i % 2, "frames": clips[i]}) for i in range(3)],
      "test": [(3, {"name": "secret", "action": -1, "frames": clips[3]})],
    },
    data_dir=tmp_path / "data",
    file_format=file_format,
  )
  builder.download_and_prepare()
  directory, prepared, _ = prepare("tfds", builder.data_dir, quality=None, splits=("train",))
  read = [(label, frames.tobytes()) for frames, label, _ in read_clips(directory).values()]
  expected = [
    (i % 2, np.repeat(clips[i], 4 - channels if channels == 1 else 1, -1)) for i in range(3)
  ]
  assert sorted(read) == sorted((label, frames.tobytes()) for label, frames in expected)
  assert prepared.classes == ("run", "sit")
  # The labels of this test split are missing.
  with pytest.raises(Exception, match=r"split 'test' is empty: .* label -1 is outside the range"):
    prepare("tfds", builder.data_dir, "test", splits=("test",))


def test_sets_of_other_features_are_refused(tfds, prepare, tmp_path):
  from vidgan_jax.runtime.errors import UserError

  features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
  folder = tmp_path / "text"
  folder.mkdir()
  features.save_config(folder)
  info = {"name": "text", "version": "1.0.0", "fileFormat": "tfrecord"}
  (folder / "dataset_info.json").write_text(json.dumps(info))
  with pytest.raises(UserError, match=r"none of its features \(text\) is a video"):
    prepare("tfds", folder)
  (folder / "dataset_info.json").unlink()
  with pytest.raises(UserError, match="TensorFlow Datasets cannot open it"):
    prepare("tfds", folder)
