"""One and eight devices, and one and two processes, give the same state."""

import functools
import types

import jax
import jax.experimental
import numpy as np
import pytest

from tests import two_processes
from vidgan_jax.models import registry, stored_config
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes, sharding
from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.step import Iteration

ITERATIONS = 3
CASES = [
  ("float64", "replicated", 1e-9),
  ("float64", "zero1", 1e-9),
  ("float32", "replicated", 1e-4),
]
# TGANv2 with three subsampling layers, of which the first takes clips of 8 frames.
FOUR_LEVELS = {
  "model.resolution": 16,
  "model.levels": 4,
  "model.subsampling.layers": 3,
  "model.generator.multipliers": (1, 1, 1, 1),
  "model.generator.channels": 2,
  "model.generator.lstm_channels": 2,
  "model.discriminator.multipliers": (1, 2),
  "optimizer.decay_iterations": 40,
}
OF_TWO = CASES[1:2]  # one case only, because each compiles for a minute
LEAN_PREDICTION = {"prediction": True, "model.discriminator.temporal": False}


def _settled(state, seed=0):
  """A state as in the middle of training: no number is near zero.

  Adam divides by the root of its second moment: at the first steps that turns gradients which
  should cancel to zero, but are rounding, into full steps of either sign. A second moment of about
  one lets an update tell how well its gradient agrees.
  """
  generator = np.random.default_rng(seed)

  def fill(path, leaf):
    name = jax.tree_util.keystr(path)
    if leaf.dtype.kind == "i":
      return np.asarray(leaf) + 10  # after the start of the moving average
    noise = generator.normal(size=leaf.shape)
    if ".nu" in name or "variance" in name:
      noise = 1 + noise**2
    return (np.asarray(leaf) + 0.3 * noise).astype(leaf.dtype)

  return jax.tree_util.tree_map_with_path(fill, state)


def _distances(a, b, tolerance=1.0):
  """Relative norm of each leaf's difference.

  A bias in front of a batch normalisation has no exact gradient; its first moment, which with
  beta1 = 0 is the gradient, is rounding alone. So a difference may always be as large as four
  roundings (machine epsilons) of the largest norm among the leaves of its kind (parameters, first
  moments, ...): in float64 a leaf is measured against no less than a millionth of that norm.
  """
  flat = jax.tree_util.tree_flatten_with_path(jax.device_get(a))[0]
  others = jax.tree.leaves(jax.device_get(b))
  kind = lambda name: next((k for k in (".mu", ".nu") if k in name), "")
  largest = {}
  for path, leaf in flat:
    name = kind(jax.tree_util.keystr(path))
    largest[name] = max(largest.get(name, 0), np.linalg.norm(leaf))
  for (path, leaf), other in zip(flat, others, strict=True):
    name = jax.tree_util.keystr(path)
    rounding = 4 * np.finfo(leaf.dtype).eps if leaf.dtype.kind == "f" else 0
    scale = max(np.linalg.norm(leaf), rounding / tolerance * largest[kind(name)], 1e-30)
    yield name, np.linalg.norm(np.asarray(leaf, np.float64) - other) / scale


# JAX before 0.8 has it in another module.
_enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


def _run(config, devices):
  """Runs iterations from a settled state; this process feeds its part of the batch.

  Returns the state before and after, the metrics, and XLA's count of one device's work.
  """
  with _enable_x64(config.precision == "float64"):
    gan = registry.build(config)
    transforms = optimizers.build(config, gan.discriminators)
    before = _settled(jax.jit(lambda: states.create(gan, transforms, config.seed))())
    mesh = meshes.make_mesh(devices)
    places = sharding.shardings(before, mesh, config.sharding)
    generator = np.random.default_rng(0)
    shape = (gan.schedule.discriminator_steps, config.batch_size)
    clips = (*shape, gan.frames, gan.resolution, gan.resolution, 3)
    batch = {
      "clip": generator.integers(0, 256, clips, dtype=np.uint8),
      "label": generator.integers(0, max(1, gan.num_classes), shape, dtype=np.int32),
    }
    index, count = meshes.part_of_batch(mesh)
    part = config.batch_size // count
    batch = {name: a[:, index * part : (index + 1) * part] for name, a in batch.items()}
    after, batch = jax.device_put(before, places), meshes.put_batch(batch, mesh)
    iteration = Iteration(gan, transforms, config, mesh)
    program = jax.jit(iteration.__call__, out_shardings=(places, meshes.replicated(mesh)))
    program = program.lower(after, batch, {}).compile()
    for _ in range(ITERATIONS):
      after, metrics = program(after, batch, {})
    work = program.cost_analysis()["flops"]
    return types.SimpleNamespace(before=before, after=after, metrics=metrics, work=work, mesh=mesh)


