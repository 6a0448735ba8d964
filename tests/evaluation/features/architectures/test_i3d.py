import functools
import hashlib
import json
import os
import pathlib
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from vidgan_jax.evaluation.features import preprocessing
from vidgan_jax.evaluation.features.architectures import i3d
from vidgan_jax.evaluation.protocols.registry import get_protocol
from vidgan_jax.evaluation.statistics.frechet import frechet_distance_of_features
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import flops
from vidgan_jax.runtime.trees import leaf_names
from vidgan_jax.weights.readers import tensor_bundle

GOLDEN = pathlib.Path(__file__).resolve().parents[5] / "shared" / "golden" / "i3d"
golden = pytest.mark.skipif(
  not GOLDEN.is_dir(), reason="needs ../shared/golden/i3d, which is not distributed"
)


def shapes(listing):
  """{name: shape} from a file that lists variables."""
  lines = (GOLDEN / listing).read_text().splitlines()[1:]
  entries = (re.match(r"^ +(\S+) \(([\d, ]*)\)", line).groups() for line in lines)
  return {name: tuple(int(n) for n in shape.split(",") if n.strip()) for name, shape in entries}


def recipe(name, shape):
  """The pseudo-random variable of this name with which the golden outputs were computed."""
  random = np.random.RandomState(zlib.crc32(name.encode()))
  if name.endswith("conv_3d/w"):
    array = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
  elif name.endswith("moving_variance"):
    array = random.uniform(0.5, 1.5, shape)
  else:
    array = 0.1 * random.standard_normal(shape)
  return array.astype(np.float32)


# --- Comparison with DeepMind's graph.


@pytest.fixture(scope="module")
def of_tf_hub(tmp_path_factory):
  """The variables of `recipe`, written to a TF-Hub module and read again."""
  variables = {name: recipe(name, shape) for name, shape in shapes("tfhub_k400.vars.txt").items()}
  digest = hashlib.sha256()
  for name in sorted(variables):
    digest.update(name.encode() + variables[name].tobytes())
  assert digest.hexdigest() == "fed99a6ed62ec4b8d672d32fcf9f8b0ccfd57c5fe32f83cf78a7079746f83bc5"
  prefix = tmp_path_factory.mktemp("module") / "variables" / "variables"
  tensor_bundle.write(prefix, variables)
  return tensor_bundle.read(prefix.parent.parent)


@golden
def test_outputs_equal_those_of_tf_hub(of_tf_hub):
  clips = np.random.RandomState(0).uniform(-1, 1, (2, 16, 224, 224, 3)).astype(np.float32)
  apply = functools.partial(i3d.I3D().apply, mutable="intermediates")
  features, inner = jax.jit(apply)(i3d.from_tensorflow(of_tf_hub), clips)
  expected = np.load(GOLDEN / "tfhub_graph_uniform_T16.npz")
  golden_stats = json.loads((GOLDEN / "tfhub_graph_uniform_T16.json").read_text())["uniform_seed0"]
  for name, size in i3d.OUTPUTS.items():
    assert features[name].dtype == np.float32 and features[name].shape == (2, size)
    golden_output = expected[name].reshape(2, size)
    difference = features[name] - golden_output
    assert np.linalg.norm(difference) <= 1e-5 * np.linalg.norm(golden_output)
    assert np.max(np.abs(difference)) <= 1e-5 * np.max(np.abs(golden_output))
  norm = np.linalg.norm(np.asarray(features["logits"], np.float64))
  assert abs(norm / golden_stats["logits"]["norm"] - 1) < 1e-6
  assert np.argmax(features["logits"], -1).tolist() == golden_stats["logits"]["argmax"]
  inner = {name: np.asarray(value[0], np.float64) for name, value in inner["intermediates"].items()}
  for suffix, layer in (("1a", "Conv3d_1a_7x7"), ("3c", "Mixed_3c"), ("5c", "Mixed_5c")):
    values, stats = inner[f"after_{suffix}"], golden_stats[layer]
    assert list(values.shape) == stats["shape"]
    computed = [values.mean(), values.std(), np.abs(values).max(), *values.reshape(-1)[:8]]
    golden_values = [stats["mean"], stats["std"], stats["absmax"], *stats["first8"]]
    np.testing.assert_allclose(computed, golden_values, rtol=1e-5, atol=1e-5)


