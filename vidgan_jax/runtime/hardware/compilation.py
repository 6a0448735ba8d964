"""Compiled programs are kept between processes."""

import functools
import os
import pathlib
import re
import warnings

import jax

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.files import cache_dirs, paths

_OF_THE_CACHE = re.compile(r"Error (reading|writing) persistent compilation cache .*?: (.*)", re.S)
_KIND = "LIBRARY_FUSION_TYPE_"  # XLA's DebugOptions


def enable_cache(directory: str | None = None, report=print) -> pathlib.Path | None:
  """Keeps compiled programs on disk, so that a second start of the same program is quick.

  Args:
    directory: the folder; None takes JAX_COMPILATION_CACHE_DIR, else jax in the user's cache
      folder (`cache_dirs`); "" turns the cache off.
    report: called with a line, in the first process, where the folder cannot be written.

  Returns:
    the directory, or None where there is no cache (turned off, or no folder to write).

  Raises:
    UserError: the directory is no local path; see `paths.local`.
  """
  what, lost = "--compilation_cache", "no compiled programs are kept"
  if directory is None:
    directory, what = os.environ.get("JAX_COMPILATION_CACHE_DIR"), "JAX_COMPILATION_CACHE_DIR"
  if directory == "":
    return None
  tell = report if processes.first() else lambda line: None
  if directory is None:
    directory = cache_dirs.usable("jax", lost=lost, report=tell)
  else:
    directory = paths.local(directory, what)
    reason = cache_dirs.unwritable(directory)
    if reason:
      tell(f"WARNING: {lost}: {reason}")
  if directory is None or not os.path.isdir(directory):
    return None
  _tell_in_one_line(directory, tell)
  # Where a named folder may not be written, what lies there is read all the same.
  jax.config.update("jax_compilation_cache_dir", directory)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
  jax.config.update(
    "jax_persistent_cache_enable_xla_caches", "xla_gpu_per_fusion_autotune_cache_dir"
  )
  return pathlib.Path(directory)


def _tell_in_one_line(directory: str, tell) -> None:
  """Has JAX's warnings on files of this cache told once, in place of two lines for each program.

  JAX goes on after them: it compiles a program whose file is damaged or cannot be written.

  Args:
    directory: of the cache.
    tell: called with a line.
  """
  show, told = warnings.showwarning, set()
  meanings = {
    "reading": f"a compiled program in {directory} is damaged and compiled again; where this "
    "comes back, remove that folder",
    "writing": f"not all compiled programs are kept in {directory}",
  }

  def shown(message, *details, **more):
    words = _OF_THE_CACHE.match(str(message))
    if words is None:
      show(message, *details, **more)
    elif words[1] not in told:
      told.add(words[1])
      tell(f"WARNING: {meanings[words[1]]} ({words[2].splitlines()[0]})")

  warnings.showwarning = shown


def feature_options(device) -> dict | None:
  """As `options`, for networks that see many clips once.

  On CPU, XLA's convolutions instead of those of the library that it calls by default, which shares
  one out among cores by its map's width and channels alone: narrow maps go through one core.

  Args:
    device: one of those that the program is for.
  """
  if device.platform != "cpu":
    return None
  kinds = ("INDIVIDUAL_DOT", "REDUCE")  # what is left to the library
  return _known("xla_cpu_experimental_ynn_fusion_type", ",".join(f"{_KIND}{k}" for k in kinds))


def options(device) -> dict | None:
  """What the compiler is asked for besides its defaults, for programs that run for long.

  On CPU, XLA's older emitter of fused loops: an iteration of DVD-GAN at 64x64x12, ch 16, takes a
  tenth less (benchmarks/README.md).

  Args:
    device: one of those that the program is for.
  """
  return _known("xla_cpu_use_fusion_emitters", False) if device.platform == "cpu" else None


@functools.cache
def _known(name: str, value) -> dict | None:
  """The option, or None where this JAX does not know it: it would refuse to compile."""
  try:
    jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
  except jax.errors.JaxRuntimeError:
    return None
  return {name: value}
