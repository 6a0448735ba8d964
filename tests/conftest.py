"""What all tests share: platform, kept compilations, float64, configs, random trees, references."""

import importlib.util
import io
import itertools
import os
import pathlib
import signal
import types

import google_crc32c
import jax
import jax.experimental
import numpy as np
import pytest
from PIL import Image

from tests import fake_gcs
from vidgan_jax.data.formats import index, records
from vidgan_jax.runtime.buckets import leases, objects
from vidgan_jax.runtime.config import schema

# A script starts what it puts in the background with SIGINT ignored. Processes that tests start and
# interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)

# Users do not have this variable. Unbuffered streams hide what fails when a program exits.
os.environ.pop("PYTHONUNBUFFERED", None)

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Read by XLA once; a flag that is set already stays. Processes which tests start inherit them.
_FLAGS = {
  # Eight devices on one CPU, for the tests of sharding; the others use the first.
  "--xla_force_host_platform_device_count": 8,
  # Tests compile far longer than they compute. XLA's own passes all run; LLVM's, on the machine
  # code that comes out of them, do not, which halves the time of compiling.
  "--xla_backend_optimization_level": 0,
}
if jax.__version_info__ < (0, 11):  # since then XLA has one emitter, and ends on a flag it lacks
  # XLA's older emitter of fused loops compiles in half the time of the newer one.
  _FLAGS["--xla_cpu_use_fusion_emitters"] = "false"
for _flag, _value in _FLAGS.items():
  if _flag not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flag}={_value}".strip()

# In the environment as well, so that processes which tests start have the same platform and cache.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
if os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax")):
  jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
  # Tests compile many small programs; by default only those above a second are kept.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


# Files that compile for minutes, the longest first. Files are dealt out to processes in the order
# of collection: a long one at the end would leave all processes but one idle.
_LONG = (
  "test_notebooks test_pins test_scripts_outside test_doors_outside test_devices test_dvd_gan "
  "test_loop test_step test_doors test_families test_precision test_collectives test_run "
  "test_summary test_work test_curvature test_hessian"
).split()


def pytest_collection_modifyitems(items):
  """Starts the files that take longest first."""
  rank = {name: place for place, name in enumerate(_LONG)}
  items.sort(key=lambda item: rank.get(item.path.stem, len(_LONG)))


@pytest.fixture(scope="session")
def enable_x64():
  """`jax.enable_x64`, which JAX before 0.8 has elsewhere."""
  return jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


@pytest.fixture
def x64(enable_x64):
  """Lets the test compute in float64."""
  with enable_x64(True):
    yield


@pytest.fixture(scope="session")
def load_config():
  """A function (file, argument) that returns the config of configs/FILE.py:ARGUMENT.

  Its attribute `names` is a function (file) that returns the arguments a file knows.
  """

  def module(file):
    path = ROOT / "configs" / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"configs_{file}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

  load = lambda file, argument="": module(file).get_config(argument)
  load.names = lambda file: list(module(file)._ROWS)
  return load


@pytest.fixture(scope="session")
def tiny_config(load_config):
  """A function (**changes) that returns a DVD-GAN of 8x8 pixels and 4 frames.

  Every part of the full model is there; it compiles in seconds.
  """

  def build(**changes):
    config = load_config("quickstart", "runlocal")
    with config.unlocked():
      config.batch_size = 4
      config.num_iterations = 4
      config.checkpoint_every = 2
      config.sample_every = 0
      config.ema.start = 2
      config.data.num_examples = 40
      config.model.frames = 4
      config.model.discriminator_steps = 2
      config.model.generator.rnn = "multiplicative"
      config.model.generator.statistics = "per_step"
      config.model.latent_dim = config.model.embedding_dim = 4
      config.model.resolution = 8
      config.model.generator.channels = config.model.discriminator.channels = 4
      config.model.generator.multipliers = (2, 1)
      config.model.discriminator.multipliers = (1, 2)
      config.model.discriminator.sampled_frames = 2
      schema.set_fields(config, changes)
    return config

  return build


@pytest.fixture(scope="session")
def lean_config(tiny_config):
  """`tiny_config` with one discriminator, one update of it and layers as written.

  It compiles in a third of the time: for tests of what surrounds an iteration.
  """
  lean = {"model.discriminator_steps": 1, "model.discriminator.temporal": False}
  return lambda **changes: tiny_config(**{**lean, "model.savings": False, **changes})


@pytest.fixture(scope="session")
def tiny_prediction_config(load_config):
  """A function (**changes) that returns a DVD-GAN-FP of 8x8 pixels, 2 given frames and 3 others."""

  def build(**changes):
    config = load_config("dvd_gan_fp", "shapes_fp,runlocal")
    with config.unlocked():
      tiny = {
        "batch_size": 4,
        "sample_every": 0,
        "data.num_examples": 40,
        "model.frames": 5,
        "model.latent_dim": 4,
        "model.resolution": 8,
        "model.generator.multipliers": (2, 1),
        "model.discriminator.multipliers": (1, 2),
        "model.discriminator.sampled_frames": 2,
        "model.conditioning.frames": 2,
      }
      schema.set_fields(config, tiny | changes)
    return config

  return build


