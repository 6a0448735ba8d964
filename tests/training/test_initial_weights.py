"""Runs that begin with the weights of another run or of an exported model."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest

from tests.runs import losses, same, train
from vidgan_jax.data.sources.base import InMemorySource
from vidgan_jax.models import registry
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hooks import Hook
from vidgan_jax.runtime.trees import leaf_names
from vidgan_jax.sampling import export, export_request
from vidgan_jax.sampling.exported import Exported
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.starts import matching

EIGHT = ("walk", "run", "jump", "skip", "wave", "bend", "sit", "stand")
FOUR = ("fly", "wave", "swim", "run")  # two of them are among the eight, with other numbers


def source(classes, resolution=8, frames=4):
  generator = np.random.default_rng(0)
  count = 2 * max(1, len(classes))
  clips = generator.integers(0, 256, (count, frames, resolution, resolution, 3), dtype=np.uint8)
  labels = np.arange(count) % len(classes) if classes else None
  return InMemorySource(clips, labels, classes, frames)


def flat(state):
  """{name: array} of the networks of a state."""
  return {name: np.asarray(leaf) for name, leaf in matching.arrays(jax.device_get(state)).items()}


def first(workdir):
  """The state before the first iteration of a run that began with other weights."""
  return flat(states.load(workdir, 0, report=print)[2])


def random_state(config):
  """The state before the first iteration with random weights."""
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  return flat(jax.jit(functools.partial(states.create, gan, transforms, config.seed))())


def record(workdir):
  return json.loads((workdir / "init.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lean(lean_config):
  """A config of `lean_config` with another seed than the run that weights are taken from."""
  base = {"seed": 5, "num_iterations": 1, "checkpoint_every": 1, "log_every": 1}
  return lambda **changes: lean_config(**{**base, **changes})


@pytest.fixture(scope="module")
def trained(lean_config, tmp_path_factory):
  """A run of two iterations on eight classes: its folder and its last state."""
  workdir = tmp_path_factory.mktemp("source") / "run"
  average = {"ema.start": 0, "ema.decay": 0.9}  # so that it differs from the live weights
  config = lean_config(num_iterations=2, log_every=1, **average)
  return workdir, flat(train(config, workdir, source=source(EIGHT)))


def test_from_8_classes_to_4_with_two_in_common(trained, lean, tmp_path):
  folder, before = trained
  config, lines = lean(**{"model.num_classes": 4}), []
  workdir = tmp_path / "run"
  train(config, workdir, source=source(FOUR), init_from=str(folder), report=lines.append)
  after, drawn = first(workdir), random_state(config)
  tables = [name for name in after if name.endswith("embed/embedding") and "/params/" in name]
  assert len(tables) == 3  # generator, its average, the discriminator
  for name in tables:
    assert len(after[name]) == 4
    for label, there in ((1, EIGHT.index("wave")), (3, EIGHT.index("run"))):
      np.testing.assert_array_equal(after[name][label], before[name][there])
    for label in (0, 2):
      np.testing.assert_array_equal(after[name][label], drawn[name][label])
  changed = [name for name in after if not np.array_equal(after[name], drawn[name])]
  for name in set(after) - set(tables):
    vector = "/spectral/" in name and name.replace("/spectral/", "/params/") in tables
    expected = drawn if vector else before
    np.testing.assert_array_equal(after[name], expected[name], err_msg=name)
  assert changed
  assert record(workdir)["classes"] == ["wave", "run"]
  assert set(record(workdir)["rows_of_classes"]) == set(tables)
  assert any("rows of class embeddings are taken for: wave, run" in line for line in lines)
  optimizer = states.load(workdir, 0)[2].generator.optimizer
  assert not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(optimizer))


def test_classes_in_another_order_are_matched_by_name(trained, lean, tmp_path):
  """The shapes are equal: a copy of the table would give each class another's embedding."""
  folder, before = trained
  workdir = tmp_path / "run"
  train(lean(), workdir, source=source(EIGHT[::-1]), init_from=str(folder))
  name = "generator/params/embed/embedding"
  np.testing.assert_array_equal(first(workdir)[name], before[name][::-1])


def test_from_32_to_64_pixels(lean, tmp_path):
  small = lean(**{"model.resolution": 32, "model.generator.multipliers": (4, 2, 1, 1),
                  "model.discriminator.multipliers": (1, 2, 4, 4)})  # fmt: skip
  large = lean(**{"model.resolution": 64, "model.generator.multipliers": (4, 2, 1, 1, 1),
                  "model.discriminator.multipliers": (1, 2, 4, 4, 4)})  # fmt: skip
  before = flat(train(small, tmp_path / "small", source=source(EIGHT, 32)))
  lines = []
  report = {"report": lines.append}
  train(large, tmp_path / "large", source=source(EIGHT, 64), init_from=str(tmp_path / "small"),
        **report)  # fmt: skip
  after, drawn = first(tmp_path / "large"), random_state(large)
  taken = set(record(tmp_path / "large")["taken"])
  left = record(tmp_path / "large")["not_taken"]
  assert taken | set(left) == set(after) and not taken & set(left)
  for name, array in after.items():
    np.testing.assert_array_equal(array, (before if name in taken else drawn)[name], err_msg=name)
  # The recurrence and the first blocks of the generator; the last block exists at 64 pixels only.
  assert {"generator/params/linear/kernel", "generator/params/embed/embedding"} <= taken
  assert any(name.startswith("generator/params/rnn") for name in taken)
  assert any(name.startswith("generator/params/block0") for name in taken)
  assert "absent there" in {left[n] for n in left if n.startswith("generator/params/block3")}
  assert any("parameters are taken" in line for line in lines)
  assert any(line.startswith("not taken: ") for line in lines)


