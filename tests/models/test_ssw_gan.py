"""SSW-GAN's upsampling stages: sizes, layers, injection, views, windows, bad configs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.analysis.cost import summary
from vidgan_jax.layers.separable import SeparableBlock, SeparableConv
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models import registry, switches
from vidgan_jax.models.contract import Context
from vidgan_jax.models.ssw_gan.networks import Generator
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.subsampling import nearest

KEY = jax.random.key(0)
PLAIN = LayerSettings(spectral=False, ops="plain", dtype=jnp.float64, param_dtype=jnp.float64)

# {config: ({network: parameters}, {network: GFLOP per clip})}, counted by hand from the paper.
SIZES = {
  "kinetics600_stage1": (
    {"generator": 305_983_491, "spatial": 154_411_777, "temporal": 162_683_137},
    {"generator": 3040.41, "spatial": 59.72, "temporal": 45.98},
  ),
  "bdd100k_stage1": (
    {"generator": 300_336_131, "spatial": 153_182_977, "temporal": 161_454_337},
    {"generator": 3040.4},
  ),
  "kinetics600_stage2_12": (
    {
      "generator": 211_406_595,
      "spatial": 87_356_449,
      "temporal": 88_522_849,
      "matching": 88_530_913,
    },
    {"generator": 1611.4, "spatial": 168.7, "temporal": 54.4, "matching": 6.5},
  ),
  "kinetics600_stage2_6": ({"generator": 211_406_595}, {"generator": 805.7}),
  "bdd100k_stage2": (
    {
      "generator": 86_310_915,
      "spatial": 38_302_081,
      "temporal": 40_373_377,
      "matching": 40_384_129,
    },
    {"generator": 455.9, "spatial": 59.8, "temporal": 22.7, "matching": 10.9},
  ),
  "bdd100k_stage3": (
    {
      "generator": 88_858_563,
      "spatial": 24_524_993,
      "temporal": 25_044_545,
      "matching": 25_049_921,
    },
    {"generator": 885.2, "spatial": 64.1, "temporal": 23.3, "matching": 11.3},
  ),
}


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_operations_are_the_papers(load_config, name):
  gan = registry.build(load_config("ssw_gan", name), platform="gpu", ops="plain")
  variables = summary.abstract_variables(gan)
  counts, forward = summary.count_parameters(variables), summary.forward_flops(gan, variables)
  parameters, operations = SIZES[name]
  assert {n: counts[n]["total"] for n in parameters} == parameters
  for network, expected in operations.items():
    assert forward[network] / 1e9 == pytest.approx(expected, rel=0.01), network


def test_a_bare_separable_convolution_has_the_parameters_of_the_appendix(load_config):
  config = load_config("ssw_gan", "kinetics600_stage2_12")
  config.model.generator.temporal = "separable"
  gan = registry.build(config, platform="gpu", ops="plain")
  counts = summary.count_parameters(summary.abstract_variables(gan))
  assert counts["generator"]["total"] == 165_785_859
