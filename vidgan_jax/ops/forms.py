"""The forms of the operations, and the choice of one for a network.

  plain        as the papers write it; tests compare the other forms with it
  folded       fewer multiply-adds, for accelerators
  cpu          `folded`, with large convolutions as matrix products, for CPUs
  cpu_forward  `cpu` with forward-mode derivatives of convolutions, for Hessians

`choose` selects the form once, when a model is built, by the platform that will run it.
`LayerSettings.ops` passes its name to every layer.
"""

from vidgan_jax.ops.cpu import Cpu, CpuForward
from vidgan_jax.ops.folded import Folded
from vidgan_jax.ops.plain import Plain
from vidgan_jax.runtime.errors import UserError

FORMS: dict[str, Plain] = {
  "plain": Plain(),
  "folded": Folded(),
  "cpu": Cpu(),
  "cpu_forward": CpuForward(),
}


def get(name: str) -> Plain:
  """Returns the form called `name`, an object whose methods are the operations; see `Plain`.

  Raises:
    UserError: the name is unknown.
  """
  if name not in FORMS:
    raise UserError(f"unknown ops {name!r}; known: {', '.join(FORMS)}")
  return FORMS[name]


def choose(platform: str, savings: bool = True, *, forward_mode: bool = False) -> str:
  """Returns the name of the form for a platform.

  Args:
    platform: "cpu", "gpu" or "tpu"; see `runtime.mesh.platform`.
    savings: `config.model.savings`; False chooses "plain" on every platform.
    forward_mode: the convolutions need forward-mode derivatives (`jax.jvp`). All forms have them
      but `cpu`. Of the ConvGRUs, only that of `plain` has them.
  """
  if not savings:
    return "plain"
  if platform != "cpu":
    return "folded"
  return "cpu_forward" if forward_mode else "cpu"
