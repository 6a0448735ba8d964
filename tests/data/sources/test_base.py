import io
import zipfile

import numpy as np
import pytest

from vidgan_jax.data.sources.base import InMemorySource, load_npz
from vidgan_jax.evaluation import clips as evaluation_clips
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz


def numbered(clips=3, frames=10, side=4):
  """Clips in which every pixel is 16 * clip + frame."""
  number = 16 * np.arange(clips)[:, None] + np.arange(frames)
  return np.broadcast_to(
    number[..., None, None, None].astype(np.uint8), (clips, frames, side, side, 3)
  ).copy()


def save(path, **arrays):
  np.savez(path, **arrays)
  return path


def test_windows_are_contiguous_and_reach_every_start():
  source = InMemorySource(numbered(), np.array([0, 1, 1]), None, frames=3, stride=2)
  generator = np.random.default_rng(0)
  starts = set()
  for _ in range(200):
    clip, label = source.example(1, generator)
    assert clip.shape == (3, 4, 4, 3) and label == 1
    first = int(clip[0, 0, 0, 0]) - 16
    assert clip[:, 0, 0, 0].tolist() == [16 + first, 18 + first, 20 + first]
    starts.add(first)
  assert starts == {0, 1, 2, 3, 4}


def test_the_generator_alone_decides_the_example():
  source = InMemorySource(numbered(), None, None, frames=3, horizontal_flip=True)
  for seed in range(20):
    a, b = (source.example(2, np.random.default_rng(seed))[0] for _ in range(2))
    assert (a == b).all()


def test_flip_mirrors_half_of_the_examples_left_to_right():
  clips = np.zeros((1, 2, 4, 4, 3), np.uint8)
  clips[..., 0, :] = 9
  plain = InMemorySource(clips, None, None, frames=2)
  flipping = InMemorySource(clips, None, None, frames=2, horizontal_flip=True)
  generator = np.random.default_rng(0)
  assert (plain.example(0, generator)[0] == clips[0]).all()
  mirrored = [flipping.example(0, generator)[0][0, 0, -1, 0] == 9 for _ in range(200)]
  assert 60 < sum(mirrored) < 140


def test_npz_round_trip(tmp_path):
  for write in (np.savez, np.savez_compressed):
    write(tmp_path / "a.npz", clips=numbered(), labels=np.array([2, 0, 1]))
    source = load_npz(tmp_path / "a.npz", frames=10, resolution=4, num_classes=3)
    assert (source.num_examples, source.num_classes, source.resolution) == (3, 3, 4)
    clip, label = source.example(0, np.random.default_rng(0))
    assert (clip == numbered()[0]).all() and label == 2


def test_npz_labels_are_inferred_dropped_or_absent(tmp_path):
  path = save(tmp_path / "a.npz", clips=numbered(), labels=np.array([2, 0, 1]))
  assert load_npz(path, frames=2).num_classes == 3
  unlabelled = load_npz(path, frames=2, num_classes=0)
  assert unlabelled.num_classes == 0 and unlabelled.example(0, np.random.default_rng(0))[1] == 0
  path = save(tmp_path / "b.npz", clips=numbered())
  assert load_npz(path, frames=2).num_classes == 0
  with pytest.raises(UserError, match="'labels'"):
    load_npz(path, frames=2, num_classes=3)


