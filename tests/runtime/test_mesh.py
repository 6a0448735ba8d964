"""The order of devices on the mesh, on the topologies of real TPU slices.

For each slice, `tpu_topologies.json` contains process_index and id of its devices in JAX's order,
and the ids in the order of `jax.make_mesh((n,), ("data",))` ("torus"). They come from
`jax.experimental.topologies.get_topology_desc(platform="tpu", topology_name=...)` with JAX 0.10.2
and libtpu 0.0.42.1 (v4 with chip_config_name="megacore").
"""

import json
import pathlib
import types

import jax
import numpy as np
import pytest

from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError

SLICES = json.loads((pathlib.Path(__file__).parent / "tpu_topologies.json").read_text())


class _Device:
  """A device with the attributes that `make_mesh` reads."""

  def __init__(self, process_index, id):
    self.process_index, self.id, self.platform = process_index, id, "tpu"


def _devices(name, along_torus=False):
  described = SLICES[name]
  listed = [
    _Device(*pair) for pair in zip(described["process_index"], described["id"], strict=True)
  ]
  by_id = {device.id: device for device in listed}
  return [by_id[i] for i in described["torus"]] if along_torus else listed


@pytest.mark.parametrize("along_torus", [False, True], ids=["listed", "torus"])
@pytest.mark.parametrize("name", SLICES)
def test_each_process_of_a_tpu_slice_feeds_one_slice_of_the_batch(name, along_torus, monkeypatch):
  devices = _devices(name, along_torus)
  mesh = meshes.make_mesh(devices)
  assert sorted(device.id for device in mesh.devices.flat) == list(range(len(devices)))
  owners = [device.process_index for device in mesh.devices.flat]
  processes = sorted(set(owners))
  per_process = len(devices) // len(processes)
  for process in processes:
    monkeypatch.setattr(jax, "process_index", lambda process=process: process)
    part, parts = meshes.part_of_batch(mesh)
    assert parts == len(processes)
    # The slice that this process feeds is on the devices of this process.
    assert owners[part * per_process : (part + 1) * per_process] == [process] * per_process


def test_most_slices_of_several_hosts_have_scattered_hosts_along_the_torus():
  """Otherwise the test above would also pass with the order of the torus."""
  scattered = set()
  for name in SLICES:
    mesh = types.SimpleNamespace(devices=np.array(_devices(name, along_torus=True)))
    try:
      meshes.part_of_batch(mesh)
    except ValueError as error:
      assert "not adjacent" in str(error)
      scattered.add(name.split(":")[0])
  assert scattered == {"v4", "v5e", "v5p", "v6e"}


def test_devices_are_ordered_by_process_then_id():
  shuffled = [_Device(1, 3), _Device(0, 2), _Device(1, 1), _Device(0, 0)]
  assert [d.id for d in meshes.make_mesh(shuffled).devices.flat] == [0, 2, 1, 3]


def test_processes_need_the_same_number_of_devices():
  mesh = meshes.make_mesh([_Device(0, 0), _Device(0, 1), _Device(1, 2)])
  with pytest.raises(UserError, match="process 0 has 2, process 1 has 1"):
    meshes.part_of_batch(mesh)


def test_the_platform_is_that_of_the_mesh():
  """Also for devices that this machine does not have, for which programs may be compiled."""
  (name, *_) = SLICES
  assert meshes.platform(meshes.make_mesh(_devices(name))) == "tpu"
  assert meshes.platform(meshes.make_mesh(jax.devices()[:1])) == meshes.platform() == "cpu"
