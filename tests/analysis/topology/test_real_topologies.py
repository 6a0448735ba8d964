"""Meshes, start-up checks and programs on the descriptions that the real compilers give.

Skipped where libtpu or JAX's CUDA plugin is not installed.
"""

import jax
import pytest

from vidgan_jax.analysis.topology import compiler, devices, names
from vidgan_jax.models import registry
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import precision
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import flops
from vidgan_jax.training import optimizers, state
from vidgan_jax.training.phases import Phases

_FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8")
SHAPES = {"v3": _FLAT, "v4": _CUBES, "v5e": _FLAT, "v5p": _CUBES, "v6e": _FLAT, "tpu7x": _CUBES}
SLICES = [f"{kind}:{shape}" for kind, shapes in SHAPES.items() for shape in shapes]


def described(name, monkeypatch):
  """The devices of a topology; skips the test where their compiler is missing."""
  topology = names.parse(name)
  try:
    devices.check_installed(topology)
  except UserError as error:
    pytest.skip(str(error))
  for key, value in devices.variables(topology).items():
    if key.startswith(("TPU_", "ALLOW_")):
      monkeypatch.setenv(key, value)
  return devices.describe(topology)


@pytest.mark.parametrize("name", SLICES)
def test_training_starts_on_every_host_of_a_slice(lean_config, monkeypatch, name):
  there = described(name, monkeypatch)
  assert len(there) == names.parse(name).devices
  mesh = meshes.make_mesh(there)
  config = lean_config(batch_size=2 * len(there), precision="auto")
  platform = meshes.platform(mesh)
  gan = registry.build(config, platform=platform)
  Phases(gan, config).check(mesh)
  like = state.abstract(gan, optimizers.build(config, gan.discriminators), 0, mesh, "zero1")
  assert {leaf.sharding.mesh.devices.size for leaf in jax.tree.leaves(like)} == {len(there)}
  hosts = sorted({device.process_index for device in there})
  assert len(there) % len(hosts) == 0
  for host in hosts:
    monkeypatch.setattr(jax, "process_index", lambda host=host: host)
    part, parts = meshes.part_of_batch(mesh)
    own = [d.process_index == host for d in mesh.devices.flat]
    size = len(there) // parts
    assert parts == len(hosts) and all(own[part * size : (part + 1) * size])


@pytest.mark.parametrize("name", ["v3:2x2", "v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_devices_are_known(monkeypatch, name):
  assert flops.peak_flops(described(name, monkeypatch)[0])


@pytest.mark.parametrize(("name", "platform"), [("v5e:2x2", "tpu"), ("h100:8", "gpu")])
def test_forms_and_precision_follow_the_described_devices(lean_config, monkeypatch, name, platform):
  mesh = meshes.make_mesh(described(name, monkeypatch))
  assert meshes.platform(mesh) == platform != jax.devices()[0].platform
  assert precision.policy("auto", meshes.platform(mesh)).name == "bfloat16"
  config = lean_config(**{"model.savings": True, "precision": "auto"})
  here = registry.build(config, platform=meshes.platform())
  there = registry.build(config, platform=meshes.platform(mesh))
  forms = [gan.generator.settings.ops for gan in (here, there)]
  assert forms == ["cpu", "folded"]


@pytest.mark.parametrize("name", ["v5e:2x2", "h100:2"])
def test_sampling_compiles(lean_config, monkeypatch, name):
  described(name, monkeypatch)
  text = configuration.to_json(lean_config())
  program = compiler.compile_program(names.parse(name), "sampling", text)
  assert program.memory.arguments > 0 and program.memory.outputs > 0
  assert not program.refusal and not program.collectives
