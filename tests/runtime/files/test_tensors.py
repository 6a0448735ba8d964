"""Files of arrays: what is read equals what was written, other files are refused."""

import os

import numpy as np
import pytest

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import tensors

pytest.importorskip("safetensors")

ARRAYS = {
  "a/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),  # not contiguous
  "a/gain": np.float32(3),  # no axis
  "b": np.zeros((0, 4), np.float32),
}


def shapes(arrays):
  return {name: (np.shape(array), np.asarray(array).dtype) for name, array in arrays.items()}


@pytest.fixture
def path(tmp_path):
  tensors.write(tmp_path / "x.safetensors", ARRAYS)
  return tmp_path / "x.safetensors"


def test_arrays_are_read_as_they_were_written(path):
  found = tensors.read(path, *tensors.fingerprint(path), shapes(ARRAYS))
  assert set(found) == set(ARRAYS)
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(found[name], array)
    assert found[name].shape == np.shape(array)


def test_equal_arrays_give_equal_bytes(path, tmp_path):
  tensors.write(tmp_path / "y", dict(reversed(ARRAYS.items())))
  assert (tmp_path / "y").read_bytes() == path.read_bytes()


def test_only_the_first_axes_may_have_other_lengths(path):
  stated = tensors.fingerprint(path)
  other = {**shapes(ARRAYS), "a/kernel": ((7, 5, 3), np.dtype(np.float32))}
  assert tensors.read(path, *stated, other, any_length=True)["a/kernel"].shape == (4, 2, 3)
  for wrong in ((4, 2, 2), (4, 3), (2, 4, 2, 3)):
    with pytest.raises(UserError, match=r"a/kernel is float32 .4, 2, 3. there"):
      tensors.read(
        path, *stated, {**other, "a/kernel": (wrong, np.dtype(np.float32))}, any_length=True
      )
  with pytest.raises(UserError, match="belongs to another model"):
    tensors.read(path, *stated, other)


def test_too_large_files_are_refused_before_they_are_opened(path):
  os.truncate(path, 2**40)
  with pytest.raises(UserError, match="1099511627776 bytes are stated"):
    tensors.read(path, "0" * 64, 2**40, shapes(ARRAYS))
  with pytest.raises(UserError, match="it has 1099511627776 bytes, expected 5"):
    tensors.fingerprint(path, 5)


def test_files_that_cannot_be_read(tmp_path):
  with pytest.raises(UserError, match="not readable"):
    tensors.fingerprint(tmp_path / "missing")
  with pytest.raises(UserError, match="not readable"):
    tensors.read(tmp_path, "0" * 64, 3, {})
  with pytest.raises(UserError, match="cannot be written"):
    (tmp_path / "file").write_text("")
    tensors.write(tmp_path / "file" / "x", ARRAYS)