# --- Comparison with an independent implementation in float64, on small clips.


def reference(variables, clips, side):
  """The network in NumPy, with DeepMind's names: ({output: array}, positions in time)."""
  variables = {
    name.removeprefix("RGB/inception_i3d/"): np.asarray(array, np.float64)
    for name, array in variables.items()
  }

  def padded(x, window, strides, fill):
    widths = [(0, 0)]
    for size, length, stride in zip(window, x.shape[1:4], strides, strict=True):
      total = max((-(-length // stride) - 1) * stride + size - length, 0)
      widths.append((total // 2, total - total // 2))
    return np.pad(x, [*widths, (0, 0)], constant_values=fill)

  def windows(x, window, strides, fill):
    """[B, T', H', W', C, *window]"""
    x = sliding_window_view(padded(x, window, strides, fill), window, (1, 2, 3))
    return x[:, :: strides[0], :: strides[1], :: strides[2]]

  def unit(x, name, stride=1):
    kernel = variables[f"{name}/conv_3d/w"]
    inputs = windows(x, kernel.shape[:3], (stride,) * 3, 0)
    x = np.tensordot(inputs, kernel, ((5, 6, 7, 4), (0, 1, 2, 3)))
    norm = {n: variables[f"{name}/batch_norm/{n}"].reshape(-1) for n in NORM}
    x = (x - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 0.001) + norm["beta"]
    return np.maximum(x, 0)

  def pool(x, window, strides):
    return windows(x, window, strides, -np.inf).max((5, 6, 7))

  x = unit(clips.astype(np.float64), "Conv3d_1a_7x7", 2)
  x = pool(x, (1, 3, 3), (1, 2, 2))
  x = unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
  for block in "3b 3c 4b 4c 4d 4e 4f 5b 5c".split():
    if block in POOLS:
      x = pool(x, *POOLS[block])
    name = f"Mixed_{block}/Branch_"
    third = f"{name}2/Conv3d_0{'a' if block == '5b' else 'b'}_3x3"
    branches = [
      unit(x, f"{name}0/Conv3d_0a_1x1"),
      unit(unit(x, f"{name}1/Conv3d_0a_1x1"), f"{name}1/Conv3d_0b_3x3"),
      unit(unit(x, f"{name}2/Conv3d_0a_1x1"), third),
      unit(pool(x, (3,) * 3, (1,) * 3), f"{name}3/Conv3d_0b_1x1"),
    ]
    x = np.concatenate(branches, -1)
  window = (2, side // 32, side // 32)
  x = sliding_window_view(x, window, (1, 2, 3)).mean((5, 6, 7))
  assert x.shape[2:4] == (1, 1)
  x = x[:, :, 0, 0]
  last = "Logits/Conv3d_0c_1x1/conv_3d/"
  logits = x @ variables[f"{last}w"][0, 0, 0] + variables[f"{last}b"]
  return {"logits": logits.mean(1), "avgpool": x.mean(1)}, x.shape[1]


POOLS = {"3b": ((1, 3, 3), (1, 2, 2)), "4b": ((3, 3, 3), (2, 2, 2)), "5b": ((2, 2, 2), (2, 2, 2))}
NORM = ("beta", "moving_mean", "moving_variance")


@pytest.fixture(scope="module")
def drawn():
  """A function (classes) -> random variables in the format of the checkpoint of Kinetics-600."""

  def draw(classes, seed=None):
    random = np.random.default_rng(seed)
    shapes = i3d.abstract_variables(classes)
    names = dict(zip(leaf_names(shapes), jax.tree.leaves(shapes), strict=True))
    checkpoint_name = {variable: name for name, variable in i3d._VARIABLES.items()}
    variables = {}
    for path, like in names.items():
      collection, *module, leaf = path.split("/")
      shape = (1,) * (5 - len(like.shape)) + like.shape if leaf != "bias" else like.shape
      array = random.standard_normal(shape, np.float32)
      if leaf == "kernel":
        array *= np.float32(np.sqrt(2 / np.prod(shape[:-1])))
      elif leaf == "variance":
        array = np.exp(0.3 * array)
      else:
        array *= np.float32(0.1)
      variables["/".join([*module, checkpoint_name[collection, leaf]])] = array
    return variables

  return draw


@pytest.mark.parametrize("frames, positions", [(9, 1), (22, 2)])
def test_outputs_equal_the_reference(drawn, frames, positions):
  side = 32 if frames > 9 else 64
  variables = drawn(600)
  clips = np.random.default_rng().uniform(-1, 1, (2, frames, side, side, 3)).astype(np.float32)
  expected, reference_positions = reference(variables, clips, side)
  assert reference_positions == positions
  converted = i3d.from_tensorflow(variables, 600)
  features = jax.jit(i3d.I3D(600, side=side).apply)
  outputs = features(converted, clips)
  in_other_batch = features(converted, np.stack([clips[0], np.zeros_like(clips[0])]))
  for name, size in i3d.outputs(600).items():
    assert outputs[name].shape == (2, size)
    scale = np.max(np.abs(expected[name]))
    assert np.max(np.abs(outputs[name] - expected[name])) <= 3e-6 * scale
    np.testing.assert_array_equal(in_other_batch[name][0], outputs[name][0])
  if frames == 9:
    plain = jax.jit(i3d.I3D(600, plain=True, side=side).apply)(converted, clips)
    for name in plain:
      scale = np.max(np.abs(expected[name]))
      assert np.max(np.abs(plain[name] - expected[name])) <= 3e-6 * scale


# --- The two ways in which layers are computed, `plain` and fast.


@pytest.mark.parametrize(
  "shape, window, strides",
  [
    ((2, 9, 7, 8, 3), (7, 7, 7), (2, 2, 2)),
    ((2, 8, 6, 6, 3), (7, 7, 7), (2, 2, 2)),
    ((1, 1, 6, 5, 4), (3, 3, 3), (1, 1, 1)),
    ((2, 2, 6, 5, 4), (3, 3, 3), (1, 1, 1)),
    ((2, 5, 4, 3, 4), (3, 3, 3), (1, 1, 1)),
    ((2, 5, 4, 3, 4), (1, 1, 1), (1, 1, 1)),
  ],
)
def test_fast_convolutions_equal_plain_ones(x64, shape, window, strides):
  random = np.random.default_rng()
  x, kernel = random.standard_normal(shape), random.standard_normal((*window, shape[-1], 5))
  both = jax.jit(lambda *a: [i3d.convolve(*a, strides, plain=plain) for plain in (True, False)])
  plain, fast = both(x, kernel)
  np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-12 * np.max(np.abs(plain)))


@pytest.mark.parametrize(
  "window, strides",
  [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))],
)
@pytest.mark.parametrize("sizes", [(4, 6, 8), (5, 7, 1), (1, 2, 3)])
def test_fast_pooling_equals_plain_pooling(window, strides, sizes):
  x = np.random.default_rng().standard_normal((2, *sizes, 3), np.float32) - 5
  both = jax.jit(lambda x: [i3d.max_pool(x, window, strides, plain) for plain in (True, False)])
  np.testing.assert_array_equal(*both(x))


def test_all_products_have_the_highest_precision():
  clips = jax.ShapeDtypeStruct((1, 9, 224, 224, 3), jnp.float32)
  for plain in (False, True):
    with jax.default_matmul_precision("bfloat16"):
      jaxpr = jax.make_jaxpr(i3d.I3D(plain=plain).apply)(i3d.abstract_variables(), clips)
    products = [e for e in equations(jaxpr.jaxpr) if e.primitive.name in PRODUCTS]
    assert len(products) >= 40
    for equation in products:
      assert equation.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2
      assert {v.aval.dtype for v in (*equation.invars, *equation.outvars)} == {np.dtype("float32")}


PRODUCTS = ("dot_general", "conv_general_dilated")


def equations(jaxpr):
  for equation in jaxpr.eqns:
    yield equation
    for inner in flops.inner_jaxprs(equation):
      yield from equations(inner)


# --- Sizes, names and refused inputs.


def test_clips_with_too_few_frames_are_refused():
  module, mutable = i3d.I3D(), ["params", "batch_stats", "intermediates"]
  shape = lambda frames: jax.ShapeDtypeStruct((1, frames, 224, 224, 3), jnp.float32)
  for frames, positions in ((9, 1), (16, 1), (17, 2), (79, 9)):
    run = functools.partial(module.init_with_output, mutable=mutable)
    _, variables = jax.eval_shape(run, jax.random.key(0), shape(frames))
    assert variables["intermediates"]["after_5c"][0].shape[1] - 1 == positions
  for frames in (1, 6, 8):
    with pytest.raises(UserError, match=f"9 frames or more, not of {frames}"):
      jax.eval_shape(module.init, jax.random.key(0), shape(frames))


@pytest.mark.parametrize(
  "shape", [(1, 16, 112, 224, 3), (1, 16, 224, 225, 3), (1, 16, 224, 224, 1), (16, 224, 224, 3)]
)
def test_other_sizes_are_refused(shape):
  with pytest.raises(UserError, match=r"takes clips \[B, T, 224, 224, 3\]"):
    jax.eval_shape(i3d.I3D().init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


@golden
@pytest.mark.parametrize(
  "listing, classes, floats",
  [
    ("rgb_imagenet.vars.txt", 400, 12_704_544),
    ("rgb_scratch.vars.txt", 400, 12_704_544),
    ("tfhub_k400.vars.txt", 400, 12_704_544),
    ("rgb_scratch_kin600.vars.txt", 600, 12_909_544),
  ],
)
def test_every_published_variable_is_used(listing, classes, floats):
  arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes(listing).items()}
  variables = i3d.from_tensorflow(arrays, classes)
  assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == floats
  assert len(jax.tree.leaves(variables)) == 230
  ignored = [name for name in arrays if i3d.path_of(name) is None]
  assert all(name.endswith("/Momentum") for name in ignored)
  assert len(ignored) == len(arrays) - 230
  other = 1000 - classes
  with pytest.raises(UserError, match=rf"expected float32 \[(1024, )?{other}\]"):
    i3d.from_tensorflow(arrays, other)


def test_names_may_have_a_prefix():
  for prefix in ("", "RGB/inception_i3d/"):
    assert i3d.path_of(f"{prefix}Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w") == (
      "params/Mixed_5b/Branch_2/Conv3d_0a_3x3/kernel"
    )
    assert i3d.path_of(f"{prefix}Conv3d_1a_7x7/batch_norm/moving_variance") == (
      "batch_stats/Conv3d_1a_7x7/variance"
    )
    assert (
      i3d.path_of(f"{prefix}Logits/Conv3d_0c_1x1/conv_3d/b") == "params/Logits/Conv3d_0c_1x1/bias"
    )
  assert i3d.path_of("Conv3d_1a_7x7/conv_3d/w/Momentum") is None
  assert i3d.path_of("global_step") is None


def test_invalid_variables_are_refused(drawn):
  arrays = drawn(400)
  name = "Conv3d_1a_7x7/conv_3d/w"
  whole = arrays[name]
  for value, message in [
    (None, "no variable for params/Conv3d_1a_7x7/kernel"),
    (whole[..., :32], r"is float32 \[7, 7, 7, 3, 32\], expected float32 \[7, 7, 7, 3, 64\]"),
    (whole.astype(np.float64), "is float64"),
    (np.where(whole == whole.max(), np.inf, whole), "not finite"),
    (whole[None], None),
  ]:
    changed = {n: a for n, a in arrays.items() if n != name}
    if value is not None:
      changed[name] = value
    if message is None:
      i3d.from_tensorflow(changed)
      continue
    with pytest.raises(UserError, match=message):
      i3d.from_tensorflow(changed)
  with pytest.raises(UserError, match="twice"):
    i3d.from_tensorflow({**arrays, f"RGB/inception_i3d/{name}": whole})
  with pytest.raises(UserError, match="belongs to no layer"):
    i3d.from_tensorflow({**arrays, "Conv3d_9z/conv_3d/w": whole})


# --- With published weights, which users download.

WEIGHTS = pathlib.Path(os.environ.get("VIDGAN_JAX_WEIGHTS", "~/.cache/vidgan_jax/weights"))


def downloaded(name, what):
  """The file of this name in the folder of weights; skips the test if it is missing."""
  path = WEIGHTS.expanduser() / name
  if not path.exists():
    pytest.skip(f"download {what} to {path} (the folder is $VIDGAN_JAX_WEIGHTS)")
  return path


@pytest.mark.parametrize(
  "name, norm, top",
  [
    (
      "rgb_imagenet",
      87.108871,
      [25.856646, 12.330335, 11.254371, 10.883866, 10.393131, 10.008317, 9.804514, 9.681604],
    ),
    ("rgb_scratch", 87.217987, [19.4886, 12.6938, 12.3322, 11.6732, 10.9871, 10.9695, 10.0855]),
  ],
)
def test_published_outputs_of_published_weights(name, norm, top):
  checkpoint = downloaded(
    f"{name}/model.ckpt.index", f"kinetics-i3d's data/checkpoints/{name}/model.ckpt.* (both files)"
  ).parent
  clip = downloaded(
    "v_CricketShot_g04_c01_rgb.npy", "kinetics-i3d's data/v_CricketShot_g04_c01_rgb.npy"
  )
  variables = i3d.from_tensorflow(tensor_bundle.read(checkpoint))
  logits = jax.jit(i3d.I3D().apply)(variables, np.load(clip, allow_pickle=False))["logits"][0]
  assert abs(np.linalg.norm(logits) - norm) < 1e-3
  np.testing.assert_allclose(np.sort(logits)[::-1][: len(top)], top, atol=1e-3)


@pytest.fixture(scope="module")
def of_fvd():
  """A function from blocks of clips in [-1, 1] to logits of the network of FVD."""
  checkpoint = downloaded(
    "rgb_scratch/model.ckpt.index", "kinetics-i3d's data/checkpoints/rgb_scratch/model.ckpt.*"
  ).parent
  variables = i3d.from_tensorflow(tensor_bundle.read(checkpoint))
  apply = jax.jit(i3d.I3D().apply)
  return lambda blocks: np.concatenate([apply(variables, clips)["logits"] for clips in blocks])


@pytest.mark.parametrize(
  "count, frames, distance, within", [(16, 15, 131, 0.5), (8, 30, 151.39244, 1e-2)]
)
def test_distance_of_black_and_white_clips_as_published(of_fvd, count, frames, distance, within):
  """google-research/frechet_video_distance, example.py ("around 131"); also with 8 x 30 frames."""
  (metric,) = get_protocol("fvd_unterthiner2018").metrics
  both = []
  for level in (0, 255):
    clips = np.full((1, frames, 64, 64, 3), level, np.uint8)
    logits = of_fvd([preprocessing.apply(clips, metric.preprocess)])
    both.append(np.repeat(logits, count, axis=0))
  assert abs(frechet_distance_of_features(*both, metric.ddof) - distance) < within


def test_distance_of_noise_as_published(of_fvd):
  """fvd-comparison: 128 clips in [0, 1] of each of two seeds; 10.13808 with TensorFlow."""

  def noise(seed):
    random = np.random.RandomState(seed)
    for _ in range(64):  # gives the same numbers as one draw of all 128 clips
      yield random.rand(2, 16, 224, 224, 3).astype(np.float32)

  distance = frechet_distance_of_features(of_fvd(noise(1)), of_fvd(noise(2)), 1)
  assert abs(distance - 10.13808536529541) < 1e-3
