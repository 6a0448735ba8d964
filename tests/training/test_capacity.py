"""Runs that do not fit into memory are refused before they allocate it."""

import types

import jax
import pytest

from vidgan_jax.models import registry
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import cores
from vidgan_jax.training import capacity, loop, optimizers, state


def abstract(config, mesh):
  gan = registry.build(config)
  return state.abstract(gan, optimizers.build(config, gan.discriminators), config.seed, mesh)


def test_device_memory_is_that_of_this_machine():
  mesh = meshes.make_mesh(jax.devices()[:2])
  assert cores.usable_memory() > 2**28
  assert capacity.device_memory(mesh) == cores.usable_memory() // 2


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({}, None),
    ({"batch_size": 2**20}, "state and clips take .* GiB, the memory of each device is 1.0 GiB"),
    ({"model.generator.channels": 4096}, "state and clips take .* GiB"),
  ],
)
def test_sizes_are_compared_before_anything_is_made(lean_config, monkeypatch, changes, words):
  monkeypatch.setattr(cores, "usable_memory", lambda: 2**30)
  config, mesh = lean_config(**changes), meshes.make_mesh(jax.devices()[:1])
  like = abstract(config, mesh)
  if words is None:
    capacity.check_config(config, like, mesh)
    return
  with pytest.raises(UserError, match=words):
    capacity.check_config(config, like, mesh)


def test_training_refuses_before_it_makes_a_folder(tmp_path, lean_config, monkeypatch):
  monkeypatch.setattr(cores, "usable_memory", lambda: 2**10)
  with pytest.raises(UserError, match="state and clips take"):
    loop.Trainer(lean_config(), tmp_path / "run", devices=jax.devices()[:1])
  assert not (tmp_path / "run").exists()


def test_what_the_compiled_iteration_needs_is_compared(monkeypatch):
  mesh = meshes.make_mesh(jax.devices()[:1])
  program = (
    jax.jit(lambda x: (x @ x.T).sum()).lower(jax.ShapeDtypeStruct((2048, 2), "f4")).compile()
  )
  capacity.check_program(program, mesh)  # needs 16 MiB of temporary memory
  monkeypatch.setattr(cores, "usable_memory", lambda: 2**10)
  with pytest.raises(UserError, match="an iteration takes"):
    capacity.check_program(program, mesh)
  capacity.check_program(types.SimpleNamespace(memory_analysis=lambda: None), mesh)
