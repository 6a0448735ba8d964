"""The code that makes features is known by its sources, and by those they import."""

import importlib
import sys

import pytest

from vidgan_jax.evaluation.features import code, extractor
from vidgan_jax.evaluation.features.architectures import r2plus1d


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A folder of the modules made_a, which imports made_b, and made_c."""
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setattr(code, "_ROOMS", ("made_",))
  (tmp_path / "made_a.py").write_text("def build():\n  import made_b\n  return made_b.x\n")
  (tmp_path / "made_b.py").write_text("from made_a import build\nx = 1\n")
  (tmp_path / "made_c.py").write_text("x = 1\n")
  importlib.invalidate_caches()
  yield tmp_path
  for name in ("made_a", "made_b", "made_c"):
    sys.modules.pop(name, None)


def test_any_change_of_what_is_imported_counts(package):
  before = code.digest(["made_a"])
  assert before == code.digest(["made_a"]) and len(before) == 12
  (package / "made_c.py").write_text("x = 2\n")
  assert code.digest(["made_a"]) == before
  (package / "made_b.py").write_text("from made_a import build\nx = 2\n")
  changed = code.digest(["made_a"])
  assert changed != before
  (package / "made_a.py").write_bytes((package / "made_a.py").read_bytes() + b"\r\n")
  assert code.digest(["made_a"]) != changed


def test_networks_differ_and_preprocessing_is_always_of_it(monkeypatch):
  modules = [type(extractor.find(n).build().module).__module__ for n in extractor.NETWORKS]
  assert len({code.digest([name]) for name in modules}) == 3  # I3D, C3D, R(2+1)D
  read, sources = [], code._source
  monkeypatch.setattr(code, "_source", lambda name: read.append(name) or sources(name))
  code.digest([r2plus1d.__name__])
  room = "vidgan_jax.evaluation"
  assert {*read} == {
    f"{room}.preprocessing", f"{room}.resizing", f"{room}.networks.r2plus1d",
    f"{room}.networks.separable",
  }  # fmt: skip


def test_the_packages_classifier_tells_its_code():
  opened = extractor.load_extractor(extractor.PACKAGED)
  assert opened.modules == ("vidgan_jax.evaluation.features.architectures.moving_shapes",)
  assert code.digest(opened.modules) != code.digest([])
