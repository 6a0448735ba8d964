"""Versions of the feature code, which cached features state."""

import pytest

from vidgan_jax.evaluation.features import code, extractor


def test_a_version_names_preprocessing_and_the_network(monkeypatch):
  assert code.version() == "preprocessing 1"
  assert code.version("i3d") == "preprocessing 1, i3d 1"
  assert code.version("mine 3") == "preprocessing 1, mine 3"
  before = {name: code.version(name) for name in code.VERSIONS}
  monkeypatch.setitem(code.VERSIONS, "i3d", 2)
  assert {name for name, old in before.items() if code.version(name) != old} == {"i3d"}
  monkeypatch.setitem(code.VERSIONS, "preprocessing", 2)
  assert all(code.version(name) != old for name, old in before.items())


def test_every_network_has_a_version():
  parts = [network.code for network in extractor.NETWORKS.values()]
  parts.append(extractor.load_extractor(extractor.PACKAGED).code)
  assert {*parts} == {*code.VERSIONS} - {"preprocessing"}


@pytest.mark.parametrize(
  ("entry", "expected"),
  [
    ("8452b3f26ba1", "preprocessing 1, i3d 1"),
    ("e1617c3905a6", "preprocessing 1, c3d 1"),
    ("08002382a95a", "preprocessing 1, r2plus1d 1"),
    ("e1ef5639571b", "preprocessing 1, moving_shapes 1"),
    ("3237c8ee8516", "preprocessing 1"),
    ("preprocessing 1, i3d 1", "preprocessing 1, i3d 1"),
    ("0123456789ab", "0123456789ab"),
    (None, None),
    (["8452b3f26ba1"], None),
  ],
)
def test_hashes_of_older_files_mean_version_1(monkeypatch, entry, expected):
  monkeypatch.setitem(code.VERSIONS, "i3d", 2)  # a later version does not change their meaning
  assert code.stored(entry) == expected
