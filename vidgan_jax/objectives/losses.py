"""Adversarial losses and terms on generated clips."""

import jax
import jax.numpy as jnp

from vidgan_jax.runtime.errors import UserError

AGGREGATIONS = ("sum_before", "mean_after", "concat_mean")


def _wide(x):
  return x.astype(jnp.promote_types(jnp.float32, x.dtype))


def _outputs(scores, aggregation):
  """{part: [B, N] or [B]} on which the hinge acts."""
  if aggregation not in AGGREGATIONS:
    raise UserError(f"unknown aggregation {aggregation!r}; known: {', '.join(AGGREGATIONS)}")
  scores = {name: _wide(s) for name, s in scores.items()}
  if aggregation == "sum_before":
    return {name: jnp.sum(s, axis=1) for name, s in scores.items()}
  if aggregation == "concat_mean":
    return {"all": jnp.concatenate([scores[name] for name in sorted(scores)], axis=1)}
  return scores


def hinge_discriminator(real, generated, aggregation: str):
  """Hinge losses of the discriminators (DVD-GAN 2.2; Lim & Ye 2017).

  Args:
    real, generated: {name: scores [B, N]}, one score per frame or time step.
    aggregation: "sum_before", the hinge of the sum over N (DVD-GAN A.2, thesis equation 4.2);
      "mean_after", the mean of the hinges (thesis equation 4.3, with the maximum its code has);
      "concat_mean", the mean hinge over all discriminators' outputs together (SSW-GAN).

  Returns:
    {"name_real": scalar, "name_generated": scalar}; their sum is the loss.
  """
  losses = {}
  for name, scores in _outputs(real, aggregation).items():
    losses[f"{name}_real"] = jnp.mean(jax.nn.relu(1 - scores))
  for name, scores in _outputs(generated, aggregation).items():
    losses[f"{name}_generated"] = jnp.mean(jax.nn.relu(1 + scores))
  return losses


def hinge_generator(generated, aggregation: str):
  """Generator's side of `hinge_discriminator`: {name: -mean score}, aggregated alike."""
  return {name: -jnp.mean(s) for name, s in _outputs(generated, aggregation).items()}


PIXEL_FORMS = ("channel_means", "pixels")


def average_pixel_loss(real, generated, form: str):
  """The thesis' Average Pixel Value Loss, differentiable (its code's has no gradient).

  Args:
    real, generated: clips [B, T, H, W, 3] in [-1, 1].
    form: "channel_means", the mean over channels of |mean real - mean generated|, what the thesis'
      code computes; "pixels", the L1 distance of paired pixels, as equation 4.1 is printed.
  """
  real, generated = _wide(real), _wide(generated)
  if form == "channel_means":
    axes = tuple(range(real.ndim - 1))
    return jnp.mean(jnp.abs(jnp.mean(real, axes) - jnp.mean(generated, axes)))
  if form == "pixels":
    return jnp.mean(jnp.abs(real - generated))
  raise UserError(f"unknown pixel loss {form!r}; known: {', '.join(PIXEL_FORMS)}")


def wasserstein_discriminator(real, generated):
  """{"real": -mean score, "generated": mean score} (WGAN, arXiv 1701.07875); scores [B, ...].

  A clip's score is the sum of its scores, as TGAN's code divides their sum by the batch.
  """
  mean = lambda scores: jnp.sum(_wide(scores)) / scores.shape[0]
  return {"real": -mean(real), "generated": mean(generated)}


def wasserstein_generator(generated):
  """Generator's side of `wasserstein_discriminator`."""
  return -jnp.sum(_wide(generated)) / generated.shape[0]


def logistic(scores, target: float):
  """Mean binary cross entropy of logits `scores` [...] with one target, 0 or 1."""
  scores = _wide(scores)
  return jnp.mean(jax.nn.softplus(scores) - target * scores)


def cross_entropy(logits, labels):
  """Mean cross entropy of `logits` [..., K] with labels int [...]."""
  logs = jax.nn.log_softmax(_wide(logits))
  return -jnp.mean(jnp.take_along_axis(logs, labels[..., None], axis=-1))
