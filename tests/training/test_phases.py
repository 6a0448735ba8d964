"""Networks that grow: batches, resets, rates and programs by phase, resumed anywhere, devices."""

import gc
import os
import pathlib
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.runs import losses, same, train
from vidgan_jax.data.pipeline import Batches
from vidgan_jax.data.sources.moving_shapes import MovingShapes
from vidgan_jax.models import registry
from vidgan_jax.models.phases import Phase, index_at
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import sharding
from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hooks import Hook
from vidgan_jax.sampling.preview import PreviewHook
from vidgan_jax.training import optimizers, updates
from vidgan_jax.training import phases as phases_module
from vidgan_jax.training import state as states
from vidgan_jax.training.phases import Phases
from vidgan_jax.training.step import Iteration

# Iterations of `growing`: 4x4 has 0; 8x8 fades in at 1 and 2, and stays at 3 and 4; 16x16 fades in
# at 5 and 6, and stays from 7 on. Resets begin iterations 1, 3, 5 and 7.
BORDERS, RESETS, END = (1, 5), (1, 3, 5, 7), 9


@pytest.fixture(scope="module")
def growing(load_config):
  """A function (**changes) that returns a config of three levels and nine iterations."""

  def build(**changes):
    config = load_config("progressive_vgan", "shapes,runlocal").unlock()
    values = {
      "num_iterations": END,
      "checkpoint_every": 1,
      "sample_every": 0,
      "data.num_examples": 40,
      "model.resolution": 16,
      "model.frames": 8,
      "model.latent_dim": 4,
      "model.channel_base": 32,
      "model.channel_most": 4,
      "model.batch_sizes": (8, 4, 4),
      "model.rate_factors": (1.0, 1.0, 1.0),
      "model.fade_clips": 8,
      "model.stay_clips": 8,
      **changes,
    }
    schema.set_fields(config, values)
    return config

  return build


class States(Hook):
  """Keeps the state after every iteration."""

  def __init__(self):
    self.states = {}

  def due(self, step, last):
    return True

  def before_save(self, context):
    self.states[context.step] = jax.device_get(context.state)


class Uninterrupted:
  """An uninterrupted run: its folder, the lines it reported, and its states by iteration."""

  def __init__(self, config, folder):
    self.lines, hook = [], States()
    self.folder, self.hook = folder, hook
    previews = PreviewHook(1, clips=2)
    self.final = jax.device_get(
      train(config, folder, extra_hooks=[hook, previews], report=self.lines.append)
    )
    self.states = hook.states


@pytest.fixture(scope="module")
def uninterrupted(growing, tmp_path_factory):
  return Uninterrupted(growing(), tmp_path_factory.mktemp("uninterrupted"))


def test_the_index_of_a_phase():
  phases = [Phase(begin, 4, 4, 4) for begin in (0, 3, 10)]
  assert [index_at(phases, step) for step in (0, 2, 3, 9, 10, 1000)] == [0, 0, 1, 1, 2, 2]


def test_one_program_for_each_phase_and_what_the_log_says(uninterrupted):
  compiled = [line for line in uninterrupted.lines if line.startswith("compiled the iteration")]
  # The last phase first, so that a run that lacks memory for it does not begin.
  names = ("16x16, 8 frames, batch 4", "4x4, 4 frames, batch 8", "8x8, 8 frames, batch 4")
  assert [line.split(" in ")[0] for line in compiled] == [
    f"compiled the iteration of {name}" for name in names
  ]
  records = losses(uninterrupted.folder)
  assert [r["step"] for r in records] == list(range(1, END + 1))
  assert [r["phase/resolution"] for r in records] == [4, 8, 8, 8, 8, 16, 16, 16, 16]
  assert [r["phase/batch_size"] for r in records] == [8, 4, 4, 4, 4, 4, 4, 4, 4]
  assert [r["phase/fade"] for r in records] == [1, 0, 0.5, 1, 1, 0, 0.5, 1, 1]
  assert all(np.isfinite(r["loss/discriminator"]) for r in records)
  assert any("float32, batch 8" in line for line in uninterrupted.lines)  # that of the first phase


def test_the_progress_bar_shows_level_and_fade(growing):
  config = growing()
  phases = Phases(registry.build(config), config)
  progress = [phases.progress(step) for step in range(END)]
  assert progress == [
    "4x4",
    "8x8, faded in to 0%",
    "8x8, faded in to 50%",
    "8x8",
    "8x8",
    "16x16, faded in to 0%",
    "16x16, faded in to 50%",
    "16x16",
    "16x16",
  ]


def test_previews_have_full_size_at_every_phase(uninterrupted):
  from PIL import Image

  sizes = {
    path.name: Image.open(path).size for path in (uninterrupted.folder / "samples").glob("*.png")
  }
  assert len(sizes) == END and len(set(sizes.values())) == 1


def counts(state):
  """How many updates each optimizer remembers."""
  networks = {"generator": state.generator, **state.discriminators}
  return {name: int(jax.tree.leaves(network.optimizer)[0]) for name, network in networks.items()}


