"""The work of penalties on the gradients of discriminators, such as R1."""

import jax
import jax.numpy as jnp

from vidgan_jax.models.contract import Context, VideoGan
from vidgan_jax.runtime.hardware import flops


def penalty_flops(gan: VideoGan, discriminators) -> int:
  """FLOPs of a system's penalties in one update of the discriminators, per clip of the batch.

  Counted are the penalties and their gradient by the weights. For R1 that is up to six forward
  passes: one forward, one back to the clips, and two each to differentiate these by activations and
  weights. A network of ReLUs without batch normalisation takes four: it is linear wherever it has
  derivatives, so that nothing flows back through its forward pass.

  Args:
    gan: a system.
    discriminators: {name: variables}, or their shapes.
  """
  key, clips = jax.random.key(0), gan.batch_multiple
  context = Context(jnp.zeros((), jnp.int32))

  def views(key):
    batch = gan.example_batch(clips)
    samples, inputs = gan.real_samples(key, batch, context), gan.real_inputs(key, batch, context)
    return gan.augmented_views(key, samples, inputs, context)

  def parts(weights, views):
    def score(name, view):
      variables = {**discriminators[name], "params": weights[name]}
      return gan.discriminate(name, variables, view, key)[0]

    # Generated clips have the form of real ones.
    return gan.penalties(score, views, views, key, context)

  weights = {name: network["params"] for name, network in discriminators.items()}
  views = jax.eval_shape(views, key)
  if not jax.eval_shape(parts, weights, views):
    return 0
  loss = lambda weights, views: sum(parts(weights, views).values())
  return flops.count(jax.grad(loss), weights, views) // clips
