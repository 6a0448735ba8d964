"""Sampling in Python: what clips depend on, and which arguments are refused."""

import ast
import asyncio
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import vidgan_jax
from vidgan_jax.layers import normalization
from vidgan_jax.models import registry
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import generation
from vidgan_jax.sampling import run as runs
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states

ROOT = pathlib.Path(__file__).resolve().parents[2]
LABELS = [0, 1, 0, 5, 7]


@pytest.fixture(scope="module")
def clips(run):
  return run.sample(0, labels=LABELS)


@pytest.fixture(scope="module")
def state(workdir):
  return states.load(workdir)[2]


def levels(a, b):
  """The largest difference of two clips in grey levels, 0..255."""
  assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
  return np.max(np.abs(a.astype(int) - b))


def differs(a, b):
  """Whether two clips differ visibly, and not by rounding alone."""
  return np.mean(np.abs(a.astype(int) - b)) > 3


def test_clips_are_uint8_frames_of_the_models_size(clips):
  assert clips.shape == (5, 4, 8, 8, 3) and clips.dtype == np.uint8
  assert clips.std() > 20  # clips have contrast; the tests below would pass on uniform grey


def test_the_same_key_gives_the_same_bytes_and_another_key_others(run, clips):
  np.testing.assert_array_equal(run.sample(0, labels=LABELS), clips)
  np.testing.assert_array_equal(
    run.sample(streams.key(0, streams.SAMPLING), labels=np.array(LABELS)), clips
  )
  others = run.sample(1, labels=LABELS)
  assert all(differs(a, b) for a, b in zip(clips, others, strict=True))
  assert differs(clips[0], clips[2])  # two clips of one class have different latents


@pytest.mark.parametrize(("count", "batch_size"), [(5, 2), (3, 16), (1, 1)])
def test_a_clip_is_the_same_whatever_is_drawn_with_it(run, clips, count, batch_size):
  fewer = run.sample(0, labels=LABELS[:count], batch_size=batch_size)
  # Programs for different batch sizes may round differently.
  assert levels(fewer, clips[:count]) <= 1


def test_latents_are_the_same_whatever_is_drawn_with_them(run):
  key = jax.random.key(3)
  many = generation.draw_latents(run.gan, key, 7)["z"]
  assert many.shape == (7, 4)
  np.testing.assert_array_equal(generation.draw_latents(run.gan, key, 2)["z"], many[:2])
  assert len(np.unique(many)) == many.size


def test_labels_may_be_weights(run, clips):
  weights = np.eye(8)[LABELS]
  assert levels(run.sample(0, labels=weights), clips) <= 1
  half = run.sample(0, labels=(weights + np.eye(8)[[3, 3, 3, 3, 3]]) / 2)
  pure = run.sample(0, labels=[3] * 5)
  assert differs(half, clips) and differs(half, pure)


def test_without_labels_classes_come_in_turn(run):
  np.testing.assert_array_equal(
    run.sample(0, count=10), run.sample(0, labels=[0, 1, 2, 3, 4, 5, 6, 7, 0, 1])
  )
  np.testing.assert_array_equal(run.sample(0), run.sample(0, labels=list(range(8))))


@pytest.mark.parametrize(
  ("labels", "words"),
  [
    ([0, 8], "label 8 is outside 0..7"),
    ([-1], "label -1 is outside 0..7"),
    ([2**32], "label 4294967296 is outside 0..7"),  # 0 in 32 bits
    ([], "one label per clip"),
    (3, "one label per clip, got 3"),
    ([[0, 1]], r"integers \[N\]"),
    (["disk_vertical"], "no class 'disk_vertical'; known: Disk, square, tri/angle"),
    ([0.0, 1.0], r"\[N, 8\]"),
    (np.eye(7), r"\[N, 8\], got \[7, 7\]"),
    (np.full((1, 8), np.nan), "finite"),
  ],
)
def test_labels_that_are_none_are_refused(run, labels, words):
  with pytest.raises(UserError, match=words):
    run.sample(0, labels=labels)
  with pytest.raises(UserError, match=words):
    run.generate(generation.draw_latents(run.gan, jax.random.key(0), 2), labels)