def test_from_unconditional_to_conditional_with_other_discriminators(lean, tmp_path):
  none = lean(**{"model.num_classes": 0})
  before = flat(train(none, tmp_path / "none", source=source(())))
  config = lean(**{"model.discriminator.temporal": True})
  workdir = tmp_path / "some"
  train(config, workdir, source=source(EIGHT), init_from=str(tmp_path / "none"))
  after, drawn = first(workdir), random_state(config)
  taken, left = set(record(workdir)["taken"]), record(workdir)["not_taken"]
  for name, array in after.items():
    np.testing.assert_array_equal(array, (before if name in taken else drawn)[name], err_msg=name)
  assert left["generator/params/embed/embedding"] == "absent there"
  assert "here" in left["generator/params/linear/kernel"]  # it has the embedding's rows here
  assert any(name.startswith("discriminators/spatial/params/block0") for name in taken)
  assert not any(name.startswith("discriminators/temporal") for name in taken)


def test_from_an_exported_model(trained, lean, tmp_path, monkeypatch):
  pytest.importorskip("safetensors")
  monkeypatch.setattr(export, "_write_grid", lambda *arguments: False)
  folder, before = trained
  exported = tmp_path / "exported"
  request = export_request.Request(str(folder), str(exported), standing_passes=0)
  export.fulfil(request, report=lambda line: None)
  config, workdir = lean(), tmp_path / "run"
  train(config, workdir, source=source(EIGHT), init_from=str(exported), open_export=Exported)
  after, drawn = first(workdir), random_state(config)
  for name, array in after.items():
    kind = name.split("/")[0]
    if kind == "discriminators":
      expected = drawn[name]
    elif "/spectral/" in name:
      expected = before[name]
    else:  # the average is all that an exported model has
      expected = before[name.replace("generator/", "ema/", 1)]
    np.testing.assert_array_equal(array, expected, err_msg=name)
  assert record(workdir)["kind"] == "exported model"


def test_it_continues_bit_for_bit_without_the_other_run(trained, lean, tmp_path):
  """Stopped before its first checkpoint and after it; the other run is deleted in between."""
  copy = shutil.copytree(trained[0], tmp_path / "source")
  begin = dict(source=source(EIGHT), init_from=str(copy))
  config = lean(num_iterations=4, checkpoint_every=2)
  whole = flat(train(config, tmp_path / "whole", **begin))
  folder = tmp_path / "again"
  with pytest.raises(KeyboardInterrupt):
    train(config, folder, extra_hooks=[_Interrupt(1)], **begin)
  shutil.rmtree(copy)
  with pytest.raises(KeyboardInterrupt):
    train(config, folder, extra_hooks=[_Interrupt(3)], **begin)
  lines = []
  state = train(config, folder, source=source(EIGHT), report=lines.append)  # without the flag
  assert same(whole, flat(state))
  assert losses(folder) == losses(tmp_path / "whole")
  assert any("began with the weights of" in line and str(copy) in line for line in lines)


class _Interrupt(Hook):
  """Interrupts a run after a number of iterations."""

  def __init__(self, after):
    self.after = after

  def due(self, step, last):
    return step == self.after

  def before_save(self, context):
    raise KeyboardInterrupt


def test_what_is_refused(trained, lean, tmp_path):
  folder = str(trained[0])
  start = lambda config, workdir, init: train(config, workdir, source=source(EIGHT), init_from=init)
  config, begun = lean(), tmp_path / "begun"
  start(config, begun, folder)
  start(config, begun, folder)  # the same command continues
  other = shutil.copytree(folder, tmp_path / "other")
  with pytest.raises(UserError, match=rf"began with the weights of {folder}, not of .*other"):
    start(config, begun, str(other))
  random = tmp_path / "random"
  train(config, random, source=source(EIGHT))
  with pytest.raises(UserError, match="began with random weights"):
    start(config, random, folder)
  with pytest.raises(UserError, match="no run in"):
    start(config, tmp_path / "new", str(tmp_path / "nowhere"))
  with pytest.raises(UserError, match="--init_from is empty"):
    start(config, tmp_path / "new", "")
  with pytest.raises(UserError, match="the folder of this run"):
    start(config, tmp_path / "new", str(tmp_path / "new"))
  shutil.rmtree(other / "checkpoints")
  with pytest.raises(UserError, match="has no checkpoint yet"):
    start(config, tmp_path / "new", str(other))
  assert not (tmp_path / "new").exists()


def test_nothing_that_fits_is_refused(trained, load_config, tmp_path):
  config = load_config("vgan", f"{load_config.names('vgan')[0]},runlocal")
  with config.unlocked():
    config.sample_every = 0
  with pytest.raises(UserError, match=r"no array of the run .* fits"):
    train(config, tmp_path / "run", init_from=str(trained[0]))


def test_classes_beside_other_numbers_are_taken_only_if_all_are_equal(load_config):
  """MoCoGAN's first kernel has rows of the content, of the categories and of the motion."""
  config = load_config("mocogan", "categorical,runlocal")
  with config.unlocked():
    config.model.num_classes = 3
    config.model.categories = 3
  gan = registry.build(config)
  shapes = jax.eval_shape(lambda: gan.init(jax.random.key(0)))
  here = dict(zip(leaf_names(shapes), jax.tree.leaves(shapes), strict=True))
  axes = matching.class_axes(config, "cpu")
  name = "generator/params/layer0/kernel"
  assert name in axes
  same_names = matching.plan(here, here, axes, ("a", "b", "c"), ("a", "b", "c"))
  assert name in same_names.whole and not same_names.left
  turned = matching.plan(here, here, axes, ("a", "b", "c"), ("b", "a", "c"))
  assert "has rows of classes and of other inputs" in turned.left[name]