def test_optimizers_are_reset_at_both_ends_of_every_fade(uninterrupted):
  expected, since = {}, 0
  for step in range(END):
    since = 1 if step in RESETS else since + 1
    expected[step + 1] = {"generator": since, "video": since}
  remembered = {step: counts(state) for step, state in uninterrupted.states.items() if step}
  assert remembered == expected


@pytest.mark.parametrize(
  "changes",
  [{}, {"optimizer.eps_form": "uncorrected"}, {"optimizer.kind": "rmsprop"}],
)
def test_a_reset_gives_the_state_of_new_optimizers(growing, changes):
  """Only at the given iterations; parameters and running statistics stay."""
  config = growing(**changes)
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  new = jax.eval_shape(lambda: states.create(gan, transforms, config.seed))
  used = jax.tree.map(lambda a: jnp.full(a.shape, 3, a.dtype), new)
  assert same(updates.reset_optimizers(used, (2, 4)), used)
  reset = updates.reset_optimizers(used, (2, 3))
  for network, optimizer in (
    (reset.generator, transforms.generator),
    (reset.discriminators["video"], transforms.discriminators["video"]),
  ):
    assert same(network.optimizer, optimizer.transform.init(network.params))
    assert all(np.all(leaf == 3) for leaf in jax.tree.leaves(network.params))
  assert same(reset.ema, used.ema)


def test_levels_without_a_fade_begin_with_a_reset(growing):
  config = growing(**{"model.fade_clips": 0})
  phases = registry.build(config).phases
  assert [phase.begin for phase in phases] == [0, 1, 3]
  assert [phase.resets for phase in phases] == [(), (1,), (3,)]


def test_levels_that_are_not_used_yet_do_not_move(uninterrupted):
  start, whole = uninterrupted.states[0], uninterrupted.final
  for step, later in ((1, ("8", "16")), (5, ("16",))):
    now = uninterrupted.states[step]
    for old, new in (
      (start.generator.params, now.generator.params),
      (start.discriminators["video"].params, now.discriminators["video"].params),
    ):
      for name in old:
        waits = any(name.rstrip("ab").endswith(resolution) for resolution in later)
        assert same(old[name], new[name]) == waits, (step, name)
  assert not same(start.generator.params["conv16a"], whole.generator.params["conv16a"])


def test_every_clip_is_shown_once_across_the_borders(growing):
  config = growing()
  source = MovingShapes(40, 8, 16, 0, 0, "train")
  phases = Phases(registry.build(config), config).all
  ordinals = []
  for step in range(END):
    phase = phases[index_at(phases, step)]
    stream = Batches(source, phase.batch_size, 1, 0, begin=phase.begin, shown=phase.first_clip)
    ordinals += [ordinal for ordinal, _ in stream.examples(step)]
  assert ordinals == list(range(8 + 8 * 4))
  late = Batches(source, 4, 2, 0, begin=5, shown=24)
  assert [o for o, _ in late.examples(6)] == list(range(24 + 8, 24 + 16))
  with pytest.raises(ValueError, match="iteration 4 is before the first, 5"):
    late.examples(4)


def test_a_run_stopped_at_borders_and_resets_ends_the_same(growing, tmp_path, uninterrupted):
  """At the border of two phases, inside a fade, before a reset and right after it."""
  for end in (1, 2, 3, 4, 5, 6, END):
    state = train(growing(num_iterations=end), tmp_path)
    assert same(jax.device_get(state), uninterrupted.states[end]), end
  assert losses(tmp_path) == losses(uninterrupted.folder)


PROGRAM = """
import os, pathlib, signal, sys
import jax
from vidgan_jax.runtime import hooks
from vidgan_jax.models import stored_config
from vidgan_jax.training import loop

class Kill(hooks.Hook):
  def due(self, step, last):
    return step == int(sys.argv[2])

  def before_save(self, context):
    os.kill(os.getpid(), signal.SIGKILL)

folder = pathlib.Path(sys.argv[1])
config = stored_config.from_json((folder / "wanted.json").read_text())
loop.Trainer(config, folder / "run", [Kill()], devices=jax.devices()[:1]).run()
"""


def test_killed_at_borders_fades_and_resets_it_ends_the_same(growing, tmp_path, uninterrupted):
  """kill -9 when one state is computed and not saved yet, and the one before may be in writing."""
  (tmp_path / "wanted.json").write_text(configuration.to_json(growing()))
  environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
  for killed_at in (2, 4, 6, -1):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(killed_at)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == (0 if killed_at < 0 else -9), process.stderr[-2000:]
  _, _, state = states.load(tmp_path / "run", report=print)
  assert same(jax.device_get(state), uninterrupted.final)
  assert losses(tmp_path / "run") == losses(uninterrupted.folder)


def test_rates_by_phase(growing, tmp_path):
  """With a factor of 0 at 8x8, nothing moves there; the optimizers do."""
  hook = States()
  train(
    growing(num_iterations=4, **{"model.rate_factors": (1.0, 0.0, 1.0)}),
    tmp_path,
    extra_hooks=[hook],
  )
  first, border, end = hook.states[0], hook.states[1], hook.states[4]
  assert not same(first.generator.params, border.generator.params)
  assert same(border.generator.params, end.generator.params)
  assert same(border.discriminators["video"].params, end.discriminators["video"].params)
  assert not same(border.generator.optimizer, end.generator.optimizer)


