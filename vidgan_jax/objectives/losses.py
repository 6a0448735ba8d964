"""Adversarial losses, and further loss terms on generated clips."""

import jax
import jax.numpy as jnp

from vidgan_jax.runtime.errors import UserError

Scores = dict[str, jax.Array]  # {name of a discriminator, or of a loss term: array}

AGGREGATIONS = ("sum_before", "mean_after", "concat_mean")


def _wide(x: jax.Array) -> jax.Array:
  """`x` in float32, or in its own type if that is wider."""
  return x.astype(jnp.promote_types(jnp.float32, x.dtype))


def _outputs(scores: Scores, aggregation: str) -> Scores:
  """Aggregates {name: scores [B, N]} to {name: [B, N] or [B]}, to which the hinge is applied."""
  if aggregation not in AGGREGATIONS:
    raise UserError(f"unknown aggregation {aggregation!r}; known: {', '.join(AGGREGATIONS)}")
  scores = {name: _wide(s) for name, s in scores.items()}
  if aggregation == "sum_before":
    return {name: jnp.sum(s, axis=1) for name, s in scores.items()}
  if aggregation == "concat_mean":
    return {"all": jnp.concatenate([scores[name] for name in sorted(scores)], axis=1)}
  return scores


def hinge_discriminator(real: Scores, generated: Scores, aggregation: str) -> Scores:
  """Hinge losses of the discriminators (DVD-GAN 2.2; Lim & Ye 2017).

  Args:
    real, generated: {name: scores [B, N]}, one score per frame or time step.
    aggregation: "sum_before" is the hinge of the sum over N (DVD-GAN A.2, thesis equation 4.2).
      "mean_after" is the mean of the hinges of single scores (thesis equation 4.3; the equation
      lacks the maximum, the thesis' code has it). "concat_mean" is the mean of the hinges of the
      scores of all discriminators together (SSW-GAN).

  Returns:
    {"name_real": scalar, "name_generated": scalar}; their sum is the loss.
  """
  losses = {}
  for name, scores in _outputs(real, aggregation).items():
    losses[f"{name}_real"] = jnp.mean(jax.nn.relu(1 - scores))
  for name, scores in _outputs(generated, aggregation).items():
    losses[f"{name}_generated"] = jnp.mean(jax.nn.relu(1 + scores))
  return losses


def hinge_generator(generated: Scores, aggregation: str) -> Scores:
  """The generator's loss for `hinge_discriminator`: {name: -mean score}, same aggregation."""
  return {name: -jnp.mean(s) for name, s in _outputs(generated, aggregation).items()}


PIXEL_FORMS = ("channel_means", "pixels")


def average_pixel_loss(real: jax.Array, generated: jax.Array, form: str) -> jax.Array:
  """The Average Pixel Value Loss of Du's thesis.

  Here it is differentiable. The thesis' code computes it without gradients, so that it trains
  nothing.

  Args:
    real, generated: clips [B, T, H, W, 3] in [-1, 1].
    form: "channel_means" is the mean over channels of |mean real - mean generated|, where the inner
      means are over clips, frames and pixels, as in the thesis' code. "pixels" is the mean L1
      distance of corresponding pixels, as in equation 4.1.
  """
  real, generated = _wide(real), _wide(generated)
  if form == "channel_means":
    axes = tuple(range(real.ndim - 1))
    return jnp.mean(jnp.abs(jnp.mean(real, axes) - jnp.mean(generated, axes)))
  if form == "pixels":
    return jnp.mean(jnp.abs(real - generated))
  raise UserError(f"unknown pixel loss {form!r}; known: {', '.join(PIXEL_FORMS)}")


def wasserstein_discriminator(real: jax.Array, generated: jax.Array) -> Scores:
  """WGAN's critic loss (arXiv 1701.07875): {"real": -mean score, "generated": mean score}.

  The mean is over clips. The score of a clip is the sum of its scores [B, ...], because TGAN's code
  divides the sum of all scores by the batch size.
  """
  mean = lambda scores: jnp.sum(_wide(scores)) / scores.shape[0]
  return {"real": -mean(real), "generated": mean(generated)}


def wasserstein_generator(generated: jax.Array) -> jax.Array:
  """The generator's loss for `wasserstein_discriminator`: -mean score."""
  return -jnp.sum(_wide(generated)) / generated.shape[0]


def drift(scores: jax.Array) -> jax.Array:
  """Mean squared score: it keeps scores near 0 (Karras et al. 2018, appendix A.1)."""
  return jnp.mean(jnp.square(_wide(scores)))


def logistic(scores: jax.Array, target: float) -> jax.Array:
  """Mean binary cross entropy of the logits `scores` [...]; all have the target 0, or all 1."""
  scores = _wide(scores)
  return jnp.mean(jax.nn.softplus(scores) - target * scores)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Mean cross entropy of `logits` [..., K] with `labels`, int [...] in 0..K-1."""
  logs = jax.nn.log_softmax(_wide(logits))
  return -jnp.mean(jnp.take_along_axis(logs, labels[..., None], axis=-1))