def test_truncation_scales_the_latents(run, clips):
  key = jax.random.key(0)
  whole = generation.draw_latents(run.gan, key, 5)["z"]
  less = generation.draw_latents(run.gan, key, 5, truncation=0.25)["z"]
  np.testing.assert_array_equal(less, 0.25 * whole)  # exact: a power of two
  assert differs(run.sample(0, labels=LABELS, truncation=0.25), clips)


@pytest.mark.parametrize("truncation", [0, -0.5, float("nan"), float("inf")])
def test_truncations_that_are_no_spread_are_refused(run, truncation):
  with pytest.raises(UserError, match="must be positive"):
    run.sample(0, labels=[0], truncation=truncation)
  with pytest.raises(UserError, match="must be positive"):
    generation.draw_latents(run.gan, jax.random.key(0), 1, truncation=truncation)
  with pytest.raises(UserError, match="must be positive"):
    run.variables(truncation=truncation)


@pytest.mark.parametrize("frames", [7, 3])
def test_clips_of_another_length_than_in_training(run, frames):
  clips = run.sample(0, labels=[0, 1], frames=frames)
  assert clips.shape == (2, frames, 8, 8, 3)
  assert all(levels(clips[:, t], clips[:, t + 1]) > 0 for t in range(frames - 1))
  moments = run.variables(frames)[normalization.COLLECTION]
  assert {leaf.shape[0] for leaf in jax.tree.leaves(moments)} == {frames}  # per time step


@pytest.mark.parametrize("frames", [0, -1])
def test_clips_of_no_frames_are_refused(run, frames):
  with pytest.raises(UserError, match=f"frames is {frames}"):
    run.sample(0, labels=[0], frames=frames)
  with pytest.raises(UserError, match=f"frames is {frames}"):
    run.variables(frames)


@pytest.mark.parametrize("options", [dict(key=-1), dict(key=2**32), dict(batch_size=0)])
def test_further_numbers_out_of_range_are_refused(run, options):
  with pytest.raises(UserError, match=str(*options.values())):
    run.sample(**{"key": 0, "labels": [0], **options})


def test_average_live_weights_and_earlier_checkpoints_differ(run, workdir, clips):
  """The options select different weights; without standing statistics these can be compared."""
  drawn = {}
  for name, options in {
    "average": {},
    "live": dict(use_ema=False),
    "earlier": dict(step=2),
    "standing": dict(standing_passes=2),
  }.items():
    opened = runs.load(workdir, **{"standing_passes": 0, **options})
    assert opened.step == options.get("step", 4)
    drawn[name] = opened.sample(0, labels=LABELS)
  assert run.step == 4 and run.use_ema
  for name in ("live", "earlier", "standing"):
    assert differs(drawn["average"], drawn[name]), name
  assert not np.array_equal(drawn["standing"], clips)  # 2 passes give other statistics than 16


def test_the_live_weights_are_the_generators_and_the_average_the_averages(run, state):
  for use_ema in (True, False):
    opened = runs.Run(run.config, run.gan, state, use_ema=use_ema, standing_passes=0)
    source = state.ema if use_ema else state.generator
    actual, expected = (
      jax.tree.leaves(tree)
      for tree in (opened.variables()[normalization.COLLECTION], source.batch_stats)
    )
    assert all(np.array_equal(a, b) for a, b in zip(actual, expected, strict=True))
    # Spectral normalisation does not change gains and biases.
    gain = opened.variables()["params"]["norm"]["gain"]
    np.testing.assert_array_equal(gain, source.params["norm"]["gain"])


