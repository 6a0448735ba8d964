"""Files of arrays: writing and reading, and damaged or forged files."""

import io
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from vidgan_jax.data.formats import index
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz


def npy(array, **options):
  stream = io.BytesIO()
  np.lib.format.write_array(stream, array, **options)
  return stream.getvalue()


def archive(path, **members):
  with zipfile.ZipFile(path, "w") as file:
    for name, content in members.items():
      file.writestr(f"{name}.npy", content)
  return path


def test_arrays_are_read_as_written_and_equal_arrays_give_equal_files(tmp_path):
  generator = np.random.default_rng(0)
  arrays = {
    "params/a/kernel": generator.standard_normal((3, 4, 5)).astype(np.float32),
    "turned": generator.standard_normal((3, 4)).T,
    "scalar": np.array(3),
    "empty": np.zeros((0, 2), np.uint8),
  }
  npz.write(tmp_path / "a.npz", arrays)
  npz.write(tmp_path / "b.npz", dict(reversed(arrays.items())))
  assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
  np.savez_compressed(tmp_path / "c.npz", **arrays, fortran=np.asfortranarray(arrays["turned"].T))
  for name in ("a", "c"):
    arrays_read = npz.read(tmp_path / f"{name}.npz")
    for key, array in arrays.items():
      np.testing.assert_array_equal(arrays_read[key], array)
      assert arrays_read[key].dtype == array.dtype and arrays_read[key].flags.writeable
  np.testing.assert_array_equal(arrays_read["fortran"], arrays["turned"].T)
  assert [*npz.read(tmp_path / "a.npz", only="turned")] == ["turned"]


def test_pickled_objects_are_refused(tmp_path):
  content = npy(np.array([print], object), allow_pickle=True)
  with pytest.raises(UserError, match=r"'a'.* holds pickled objects"):
    npz.read(archive(tmp_path / "a.npz", a=content))


@pytest.mark.parametrize("array", [np.array(["text"]), np.zeros(2, "f4,i4"), np.zeros(2, "M8[s]")])
def test_items_that_are_not_numbers_are_refused(tmp_path, array):
  with pytest.raises(UserError, match="which is not supported"):
    npz.read(archive(tmp_path / "a.npz", a=npy(array)))


def test_sizes_are_checked_before_memory_is_allocated(tmp_path):
  path = archive(tmp_path / "a.npz", a=npy(np.zeros(1000)), b=npy(np.zeros(1000)))
  with pytest.raises(UserError, match="2 arrays need 16000 bytes, the limit is 10000"):
    npz.read(path, max_bytes=10_000)
  npz.read(path, max_bytes=10_000, only="a")
  header = npy(np.zeros(2))[:128].replace(b"(2,)", b"(999999999999999,)"[:18]).ljust(128, b" ")
  stream = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    stream, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
  )
  for content in (header, stream.getvalue()):
    with pytest.raises(UserError, match=r"not a readable \.npz"):
      npz.read(archive(tmp_path / "b.npz", a=content))


def test_other_names_and_shapes_than_expected_are_refused(tmp_path):
  path = archive(tmp_path / "a.npz", a=npy(np.zeros((2, 3))), b=npy(np.zeros(5)))
  assert npz.read(path, {"a": (2, 3), "b": None, "c": (1,)})["b"].shape == (5,)
  with pytest.raises(UserError, match=r"'a' has shape \[2, 3\], expected \[3, 2\]"):
    npz.read(path, {"a": (3, 2), "b": None})
  with pytest.raises(UserError, match="'b' is not expected"):
    npz.read(path, {"a": (2, 3)})


def test_other_files_are_refused(tmp_path):
  with pytest.raises(UserError, match="not readable"):
    npz.read(tmp_path / "missing.npz")
  (tmp_path / "a.npz").write_bytes(b"no archive")
  with pytest.raises(UserError, match=r"not a readable \.npz"):
    npz.read(tmp_path / "a.npz")
  with zipfile.ZipFile(tmp_path / "b.npz", "w") as file:
    file.writestr("../escape", b"")
  with pytest.raises(UserError, match="a member is not an array"):
    npz.read(tmp_path / "b.npz")
  with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "c.npz", "w") as f:
    f.writestr("a.npy", npy(np.zeros(2)))
    f.writestr("a.npy", npy(np.ones(2)))
  with pytest.raises(UserError, match="occurs twice"):
    npz.read(tmp_path / "c.npz")


def test_damage_is_detected(tmp_path):
  with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr("a.npy", npy(np.arange(100.0)))
  content = (tmp_path / "b.npz").read_bytes()
  for position in [content.index(b"PK\1\2") + 16, 14]:  # both copies of the checksum
    content = content[:position] + b"\0\0\0\0" + content[position + 4 :]
  (tmp_path / "b.npz").write_bytes(content)
  with pytest.raises(UserError, match="CRC"):
    npz.read(tmp_path / "b.npz")
  path = archive(tmp_path / "a.npz", a=npy(np.arange(100.0)))
  content = path.read_bytes()
  position = content.index(struct.pack("<d", 50.0))
  path.write_bytes(content[:position] + b"\x01" + content[position + 1 :])
  with pytest.raises(UserError, match="CRC"):
    npz.read(path)
  generator = np.random.default_rng(0)
  for _ in range(300):
    copy = bytearray(content)
    copy[generator.integers(len(copy))] ^= 1 << generator.integers(8)
    path.write_bytes(copy)
    try:
      for array in npz.read(path).values():
        assert array.dtype == np.float64
    except UserError as error:
      assert "\n" not in str(error)


