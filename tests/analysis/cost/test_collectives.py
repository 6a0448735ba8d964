"""Communication of eight devices in one iteration, counted in the compiled program."""

import jax
import pytest

from vidgan_jax.analysis.cost.collectives import collectives
from vidgan_jax.models import registry
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.training import optimizers, state
from vidgan_jax.training.phases import Phases


def _elements(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def compile_for_eight(tiny_config):
  """A function (rules) that compiles the loop's program; returns state, program, config."""

  def build(rules):
    config = tiny_config(
      batch_size=8,
      sharding=rules,
      **{"model.generator.channels": 16, "model.discriminator.channels": 16},
    )
    gan = registry.build(config)
    transforms = optimizers.build(config, gan.discriminators)
    mesh = meshes.make_mesh()
    like = state.abstract(gan, transforms, config.seed, mesh, rules)
    program, _ = Phases(gan, config).compiled(0, transforms, like, mesh, {})
    return like, program, config

  return build


def _bytes(listed, kind):
  return sum(c.bytes for c in listed if c.kind == kind)


def test_replicated_state_sums_only_gradients_and_statistics(compile_for_eight):
  like, program, config = compile_for_eight("replicated")
  listed = collectives(program)
  assert {c.kind for c in listed} == {"all-reduce"}, [c for c in listed if c.kind != "all-reduce"]
  discriminators = _elements([network.params for network in like.discriminators.values()])
  steps = config.model.discriminator_steps
  gradients = 4 * (steps * discriminators + _elements(like.generator.params))
  # Two statistics per layer in every generator pass; their two cotangents in the G update.
  statistics = 4 * (steps + 2) * _elements(like.generator.batch_stats)
  total = _bytes(listed, "all-reduce")
  assert 0.98 * gradients < total <= 1.02 * (gradients + statistics), (total, gradients, statistics)


def test_sharded_state_gathers_parameters_and_scatters_gradients(compile_for_eight):
  like, program, config = compile_for_eight("zero1")
  listed = collectives(program)
  assert {c.kind for c in listed} == {"all-reduce", "all-gather", "reduce-scatter"}
  parts = lambda tree: (
    4 * sum(leaf.size for leaf in jax.tree.leaves(tree) if any(leaf.sharding.spec))
  )
  generator = parts(like.generator.params)
  discriminators = parts([network.params for network in like.discriminators.values()])
  assert min(generator, discriminators) > 50_000
  steps = config.model.discriminator_steps
  # The generator's weights are gathered once per iteration. The discriminators' weights are
  # gathered for each of their updates and for the generator's update.
  parameters = [c for c in listed if c.kind == "all-gather" and "shard_map/all_gather" in c.source]
  assert _bytes(parameters, "all-gather") == generator + (steps + 1) * discriminators
  # The other gathered arrays are vectors of the power iteration.
  others = [c for c in listed if c.kind == "all-gather" and c not in parameters]
  assert all(len(shape) == 1 for c in others for _, shape in c.arrays), others
  assert _bytes(others, "all-gather") < 0.01 * _bytes(listed, "all-gather")
  assert 8 * _bytes(listed, "reduce-scatter") == generator + steps * discriminators
  # Gradients of small arrays, batch statistics and vectors of the power iteration.
  assert _bytes(listed, "all-reduce") < 0.2 * (generator + steps * discriminators)
