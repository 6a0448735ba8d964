"""C3D equals a forward pass in NumPy with Chainer's arrays."""

import itertools

import jax
import numpy as np
import pytest

from vidgan_jax.evaluation.features.architectures import c3d
from vidgan_jax.runtime.errors import UserError

CONVOLUTIONS = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
POOLED = {"conv1a": (1, 2, 2), **dict.fromkeys(("conv2a", "conv3b", "conv4b", "conv5b"), (2, 2, 2))}


@pytest.fixture(scope="module")
def shapes():
  clips = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), np.float32)
  return jax.eval_shape(c3d.C3D().init, jax.random.key(0), clips)


@pytest.fixture(scope="module")
def chainer():
  """Arrays in the format of Chainer's npz, for a network with a quarter of the channels."""
  generator = np.random.default_rng(5)
  widths = (3, 16, 32, 64, 64, 128, 128, 128, 128)
  arrays = {}
  layers = {
    name: (after, before, 3, 3, 3)
    for name, (before, after) in zip(CONVOLUTIONS, itertools.pairwise(widths), strict=True)
  }
  layers |= {"fc6": (256, 2048), "fc7": (4096, 256), "fc8": (101, 4096)}
  for name, shape in layers.items():
    scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
    arrays[f"{name}/W"] = generator.standard_normal(shape, np.float32) * scale
    arrays[f"{name}/b"] = generator.standard_normal(shape[:1], np.float32) * np.float32(0.1)
  return arrays


def max_pool(x, window):
  """Max pooling of [B, T, H, W, C], window by window; the last window may extend beyond the end."""
  sizes = [-(-n // w) for n, w in zip(x.shape[1:4], window, strict=True)]
  out = np.empty((len(x), *sizes, x.shape[-1]))
  for index in np.ndindex(*sizes):
    cut = tuple(slice(i * w, (i + 1) * w) for i, w in zip(index, window, strict=True))
    out[(slice(None), *index)] = x[(slice(None), *cut)].max((1, 2, 3))
  return out


def test_it_has_the_published_number_of_parameters(shapes):
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 78_409_573 == c3d.PARAMETERS
  assert shapes["params"]["fc6"]["kernel"].shape == (512 * 4 * 4, 4096)


def test_it_equals_a_forward_pass_in_numpy(chainer, monkeypatch, convolution, relative):
  # A quarter of the channels makes the test fast; another test checks the number of parameters.
  stages = [{name: width // 4 for name, width in stage.items()} for stage in c3d._STAGES]
  monkeypatch.setattr(c3d, "_STAGES", stages)
  monkeypatch.setattr(c3d, "_DENSE", {"fc6": 256, "fc7": 4096, "fc8": 101})
  clips = 60 * np.random.default_rng(1).standard_normal((1, 16, 112, 112, 3), np.float32)
  shapes = jax.eval_shape(c3d.C3D().init, jax.random.key(0), clips)
  variables = {"params": {}}
  for name, array in chainer.items():
    path, axes = c3d.from_chainer(name)
    _, layer, kind = path.split("/")
    variables["params"].setdefault(layer, {})[kind] = array.transpose(axes)
  assert jax.tree.map(np.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, shapes)
  outputs = jax.jit(c3d.C3D().apply)(variables, clips)
  assert {name: value.shape[1] for name, value in outputs.items()} == c3d.OUTPUTS

  x = clips
  for name in CONVOLUTIONS:
    x = np.maximum(convolution(x, chainer[f"{name}/W"]) + chainer[f"{name}/b"], 0)
    x = max_pool(x, POOLED[name]) if name in POOLED else x
  assert x.shape == (1, 1, 4, 4, 128)
  x = x.transpose(0, 4, 1, 2, 3).reshape(1, -1)
  for name in ("fc6", "fc7"):
    x = np.maximum(x @ chainer[f"{name}/W"].T.astype(np.float64) + chainer[f"{name}/b"], 0)
  assert relative(outputs["fc7"], x) < 1e-5
  x = x @ chainer["fc8/W"].T + chainer["fc8/b"]
  assert relative(outputs["logits"], x) < 1e-5
  # The logits here are large, and the softmax amplifies their errors. So it is compared separately.
  logits = np.asarray(outputs["logits"], np.float64)
  x = np.exp(logits - logits.max(1, keepdims=True))
  assert relative(outputs["prob"], x / x.sum(1, keepdims=True)) < 1e-5


@pytest.mark.parametrize("window", [(2, 2, 2), (1, 2, 2), (2, 3, 2)])
def test_pooling_includes_windows_beyond_the_end(window):
  x = np.random.default_rng(0).standard_normal((2, 5, 7, 6, 3), np.float32) - 5
  np.testing.assert_array_equal(c3d.pool(x, window), max_pool(x, window).astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 15, 112, 112, 3), (1, 16, 128, 112, 3), (16, 112, 112, 3)])
def test_other_clips_are_refused(shape):
  with pytest.raises(UserError, match="16 x 112 x 112 x 3"):
    c3d.C3D().init(jax.random.key(0), np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", ["conv1b/W", "fc9/b", "conv1a/beta", "fc6", "xfc6/W"])
def test_names_of_other_networks_are_refused(name):
  with pytest.raises(KeyError):
    c3d.from_chainer(name)