def moments_by_hand(gan, variables, latents, labels, frames):
  """Statistics of the inputs of each normalisation layer, in NumPy: {layer: (mean, variance)}."""
  moments = {}

  def record(call, arguments, keywords, context):
    module = context.module
    if isinstance(module, normalization.BatchNorm | normalization.ConditionalBatchNorm):
      x = np.asarray(arguments[0], np.float64)
      moments["/".join(module.path)] = (x.mean((0, 2, 3)), x.var((0, 2, 3)))
    return call(*arguments, **keywords)

  with nn.intercept_methods(record):
    gan.generator.apply(
      variables, {"z": latents}, {"label": labels}, True, frames, mutable=["batch_stats"]
    )
  return moments


@pytest.mark.parametrize(("frames", "truncation"), [(4, 1.0), (6, 0.5)])
def test_standing_statistics_are_the_mean_over_passes(run, state, frames, truncation):
  gan, passes = run.gan, 3
  opened = runs.Run(run.config, gan, state, standing_passes=passes)
  plain = states.generator_variables(state)
  by_pass = []
  for index in range(passes):
    key = jax.random.fold_in(streams.key(run.config.seed, streams.STANDING), index)
    latent_key, label_key, _ = jax.random.split(key, 3)
    latents = truncation * jax.random.normal(latent_key, (16, 4))
    labels = jax.random.randint(label_key, (16,), 0, 8)
    by_pass.append(moments_by_hand(gan, plain, latents, labels, frames))
  variables = opened.variables(frames, truncation)
  actual = {
    "/".join(part.key for part in path): np.asarray(leaf)
    for path, leaf in jax.tree.leaves_with_path(variables[normalization.COLLECTION])
  }
  assert len(actual) == 2 * len(by_pass[0]) > 2
  for layer in by_pass[0]:
    for which, name in enumerate(("mean", "variance")):
      expected = np.mean([moments[layer][which] for moments in by_pass], axis=0)
      scale = np.abs(expected).max()
      np.testing.assert_allclose(actual[f"{layer}/{name}"], expected, rtol=0, atol=1e-4 * scale)
  for a, b in zip(*map(jax.tree.leaves, (variables["params"], plain["params"])), strict=True):
    np.testing.assert_array_equal(a, b)


def test_clips_are_generated_with_the_standing_statistics(run):
  latents = generation.draw_latents(run.gan, jax.random.key(0), 2)
  labels = np.array([2, 6])
  samples, _ = run.gan.generate(
    run.variables(), latents, {"label": labels}, jax.random.key(9), False
  )
  expected = np.clip(np.round((np.asarray(samples["clip"]) + 1) * 127.5), 0, 255)
  assert levels(run.generate(latents, labels), expected.astype(np.uint8)) <= 1


def test_standing_statistics_are_collected_once_for_each_length_and_spread(run, state, monkeypatch):
  calls = []
  monkeypatch.setattr(generation, "standing_statistics", lambda *a, **k: calls.append(k) or {})
  opened = runs.Run(run.config, run.gan, state)
  for frames, truncation in [(None, 1.0), (4, 1.0), (4, 1), (6, 1.0), (4, 0.5), (None, 0.5)]:
    opened.variables(frames, truncation)
  assert [(k["frames"], k["truncation"]) for k in calls] == [(4, 1.0), (6, 1.0), (4, 0.5)]


def test_no_passes_keep_the_running_statistics_and_the_length_of_training(run, state):
  opened = runs.Run(run.config, run.gan, state, standing_passes=0)
  running = opened.variables()[normalization.COLLECTION]
  for a, b in zip(*map(jax.tree.leaves, (running, state.ema.batch_stats)), strict=True):
    np.testing.assert_array_equal(a, b)
  assert opened.sample(0, labels=[1], frames=4).shape == (1, 4, 8, 8, 3)
  with pytest.raises(UserError, match="7 frames need standing statistics: training had 4"):
    opened.sample(0, labels=[1], frames=7)


