"""Compiled programs are kept between processes."""

import functools
import os
import pathlib

import jax

from vidgan_jax.runtime import paths, processes

_KIND = "LIBRARY_FUSION_TYPE_"  # XLA's DebugOptions


def enable_cache(directory: str | None = None, report=print) -> pathlib.Path | None:
  """Keeps compiled programs on disk, so that a second start of the same program is quick.

  Args:
    directory: the place; None takes JAX_COMPILATION_CACHE_DIR, else vidgan_jax/jax in
      XDG_CACHE_HOME or ~/.cache; "" turns the cache off.
    report: called with a line where a place that was named cannot be written; the one of last
      resort is left out without a word.

  Returns:
    the directory, or None where there is no cache (turned off, or no place to write).

  Raises:
    UserError: the directory is no local path; see `paths.local`.
  """
  what = "--compilation_cache"
  if directory is None:
    directory, what = os.environ.get("JAX_COMPILATION_CACHE_DIR"), "JAX_COMPILATION_CACHE_DIR"
  named = directory is not None
  directory = paths.local(directory, what) if named else paths.cache("jax")
  if not directory:
    return None
  path = pathlib.Path(directory)
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:  # a cache is a convenience: no place for it is no fault
    _tell_unusable(path, error.strerror or str(error), named, report)
    return None
  if not os.access(path, os.W_OK | os.X_OK):  # what lies there is read all the same
    _tell_unusable(path, "cannot be written", named, report)
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
  jax.config.update(
    "jax_persistent_cache_enable_xla_caches", "xla_gpu_per_fusion_autotune_cache_dir"
  )
  return path


def _tell_unusable(path, reason: str, named: bool, report) -> None:
  """Says, in the first process alone, that a named place keeps no compiled programs."""
  if named and processes.first():
    report(f"no compiled programs are kept: {path}: {reason}")


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
