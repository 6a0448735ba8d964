"""The iteration does the work of its closed form, by XLA's count, and no more."""

import jax
import jax.numpy as jnp
import pytest

from vidgan_jax.analysis.cost import summary
from vidgan_jax.models import registry
from vidgan_jax.training import optimizers, state
from vidgan_jax.training.step import Iteration

BATCH = 64  # what does not grow with the batch, sigma and optimizer, stays small


class Wasteful(Iteration):
  """Takes the discriminators' weight gradients in the generator's update too."""

  def _discriminate(self, name, weights, use, view, noise):
    nothing = 0 * jnp.sum(view["clip"])
    dependent = jax.tree.map(lambda leaf: leaf + nothing, weights)
    return super()._discriminate(name, dependent, use, view, noise)


def ratio(config, kind=Iteration):
  """XLA's count of the lowered iteration, as the paper writes it, to 5 G + 14 D or its like.

  Lowered, not compiled, on abstract arrays: seconds for a full-size system. XLA does not count taps
  that fall on padding, so the closed form leaves them out as well.
  """
  gan = registry.build(config, ops="plain")
  transforms = optimizers.build(config, gan.discriminators)
  before = jax.eval_shape(lambda: state.create(gan, transforms, 0))
  steps = gan.schedule.discriminator_steps
  batch = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct((steps, *a.shape), a.dtype),
    jax.eval_shape(lambda: gan.example_batch(BATCH)),
  )
  lowered = jax.jit(kind(gan, transforms, config).__call__).lower(before, batch)
  forward = summary.forward_flops(gan, summary.abstract_variables(gan), padding=False)
  return lowered.cost_analysis()["flops"] / (BATCH * summary.iteration_flops(gan, forward))


@pytest.mark.parametrize("row", ["kinetics600_64x12", "ucf101_128x16"])
def test_xla_counts_the_closed_form(load_config, row):
  assert ratio(load_config("dvd_gan", row)) == pytest.approx(1, abs=0.01)


def test_shared_fakes_save_a_pass_of_the_generator(load_config):
  config = load_config("dvd_gan", "kinetics600_64x12")
  with config.unlocked():
    config.model.shared_fakes = True
  assert ratio(config) == pytest.approx(1, abs=0.01)  # 4 G + 14 D


def test_weight_gradients_nobody_needs_are_noticed(load_config):
  assert ratio(load_config("dvd_gan", "kinetics600_64x12"), Wasteful) > 1.03
