import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers.recurrent import UNROLL_UP_TO, ConvGRU
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.runtime.errors import UserError

# Small sizes, because XLA compiles float64 convolutions slowly on CPU.
BATCH, FRAMES, SIZE, CHANNELS, FEATURES = 2, 3, (2, 3), 3, 2
KINDS, ACTIVATIONS = ("multiplicative", "standard"), ("relu", "tanh")


def unit(reference, params, x, state, kind, activation):
  """The equations of appendix A.2, frame by frame, for x [B, T, H, W, C]."""
  of = lambda name, a: reference.convolve(a, params[name]["kernel"], params[name]["bias"])
  rho = {"relu": reference.relu, "tanh": np.tanh}[activation]
  states = []
  for t in range(x.shape[1]):
    g = state
    if kind == "multiplicative":
      g = of("gate_state", state) * of("gate_input", x[:, t])
    r = reference.sigmoid(of("reset", np.concatenate([g, x[:, t]], -1)))
    u = reference.sigmoid(of("update", np.concatenate([g, x[:, t]], -1)))
    c = rho(of("candidate", np.concatenate([x[:, t], r * g], -1)))
    state = u * g + (1 - u) * c
    states.append(state)
  return np.stack(states, 1)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_states_equal_numpy_in_every_form(
  x64, wide, draw, normal, reference, assert_close, kind, activation, constant
):
  """All forms, unrolled and scanned, from a given state and from zeros, fit the equations."""
  x = normal((BATCH, *SIZE, CHANNELS) if constant else (BATCH, FRAMES, *SIZE, CHANNELS))
  start = normal((BATCH, *SIZE, FEATURES), 1)
  modules = [
    ConvGRU(FEATURES, wide(ops=ops), kind, activation, unroll)
    for ops, unroll in [("folded", True), ("folded", False), ("plain", False)]
  ]
  frames = FRAMES if constant else None
  params = draw(modules[0], x, frames)
  kernels = dict.fromkeys(("reset", "update", "candidate"), (3, 3, 5, 2))
  if kind == "multiplicative":
    kernels |= {"gate_state": (1, 1, 2, 2), "gate_input": (1, 1, 3, 2)}
  assert {name: leaves["kernel"].shape for name, leaves in params.items()} == kernels

  @jax.jit
  def run(params, x, start):
    apply = lambda module, state: module.apply({"params": params}, x, frames, state)
    return apply(modules[0], None), [apply(module, start) for module in modules]

  sequence = np.repeat(x[:, None], FRAMES, 1) if constant else x
  from_zeros, from_start = run(params, x, start)
  zeros = np.zeros_like(start)
  assert_close(from_zeros, unit(reference, params, sequence, zeros, kind, activation))
  for states in from_start:
    assert_close(states, unit(reference, params, sequence, start, kind, activation))


def test_clips_too_long_to_unroll_equal_numpy(x64, wide, draw, normal, reference, assert_close):
  frames = UNROLL_UP_TO + 2
  x, module = normal((1, 2, 2, 3)), ConvGRU(4, wide())
  params = jax.tree.map(lambda a: 0.5 * a, draw(module, x, frames))
  states = jax.jit(lambda p, x: module.apply({"params": p}, x, frames))(params, x)
  sequence = np.repeat(x[:, None], frames, 1)
  zeros = np.zeros((1, 2, 2, 4))
  expected = unit(reference, params, sequence, zeros, "multiplicative", "relu")
  assert_close(states, expected)


@pytest.mark.parametrize("ops", ["folded", "plain"])
@pytest.mark.parametrize(
  ("kind", "activation", "constant"),
  [("multiplicative", "relu", True), ("standard", "tanh", False)],
)
def test_gradients_equal_central_differences(
  x64, wide, draw, normal, assert_gradient, kind, activation, constant, ops
):
  x = normal((BATCH, *SIZE, CHANNELS) if constant else (BATCH, FRAMES, *SIZE, CHANNELS))
  start, factors = normal((BATCH, *SIZE, FEATURES), 1), normal((BATCH, FRAMES, *SIZE, FEATURES), 2)
  module = ConvGRU(FEATURES, wide(ops=ops), kind, activation)
  frames = FRAMES if constant else None
  params = draw(module, x, frames)

  def scalar(params, x, start):
    return jnp.sum(factors * module.apply({"params": params}, x, frames, start))

  assert_gradient(scalar, (params, x, start))


def test_states_depend_on_earlier_frames_only(draw, normal):
  x = normal((1, 5, 2, 2, 3)).astype(np.float32)
  module = ConvGRU(4, LayerSettings())
  params = draw(module, x)
  changed = x.copy()
  changed[:, 2] += 1
  run = jax.jit(lambda x: module.apply({"params": params}, x))
  before, after = run(x), run(changed)
  np.testing.assert_array_equal(before[:, :2], after[:, :2])
  assert all(not np.array_equal(before[:, t], after[:, t]) for t in (2, 3, 4))


def test_states_take_the_type_of_the_activations(normal):
  module = ConvGRU(4, LayerSettings(dtype=jnp.bfloat16))
  x = normal((1, 2, 2, 3)).astype(np.float32)
  start = normal((1, 2, 2, 4)).astype(np.float32)
  run = lambda: module.init_with_output(jax.random.key(0), x, 3, start)
  states, variables = jax.eval_shape(run)
  assert states.dtype == jnp.bfloat16 and states.shape == (1, 3, 2, 2, 4)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(kind="lstm"), "unknown ConvGRU kind 'lstm'; known: multiplicative, standard"),
    (dict(activation="elu"), "unknown ConvGRU activation 'elu'; known: relu, tanh"),
  ],
)
def test_unknown_switches_are_refused(options, message):
  with pytest.raises(UserError, match=message):
    ConvGRU(4, LayerSettings(), **options).init(jax.random.key(0), jnp.zeros((1, 2, 4, 4, 3)))
