"""Names of topologies, and the descriptions that the compilers receive."""

import pathlib
import tomllib

import pytest

from vidgan_jax.analysis.topology import devices, gpus, names
from vidgan_jax.runtime.errors import UserError


@pytest.mark.parametrize(
  ("text", "kind", "shape", "count", "platform"),
  [
    ("v5e:8x8", "v5e", (8, 8), 64, "tpu"),
    ("V6E:4x8", "v6e", (4, 8), 32, "tpu"),
    ("v4:4x4x4", "v4", (4, 4, 4), 64, "tpu"),
    ("v3:4x4", "v3", (4, 4), 32, "tpu"),  # two devices per chip
    ("tpu7x:2x2x1", "tpu7x", (2, 2, 1), 8, "tpu"),
    ("h100:8", "h100", (8,), 8, "gpu"),
    (" h200:1 ", "h200", (1,), 1, "gpu"),
    ("cpu:2", "cpu", (2,), 2, "cpu"),
  ],
)
def test_names_are_parsed(text, kind, shape, count, platform):
  topology = names.parse(text)
  assert (topology.kind, topology.shape, topology.devices) == (kind, shape, count)
  assert topology.hardware.platform == platform
  assert names.parse(topology.name) == topology


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("v5e", "must be KIND:SHAPE"),
    ("v5e:", "must be KIND:SHAPE"),
    ("v5e:8x", "must be KIND:SHAPE"),
    ("v5e:-8x8", "must be KIND:SHAPE"),
    ("v9:2x2", "unknown hardware 'v9'; known: v3, v4, v5e"),
    ("v5e:8x8x8", "the shape of v5e has 2 axes, such as v5e:2x4"),
    ("v5p:8x8", "the shape of v5p has 3 axes, such as v5p:2x4x8"),
    ("h100:2x4", "the shape of h100 is a number of devices, such as h100:8"),
    ("h100:0", "must have from 1 to 16,384 chips"),
    ("v5e:999x999", "must have from 1 to 16,384 chips"),
  ],
)
def test_wrong_names_are_refused_in_one_line(text, message):
  with pytest.raises(UserError) as error:
    names.parse(text)
  assert message in str(error.value) and "\n" not in str(error.value)
  assert str(error.value).startswith(f"--topology={text}:")


@pytest.mark.parametrize(
  ("name", "package", "extra"),
  [("v5e:2x2", "libtpu", "compile-tpu"), ("h100:8", "jax_plugins.xla_cuda12", "compile-cuda")],
)
def test_a_missing_compiler_is_named_with_its_extra(monkeypatch, name, package, extra):
  topology = names.parse(name)
  monkeypatch.setattr(devices, "_exists", lambda module: module == package)
  devices.check_installed(topology)
  monkeypatch.setattr(devices, "_exists", lambda module: False)
  devices.check_installed(names.parse("cpu:2"))
  with pytest.raises(UserError, match=rf"^--topology={name} needs .*vidgan_jax\[{extra}\]"):
    devices.check_installed(topology)


def test_an_extra_of_pyproject_installs_each_compiler():
  text = (pathlib.Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8")
  extras = tomllib.loads(text)["project"]["optional-dependencies"]
  assert {extra for _, extra in devices._COMPILERS.values()} <= set(extras)


def test_every_gpu_has_a_description():
  kinds = [kind for kind, hardware in names.HARDWARE.items() if hardware.platform == "gpu"]
  assert sorted(gpus._CARDS) == sorted(kinds)
  for kind in kinds:
    text = gpus.target_config(kind)
    assert f"device_memory_size: {names.HARDWARE[kind].memory}" in text
    assert text.count("{") == text.count("}")
