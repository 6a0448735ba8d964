"""Descriptions of GPUs for XLA's compiler, in the text form of its `GpuTargetConfigProto`.

XLA decides from these numbers how it divides loops among threads, and which instructions exist. The
numbers are those of NVIDIA's data sheets and programming guide, and of the driver for the memory.
"""

import dataclasses

from vidgan_jax.analysis.topology.names import HARDWARE


@dataclasses.dataclass(frozen=True)
class _Card:
  name: str  # JAX's `device_kind`, from which `flops.peak_flops` knows the peak
  capability: tuple[int, int]
  cores: int  # streaming multiprocessors
  units: int  # float32 units of each
  threads: int  # of each at most
  shared: int  # bytes of shared memory of each
  shared_block: int  # bytes of shared memory of one block at most
  cache: int  # bytes of L2
  bandwidth: float  # bytes per second
  clock: float  # GHz


_CARDS = {
  "a100": _Card(
    "NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 2048, 167936, 166912, 40 << 20, 2.039e12, 1.41
  ),
  "h100": _Card(
    "NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 2048, 233472, 232448, 50 << 20, 3.352e12, 1.98
  ),
  "h200": _Card("NVIDIA H200", (9, 0), 132, 128, 2048, 233472, 232448, 50 << 20, 4.8e12, 1.98),
  "rtx4090": _Card(
    "NVIDIA GeForce RTX 4090", (8, 9), 128, 128, 1536, 102400, 101376, 72 << 20, 1.008e12, 2.52
  ),
}


def target_config(kind: str) -> str:
  """The description of a card; `kind` is a GPU's key in `names.HARDWARE`."""
  card, (major, minor) = _CARDS[kind], _CARDS[kind].capability
  extension = "ACCELERATED_FEATURES" if major >= 9 else "NONE"
  return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {card.shared}
  threads_per_core_limit: {card.threads}
  core_count: {card.cores}
  fpus_per_core: {card.units}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {card.bandwidth:.0f}
  l2_cache_size: {card.cache}
  clock_rate_ghz: {card.clock}
  device_memory_size: {HARDWARE[kind].memory}
  shared_memory_per_block_optin: {card.shared_block}
  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {extension} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  device_vendor: "NVIDIA Corporation"
  device_address_bits: 64
  ecc_enabled: true
  name: "{card.name}"
  driver_version: "13.0.0"
  runtime_version: "12.9.0"
  compile_time_toolkit_version: "12.9.0"
  dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{card.name}"
"""
