"""The cache of compiled programs, and compiler options for CPUs."""

import functools
import os
import pathlib
import re
import warnings

import jax

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.files import cache_dirs, paths

_CACHE_WARNING = re.compile(r"Error (reading|writing) persistent compilation cache .*?: (.*)", re.S)
_FUSION_PREFIX = "LIBRARY_FUSION_TYPE_"  # of names in XLA's DebugOptions


def enable_cache(directory: str | None = None, report=print) -> pathlib.Path | None:
  """Stores compiled programs on disk, so that the next process does not compile them again.

  Args:
    directory: the folder; None uses JAX_COMPILATION_CACHE_DIR or, if that is not set, "jax" in the
      user's cache folder (`cache_dirs`); "" turns the cache off.
    report: called in process 0 with a line if the folder cannot be written.

  Returns:
    The directory, or None if there is no cache.

  Raises:
    UserError: the directory is not a local path; see `paths.local`.
  """
  what, lost = "--compilation_cache", "compiled programs are not cached"
  if directory is None:
    directory, what = os.environ.get("JAX_COMPILATION_CACHE_DIR"), "JAX_COMPILATION_CACHE_DIR"
  if directory == "":
    return None
  report_once = report if processes.first() else lambda line: None
  if directory is None:
    directory = cache_dirs.usable("jax", lost=lost, report=report_once)
  else:
    directory = paths.local(directory, what)
    reason = cache_dirs.unwritable(directory)
    if reason:
      report_once(f"WARNING: {lost}: {reason}")
  if directory is None or not os.path.isdir(directory):
    return None
  _shorten_warnings(directory, report_once)
  # A folder that the user named is read even if it cannot be written.
  jax.config.update("jax_compilation_cache_dir", directory)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
  # XLA caches the results of GPU autotuning in a subfolder. Its path must be valid text.
  xla_caches = "xla_gpu_per_fusion_autotune_cache_dir" if _is_text(directory) else "none"
  jax.config.update("jax_persistent_cache_enable_xla_caches", xla_caches)
  return pathlib.Path(directory)


def _is_text(path: str) -> bool:
  """Whether all bytes of a path are valid text in this locale."""
  try:
    return bool(path.encode("utf-8"))
  except UnicodeEncodeError:
    return False


def _shorten_warnings(directory: str, report) -> None:
  """Replaces JAX's warnings about the cache, two lines per program, by one line of each kind.

  JAX continues after such a warning: it compiles the program.

  Args:
    directory: of the cache.
    report: called with each line.
  """
  show, reported = warnings.showwarning, set()
  meanings = {
    "reading": f"a compiled program in {directory} is damaged and compiled again; if this happens "
    "again, remove that folder",
    "writing": f"not all compiled programs can be stored in {directory}",
  }

  def show_short(message, *details, **more):
    match = _CACHE_WARNING.match(str(message))
    if match is None:
      show(message, *details, **more)
    elif match[1] not in reported:
      reported.add(match[1])
      report(f"WARNING: {meanings[match[1]]} ({match[2].splitlines()[0]})")

  warnings.showwarning = show_short


def feature_options(device) -> dict | None:
  """Compiler options for networks that compute features of many clips.

  On CPU they select XLA's own convolutions. By default XLA calls a library, which divides a
  convolution among cores by the width and channels of its map only, so that a narrow map uses one
  core.

  Args:
    device: one of the devices that the program is for.

  Returns:
    {option: value}, or None for the compiler's defaults.
  """
  if device.platform != "cpu":
    return None
  kinds = ("INDIVIDUAL_DOT", "REDUCE")  # operations for which XLA still calls the library
  return _supported(
    "xla_cpu_experimental_ynn_fusion_type", ",".join(f"{_FUSION_PREFIX}{k}" for k in kinds)
  )


def options(device) -> dict | None:
  """Compiler options for programs that run for a long time, such as the training step.

  On CPU they select XLA's older emitter of fused loops. An iteration of DVD-GAN at 64x64x12 with
  ch 16 takes a tenth less time with it (benchmarks/README.md).

  Args:
    device: one of the devices that the program is for.

  Returns:
    {option: value}, or None for the compiler's defaults.
  """
  return _supported("xla_cpu_use_fusion_emitters", False) if device.platform == "cpu" else None


@functools.cache
def _supported(name: str, value) -> dict | None:
  """{name: value}, or None if this version of JAX does not know the option and cannot compile."""
  try:
    jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
  except jax.errors.JaxRuntimeError:
    return None
  return {name: value}