@pytest.fixture(scope="session")
def write_prepared():
  """A function that writes a prepared data set by docs/data_format.md, and returns its folder.

  Called as (folder, clips, labels, classes, **options) with `clips` a list of uint8 [T, H, W, 3].
  """

  def write(folder, clips, labels=None, classes=(), *, shards=2, png=False, split="train"):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, frames, files = [], [], []
    for shard in range(shards):
      path = folder / index.shard_name("tiny", split, shard, shards)
      content = b""
      for number in range(shard, len(clips), shards):
        encoded = [_encoded(frame, png) for frame in clips[number]]
        features = {"frame_rate": [25.0], "id": [b"clip%d" % number], "video": encoded}
        if classes:
          features["label"] = [int(labels[number])]
        payload, places = records.encode_example(features)
        begin = len(content) + records.HEADER_BYTES
        label, sides = int(labels[number]) if classes else 0, clips[number].shape[1:3]
        rows.append((shard, len(content), len(frames), len(encoded), label, *sides, 25.0))
        frames += [
          (begin + place, len(e), google_crc32c.value(e))
          for place, e in zip(places["video"], encoded, strict=True)
        ]
        content += records.frame_record(payload)
      path.write_bytes(content)
      files.append(index.Shard(path.name, len(content), index.file_sha256(path)))
    checksums = index.write_index(
      folder, split, np.array(rows, index.CLIP), np.array(frames, index.FRAME)
    )
    names = ("frame_rate", "id", "video", *(("label",) if classes else ()))
    index.write_json(folder / "features.json", {"featuresDict": {"features": dict.fromkeys(names)}})
    part = index.Split(len(rows), len(frames), tuple(files), checksums)
    index.write_prepared(
      folder, index.Prepared("tiny", tuple(classes), {"source": "tiny"}, {}, {split: part}, 0)
    )
    return folder

  return write


def _encoded(frame, png):
  buffer = io.BytesIO()
  Image.fromarray(frame).save(buffer, "PNG" if png else "JPEG", **({} if png else {"quality": 90}))
  return buffer.getvalue()


@pytest.fixture(scope="session")
def randomized():
  """A function (tree, seed) that fills a tree of arrays or shapes with N(0, 1/4) numbers.

  Layers start with zero biases and gains of zero or one, behind which faults hide.
  """

  def fill(tree, seed=0):
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda a: 0.5 * generator.normal(size=a.shape).astype(a.dtype), tree)

  return fill


@pytest.fixture(scope="session")
def assert_close():
  """A function (actual, expected, tolerance) on trees; the tolerance is relative to the largest."""

  def check(actual, expected, tolerance=1e-11):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, want in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
      got, want = np.asarray(got), np.asarray(want)
      assert got.shape == want.shape
      scale = max(np.max(np.abs(want)), 1e-3)
      assert np.max(np.abs(got - want)) <= tolerance * scale

  return check


@pytest.fixture(scope="session")
def assert_gradient():
  """A function that compares a gradient with central differences along random directions.

  Called in float64 as (function, arguments, gradient, ...): `function` maps the tuple `arguments`
  to a scalar; `gradient` has the structure of `arguments`, None takes JAX's own of `function`.
  """

  def check(function, arguments, gradient=None, directions=3, step=1e-6, tolerance=1e-6):
    compiled = jax.jit(function)
    if gradient is None:
      gradient = jax.jit(jax.grad(lambda a: function(*a)))(arguments)
    generator = np.random.default_rng(1)
    for _ in range(directions):
      way = jax.tree.map(lambda a: generator.normal(size=a.shape), arguments)
      move = lambda sign, way=way: jax.tree.map(
        lambda a, d: np.asarray(a) + sign * step * d, arguments, way
      )
      difference = float(compiled(*move(1)) - compiled(*move(-1))) / (2 * step)
      products = jax.tree.map(lambda g, d: np.sum(np.asarray(g) * d), gradient, way)
      slope = float(sum(jax.tree.leaves(products)))
      assert abs(slope) > 1e-6, "the test sees no slope in this direction"
      assert abs(difference - slope) <= tolerance * max(1.0, abs(slope))

  return check


