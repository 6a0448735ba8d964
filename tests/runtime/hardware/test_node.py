"""The GPUs of a machine and those that its processes use, with made-up machines."""

import os
import types

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import node


@pytest.fixture
def machine(monkeypatch):
  """A machine of eight GPUs, of which this process uses as many as the returned function says."""
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  monkeypatch.delenv("JAX_LOCAL_DEVICE_IDS", raising=False)
  names = ["nvidiactl", "nvidia-uvm", "nvidia-caps", "null", *(f"nvidia{i}" for i in range(8))]
  monkeypatch.setattr(node.os, "listdir", lambda folder: names)
  monkeypatch.setattr(node.socket, "gethostname", lambda: "node007")

  def use(count, platform="gpu"):
    devices = [types.SimpleNamespace(platform=platform)] * count
    monkeypatch.setattr(jax, "local_devices", lambda: devices)

  return use


@pytest.mark.parametrize(
  ("chosen", "count"),
  [(None, 8), ("", 0), ("-1", 0), ("3", 1), ("0,1, 2", 3), ("0,-1,2", 1), ("GPU-1,MIG-2", 2)],
)
def test_gpus_that_the_environment_allows(machine, monkeypatch, chosen, count):
  if chosen is not None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
  assert node.visible_gpus() == count


def test_one_slurm_task_on_a_machine_of_eight_gpus_is_refused(machine, monkeypatch):
  """JAX gives the task one GPU; `start` refuses to train on an eighth of the machine."""
  monkeypatch.setattr(jax.distributed, "initialize", lambda *_: None)
  machine(1)
  message = r"^1 process\(es\) on node007 use 1 of its 8 GPUs; .*--ntasks-per-node=8"
  with pytest.raises(UserError, match=message):
    processes.start("auto", None, None)
  with pytest.raises(UserError, match=message):
    processes.start("localhost:1", 1, 0)
  machine(8)
  processes.start("auto", None, None)


def test_gpus_that_were_chosen_are_enough(machine, monkeypatch):
  machine(1)
  monkeypatch.setenv("JAX_LOCAL_DEVICE_IDS", "0")
  node.check_devices()
  monkeypatch.delenv("JAX_LOCAL_DEVICE_IDS")
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
  node.check_devices()


def test_a_task_that_does_not_find_its_gpu_is_refused(machine, monkeypatch):
  """With --gpus-per-task JAX looks for GPU 3 of one, warns and takes the CPU."""
  machine(1, "cpu")
  before = jax.config.jax_platforms
  try:
    jax.config.update("jax_platforms", None)
    with pytest.raises(UserError, match=r"^process 0 on node007 would train on the CPU"):
      node.check_devices()
    jax.config.update("jax_platforms", "cpu")
    node.check_devices()
  finally:
    jax.config.update("jax_platforms", before)
  machine(4, "tpu")
  node.check_devices()


def test_the_processes_of_each_machine_count_together(machine, monkeypatch):
  """Two machines: one with a task per GPU, one with three tasks for its eight GPUs."""
  others = [("node007", 1, 8)] * 7 + [("a" * 64, 1, 8)] * 3

  def gather(row):
    rows = [
      np.frombuffer(n.encode().ljust(64, b"\0") + bytes([u, a]), np.uint8) for n, u, a in others
    ]
    return np.stack([row, *rows])

  monkeypatch.setattr(jax, "process_count", lambda: 11)
  monkeypatch.setattr(multihost_utils, "process_allgather", gather)
  machine(1)
  with pytest.raises(UserError, match=rf"^3 process\(es\) on {'a' * 64} use 3 of its 8 GPUs"):
    node.check_devices()
  del others[7:]
  node.check_devices()


def test_tasks_that_see_one_gpu_each_use_the_whole_machine():
  assert node.fault([("a", 1, 1)] * 8) is None
  assert node.fault([("a", 4, 4), ("b", 4, 4)]) is None
  assert node.fault([]) is None


def test_a_machine_without_a_device_folder_has_no_gpus(monkeypatch):
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

  def missing(folder):
    raise FileNotFoundError(folder)

  monkeypatch.setattr(os, "listdir", missing)
  assert node.visible_gpus() == 0
