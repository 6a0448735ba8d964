"""Descriptions of devices that are not here, from the compilers of TPUs and GPUs."""

import importlib.util
import math
from collections.abc import Sequence
from typing import Any

from vidgan_jax.analysis.topology import gpus
from vidgan_jax.analysis.topology.names import Topology
from vidgan_jax.runtime.errors import UserError

# What the compiler of each platform is in: (modules, one of which must exist; the extra).
_COMPILERS = {
  "tpu": (("libtpu",), "compile-tpu"),
  "gpu": (("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13"), "compile-cuda"),
}
# libtpu looks for a TPU and for its slice in the network unless these say what is there. Two
# processes may use it at once, because neither has a TPU.
_TPU_VARIABLES = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# No card is here to time kernels on.
_GPU_FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
_CHIPS_PER_HOST = 4


def check_installed(topology: Topology) -> None:
  """UserError if the compiler for a topology is not installed."""
  modules, extra = _COMPILERS.get(topology.hardware.platform, ((), ""))
  if modules and not any(map(_exists, modules)):
    raise UserError(
      f"--topology={topology.name} needs a compiler that is not installed: pip install "
      f"'vidgan_jax[{extra}]', in an environment of its own (docs/compile_only.md)"
    )


def _exists(module: str) -> bool:
  try:
    return importlib.util.find_spec(module) is not None
  except ModuleNotFoundError:  # the package around it
    return False


def variables(topology: Topology) -> dict[str, str]:
  """Environment variables of a process that describes devices; set before JAX starts."""
  flags = {"gpu": _GPU_FLAGS, "cpu": f"--xla_force_host_platform_device_count={topology.devices}"}
  common = {
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": flags.get(topology.hardware.platform, ""),
  }
  return common | (_TPU_VARIABLES if topology.hardware.platform == "tpu" else {})


def describe(topology: Topology) -> Sequence:
  """The devices of a topology, in JAX's order.

  Needs the environment of `variables`.

  Raises:
    UserError: the compiler knows no such topology.
  """
  import jax
  from jax.experimental import topologies

  platform = topology.hardware.platform
  if platform == "cpu":
    return jax.devices("cpu")[: topology.devices]
  try:
    if platform == "gpu":
      return topologies.get_topology_desc(
        platform="cuda",
        target_config=gpus.target_config(topology.kind),
        topology=f"1x1x{topology.devices}",  # slices x machines x GPUs
      ).devices
    return topologies.get_topology_desc(
      platform="tpu", topology_name=topology.name, **_options(topology)
    ).devices
  except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
    reason = str(error).splitlines()[0]
    raise UserError(f"--topology={topology.name}: the compiler refuses it: {reason}") from error


def _options(topology: Topology) -> dict[str, Any]:
  """What libtpu needs to know besides the name."""
  options: dict[str, Any] = {}
  if topology.kind == "v4":
    options["chip_config_name"] = "megacore"  # one device per chip, as on Cloud TPU
  if math.prod(topology.shape) < _CHIPS_PER_HOST:
    shape = topology.shape + (1,) * (3 - len(topology.shape))
    options["chips_per_host_bounds"] = shape
  return options
