"""What tests of the forms share."""

import pytest

from vidgan_jax.ops import cpu
from vidgan_jax.runtime.hardware import flops


@pytest.fixture
def all_large(monkeypatch):
  """Lets the forms for CPUs take every convolution for a large one."""
  monkeypatch.setattr(cpu, "_LEAST_WORK", {"few pixels": 0, "many pixels": 0})


@pytest.fixture(scope="session")
def convolutions():
  """A function (jaxpr) that returns the parameters of each convolution, those inside calls too."""

  def parameters(program):
    found = []
    for equation in program.eqns:
      if equation.primitive.name == "conv_general_dilated":
        found.append(equation.params)
      for inner in flops.inner_jaxprs(equation):
        found += parameters(inner)
    return found

  return parameters
