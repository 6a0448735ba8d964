import gc
import importlib.metadata
import importlib.util
import itertools
import os
import pathlib
import platform
import subprocess
import sys
import weakref

import numpy as np
import pytest

from vidgan_jax.runtime.files import video_files, video_writers
from vidgan_jax.runtime.hardware import memory

# Prints what `keep_freed` returns, and the page faults of equal allocations before and after it.
_PROGRAM = """
import resource
import numpy as np
from vidgan_jax.runtime.hardware import memory

def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  for _ in range(10):
    np.empty(96 << 20, np.uint8)[::4096] = 1
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
done = memory.keep_freed()
faults()
print(done, first, faults())
"""


def _run(**environment):
  inherited = {n: v for n, v in os.environ.items() if "MALLOC" not in n and "GLIBC" not in n}
  command = [sys.executable, "-c", _PROGRAM]
  done = subprocess.run(
    command, env={**inherited, **environment}, capture_output=True, text=True, check=True
  )
  changed, before, after = done.stdout.split()
  return changed == "True", int(before), int(after)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes glibc's allocator alone")
def test_freed_memory_is_not_faulted_in_again():
  done, before, after = _run()
  assert done
  assert before > 400  # 48 huge pages for each array, where the system gives them, else far more
  assert after < before / 20


_ON_CPU = """
import ctypes, tempfile
from vidgan_jax.runtime.hardware import memory

done = memory.keep_freed_on_cpu()
print(done, flush=True)
import jax
import jax.numpy as jnp
jax.block_until_ready(jax.jit(lambda x: jnp.sort(x @ x))(jnp.ones((512, 512))))
library = ctypes.CDLL(None)
library.fopen.restype = ctypes.c_void_p
library.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
library.fclose.argtypes = [ctypes.c_void_p]
with tempfile.NamedTemporaryFile() as file:
  stream = library.fopen(file.name.encode(), b"w")
  library.malloc_info(0, stream)
  library.fclose(stream)
  print(file.read().count(b"<heap nr="))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes glibc's allocator alone")
def test_threads_of_jax_have_no_heaps():
  """`keep_freed_on_cpu` runs before JAX starts, and does not start JAX itself."""
  environment = {n: v for n, v in os.environ.items() if "MALLOC" not in n and "GLIBC" not in n}
  run = lambda platforms: subprocess.run(
    [sys.executable, "-c", _ON_CPU],
    env={**environment, "JAX_PLATFORMS": platforms},
    capture_output=True,
    text=True,
  ).stdout.split()
  assert run("cpu") == ["True", "1"]
  assert run("cpu,cuda")[0] == "True"  # printed before JAX refuses a missing device
  assert run("tpu,cpu")[0] == "False"


@pytest.mark.parametrize("platform_name", [{}, {"JAX_PLATFORM_NAME": "cpu"}])
def test_a_platform_need_not_be_named(platform_name):
  """Some versions of JAX have no config attribute for JAX_PLATFORM_NAME."""
  names = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "MALLOC", "GLIBC")
  environment = {n: v for n, v in os.environ.items() if not n.startswith(names)}
  script = "from vidgan_jax.runtime.hardware import memory; print(memory.keep_freed_on_cpu())"
  done = subprocess.run(
    [sys.executable, "-c", script],
    env={**environment, **platform_name},
    capture_output=True,
    text=True,
  )
  tuned = platform.libc_ver()[0] == "glibc" and (bool(platform_name) or not memory._plugins())
  assert done.stdout.split() == [str(tuned)], done.stderr


_COMMAND = """
import sys
from absl import app
from jax._src import xla_bridge
from vidgan_jax import {command}
from vidgan_jax.runtime.hardware import memory

def report():
  print("JAX has started:", xla_bridge.backends_are_initialized())
  sys.exit(0)

memory.keep_freed_on_cpu = report
app.run({command}.main)
"""


@pytest.mark.parametrize(
  ("command", "flags"),
  [
    ("train", ["--config=configs/quickstart.py:runlocal", "--workdir={0}"]),
    ("evaluate", ["--workdir={0}", "--protocol=moving_shapes"]),
  ],
)
def test_commands_keep_memory_before_jax_starts(tmp_path, command, flags):
  done = subprocess.run(
    [
      sys.executable,
      "-c",
      _COMMAND.format(command=command),
      *(f.format(tmp_path / "w") for f in flags),
    ],
    cwd=pathlib.Path(__file__).parents[3],
    capture_output=True,
    text=True,
  )
  assert done.stdout == "JAX has started: False\n", done.stderr


def test_an_installed_plugin_counts_as_another_device(monkeypatch):
  for name in ("PJRT_NAMES_AND_LIBRARY_PATHS", "TPU_LIBRARY_PATH"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: ())
  assert not memory._plugins()
  for module, name, function in [
    (importlib.util, "find_spec", lambda name: name == "libtpu" or None),
    (importlib.metadata, "entry_points", lambda group: (group,)),
  ]:
    with monkeypatch.context() as more:
      more.setattr(module, name, function)
      assert memory._plugins()
  monkeypatch.setenv("TPU_LIBRARY_PATH", "/lib/libtpu.so")
  assert memory._plugins()


def test_settings_in_the_environment_are_not_changed():
  assert not _run(MALLOC_TRIM_THRESHOLD_="1000000")[0]
  assert not _run(GLIBC_TUNABLES="glibc.malloc.hugetlb=1")[0]


class _Cycle:
  """An object that refers to itself, as PyAV's containers do through their streams."""

  def __init__(self):
    self.itself = self


def test_cycles_of_objects_are_freed_after_some_files(monkeypatch):
  monkeypatch.setattr(memory, "_FILES", itertools.count(1))
  alive = weakref.ref(_Cycle())
  gc.disable()
  try:
    for _ in range(memory._EVERY - 1):
      memory.release_after_file()
    assert alive() is not None
    memory.release_after_file()
    assert alive() is None
  finally:
    gc.enable()


@pytest.mark.parametrize("sound", [True, False])
def test_each_decoded_file_counts(monkeypatch, tmp_path, sound):
  calls = []
  monkeypatch.setattr(memory, "release_after_file", lambda: calls.append(1))
  path = tmp_path / "clip.mp4"
  if sound:
    video_writers.write_mp4(path, np.zeros((2, 16, 16, 3), np.uint8), 8.0)
    video_files.read_video(path)
  else:
    path.write_bytes(b"no video")
    with pytest.raises(video_files.VideoError):
      video_files.read_video(path)
  assert calls == [1]
