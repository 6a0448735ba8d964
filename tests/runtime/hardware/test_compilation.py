import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.runtime.hardware import compilation

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("options", [compilation.options, compilation.feature_options])
def test_options_keep_results_accurate(options):
  """Convolution, product and reductions in float32 against NumPy in float64."""
  random = np.random.default_rng(0)
  x, kernel, matrix = (
    random.standard_normal(shape) for shape in ((4, 12, 20, 24), (3, 3, 24, 40), (40, 32))
  )
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
  out = np.maximum(np.einsum("nhwcab,abcd->nhwd", windows, kernel), 0) @ matrix
  expected = np.tanh(out).mean((1, 2)), out.max((0, 1, 2)), (out**2).sum((0, 1, 2))

  def network(x, kernel, matrix):
    layout = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
    x = jax.nn.relu(x) @ matrix
    return jnp.tanh(x).mean((1, 2)), x.max((0, 1, 2)), (x**2).sum((0, 1, 2))

  chosen = options(jax.devices("cpu")[0])
  if not chosen:
    pytest.skip("this version of JAX does not have the option")
  arguments = [a.astype(np.float32) for a in (x, kernel, matrix)]
  results = jax.jit(network, compiler_options=chosen)(*arguments)
  for value, truth in zip(results, expected, strict=True):
    np.testing.assert_allclose(value, truth, rtol=2e-5, atol=2e-5 * np.abs(truth).max())


def test_options_that_jax_does_not_have_are_left_out():
  assert compilation._supported("xla_cpu_use_no_such_thing", False) is None


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_a_named_cache_that_cannot_be_used_is_reported(tmp_path, monkeypatch, by):
  (tmp_path / "file").write_text("")
  folder, lines = str(tmp_path / "file" / "cache"), []
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
  before = jax.config.jax_compilation_cache_dir
  assert compilation.enable_cache(folder if by == "argument" else None, lines.append) is None
  assert lines == [
    f"WARNING: compiled programs are not cached: {folder} cannot be created (Not a directory)"
  ]
  assert jax.config.jax_compilation_cache_dir == before


def test_the_default_cache_that_cannot_be_used_is_reported(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("")
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  lines = []
  assert compilation.enable_cache(None, lines.append) is None
  (line,) = lines
  assert line.startswith("WARNING: compiled programs are not cached: ") and "XDG_CACHE_HOME" in line


_DAMAGED = """
import pathlib, shutil, sys
import jax
from vidgan_jax.runtime.hardware import compilation
folder = pathlib.Path(sys.argv[1])
compilation.enable_cache(str(folder), lambda line: print("reported:", line))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
for turn in range(3):
  for function in (lambda x: x + 1, lambda x: x * 2):
    assert jax.jit(function)(3.0) in (4, 6)
  jax.clear_caches()
  for file in folder.glob("*-cache"):
    file.write_bytes(file.read_bytes()[:100])
  if turn == 1:
    shutil.rmtree(folder)
"""


def test_damaged_and_unwritable_programs_are_compiled_again_with_a_line_each(tmp_path):
  folder = tmp_path / "jax"
  command = [sys.executable, "-c", _DAMAGED, str(folder)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
  reading, writing = done.stdout.splitlines()
  assert reading.startswith(f"reported: WARNING: a compiled program in {folder} is damaged")
  assert writing.startswith(
    f"reported: WARNING: not all compiled programs can be stored in {folder}"
  )