def header_of(text, data=b""):
  """A .npy file with an arbitrary text as its header."""
  text = text.encode() + b"\n"
  return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", "does not describe"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (3)}", "no shape"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': '(3,)'}", "no shape"),
    ("{'descr': '<f8', 'fortran_order': 1, 'shape': (3,)}", "does not describe"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}", "does not describe"),
    ("{'descr': '<f8', 'fortran_order': False}", "does not describe"),
    ("{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (3,)}", "twice"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807,)}", "impossible"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 9223372036854775807)}", "impossible"),
    (f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'1,' * 40})}}", "impossible"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (10000,)}", "needs (80000|79976) bytes"),
    ("{'descr': '|V8', 'fortran_order': False, 'shape': (3,)}", "is not supported"),
    ("{'descr': '<U9', 'fortran_order': False, 'shape': (3,)}", "is not supported"),
    ("{'descr': '<c16', 'fortran_order': False, 'shape': (3,)}", "is not supported"),
    ("{'descr': '<f16', 'fortran_order': False, 'shape': (3,)}", "is not supported"),
    ("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}", "pickled"),
    ("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (3,)}", "pickled"),
    (
      "{'descr': [('a', '<f4', (2, 3))], 'fortran_order': False, 'shape': (3,)}",
      "does not describe",
    ),
    (
      "{'descr': [('a', '<f4'), ('a', '<f4')], 'fortran_order': False, 'shape': (3,)}",
      "missing or equal names",
    ),
    ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}", "is not supported"),
    ("{'descr': '<f3', 'fortran_order': False, 'shape': (3,)}", "an unknown type"),
    ("{'descr': 'x', 'fortran_order': False, 'shape': (3,)}", "an unknown type"),
    ("__import__('os').system('true')", "does not describe"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)} or 1", "does not describe"),
    ("(" * 8000, "does not describe"),
    ("{" * 20000, "its header has 20001 bytes"),
  ],
)
def test_forged_headers(tmp_path, text, words):
  content = header_of(text, bytes(24))
  (tmp_path / "a.npy").write_bytes(content)
  for read in (npz.map_npy, lambda path: npz.read(archive(path.with_name("b.npz"), a=content))):
    with pytest.raises(UserError, match=words) as refusal:
      read(tmp_path / "a.npy")
    assert "\n" not in str(refusal.value)


def test_a_zip_bomb_is_refused_before_memory_is_allocated(tmp_path, monkeypatch):
  monkeypatch.setattr(npz, "_read_items", lambda *_: pytest.fail("memory was allocated"))
  header = header_of("{'descr': '|u1', 'fortran_order': False, 'shape': (1073741824,)}")
  path = tmp_path / "a.npz"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
    file.writestr("a.npy", header + bytes(2**16))
  content = bytearray(path.read_bytes())
  position = content.index(b"PK\1\2") + 24  # the size that the archive's directory states
  content[position : position + 4] = struct.pack("<I", len(header) + 2**30)
  path.write_bytes(content)
  with pytest.raises(UserError, match="cannot hold the"):
    npz.read(path)
  with pytest.raises(UserError, match="the limit is 1000"):
    npz.read(archive(path, a=npy(np.zeros(1000))), max_bytes=1000)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, method):
  with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as file:
    file.writestr("a.npy", npy(np.zeros(3)))
  with pytest.raises(UserError, match=r"array 'a': .*compression"):
    npz.read(tmp_path / "a.npz")


def test_encrypted_archives_are_refused(tmp_path):
  path = archive(tmp_path / "a.npz", a=npy(np.zeros(3)))
  content = bytearray(path.read_bytes())
  for position in (6, content.index(b"PK\1\2") + 8):
    content[position] |= 1
  path.write_bytes(content)
  with pytest.raises(UserError, match="encrypted"):
    npz.read(path)


def test_other_byte_orders_and_versions_are_read(tmp_path):
  numbers = np.arange(6.0).reshape(2, 3)
  for number, array in enumerate((numbers.astype(">f8"), np.asfortranarray(numbers), numbers)):
    path = tmp_path / f"{number}.npy"
    np.save(path, array)
    np.testing.assert_array_equal(npz.map_npy(path), numbers)
    arrays_read = npz.read(archive(tmp_path / "a.npz", a=npy(array, version=(number + 1, 0))))["a"]
    np.testing.assert_array_equal(arrays_read, numbers)
    assert arrays_read.dtype.isnative
  empty = np.zeros((0, 4), index.CLIP)
  np.save(tmp_path / "empty.npy", empty)
  assert npz.map_npy(tmp_path / "empty.npy", structured=True).dtype == index.CLIP
  # Headers as other programs write them.
  content = header_of(
    '{ "shape" : ( 2,3 ),"fortran_order":False ,"descr":"<f8"}', numbers.tobytes()
  )
  np.testing.assert_array_equal(npz.read(archive(tmp_path / "a.npz", a=content))["a"], numbers)
  content = header_of(
    "{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 3L), }", numbers.tobytes()
  )
  np.testing.assert_array_equal(npz.read(archive(tmp_path / "a.npz", a=content))["a"], numbers)


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.json", "log.jsonl"])
def test_a_named_pipe_is_refused_without_waiting(tmp_path, name):
  path = tmp_path / name
  os.mkfifo(path)
  script = (
    "import sys; from vidgan_jax.runtime.files import json_files, log_files, npz\n"
    "path = sys.argv[1]\n"
    "read = {'a.npz': npz.read, 'a.npy': npz.map_npy, 'a.json': json_files.read}\n"
    "read.get(path.rpartition('/')[2], log_files.read_log)(path)"
  )
  done = subprocess.run(
    [sys.executable, "-c", script, path], capture_output=True, text=True, timeout=60
  )
  assert done.returncode == 1 and "not a regular file" in done.stderr.splitlines()[-1]