@pytest.mark.parametrize(
  ("arrays", "arguments", "words"),
  [
    ({"labels": np.array([0, 7, 9])}, {"num_classes": 3}, r"label 7 of clip 1 .* 0\.\.2"),
    ({"labels": np.array([0, 1, -1])}, {}, "label -1 of clip 2"),
    ({"labels": np.array([0, 1])}, {"num_classes": 3}, "expected 3 integer labels"),
    ({"labels": np.array([0.0, 1, 2])}, {"num_classes": 3}, "integer labels"),
    ({}, {"frames": 6, "stride": 2}, "10 frames, but 6 frames at stride 2 need 12"),
    ({"clips": numbered()[:0]}, {}, "no clips"),
    ({"clips": numbered()[:, :, :, :2]}, {}, "4x2"),
    ({"clips": numbered().astype(np.float32)}, {}, "float32"),
    ({"clips": numbered()[0]}, {}, "expected uint8 clips"),
    ({}, {"resolution": 8}, "4x4 pixels, .* resolution 8"),
    ({}, {"max_bytes": 100}, "1440 bytes of memory, the limit is 100"),
    ({"clips": np.array([None, {}], object)}, {}, "pickled"),
  ],
)
def test_npz_that_does_not_fit_is_refused_in_one_line(tmp_path, arrays, arguments, words):
  path = tmp_path / "a.npz"
  np.savez(path, **({"clips": numbered()} | arrays))
  with pytest.raises(UserError, match=words) as caught:
    load_npz(path, **({"frames": 2} | arguments))
  assert "\n" not in str(caught.value) and "a.npz" in str(caught.value)


def write_member(path, header, data):
  """Writes an archive in which an array has an arbitrary header, which numpy.savez cannot do."""
  stream = io.BytesIO()
  np.lib.format.write_array_header_1_0(stream, header)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("clips.npy", stream.getvalue() + data)


def test_a_forged_size_is_refused_before_memory_is_taken(tmp_path, monkeypatch):
  monkeypatch.setattr(npz, "_read_items", lambda *_: pytest.fail("memory was taken"))
  path = tmp_path / "a.npz"
  for shape in ((2**40, 10, 4, 4, 3), (2**62, 2**62, 4, 4, 3)):
    write_member(path, {"descr": "|u1", "fortran_order": False, "shape": shape}, b"x" * 99)
    with pytest.raises(UserError, match=r"the limit is|is impossible"):
      load_npz(path, frames=2)
  header = {"descr": "|u1", "fortran_order": False, "shape": (3, 10, 4, 4, 3)}
  write_member(path, header, b"x" * 99)
  with pytest.raises(UserError, match="the file stores 99"):
    load_npz(path, frames=2)


def test_damaged_files_are_refused(tmp_path):
  path = save(tmp_path / "a.npz", clips=numbered())
  whole = path.read_bytes()
  flipped = bytearray(whole)
  flipped[700] ^= 4
  for content in (b"", b"<html>", whole[:-400], bytes(flipped)):
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable"):
      load_npz(path, frames=2)
  with pytest.raises(UserError, match="no such file"):
    load_npz(tmp_path / "b.npz", frames=2)
  save(path, other=numbered())
  with pytest.raises(UserError, match="no array 'clips'"):
    load_npz(path, frames=2)


def test_pixels_of_zeros_and_ones_are_refused_as_evaluation_does(tmp_path):
  clips = np.random.default_rng(0).integers(2, size=(3, 4, 8, 8, 3), dtype=np.uint8)
  path = tmp_path / "a.npz"
  np.savez(path, clips=clips)
  for check in (
    lambda: load_npz(path, frames=2),
    lambda: evaluation_clips.ArrayClips(clips),
    lambda: evaluation_clips.read(path),
  ):
    with pytest.raises(UserError, match=r"no pixel is above 1; .* 0\.\.1: multiply them by 255"):
      check()
  clips[2, 3, 7, 7, 2] = 2
  np.savez(path, clips=clips)
  assert load_npz(path, frames=2).num_examples == 3


def test_clips_of_floats_are_refused_with_what_to_do(tmp_path):
  clips = np.random.default_rng(0).random((3, 4, 8, 8, 3), np.float32)
  np.savez(tmp_path / "a.npz", clips=clips)
  for check in (
    lambda: load_npz(tmp_path / "a.npz", frames=2),
    lambda: evaluation_clips.read(tmp_path / "a.npz"),
  ):
    with pytest.raises(UserError, match=r"float32 .*0\.\.1 by np\.uint8\(np\.round"):
      check()
