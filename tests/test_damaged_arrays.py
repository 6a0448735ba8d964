"""Damaged .npz and .npy files, in every reader: one line, or nothing is noticed; never a traceback.

All single flipped bits of an array's header and of the archive's directory, and files cut short.
"""

import json
import types

import numpy as np
import pytest

from vidgan_jax.data.formats import index
from vidgan_jax.data.prepare import arrays as prepare_arrays
from vidgan_jax.data.prepare import shards
from vidgan_jax.data.sources import base as sources
from vidgan_jax.data.sources import frame_cache
from vidgan_jax.evaluation import clips
from vidgan_jax.evaluation.features import convert, extractor, references
from vidgan_jax.evaluation.statistics.moments import FeatureSet, Moments
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz
from vidgan_jax.sampling import conditioning

HEADER = 128


@pytest.fixture(scope="module")
def pixels():
  return np.random.default_rng(0).integers(256, size=(6, 4, 8, 8, 3), dtype=np.uint8)


def npz_of_clips(folder, pixels):
  path = folder / "clips.npz"
  np.savez(path, clips=pixels, labels=np.arange(6) % 2)
  return path


def load_npz(folder, pixels):
  path = npz_of_clips(folder, pixels)
  return path, lambda: sources.load_npz(path, frames=4, num_classes=2)


def evaluated_clips(folder, pixels):
  path = npz_of_clips(folder, pixels)
  return path, lambda: clips.read(path)


def given_clips(folder, pixels):
  path = npz_of_clips(folder, pixels)
  gan = types.SimpleNamespace(needs_conditioning=True, given_frames=2, resolution=8)
  return path, lambda: conditioning.read([path], gan)


def kept_features(folder, pixels):
  del pixels
  features = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
  about = {"network": "stand_in", "outputs": ["features"], "resolution": [8, 8], "count": 6}
  path = folder / "reference.npz"
  references.save(
    path, {"features": FeatureSet(Moments.of(features), features)}, np.arange(6), about, "c0de"
  )
  return path, lambda: references.load(path, about, "c0de")


def weights(folder, pixels):
  del pixels
  about = {"format": extractor.FORMAT, "network": "i3d_kinetics400", "weights_hash": "0"}
  path = folder / "weights.npz"
  npz.write(path, {"__about__": np.frombuffer(json.dumps(about).encode(), np.uint8)})
  return path, lambda: extractor.read_about(path)


def mean_clip(folder, pixels):
  del pixels
  path = folder / "mean.npz"
  np.savez_compressed(path, mean=np.zeros((3, 16, 128, 171), np.uint8))
  return path, lambda: convert.read_mean(path)


def finished_shard(folder, pixels):
  """The file that marks a shard of `prepare` as finished; if damaged, the shard is redone."""
  del pixels
  request = types.SimpleNamespace(stride=1)
  writer = shards.Writer(str(folder), str(folder), request, False, 1)
  plan = shards.ShardPlan("train", 0, "shard", [])
  (folder / "shard").write_bytes(b"abc")
  row = (0, 0, 0, 1, 0, 8, 8, 25.0)
  about = {"bytes": 3, "sha256": "0", "skipped": [["a", "b"]], "enlarged": []}
  writer._describe(plan, [row], [np.zeros(1, index.FRAME)], about)
  assert writer.finished(plan).skipped == (("a", "b"),)
  return folder / "train-00000.npz", lambda: writer.finished(plan)


def index_files(folder, pixels):
  """With the checksum of what is damaged in prepared.json, as if it had been prepared so."""
  del pixels
  index.write_index(folder, "train", np.zeros(3, index.CLIP), np.zeros(3, index.FRAME))
  path = folder / "index" / "train-clips.npy"

  def read():
    checksums = {
      kind: index.file_sha256(index.index_path(folder, "train", kind))
      for kind in ("clips", "frames")
    }
    split = index.Split(3, 3, (index.Shard("s", 1, ""),), checksums)
    try:
      index.read_index(folder, index.Prepared("a", (), {}, {}, {"train": split}, 0), "train")
    except UserError as error:
      # The rows themselves are zeros, which the index' own checks refuse.
      if "row 0" not in str(error):
        raise

  return path, read


def moving_mnist(folder, pixels):
  path = folder / "mnist_test_seq.npy"
  np.save(path, np.resize(pixels[..., 0], (20, 4, 8, 8)))
  request = types.SimpleNamespace(input=str(path), source="moving_mnist")
  return path, lambda: prepare_arrays.list_moving_mnist(request)


def decoded_clip(folder, pixels):
  path = folder / "clip.npy"
  frame_cache.write(path, pixels[0])

  def read():
    try:
      frame_cache.read(path, range(4))
    except frame_cache.Damaged:
      return None  # it is decoded again
    return pixels

  return path, read


READERS = (
  load_npz,
  evaluated_clips,
  given_clips,
  kept_features,
  weights,
  mean_clip,
  finished_shard,
  index_files,
  moving_mnist,
  decoded_clip,
)


def outcomes(path, read, contents):
  """Counts the outcomes of reading each content; errors other than UserError are raised.

  Files that can be computed again (`read` returns None) must never be refused.
  """
  seen = {"refused": 0, "read": 0, "recomputed": 0}
  for content in contents:
    path.write_bytes(content)
    try:
      seen["recomputed" if read() is None and path.name != "train-clips.npy" else "read"] += 1
    except UserError as error:
      assert "\n" not in str(error) and path.stem in str(error)
      assert path.name not in ("clip.npy", "train-00000.npz")
      seen["refused"] += 1
  return seen


def flipped(whole, bits):
  for bit in bits:
    content = bytearray(whole)
    content[bit // 8] ^= 1 << bit % 8
    yield content


@pytest.mark.parametrize("make", [make for make in READERS if make is not mean_clip])
def test_flipped_bits_of_headers(make, pixels, tmp_path):
  path, read = make(tmp_path, pixels)
  whole = path.read_bytes()
  read()
  start = max(0, whole.find(b"\x93NUMPY"))
  seen = outcomes(path, read, flipped(whole, range(8 * start, 8 * (start + HEADER))))
  # In files without a CRC: '=' and '|' in place of '<', of each field, mean the same.
  assert seen["read"] <= 12


@pytest.mark.parametrize("make", READERS)
def test_files_that_are_cut_short(make, pixels, tmp_path):
  path, read = make(tmp_path, pixels)
  whole = path.read_bytes()
  places = sorted({*range(0, min(400, len(whole)), 7), *range(0, len(whole), len(whole) // 60 + 1)})
  seen = outcomes(path, read, (whole[:place] for place in places))
  assert not seen["read"]


@pytest.mark.parametrize(
  "make", [load_npz, evaluated_clips, given_clips, kept_features, weights, finished_shard]
)
def test_flipped_bits_of_directories(make, pixels, tmp_path):
  path, read = make(tmp_path, pixels)
  whole = path.read_bytes()
  bits = range(8 * whole.index(b"PK\1\2"), 8 * len(whole))
  outcomes(path, read, flipped(whole, bits[:: max(1, len(bits) // 900)]))


@pytest.mark.parametrize("make", READERS)
def test_flipped_bits_anywhere(make, pixels, tmp_path):
  path, read = make(tmp_path, pixels)
  whole = path.read_bytes()
  bits = np.random.default_rng(0).integers(8 * len(whole), size=150)
  outcomes(path, read, flipped(whole, bits.tolist()))
