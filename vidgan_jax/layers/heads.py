"""The last layers of a discriminator."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.layers.convolution import Dense, Embed
from vidgan_jax.layers.settings import LayerSettings


class ProjectionHead(nn.Module):
  """Projection discriminator: a linear score of features h, plus <e(y), h> for the class y.

  h is the ReLU of the activations, summed over height and width; e(y) is a class embedding. Source:
  Miyato & Koyama 2018 (arXiv 1802.05637), as in BigGAN. Scores are float32 or wider.

  Attributes:
    num_classes: number of classes; 0 leaves the projection out.
    settings: see `LayerSettings`.
  """

  num_classes: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, x: jax.Array, labels: jax.Array | None = None) -> jax.Array:
    """Scores activations.

    Args:
      x: [B, N, H, W, C], N frames or time steps.
      labels: int [B]; ignored without classes.

    Returns:
      [B, N], one score per frame or time step.
    """
    wide = jnp.promote_types(jnp.float32, x.dtype)
    hidden = jnp.sum(jax.nn.relu(x).astype(wide), axis=(2, 3))
    settings = dataclasses.replace(self.settings, dtype=wide)
    scores = Dense(1, settings, name="linear")(hidden)[..., 0]
    if self.num_classes:
      assert labels is not None, "a discriminator with classes needs labels"
      embedding = Embed(self.num_classes, x.shape[-1], settings, name="embed")(labels)
      scores = scores + jnp.sum(embedding[:, None] * hidden, axis=-1)
    return scores
