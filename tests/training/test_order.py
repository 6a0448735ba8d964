"""The passes of one iteration wait for the update before them."""

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


def _depends(played, metric, given) -> bool:
  """Whether a metric of an iteration depends on an input."""
  closed, shapes = jax.make_jaxpr(played.iteration.__call__, return_shape=True)(
    played.state, played.batch
  )
  paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
  inputs = [
    jax.tree_util.keystr(path)
    for path, _ in jax.tree_util.tree_leaves_with_path((played.state, played.batch))
  ]
  output = closed.jaxpr.outvars[paths.index(f"[1][{metric!r}]")]
  numbers = [number for number, name in enumerate(inputs) if given in name]
  assert numbers
  return not _sources(closed.jaxpr, output).isdisjoint(numbers)


@pytest.fixture
def barrier(monkeypatch):
  """Leaves the barrier away if it is called with False."""

  def choose(waits):
    if not waits:
      monkeypatch.setattr(gradients, "after_update", lambda tree, metrics: (tree, metrics))

  return choose


@pytest.mark.parametrize("waits", [True, False])
def test_the_generators_update_draws_after_the_discriminators_updates(
  lean_config, game, barrier, waits
):
  """Generated clips depend on real clips only through the update that the pass waits for."""
  barrier(waits)
  assert _depends(game(lean_config()), "pixel/generated_red", "[1]['clip']") == waits


@pytest.mark.parametrize("waits", [True, False])
def test_discriminators_wait_for_a_generator_that_is_updated_first(
  load_config, game, barrier, waits
):
  """Their real clips depend on the generator only through its update."""
  barrier(waits)
  config = load_config("tgan", "svc,runlocal")
  assert _depends(game(config), "pixel/real_red", ".generator.params") == waits
