"""Identification of files of weights."""

import dataclasses
import hashlib
import pathlib
import re

import numpy as np
import pytest

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.weights import known
from vidgan_jax.weights.readers import tensor_bundle

GOLDEN = pathlib.Path(__file__).resolve().parents[3] / "shared" / "golden" / "i3d"
golden = pytest.mark.skipif(
  not GOLDEN.is_dir(), reason="needs ../shared/golden/i3d, which is not distributed"
)


def test_digests_are_git_s_and_sha256(tmp_path):
  (tmp_path / "a").write_bytes(b"hello\n")
  digests = known.digests(tmp_path / "a")
  assert digests.git_sha1 == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
  assert digests.sha256 == hashlib.sha256(b"hello\n").hexdigest()
  assert digests.size == 6
  assert known.identify(tmp_path / "a") is None
  with pytest.raises(UserError, match="not readable"):
    known.digests(tmp_path / "b")


def test_files_are_known_by_either_digest():
  for file in known.FILES:
    other = known.Digests(1, "0" * 40, "1" * 64)
    assert known.by_digests(other) is None
    identifying = {k: v for k in ("git_sha1", "sha256") if (v := getattr(file, k))}
    assert identifying and known.by_digests(dataclasses.replace(other, **identifying)) is file
    assert file.network is None or file.network in (
      *known.I3D_CHECKPOINTS.values(),
      "r2plus1d_kinetics400",
    )
    lengths = {"git_sha1": 40, "sha256": 64}
    assert all(re.fullmatch(f"[0-9a-f]{{{lengths[k]}}}", v) for k, v in identifying.items())


def test_a_variable_s_checksum_is_of_its_little_endian_bytes():
  table = known.i3d_checksums()
  assert {name: len(variables) for name, variables in table.items()} == dict.fromkeys(table, 230)
  # Only rgb_scratch has these checksums.
  crcs = dict(table["rgb_scratch"])
  match = known.match_i3d_checksums({f"RGB/inception_i3d/{n}": c for n, c in crcs.items()})
  assert (match.checkpoint, match.equal, match.total) == ("rgb_scratch", 230, 230)
  assert match.network == "i3d_kinetics400"
  crcs["Conv3d_1a_7x7/conv_3d/w"] ^= 1
  match = known.match_i3d_checksums(crcs)
  assert (match.equal, match.network) == (229, None)
  assert str(match) == "229 of 230 variables have the checksums of rgb_scratch"
  assert known.match_i3d_checksums({"x": 1}).checkpoint is None
  assert known.match_i3d_checksums({"x": 1}).network is None


def test_arrays_are_known_in_any_byte_order_and_layout(monkeypatch):
  array = np.arange(6, dtype=np.float32).reshape(2, 3)
  crc = known.masked_crc(array.tobytes())
  monkeypatch.setattr(known, "i3d_checksums", lambda: {"rgb_scratch": {"a": crc}})
  for same in (array, array.astype(">f4"), np.asfortranarray(array)):
    assert known.match_i3d_arrays({"a": same}).network == "i3d_kinetics400"
  assert known.match_i3d_arrays({"a": array.T}).network is None


@golden
@pytest.mark.parametrize(("checkpoint", "network"), known.I3D_CHECKPOINTS.items())
def test_deepmind_s_index_files_are_known(checkpoint, network):
  folder = GOLDEN / "checkpoints" / checkpoint
  assert known.identify(folder / "model.ckpt.index").network == network
  assert known.identify(folder).network == network
  entries = tensor_bundle.read_index(folder).entries
  known_crcs = known.i3d_checksums()[checkpoint]
  for name, crc in known_crcs.items():
    entry = entries.get(f"RGB/inception_i3d/{name}") or entries[name]
    assert entry.crc == crc


@golden
def test_tf_hub_s_module_is_rgb_scratch():
  lines = (GOLDEN / "tfhub_k400.vars.txt").read_text().splitlines()[1:]
  crcs = {line.split()[0]: int(line.split()[-1], 16) for line in lines}
  match = known.match_i3d_checksums(crcs)
  assert (match.checkpoint, match.equal) == ("rgb_scratch", 230)