@pytest.fixture(scope="session")
def torchvision_shapes():
  """Names and shapes of torchvision's r2plus1d_18 but its counters, from the paper's rules."""
  found = {}

  def unit(kernel, norm, *shape):
    found[f"{kernel}.weight"] = shape
    kinds = ("weight", "bias", "running_mean", "running_var")
    found.update({f"{norm}.{kind}": shape[:1] for kind in kinds})

  unit("stem.0", "stem.1", 45, 3, 1, 7, 7)
  unit("stem.3", "stem.4", 64, 45, 3, 1, 1)
  inputs = 64
  for stage, features in enumerate((64, 128, 256, 512), 1):
    for place in range(2):
      # As many parameters as a convolution in three dimensions (Tran et al., 3.5).
      middle = 27 * inputs * features // (9 * inputs + 3 * features)
      block = f"layer{stage}.{place}"
      for number, ins in ((1, inputs), (2, features)):
        conv = f"{block}.conv{number}"
        unit(f"{conv}.0.0", f"{conv}.0.1", middle, ins, 1, 3, 3)
        unit(f"{conv}.0.3", f"{conv}.1", features, middle, 3, 1, 1)
      if inputs != features:
        unit(f"{block}.downsample.0", f"{block}.downsample.1", features, inputs, 1, 1, 1)
      inputs = features
  return found | {"fc.weight": (400, 512), "fc.bias": (400,)}


# The arithmetic of layers written once more in NumPy, in float64, as plainly as it can be.


def _convolve(x, kernel, bias=0.0):
  """Correlation with zeros around, stride 1; `kernel` [*odd window, in, out], any leading axes."""
  window = kernel.shape[:-2]
  lead = x.ndim - len(window) - 1
  spatial = x.shape[lead:-1]
  padded = np.pad(x, [(0, 0)] * lead + [(size // 2, size // 2) for size in window] + [(0, 0)])
  out = np.zeros((*x.shape[:-1], kernel.shape[-1]))
  for tap in itertools.product(*(range(size) for size in window)):
    seen = tuple(slice(start, start + size) for start, size in zip(tap, spatial, strict=True))
    out = out + padded[(slice(None),) * lead + seen] @ kernel[tap]
  return out + bias


def _average(x, factors):
  """Means of whole windows on the last axes before the channels; a size-1 axis is kept."""
  for axis, factor in zip(range(-len(factors) - 1, -1), factors, strict=True):
    if x.shape[axis] == 1:
      continue
    starts = range(0, x.shape[axis] - factor + 1, factor)
    x = np.stack([x.take(range(start, start + factor), axis).mean(axis) for start in starts], axis)
  return x


def _repeat(x):
  """Every pixel of [..., H, W, C] four times."""
  return x.repeat(2, axis=-3).repeat(2, axis=-2)


def _batch_norm(x, gain, bias, statistics, epsilon=1e-5):
  """Normalises [B, T, H, W, C] by its own moments; `gain` and `bias` are [C] or [B, C]."""
  out = np.empty_like(x)
  gain = np.broadcast_to(gain, (x.shape[0], x.shape[-1]))
  bias = np.broadcast_to(bias, (x.shape[0], x.shape[-1]))
  for step, channel in itertools.product(range(x.shape[1]), range(x.shape[-1])):
    pool = x[..., channel] if statistics == "shared" else x[:, step, ..., channel]
    for example in range(x.shape[0]):
      centred = x[example, step, ..., channel] - pool.mean()
      normal = centred / np.sqrt(pool.var() + epsilon)
      out[example, step, ..., channel] = gain[example, channel] * normal + bias[example, channel]
  return out


@pytest.fixture(scope="session")
def reference():
  """NumPy's convolve, average, repeat, batch_norm, relu and sigmoid."""
  return types.SimpleNamespace(
    convolve=_convolve,
    average=_average,
    repeat=_repeat,
    batch_norm=_batch_norm,
    relu=lambda x: np.maximum(x, 0),
    sigmoid=lambda x: 1 / (1 + np.exp(-x)),
  )


@pytest.fixture(scope="session")
def normal():
  """A function (shape, seed) that draws float64 normal numbers."""
  return lambda shape, seed=0: np.random.default_rng(1000 + seed).normal(size=shape)


@pytest.fixture(scope="session")
def gcs_server():
  """A server that stands for Google Cloud Storage; the client libraries use it."""
  if not all(map(objects._is_installed, ("gcsfs", "google.cloud.storage"))):
    pytest.skip(f"Google Cloud Storage needs packages that are not installed: {objects.EXTRA}")
  with fake_gcs.Server() as server:
    os.environ.update(server.environment())
    yield server
    for name in server.environment():
      del os.environ[name]


@pytest.fixture
def bucket(gcs_server, monkeypatch):
  """The fake server with no objects in gs://bucket; this process has copied nothing from there."""
  gcs_server.objects.clear()
  gcs_server.requests.clear()
  monkeypatch.setattr(gcs_server, "broken", gcs_server.broken)
  fake_gcs.forget_copies()
  monkeypatch.setattr(leases, "EVERY", 0.2)
  monkeypatch.setattr(leases, "SILENT", 1.0)
  yield gcs_server
  fake_gcs.forget_copies()
