import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers.attention import SelfAttention, SeparableAttention
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.runtime.errors import UserError

SHAPE = (2, 3, 4, 2, 16)  # B, T, H, W, C
AXES = {"t": 1, "h": 2, "w": 3}


def attend(x, params, axes, style="sagan", pool=False):
  """Attention position by position: a query attends to all keys with the same other indices."""
  product = lambda a, name: a @ params[name]["kernel"]
  query, keys, values = product(x, "query"), product(x, "key"), product(x, "value")
  if pool:
    windows = [keys[:, :, i::2, j::2] for i, j in itertools.product((0, 1), repeat=2)]
    keys = np.max(windows, axis=0)
    windows = [values[:, :, i::2, j::2] for i, j in itertools.product((0, 1), repeat=2)]
    values = np.max(windows, axis=0)
  out = np.empty((*x.shape[:-1], values.shape[-1]))
  for position in np.ndindex(x.shape[:-1]):
    seen = [slice(None) if AXES.get(a) and a in axes else position[AXES.get(a, 0)] for a in "bthw"]
    key = keys[tuple(seen)].reshape(-1, keys.shape[-1])
    value = values[tuple(seen)].reshape(-1, values.shape[-1])
    weights = np.exp(key @ query[position])  # logits are not divided by the root of the width
    out[position] = weights @ value / weights.sum()
  if style == "bare":
    return out
  return x + params["gamma"] * product(out, "output")


def applied(module, params, x):
  return jax.jit(lambda p, x: module.apply({"params": p}, x))(params, x)


@pytest.mark.parametrize("style", ["sagan", "bare"])
@pytest.mark.parametrize("axes", ["thw", "t", "h", "w", "hw"])
def test_attention_equals_numpy(x64, wide, draw, normal, assert_close, axes, style):
  x, module = 0.5 * normal(SHAPE), SelfAttention(axes, wide(), style)
  params = draw(module, x)
  shapes = jax.tree.map(np.shape, params)
  if style == "sagan":
    widths = {"query": (16, 2), "key": (16, 2), "value": (16, 8), "output": (8, 16)}
    assert shapes == {"gamma": (), **{name: {"kernel": w} for name, w in widths.items()}}
  else:
    assert shapes == {name: {"kernel": (16, 16)} for name in ("query", "key", "value")}
  assert_close(applied(module, params, x), attend(x, params, axes, style))


def test_pooled_keys_equal_numpy(x64, wide, draw, normal, assert_close):
  x, module = normal((2, 2, 4, 6, 16)), SelfAttention("hw", wide(), pool=True)
  params = draw(module, x)
  assert_close(applied(module, params, x), attend(x, params, "hw", pool=True))


@pytest.mark.parametrize("style", ["sagan", "bare"])
@pytest.mark.parametrize("order", ["hwt", "thw", "wht"])
def test_separable_attention_equals_numpy(x64, wide, draw, normal, assert_close, order, style):
  x, module = 0.5 * normal(SHAPE), SeparableAttention(wide(), order, style)
  params = draw(module, x)
  assert set(params) == {"time", "height", "width"}
  expected = x
  for axis in order:
    expected = attend(
      expected, params[{"t": "time", "h": "height", "w": "width"}[axis]], axis, style
    )
  assert_close(applied(module, params, x), expected)


@pytest.mark.parametrize("style", ["sagan", "bare"])
@pytest.mark.parametrize(
  ("build", "shape"),
  [
    (lambda s, style: SelfAttention("thw", s, style), SHAPE),
    (lambda s, style: SelfAttention("hw", s, style, pool=True), SHAPE),
    (lambda s, style: SeparableAttention(s, "hwt", style), SHAPE),
  ],
)
def test_gradients_equal_central_differences(
  x64, wide, draw, normal, assert_gradient, build, shape, style
):
  x, module, factors = 0.5 * normal(shape), build(wide(), style), normal(shape, 5)
  params = draw(module, x)
  scalar = lambda params, x: jnp.sum(factors * module.apply({"params": params}, x))
  assert_gradient(scalar, (params, x))


def test_attention_starts_as_the_identity(normal):
  x, settings = (
    normal(SHAPE).astype(np.float32),
    LayerSettings(spectral=False, initializer="normal02"),
  )
  module = SeparableAttention(settings)
  out, variables = jax.jit(module.init_with_output)(jax.random.key(0), x)
  np.testing.assert_array_equal(out, x)
  assert [variables["params"][name]["gamma"] for name in ("time", "height", "width")] == [0, 0, 0]


def test_softmax_of_bfloat16_activations_is_taken_in_float32(draw, normal):
  x = jnp.asarray(normal(SHAPE), jnp.bfloat16)
  module = SelfAttention("thw", LayerSettings(dtype=jnp.bfloat16))
  params = draw(module, x)
  program = jax.make_jaxpr(lambda x: module.apply({"params": params}, x))(x)
  types = [e.outvars[0].aval.dtype for e in program.jaxpr.eqns if e.primitive.name == "exp"]
  inner = [
    e.outvars[0].aval.dtype
    for outer in program.jaxpr.eqns
    if "jaxpr" in outer.params
    for e in outer.params["jaxpr"].jaxpr.eqns
    if e.primitive.name == "exp"
  ]
  assert types + inner == [jnp.float32]
  assert program.out_avals[0].dtype == jnp.bfloat16


def test_narrow_layers_keep_a_channel(draw, normal):
  params = draw(SelfAttention("thw", LayerSettings()), normal((1, 2, 2, 2, 3)).astype(np.float32))
  assert params["query"]["kernel"].shape == (3, 1)
  assert params["value"]["kernel"].shape == (3, 1)


def test_unknown_switches_are_refused():
  x = jnp.zeros((1, 2, 2, 2, 8))
  with pytest.raises(UserError, match="unknown attention style 'scaled'; known: sagan, bare"):
    SelfAttention("thw", LayerSettings(), "scaled").init(jax.random.key(0), x)
  for order in ("hw", "hwx", "hhw", "hwtt"):
    with pytest.raises(UserError, match=f"attention order '{order}' is not an order of"):
      SeparableAttention(LayerSettings(), order).init(jax.random.key(0), x)