def perturbed(state, seed=0):
  """`state` with noise on all arrays, at iteration 2: in the middle of the fade of 8x8."""
  generator = np.random.default_rng(seed)

  def fill(path, leaf):
    if leaf.dtype.kind == "i":
      return np.full_like(leaf, 2)
    noise = generator.normal(size=leaf.shape)
    noise = 1 + noise**2 if ".nu" in jax.tree_util.keystr(path) else noise
    return (np.asarray(leaf) + 0.3 * noise).astype(leaf.dtype)

  return jax.tree_util.tree_map_with_path(fill, state)


def two_iterations(config, before, devices):
  """The state after two iterations of phase 1 in float64, and the metrics."""
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  mesh, phases = meshes.make_mesh(devices), Phases(gan, config)
  phases.check(mesh)
  placement = sharding.shardings(before, mesh, config.sharding)
  like = jax.tree.map(
    lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), before, placement
  )
  program, _ = phases.compiled(1, transforms, like, mesh, {})
  size = (1, phases.all[1].batch_size, gan.frames, gan.resolution, gan.resolution, 3)
  clips = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
  batch = meshes.put_batch({"clip": clips, "label": np.zeros(size[:2], np.int32)}, mesh)
  after = jax.device_put(before, placement)
  for _ in range(2):
    after, metrics = program(after, batch, {})
  # Statistics of pixels are float32.
  metrics = {name: value for name, value in metrics.items() if not name.startswith("pixel/")}
  return jax.device_get((after, metrics))


@pytest.mark.parametrize(
  ("head", "rules", "microbatch", "levels"),
  [("wgan_gp", "zero1", 0, 3), ("sliced", "replicated", 32, 2)],
)
def test_one_device_and_eight_agree(growing, x64, assert_close, head, rules, microbatch, levels):
  """In the middle of a fade, then in an iteration that begins with a reset.

  With three levels, one is not used yet. Two compile faster.
  """
  config = growing(
    **{
      "batch_size": 64,
      "microbatch": microbatch,
      "precision": "float64",
      "sharding": rules,
      "model.head": head,
      "model.resolution": 2 ** (levels + 1),
      "model.batch_sizes": (64,) * levels,
      "model.rate_factors": (1.0,) * levels,
      "model.fade_clips": 3 * 64,
      "model.stay_clips": 64,
    }
  )
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  before = perturbed(jax.jit(lambda: states.create(gan, transforms, config.seed))())
  alone = two_iterations(config, before, jax.devices()[:1])
  assert_close(two_iterations(config, before, jax.devices()), alone, 1e-11)


def test_the_number_of_micro_batches_follows_the_batch_of_the_phase(growing):
  config = growing(microbatch=4)  # the batches are 8, 4 and 4
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  iterations = [Iteration(gan, transforms, config, phase=phase) for phase in gan.phases]
  assert [iteration.micro_batches for iteration in iterations] == [2, 1, 1]
  assert [iteration.resets for iteration in iterations] == [(), (1, 3), (5, 7)]


def test_batches_that_do_not_divide_are_refused_for_every_phase(growing):
  config = growing(**{"model.batch_sizes": (32, 16, 16), "batch_size": 16})
  phases = Phases(registry.build(config), config)
  phases.check(meshes.make_mesh(jax.devices()[:4]))
  words = "phase 8x8, 8 frames, batch 16: batch_size 16 gives each of 8 devices 2 clips"
  with pytest.raises(UserError, match=words):
    phases.check(meshes.make_mesh(jax.devices()))


def test_one_batch_stream_exists_at_a_time(growing, monkeypatch):
  """Earlier phases keep no threads and buffers, and lines for the user are reported once."""
  config = growing(**{"data.reader": "tensorflow", "data.workers": 1})
  streams, lines, build = [], [], phases_module.build_batches

  def recorded(*arguments, **options):
    batches = build(*arguments, **options)
    streams.append(weakref.ref(batches))
    return batches

  monkeypatch.setattr(phases_module, "build_batches", recorded)
  source = MovingShapes(40, 8, 16, 0, 0, "train")
  batch = Phases(registry.build(config), config).batches(source, (0, 1), lines.append)
  sizes = [batch(step)["clip"].shape[1] for step in range(END)]
  assert sizes == [8, *[4] * 8]
  gc.collect()
  assert [stream() is not None for stream in streams] == [False, False, True]
  assert len(lines) == 1 and "reads only prepared sets" in lines[0]


def test_systems_without_phases_have_one(tiny_config):
  config = tiny_config()
  gan = registry.build(config)
  phases = Phases(gan, config)
  assert phases.all == (Phase(0, 8, 4, 4),) and gan.at_step(100) is gan is gan.sampler(3)
  assert phases.name(0) == "" and phases.progress(3) == "" and phases.scalars(3) == {}
  assert jnp.all(jnp.asarray([phases.index(step) for step in (0, 5)]) == 0)