def test_a_model_without_classes_samples_without_labels(lean_config):
  config = lean_config(**{"model.num_classes": 0})
  gan = registry.build(config)
  state = jax.jit(lambda: states.create(gan, optimizers.build(config, gan.discriminators), 0))()
  opened = runs.Run(config, gan, state, standing_passes=1)
  clips = opened.sample(0)
  assert clips.shape == (16, 4, 8, 8, 3)
  assert len({clip.tobytes() for clip in clips}) == 16
  assert opened.sample(0, count=3).shape == (3, 4, 8, 8, 3)


def test_pixels_are_rounded_to_nearest_and_clipped():
  whole = np.arange(256)
  shifted = (whole / 127.5 - 1)[:, None] + np.array([-0.49, 0, 0.49]) / 127.5
  np.testing.assert_array_equal(
    generation.to_uint8(jnp.asarray(shifted)), np.repeat(whole[:, None], 3, 1)
  )
  actual = generation.to_uint8(jnp.array([-1.1, 1.1, -9.0, 9.0]))
  np.testing.assert_array_equal(actual, [0, 255, 0, 255])


def test_load_is_that_of_the_sampling_package(monkeypatch, workdir, run):
  assert isinstance(run, runs.Run)
  assert run.class_names[:2] == ("Disk", "square")
  assert run.config.model.frames == run.gan.frames == 4
  monkeypatch.setattr(runs, "load", lambda *a, **k: (a, k))
  assert vidgan_jax.load(workdir, step=2) == ((workdir,), {"step": 2})


def test_a_run_opens_where_an_event_loop_runs(workdir, run):
  """As in a notebook, whose cells run in an event loop."""

  async def cell():
    return vidgan_jax.load(workdir)

  assert asyncio.run(cell()).step == run.step


def test_load_refuses_what_is_no_run(tmp_path, workdir):
  with pytest.raises(UserError, match="no run in"):
    runs.load(tmp_path)
  with pytest.raises(UserError, match=r"no checkpoint at iteration 3 in .*; there are: 2, 4"):
    runs.load(workdir, step=3)


def python(program):
  result = subprocess.run(
    [sys.executable, "-c", program],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  return result.stdout.split()


def test_importing_the_package_imports_next_to_nothing():
  heavy = python(
    "import sys, vidgan_jax\n"
    "print(*{'jax', 'flax', 'numpy', 'optax', 'tensorflow'} & set(sys.modules))"
  )
  assert heavy == []


# Several commands define flags of the same name, which absl refuses in one process.
IMPORT_ALL = """
import importlib, pkgutil, sys

class Watch:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
      print(name)

sys.meta_path.insert(0, Watch())
from absl import flags
import vidgan_jax
known = set(flags.FLAGS)
for module in pkgutil.walk_packages(vidgan_jax.__path__, "vidgan_jax."):
  try:
    importlib.import_module(module.name)
  except ModuleNotFoundError as error:  # the page of `vidgan web` has packages of its own
    if error.name.split(".")[0] not in ("fastapi", "gradio", "starlette", "uvicorn"):
      raise
  for name in set(flags.FLAGS) - known:
    delattr(flags.FLAGS, name)
print(len(list(pkgutil.walk_packages(vidgan_jax.__path__, "vidgan_jax."))))
"""


def test_no_module_needs_tensorflow():
  *others, count = python(IMPORT_ALL)
  assert others == [] and int(count) > 40
  # Functions in these two files import it when a user needs it; no other file does.
  data = ROOT / "vidgan_jax" / "data"
  importers = {data / "tensorflow_pipeline.py", data / "prepare" / "arrays.py"}
  for path in {*(ROOT / "vidgan_jax").rglob("*.py")} - importers:
    for node in ast.walk(ast.parse(path.read_text())):
      names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
      names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
      assert not [n for n in names if n.split(".")[0] == "tensorflow"], path
