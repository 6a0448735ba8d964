"""Generator passes of one iteration wait for the discriminator update before them."""

import jax
import pytest
from jax.extend import core

from vidgan_jax.training import gradients


def _sources(jaxpr, output) -> set:
  """The inputs of a jaxpr that `output` depends on, if an equation uses all its inputs."""
  wanted = {output}
  for equation in reversed(jaxpr.eqns):
    if wanted & set(equation.outvars):
      wanted |= {v for v in equation.invars if not isinstance(v, core.Literal)}
  return {number for number, v in enumerate(jaxpr.invars) if v in wanted}


@pytest.mark.parametrize("waits", [True, False])
def test_the_generators_update_draws_after_the_discriminators_updates(
  lean_config, game, monkeypatch, waits
):
  """Generated clips depend on real clips only through the update that the pass waits for."""
  if not waits:  # without the barrier they do not depend on them
    monkeypatch.setattr(gradients, "after_update", lambda network, metrics: (network, metrics))
  played = game(lean_config())
  closed, shapes = jax.make_jaxpr(played.iteration.__call__, return_shape=True)(
    played.state, played.batch
  )
  paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
  drawn = closed.jaxpr.outvars[paths.index("[1]['pixel/generated_red']")]
  given = [
    jax.tree_util.keystr(path)
    for path, _ in jax.tree_util.tree_leaves_with_path((played.state, played.batch))
  ]
  assert (given.index("[1]['clip']") in _sources(closed.jaxpr, drawn)) == waits
