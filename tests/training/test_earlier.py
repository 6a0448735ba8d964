"""Frozen earlier stages in training: where they come from, that they stay, what is refused."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import cascades
from tests.runs import same, train
from tests.test_damaged_json import damaged
from tests.training.test_devices import _distances, _settled
from tests.training.test_loop import check_same, start, wait_for_steps
from vidgan_jax.analysis.cost.collectives import collectives
from vidgan_jax.models import registry
from vidgan_jax.models.contract import Context
from vidgan_jax.models.ssw_gan.system import SswGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import sharding
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.trees import leaf_names
from vidgan_jax.training import earlier, loop, optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.step import Iteration

# One discriminator, updated once: what compiles in the shortest time.
LEAN = {
  "model__discriminator_steps": 1,
  "model__discriminator__temporal": False,
  "model__discriminator__sampled_frames": 0,
}


@pytest.fixture(scope="module")
def first(load_config, tmp_path_factory):
  """The folder of a finished run of stage 1, and its state."""
  folder = tmp_path_factory.mktemp("cascade") / "stage1"
  return folder, cascades.write_run(folder, cascades.config(load_config, 1))


@pytest.fixture
def second(load_config, first):
  """A function (**changes) -> the config of stage 2, trained on `first`."""
  named = {"model__earlier_run": str(first[0])}
  return lambda **changes: cascades.config(load_config, 2, **{**LEAN, **named, **changes})


def opened(config, workdir, **options):
  gan = registry.build(config)
  return earlier.frozen_variables(config, gan, workdir, **options)


def test_only_the_averaged_generator_is_read(first, second, tmp_path, monkeypatch):
  _, state = first
  read = []
  restore = earlier.Checkpoints.restore_part

  def recorded(self, like, part, step):
    read.extend(leaf_names(part))
    return restore(self, like, part, step)

  monkeypatch.setattr(earlier.Checkpoints, "restore_part", recorded)
  frozen = opened(second(), tmp_path)
  expected = states.generator_variables(state)
  jax.tree.map(np.testing.assert_array_equal, frozen["earlier"]["variables"], expected)
  assert frozen["earlier"]["frozen"] == {}
  assert {name.split("/")[0] for name in read} == {"step", "generator", "ema"}
  assert not any("optimizer" in name for name in read)


def test_a_moved_earlier_run_is_found_beside_the_run(first, second, tmp_path):
  config = second(model__earlier_run="/nowhere/stage1")
  with pytest.raises(UserError, match="the earlier stage is not there: no run in /nowhere/stage1"):
    opened(config, tmp_path / "stage2")
  shutil.copytree(first[0], tmp_path / "stage1")
  assert opened(config, tmp_path / "stage2")


def refused(config, workdir, message, classes=cascades.CLASSES):
  with pytest.raises(UserError, match=message) as error:
    gan = registry.build(config)
    earlier.for_training(config, gan, workdir, classes, meshes.make_mesh(jax.devices()[:1]))
  assert "\n" not in str(error.value)


def test_earlier_runs_that_do_not_fit_are_refused_in_one_line(first, second, load_config, tmp_path):
  refused(second(model__earlier_run=""), tmp_path, "earlier_run is empty")
  refused(second(model__earlier_run=str(tmp_path / "no")), tmp_path, "the earlier stage is not th")
  other = ("disk_horizontal", "cross_horizontal", *cascades.CLASSES[2:])
  message = "has other classes: class 1 is 'square_horizontal' there and 'cross_horizontal' here"
  refused(second(), tmp_path, message, other)
  refused(second(), tmp_path, "has 4 classes, this run has 3", other[:3])
  refused(
    second(model__earlier__generator__channels=3),
    tmp_path,
    "has another model, so it is not the stage before this one: model.generator.channels: 2 there",
  )
  refused(
    second(model__earlier__resolution=16, model__earlier__generator__multipliers=(2, 1, 1)),
    tmp_path,
    "has another model, so it is not the stage before this one: model.generator.multipliers",
  )
  unfinished = cascades.config(load_config, 1, num_iterations=9)
  cascades.write_run(tmp_path / "early", unfinished, 5)
  refused(
    second(model__earlier_run=str(tmp_path / "early")), tmp_path, "is unfinished, at iteration 5"
  )
  shutil.copytree(first[0], tmp_path / "bare")
  shutil.rmtree(tmp_path / "bare" / "checkpoints")
  refused(second(model__earlier_run=str(tmp_path / "bare")), tmp_path, "has no checkpoint yet")


def test_a_refused_earlier_run_leaves_no_workdir(second, tmp_path):
  config = second(model__earlier_run=str(tmp_path / "no"))
  with pytest.raises(UserError, match="the earlier stage is not there"):
    loop.Trainer(config, tmp_path / "new", devices=jax.devices()[:1], report=lambda line: None)
  assert not (tmp_path / "new").exists()


def test_clips_of_a_folder_replace_the_stage_in_training(second, tmp_path):
  generator = np.random.default_rng(0)
  clips = generator.integers(0, 256, (5, cascades.FRAMES, 8, 8, 3), dtype=np.uint8)
  np.savez(tmp_path / "samples.npz", clips=clips, labels=np.arange(5) % 4)
  config = second(model__x_l_source="folder", model__earlier_samples=str(tmp_path))
  gan, frozen = registry.build(config), opened(config, tmp_path, training=True)
  batch = {"clip": jnp.zeros((8, 4, 16, 16, 3), jnp.uint8), "label": jnp.zeros(8, jnp.int32)}
  drawn = gan.generated_inputs(jax.random.key(0), batch, Context(0, frozen))
  latents = gan.latents(jax.random.key(1), 8)
  inputs = gan.derive(frozen, latents, drawn)
  for index in range(8):
    number, start = int(drawn["number"][index]), int(5 * latents["window"][index])
    expected = clips[number, start : start + 2] / 127.5 - 1
    np.testing.assert_allclose(inputs["x_l"][index], expected, atol=1e-6)
    assert inputs["label"][index] == number % 4
  np.savez(tmp_path / "samples.npz", clips=clips[:, :3], labels=np.arange(5) % 4)
  message = r"expected uint8 clips \[N, 6, 8, 8, 3\] of the earlier stage, found uint8 \[5, 3, 8"
  with pytest.raises(UserError, match=message):
    opened(config, tmp_path, training=True)


def test_real_low_resolution_clips_need_no_earlier_run(second, tmp_path):
  config = second(model__x_l_source="real", model__earlier_run="")
  gan = registry.build(config)
  assert earlier.for_training(config, gan, tmp_path, (), None) == ({}, {})
  clip = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), dtype=np.uint8)
  batch = {"clip": jnp.asarray(clip), "label": jnp.array([2, 1])}
  inputs = gan.derive({}, {}, gan.generated_inputs(jax.random.key(0), batch, Context()))
  np.testing.assert_allclose(inputs["x_l"], clip[:, ::2, ::2, ::2] / 127.5 - 1, atol=1e-6)
  np.testing.assert_array_equal(inputs["label"], [2, 1])


def test_the_frozen_stage_receives_no_gradient(second, tmp_path):
  gan, frozen = registry.build(second()), opened(second(), tmp_path)
  latents = gan.latents(jax.random.key(0), 2)
  drawn = {"label": jnp.arange(2)}
  total = lambda frozen: jnp.sum(gan.derive(frozen, latents, drawn)["x_l"])
  value, gradient = jax.jit(jax.value_and_grad(total))(frozen)
  assert value != 0
  assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.fixture(scope="module")
def trained(load_config, first, tmp_path_factory):
  """The folder and config of a short run of stage 2."""
  named = {"model__earlier_run": str(first[0]), "checkpoint_every": 1, "num_iterations": 2}
  config = cascades.config(load_config, 2, **LEAN, **named)
  workdir = tmp_path_factory.mktemp("second") / "stage2"
  devices = jax.devices()[:1]
  loop.Trainer(config, workdir, devices=devices, report=lambda line: None).run()
  return workdir, config


def test_a_run_records_its_earlier_stage_and_keeps_it_out_of_checkpoints(trained, first):
  workdir, _ = trained
  assert json.loads((workdir / "earlier.json").read_text())["step"] == int(first[1].step)
  _, gan, state = states.load(workdir)
  shape = jax.eval_shape(lambda: gan.init(jax.random.key(0)))["generator"]["params"]
  assert jax.tree.structure(state.generator.params) == jax.tree.structure(shape)
  assert not any("earlier" in name for name in leaf_names(state))
  assert int(state.step) == 2


def test_damaged_records_are_refused_in_one_line(tmp_path):
  (tmp_path / "checkpoints" / "3").mkdir(parents=True)
  refused = 0
  for content in damaged('{"step": 3, "checksum": 12345}\n', each=9):
    (tmp_path / earlier.RECORD).write_bytes(content)
    try:
      assert set(earlier._record(tmp_path)) >= {"step", "checksum"}
    except UserError as error:
      assert "\n" not in str(error) and earlier.RECORD in str(error)
      refused += 1
  assert refused > 20


def test_a_run_resumes_only_with_the_same_earlier_stage(trained, load_config, tmp_path):
  workdir, config = trained
  copy, one = tmp_path / "stage2", tmp_path / "stage1"
  shutil.copytree(workdir, copy)
  of_first = cascades.config(load_config, 1)
  again = cascades.config(load_config, 2, model__earlier_run=str(one))
  with again.unlocked():
    again.update(config.to_dict())
    again.model.earlier_run = str(one)
    again.num_iterations = 3
  start = lambda: loop.Trainer(again, copy, devices=jax.devices()[:1], report=lambda line: None)
  cascades.write_run(one, of_first, seed=1)
  with pytest.raises(UserError, match=r"is not the one that the run in .* was trained on"):
    start()
  shutil.rmtree(one)
  cascades.write_run(one, of_first, of_first.num_iterations + 1)
  with pytest.raises(UserError, match="has no checkpoint at iteration 3 any more"):
    start()


def test_a_killed_stage_ends_the_same(second, tmp_path):
  """Killed twice and resumed, a run with a frozen stage has the same state bit for bit."""
  config = second(num_iterations=8, checkpoint_every=2, log_every=1)
  final = jax.device_get(train(config, tmp_path / "whole"))
  for steps in (3, 6):
    process = start(tmp_path, config)
    wait_for_steps(tmp_path, steps, process)
    process.kill()
    process.communicate()
  process = start(tmp_path, config)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  check_same(tmp_path, (tmp_path / "whole", final))


def _iterate(config, devices, frozen_from):
  """States before and after two iterations with a frozen stage, and the compiled program."""
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  before = _settled(jax.jit(lambda: states.create(gan, transforms, config.seed))())
  mesh = meshes.make_mesh(jax.devices()[:devices])
  places = sharding.shardings(before, mesh, config.sharding)
  generator = np.random.default_rng(0)
  shape = (gan.schedule.discriminator_steps, config.batch_size)
  clips = (*shape, gan.frames, gan.resolution, gan.resolution, 3)
  batch = {
    "clip": generator.integers(0, 256, clips, dtype=np.uint8),
    "label": generator.integers(0, gan.num_classes, shape, dtype=np.int32),
  }
  after, batch = jax.device_put(before, places), meshes.put_batch(batch, mesh)
  frozen = meshes.replicate(frozen_from(gan), mesh)
  iteration = Iteration(gan, transforms, config, mesh)
  program = jax.jit(iteration.__call__, out_shardings=(places, meshes.replicated(mesh)))
  program = program.lower(after, batch, frozen).compile()
  for _ in range(2):
    after, _ = program(after, batch, frozen)
  return before, after, program


def test_devices_and_communication_with_a_frozen_stage(x64, second, randomized, monkeypatch):
  """One device, eight, and chunks give one state; only sums are sent: gradients, statistics."""
  config = second(precision="float64")
  sizes = []

  def recorded(self, frozen, latents, inputs, frames=None, original=SswGan.derive):
    sizes.append(latents["z"].shape[0])
    return original(self, frozen, latents, inputs, frames)

  monkeypatch.setattr(SswGan, "derive", recorded)

  def frozen(gan):
    drawn = randomized(gan.example_frozen(), 3)
    positive = lambda path, a: a**2 + 0.5 if "variance" in jax.tree_util.keystr(path) else a
    return jax.tree_util.tree_map_with_path(positive, drawn)

  before, one, _ = _iterate(config, 1, frozen)
  assert not same(before.generator.params, one.generator.params)
  assert max(sizes) == config.batch_size
  _, eight, program = _iterate(config, 8, frozen)
  sizes.clear()
  _, chunked, _ = _iterate(second(precision="float64", chunks=2), 2, frozen)
  assert max(sizes) == config.batch_size // 4  # the frozen stage computes a chunk at a time too
  for other in (eight, chunked):
    worst = max(_distances(one, other, 1e-9), key=lambda pair: pair[1])
    assert worst[1] <= 1e-9, worst
  sent = collectives(program)
  assert sent and {each.kind for each in sent} == {"all-reduce"}
  params = jax.tree.leaves((one.generator.params, [d.params for d in one.discriminators.values()]))
  largest = max(leaf.size for leaf in params)
  for each in sent:
    assert all(np.prod(shape) <= largest for _, shape in each.arrays), each
