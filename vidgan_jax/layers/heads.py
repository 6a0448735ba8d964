"""The last layers of a discriminator."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.layers.convolution import Dense, Embed
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.ops.convolution import product


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


class SlicedHead(nn.Module):
  """Learned projections of features, the block of the sliced Wasserstein GAN.

  Wu et al. 2019 (arXiv 1706.02631), as their code has it: projection k of features f is leaky
  ReLU(scale_k (W f)_k + offset_k), and a clip's score is the mean over the projections. W is drawn
  from N(0, 1). Outputs are float32 or wider.

  Attributes:
    projections: their number K.
    slope: of the leaky ReLU below 0.
    settings: see `LayerSettings`.
  """

  projections: int
  slope: float
  settings: LayerSettings

  @nn.compact
  def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
    """Scores features [B, C].

    Returns:
      "score" [B]; "affine" [B, K], what the leaky ReLU is applied to; "scale" [B, K], the same for
      all clips. `objectives.penalties.projection_penalty` needs the last two.
    """
    wide = jnp.promote_types(jnp.float32, features.dtype)
    shape, kind = (self.projections,), self.settings.param_dtype
    matrix = self.param(
      "projection", nn.initializers.normal(1.0), (features.shape[-1], *shape), kind
    )
    scale = self.param("scale", nn.initializers.ones, shape, kind).astype(wide)
    offset = self.param("offset", nn.initializers.zeros, shape, kind).astype(wide)
    projected = product(features.astype(wide), matrix.astype(wide), self.settings.precision)
    affine = scale * projected + offset
    return {
      "score": jnp.mean(jax.nn.leaky_relu(affine, self.slope), axis=-1),
      "affine": affine,
      "scale": jnp.broadcast_to(scale, affine.shape),
    }
