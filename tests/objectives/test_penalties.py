import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.objectives import penalties
from vidgan_jax.objectives.penalties import orthogonal_gradient
from vidgan_jax.runtime.errors import UserError

SHAPES = {
  "conv": {"kernel": (3, 3, 2, 5), "bias": (5,)},
  "linear": {"kernel": (4, 6)},
  "norm": {"gain": {"kernel": (7, 3)}},
  "embed": {"embedding": (4, 6)},
  "attention": {"gamma": ()},
}
BETA = 0.3


def draw():
  generator = np.random.default_rng(0)
  is_shape = lambda node: isinstance(node, tuple)
  return jax.tree.map(lambda shape: generator.normal(size=shape), SHAPES, is_leaf=is_shape)


def penalty(params):
  """beta / 2 * sum of |(W W^T) o (1 - I)|^2 over kernels as W [out, in * window]."""
  kernels = [params["conv"]["kernel"], params["linear"]["kernel"], params["norm"]["gain"]["kernel"]]
  total = 0.0
  for kernel in kernels:
    rows = jnp.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1)
    gram = jnp.einsum("oi,pi->op", rows, rows)
    total += jnp.sum(jnp.square(gram - jnp.diag(jnp.diag(gram))))
  return 0.5 * BETA * total


def test_gradient_of_the_squared_products_of_rows(x64, assert_close, assert_gradient):
  params = draw()
  gradient = orthogonal_gradient(params, BETA)
  assert_close(gradient, jax.grad(penalty)(params))
  assert_gradient(penalty, (params,), (gradient,), tolerance=1e-7)


def test_tables_gains_and_biases_get_zeros(x64):
  gradient = orthogonal_gradient(draw(), BETA)
  for leaf in (
    gradient["conv"]["bias"],
    gradient["embed"]["embedding"],
    gradient["attention"]["gamma"],
  ):
    assert not np.any(leaf)
  assert np.any(gradient["norm"]["gain"]["kernel"])


def test_orthogonal_rows_are_left_alone_whatever_their_length(x64):
  rows = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 3)))[0] * [1.0, 2.0, 0.5]
  gradient = orthogonal_gradient({"linear": {"kernel": rows}}, BETA)
  assert np.max(np.abs(gradient["linear"]["kernel"])) < 1e-14


# A discriminator of clips [B, 2, 2, 2, 1] with one hidden layer, whose gradients NumPy writes out.
HIDDEN = 3


def small_discriminator(normal):
  return {"first": normal((8, HIDDEN), 2), "second": normal((HIDDEN,), 3)}


def scores(weights, clips):
  hidden = jnp.tanh(clips.reshape(clips.shape[0], -1) @ weights["first"])
  return hidden @ weights["second"]


def gradients(weights, clips):
  """The gradient of each score by its clip, [B, 8], in NumPy."""
  hidden = np.tanh(clips.reshape(len(clips), -1) @ weights["first"])
  return ((1 - hidden**2) * weights["second"]) @ weights["first"].T


def mixed(real, generated, share):
  return np.stack([r + a * (g - r) for r, g, a in zip(real, generated, share, strict=True)])


def test_gradient_penalties_equal_numpy(x64, normal, assert_close, assert_gradient):
  weights, share = small_discriminator(normal), np.array([0.0, 0.3, 0.9, 0.5])
  real, generated = normal((4, 2, 2, 2, 1)), normal((4, 2, 2, 2, 1), 1)
  norms = np.linalg.norm(gradients(weights, mixed(real, generated, share)), axis=1)
  score = lambda w: lambda clips: scores(w, clips)
  one = lambda w, r, g: penalties.wgan_gradient_penalty(score(w), r, g, share)
  zero = lambda w, r, g: penalties.zero_centred_gradient_penalty(score(w), r, g, share)
  arguments = (weights, real, generated)
  assert_close(one(*arguments), np.mean((norms - 1) ** 2))
  assert_close(zero(*arguments), np.mean(((1 - share) * norms) ** 2))
  # Their own gradients, by central differences of NumPy's penalties.
  assert_gradient(one, arguments, tolerance=1e-6)
  assert_gradient(zero, arguments, tolerance=1e-6)


def test_a_discriminator_without_slope_has_finite_gradients(x64, normal):
  """The root of a squared norm has no derivative where the norm is 0."""
  weights = {"first": jnp.zeros((8, HIDDEN)), "second": jnp.zeros((HIDDEN,))}
  clips, share = normal((4, 2, 2, 2, 1)), np.full(4, 0.5)
  penalty = lambda w: penalties.wgan_gradient_penalty(lambda x: scores(w, x), clips, clips, share)
  value, slopes = jax.value_and_grad(penalty)(weights)
  assert abs(value - 1) < 1e-9
  assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("form", penalties.PROJECTION_FORMS)
def test_projection_penalty_equals_numpy(x64, normal, assert_close, assert_gradient, form):
  real, generated, scale = normal((4, 5)), normal((4, 5), 1), normal((5,), 2)
  share = np.array([0.1, 0.3, 0.9, 0.5])
  squares = []
  for a in mixed(real, generated, share):
    for k in range(5):
      q = a[k] if a[k] > 0 else 0.2 * a[k]
      released = 0.1 * (abs(q) - q) + 0.5 * (abs(q) + q)
      derivative = 1.0 if a[k] > 0 else 0.2
      squares.append((scale[k] * (released if form == "released" else derivative) - 0.01) ** 2)
  penalty = lambda r, g, s: penalties.projection_penalty(r, g, s, share, slope=0.2, form=form)
  assert_close(penalty(real, generated, scale), np.mean(squares))
  if form == "released":
    assert_gradient(penalty, (real, generated, scale), tolerance=1e-6)
  else:
    assert_gradient(lambda s: penalty(real, generated, s), (scale,), tolerance=1e-6)


def test_an_unknown_projection_penalty_is_refused(normal):
  with pytest.raises(UserError, match="unknown projection penalty 'sign'"):
    penalties.projection_penalty(
      normal((4, 5)), normal((4, 5)), normal((5,)), np.zeros(4), slope=0.2, form="sign"
    )


def test_the_blend_of_affine_projections_is_that_of_blended_features(x64, normal, assert_close):
  matrix, scale, offset = normal((6, 5)), normal((5,), 1), normal((5,), 2)
  affine = lambda features: scale * (features @ matrix) + offset
  real, generated, share = normal((4, 6), 3), normal((4, 6), 4), np.array([0.1, 0.3, 0.9, 0.5])
  blended = penalties.mix(affine(real), affine(generated), share)
  assert_close(blended, affine(mixed(real, generated, share)))
