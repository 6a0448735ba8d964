"""Scalars that an iteration reports, computed within its program."""

from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.models.contract import Losses
from vidgan_jax.training.state import TrainState


def loss_metrics(side: str, parts: Losses) -> dict[str, jax.Array]:
  """Returns {"loss/SIDE/NAME": value} of all loss terms, and their sum as "loss/SIDE"."""
  metrics = {f"loss/{side}/{name}": value for name, value in parts.items()}
  total: Any = sum(parts.values())
  return {**metrics, f"loss/{side}": total}


def pixel_metrics(side: str, clip: jax.Array, dark_level: float) -> dict[str, jax.Array]:
  """Mean pixel per channel in [0, 1], and the fraction of dark clips (thesis 4.5).

  Args:
    side: "real" or "generated".
    clip: [B, T, H, W, 3] in [-1, 1].
    dark_level: a clip is dark if its mean pixel, in [0, 1], is below this level.
  """
  pixels = (clip.astype(jnp.float32) + 1) / 2
  means = jnp.mean(pixels, axis=(0, 1, 2, 3))
  dark = jnp.mean(jnp.mean(pixels, axis=(1, 2, 3, 4)) < dark_level, dtype=jnp.float32)
  names = ("red", "green", "blue")
  metrics = {f"pixel/{side}_{name}": means[i] for i, name in enumerate(names)}
  return {**metrics, f"pixel/{side}_dark": dark}


def all_finite(metrics: dict[str, jax.Array]) -> jax.Array:
  """Returns 1 if every loss and gradient norm is finite, otherwise 0."""
  watched = [v for name, v in metrics.items() if name.startswith(("loss/", "gradient_norm/"))]
  return jnp.all(jnp.isfinite(jnp.stack(watched))).astype(jnp.float32)


def state_finite(state: TrainState) -> jax.Array:
  """Returns 1 if all floating-point arrays of the state are finite, otherwise 0."""
  leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
  return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])).astype(jnp.float32)


def largest(sigmas: dict[str, jax.Array]) -> jax.Array:
  """The largest of {path: scalar}; 0 if there is none."""
  return jnp.max(jnp.stack(list(sigmas.values()))) if sigmas else jnp.zeros(())


def mean(scores: Any) -> jax.Array:
  """The mean over all numbers of a tree of arrays, or of its entry "score" where it has one."""
  if isinstance(scores, dict) and "score" in scores:
    scores = scores["score"]
  return jnp.mean(jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(scores)]))