@pytest.fixture(scope="module")
def settings(tiny_config, lean_config, load_config, tiny_prediction_config):
  """Returns a function (precision, rules, one of several systems, **changes) -> config."""

  def build(
    precision,
    rules="replicated",
    lean=False,
    tgan=None,
    tgan_v2=False,
    prediction=False,
    **changes,
  ):
    changes = {"batch_size": 16, "precision": precision, "sharding": rules, **changes}
    if prediction:
      return tiny_prediction_config(**changes)
    if tgan_v2:
      config = load_config("tgan_v2", "shapes,runlocal")
      with config.unlocked():
        schema.set_fields(config, {**FOUR_LEVELS, **changes})
      return config
    if not tgan:
      return (lean_config if lean else tiny_config)(**changes)
    config = load_config("tgan", f"{tgan},runlocal")
    with config.unlocked():
      schema.set_fields(config, {"model.resolution": 8, **changes})
    return config

  return build


@pytest.fixture(scope="module")
def play(settings):
  """Returns a cached function (precision, devices, rules, **options); see `settings`, `_run`."""

  @functools.cache
  def run(precision, devices, rules="replicated", **options):
    return _run(settings(precision, rules, **options), jax.devices()[:devices])

  return run


def check_same(one, other, tolerance):
  worst = {n: d for n, d in _distances(one.after, other, tolerance) if not d <= tolerance}
  assert not worst, worst
  moved = dict(_distances(one.before, one.after))
  assert max(moved.values()) > 1e-2  # the iterations changed the state


@pytest.mark.parametrize(("precision", "rules", "tolerance"), CASES)
def test_one_device_and_eight_agree(play, precision, rules, tolerance):
  lean = (precision, rules) != CASES[0][
    :2
  ]  # one case has all features, which takes three times as long to compile
  one, eight = play(precision, 1, lean=lean), play(precision, 8, rules, lean=lean)
  leaves = jax.tree.leaves(eight.after)
  assert float(one.metrics["finite"]) == 1 and len(leaves[0].devices()) == 8
  parts = [leaf.addressable_shards[0].data.size < leaf.size for leaf in leaves]
  assert any(parts) == (rules == "zero1")
  check_same(one, eight.after, tolerance)


def test_microbatches_lie_on_the_devices_as_the_batch_does(play):
  one, eight = (play("float64", devices, lean=True, microbatch=8) for devices in (1, 8))
  check_same(one, eight.after, 1e-9)


CHUNKED = {
  "one device": (1, {"lean": True}),
  "all features": (8, {}),
  "micro-batches": (1, {"lean": True, "microbatch": 8}),
  "levels and R1": (1, {"batch_size": 64, "tgan_v2": True}),
  "given frames": (8, {"prediction": True}),
}


@pytest.mark.parametrize("case", CHUNKED)
def test_chunks_change_no_numbers(play, case):
  devices, options = CHUNKED[case]
  whole = play("float64", 1, **options)
  check_same(whole, play("float64", devices, **options, chunks=2).after, 1e-9)


REMATERIALISED = {
  "split state": (8, "zero1", {"lean": True}),
  "levels and R1": (1, "replicated", {"batch_size": 64, "tgan_v2": True}),
}


@pytest.mark.parametrize("case", REMATERIALISED)
def test_rematerialisation_changes_no_numbers(play, case):
  devices, rules, options = REMATERIALISED[case]
  saving = {**options, "model.remat": "conv_outputs"}
  whole = play("float64", 1, **options)
  check_same(whole, play("float64", devices, rules, **saving).after, 1e-9)


def test_noise_and_clipping_do_not_depend_on_the_devices(play):
  """TGAN adds noise in layers, batch norm in the discriminator, and clipped kernels."""
  options = {"model.discriminator.noise": 0.3, "model.clipping_period": 1}
  one, eight = (
    play("float64", devices, rules, tgan="svc", **options)
    for devices, rules in ((1, "replicated"), (8, "zero1"))
  )
  check_same(one, eight.after, 1e-9)


def test_subsampled_levels_do_not_depend_on_the_devices(play):
  """64 clips of TGANv2: R1, linear decay, Chainer's Adam, labels; on each device 8, 4, 2 and 1."""
  options = {"batch_size": 64, "tgan_v2": True}
  one, eight = (play("float64", devices, **options) for devices in (1, 8))
  check_same(one, eight.after, 1e-9)
  parts = {name for name in one.metrics if name.startswith("loss/discriminator/")}
  kinds = ("r1_level{}", "level{}_real", "level{}_generated")
  every = [f"loss/discriminator/{kind}" for kind in kinds]
  assert parts == {name.format(level) for name in every for level in (1, 2, 3, 4)}


