"""Writes the files with which TensorFlow Datasets 4.9 reads a prepared set; does not import it."""

import os

from vidgan_jax.data.formats import index

_FEATURES = "tensorflow_datasets.core.features"


def write_tfds_files(
  directory: str,
  name: str,
  classes: tuple[str, ...],
  encoding: str,
  splits: dict[str, list[tuple[int, int]]],
  description: str,
) -> None:
  """Writes features.json, dataset_info.json and, with classes, label.labels.txt.

  Args:
    directory: folder of the files.
    name: name of the data set.
    classes: names in label order.
    encoding: "jpeg" or "png".
    splits: by split, (number of records, size in bytes) of each shard.
    description: one line about the set.

  Raises:
    UserError: a file cannot be written.
  """
  index.write_json(os.path.join(directory, "features.json"), _features(classes, encoding))
  info = {
    "name": name,
    "version": "1.0.0",
    "description": description,
    "fileFormat": "tfrecord",
    "splits": [
      {
        "name": split,
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "numBytes": str(sum(size for _, size in shards)),
        "shardLengths": [str(clips) for clips, _ in shards],
      }
      for split, shards in splits.items()
    ],
  }
  index.write_json(os.path.join(directory, "dataset_info.json"), info)
  if classes:
    index.write_text(os.path.join(directory, "label.labels.txt"), "\n".join(classes) + "\n")


def _features(classes: tuple[str, ...], encoding: str) -> dict:
  shape = {"dimensions": ["-1", "-1", "-1", "3"]}
  features = {
    "frame_rate": {
      "pythonClassName": f"{_FEATURES}.scalar.Scalar",
      "tensor": {"dtype": "float32", "encoding": "none", "shape": {}},
    },
    "id": {"pythonClassName": f"{_FEATURES}.text_feature.Text", "text": {}},
    "video": {
      "pythonClassName": f"{_FEATURES}.video_feature.Video",
      "video": {"dtype": "uint8", "encodingFormat": encoding, "shape": shape},
    },
  }
  if classes:
    features["label"] = {
      "pythonClassName": f"{_FEATURES}.class_label_feature.ClassLabel",
      "classLabel": {"numClasses": str(len(classes))},
    }
  return {
    "pythonClassName": f"{_FEATURES}.features_dict.FeaturesDict",
    "featuresDict": {"features": features},
  }
