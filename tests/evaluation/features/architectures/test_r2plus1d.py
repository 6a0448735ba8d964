"""R(2+1)D-18 equals a forward pass in NumPy with torchvision's state dict."""

import jax
import numpy as np
import pytest

from vidgan_jax.evaluation.features.architectures import r2plus1d, separable


@pytest.fixture(scope="module")
def network():
  return r2plus1d.R2Plus1D()


@pytest.fixture(scope="module")
def shapes(network):
  clips = jax.ShapeDtypeStruct((1, 4, 16, 16, 3), np.float32)
  return jax.eval_shape(network.init, jax.random.key(0), clips)


@pytest.fixture(scope="module")
def state(torchvision_shapes):
  """A state dict of random numbers, scaled so that activations keep their scale."""
  generator = np.random.default_rng(3)
  arrays = {}
  for name, shape in torchvision_shapes.items():
    numbers = generator.standard_normal(shape, np.float32)
    if len(shape) > 1:
      numbers *= np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith(("running_var", ".weight")):
      numbers = generator.uniform(0.5, 1.5, shape)
    else:
      numbers *= 0.1
    arrays[name] = numbers.astype(np.float32)
  return arrays


def by_numpy(state, clips, convolution):
  """The outputs of the network, without folding batch norm into kernels."""

  def unit(x, kernel, norm, stride=(1, 1, 1)):
    weight = state[f"{kernel}.weight"]
    x = convolution(x, weight, stride, tuple(size // 2 for size in weight.shape[2:]))
    part = lambda kind: state[f"{norm}.{kind}"].astype(np.float64)
    x = (x - part("running_mean")) / np.sqrt(part("running_var") + 1e-5)
    return x * part("weight") + part("bias")

  relu = lambda x: np.maximum(x, 0)
  x = relu(unit(clips, "stem.0", "stem.1", (1, 2, 2)))
  x = relu(unit(x, "stem.3", "stem.4"))
  for stage in range(1, 5):
    for index in range(2):
      block, s = f"layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
      y = relu(unit(x, f"{block}.conv1.0.0", f"{block}.conv1.0.1", (1, s, s)))
      y = relu(unit(y, f"{block}.conv1.0.3", f"{block}.conv1.1", (s, 1, 1)))
      y = relu(unit(y, f"{block}.conv2.0.0", f"{block}.conv2.0.1"))
      y = unit(y, f"{block}.conv2.0.3", f"{block}.conv2.1")
      if s == 2:
        x = unit(x, f"{block}.downsample.0", f"{block}.downsample.1", (2, 2, 2))
      x = relu(x + y)
  pooled = x.mean((1, 2, 3))
  return {"avgpool": pooled, "logits": pooled @ state["fc.weight"].T + state["fc.bias"]}


def converted(state, shapes):
  """The variables of the network from a state dict."""
  names = r2plus1d.from_torchvision()
  assert sorted(names) == sorted(state)
  name_of = {path: name for name, path in names.items()}

  def convert(path, leaf):
    name = name_of["/".join(part.key for part in path)]
    return r2plus1d.convert_array(state[name], leaf.shape)

  return jax.tree_util.tree_map_with_path(convert, shapes)


def test_it_has_the_published_number_of_parameters(shapes, torchvision_shapes):
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 31_505_325
  assert r2plus1d.PARAMETERS == 31_505_325
  assert len(jax.tree.leaves(shapes)) == len(torchvision_shapes)


def test_it_equals_a_forward_pass_in_numpy(network, state, shapes, convolution, relative):
  clips = np.random.default_rng(1).standard_normal((2, 6, 24, 28, 3), np.float32)
  outputs = jax.jit(network.apply)(converted(state, shapes), clips)
  expected = by_numpy(state, clips, convolution)
  for name, size in r2plus1d.OUTPUTS.items():
    assert outputs[name].shape == (2, size)
    assert relative(outputs[name], expected[name]) < 1e-5


def test_an_array_of_another_size_is_refused():
  with pytest.raises(ValueError, match=r"\[3, 3, 4, 5\] instead of \[3, 3, 5, 4\]"):
    r2plus1d.convert_array(np.zeros((5, 4, 1, 3, 3)), (3, 3, 5, 4))


@pytest.mark.parametrize("window", [(3, 3, 3), (1, 5, 3)])
def test_convolve_equals_a_convolution_in_three_dimensions(window, convolution, relative):
  generator = np.random.default_rng(0)
  x, kernel = generator.standard_normal((2, 4, 6, 5, 3)), generator.standard_normal((*window, 3, 4))
  result = separable.convolve(x.astype(np.float32), kernel.astype(np.float32))
  padding = tuple(size // 2 for size in window)
  expected = convolution(x, kernel.transpose(4, 3, 0, 1, 2), padding=padding)
  assert relative(result, expected) < 1e-6


@pytest.mark.parametrize("frames", [4, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_in_time(stride, frames, convolution, relative):
  generator = np.random.default_rng(0)
  x, kernel = generator.standard_normal((2, frames, 3, 5, 3)), generator.standard_normal((3, 3, 4))
  result = separable.time_convolution(x.astype(np.float32), kernel.astype(np.float32), stride)
  transposed = kernel.transpose(2, 1, 0)[..., None, None]
  expected = convolution(x, transposed, (stride, 1, 1), (1, 0, 0))
  assert relative(result, expected) < 1e-6