def test_given_frames_do_not_depend_on_the_devices(play):
  one, eight = (play("float64", devices, prediction=True) for devices in (1, 8))
  check_same(one, eight.after, 1e-9)


@pytest.fixture(scope="module")
def of_two(settings, tmp_path_factory):
  """The states after the same iterations in two processes with one device each, by case."""
  folder = tmp_path_factory.mktemp("of_two")
  for precision, rules, _ in OF_TWO:
    config = settings(precision, rules, lean=True)
    (folder / f"{precision}-{rules}.json").write_text(configuration.to_json(config))
  two_processes.run(__file__, folder, devices=1)

  return lambda precision, rules: _leaves(folder / f"{precision}-{rules}.npz")


def _leaves(path):
  """The leaves of a state that `train_in_two` wrote."""
  with np.load(path) as arrays:
    return [arrays[name] for name in arrays.files]


@pytest.mark.parametrize(("precision", "rules", "tolerance"), OF_TWO)
def test_one_process_and_two_agree(play, of_two, precision, rules, tolerance):
  check_same(play(precision, 1, lean=True), of_two(precision, rules), tolerance)


def test_two_processes_continue_the_frames_of_their_clips(play, settings, tmp_path):
  alone = play("float64", 1, **LEAN_PREDICTION)
  config = settings("float64", **LEAN_PREDICTION)
  (tmp_path / "two.json").write_text(configuration.to_json(config))
  two_processes.run(__file__, tmp_path, devices=1)
  check_same(alone, _leaves(tmp_path / "two.npz"), 1e-9)


def test_each_device_does_its_share(play):
  # More than an eighth: every device does the work on parameters, which does not scale with clips.
  one, eight = play("float32", 1, lean=True).work, play("float32", 8, "replicated", lean=True).work
  assert eight < 0.25 * one, (one, eight)


def test_batch_must_divide_among_the_devices():
  with pytest.raises(UserError, match="batch_size 12 is not divisible by the number of devices, 8"):
    meshes.check_batch(12, meshes.make_mesh())


@pytest.mark.parametrize("batch_size", [0, -8])
def test_there_must_be_a_batch(batch_size):
  with pytest.raises(UserError, match=f"batch_size {batch_size} must be at least 1"):
    meshes.check_batch(batch_size, meshes.make_mesh())


def test_processes_feed_the_batch_in_the_order_of_their_devices():
  on = lambda *owners: types.SimpleNamespace(
    devices=np.array([types.SimpleNamespace(process_index=p) for p in owners])
  )
  assert meshes.part_of_batch(on(0, 0, 1, 1)) == (0, 2)
  assert meshes.part_of_batch(on(1, 1, 0, 0)) == (1, 2)
  with pytest.raises(ValueError, match="not adjacent"):
    meshes.part_of_batch(on(0, 1, 0, 1))


@pytest.mark.parametrize(
  ("microbatch", "words"),
  [
    (5, "batch_size 16 is not divisible by microbatch 5"),
    (4, "microbatch 4 is not divisible by the number of devices, 8"),
    (-8, "microbatch -8 must be at least 0"),
  ],
)
def test_microbatches_must_divide(microbatch, words):
  with pytest.raises(UserError, match=words):
    meshes.check_batch(16, meshes.make_mesh(), microbatch)


def test_discriminators_that_compare_clips_refuse_chunks(settings):
  config = settings("float32", tgan="svc", chunks=2)
  with pytest.raises(UserError, match="must be 1 for tgan: its discriminators"):
    registry.build(config)


def test_chunks_must_divide_the_clips_of_a_device():
  with pytest.raises(UserError, match="16 gives each of 8 devices 2 clips at a time"):
    meshes.check_batch(16, meshes.make_mesh(), chunks=4)
  with pytest.raises(UserError, match="chunks 2 needs a multiple of 16"):
    meshes.check_batch(64, meshes.make_mesh(), multiple=8, chunks=2)


def train_in_two(folder):
  """The program of each of the two processes."""
  for path in sorted(folder.glob("*.json")):
    played = _run(stored_config.from_json(path.read_text()), jax.devices())
    assert len(played.mesh.devices) == 2 == jax.process_count()
    after = processes.local(played.after, played.mesh)
    if processes.first():
      np.savez(path.with_suffix(".npz"), *jax.device_get(jax.tree.leaves(after)))


if __name__ == "__main__":
  two_processes.main(train_in_two)
