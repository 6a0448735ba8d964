"""Fixtures of the tests of the forms."""

import pytest

from vidgan_jax.ops import cpu
from vidgan_jax.runtime.hardware import flops


@pytest.fixture
def all_large(monkeypatch):
  """Makes the forms for CPUs treat every convolution as a large one."""
  monkeypatch.setattr(cpu, "_LEAST_WORK", {"few pixels": 0, "many pixels": 0})


@pytest.fixture(scope="session")
def convolutions():
  """Returns a function (jaxpr) to the parameters of all convolutions, also those inside calls."""

  def parameters(program):
    convolutions = []
    for equation in program.eqns:
      if equation.primitive.name == "conv_general_dilated":
        convolutions.append(equation.params)
      for inner in flops.inner_jaxprs(equation):
        convolutions += parameters(inner)
    return convolutions

  return parameters
