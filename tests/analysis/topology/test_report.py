"""The report of `summarize --topology`: its numbers, its lines, and a program compiled for CPUs."""

import importlib.util
import json
import re
import subprocess
import sys
import threading
import types

import jax
import numpy as np
import pytest

from vidgan_jax.analysis.cost import summary
from vidgan_jax.analysis.cost.collectives import Collective, collectives
from vidgan_jax.analysis.topology import buffers, compiler, layers, names, programs, report, worker
from vidgan_jax.models import registry
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import optimizers, state
from vidgan_jax.training.phases import Phases

GIB = 2**30
MODULE = """ENTRY %main (x: f32[8]) -> f32[8] {
  %conv.1 = f32[8] add(%x), metadata={op_name="jit(f)/transpose(jvp())/Generator/conv1/conv"}
  %x.2 = f32[8] parameter(0), metadata={op_name="state.params"}
  %b.3 = f32[8] broadcast(%y), metadata={op_name="broadcast.3"}
}
"""


def compiled(temporaries=GIB, **changes):
  listed = [
    buffers.Buffer("conv.1", "temporary", 3 * GIB // 4, GIB // 2, "bf16[2,64]"),
    buffers.Buffer("x.2", "argument", GIB // 4, GIB // 4, "f32[8]"),
    buffers.Buffer("b.3", "temporary", GIB // 8, GIB // 8, "(f32[8],"),
    *[buffers.Buffer("small", "temporary", 8, 8, "f32[2]")] * 20,
  ]
  fields = {
    "device_kind": "TPU v5 lite",
    "processes": 2,
    "peak_flops": 197e12,
    "warnings": (),
    "seconds_lowering": 1.23,
    "seconds_compiling": 45.67,
    "memory": buffers.Memory(GIB, 0, temporaries, 0, tuple(listed)),
    "sources": layers.Sources(MODULE),
    "collectives": (
      Collective("all-reduce", (("f32", (10,)),), 40, "", 4),
      Collective("all-reduce", (("f32", (15,)),), 60, "", 4),
    ),
    "convolutions": {"2-D, channels last": 7, "3-D, channels first": 2},
    "moves": {"transpose": {"count": 3, "bytes": 2_000_000}, "copy": {"count": 0, "bytes": 0}},
    "recomputed": {"count": 2, "bytes": 3_000_000},
    "refusal": "",
  }
  return compiler.Compiled(**{**fields, **changes})


@pytest.fixture
def build(lean_config):
  """A function (topology, what is compiled) -> (result of `report.build`, requested programs)."""

  def build(name, program=None, batch_size=8, chunks=1, **options):
    asked = []

    def compile_one(topology, which, config):
      asked.append((topology.name, which, json.loads(config)["batch_size"]))
      return program or compiled()

    config = lean_config(batch_size=batch_size, chunks=chunks)
    return report.build(config, names.parse(name), compiled=compile_one, **options), asked

  return build


def test_all_programs_are_compiled_and_compared_with_the_memory(build, lean_config):
  result, asked = build("v5e:2x4")
  assert asked == [("v5e:2x4", n, 8) for n in ("iteration", "initialisation", "sampling")]
  assert build("v5e:2x4", wanted=["sampling"])[1] == [("v5e:2x4", "sampling", 8)]
  iteration = result["programs"]["iteration"]
  assert iteration["peak_bytes"] == 2 * GIB and iteration["fits"]
  assert iteration["margin_bytes"] == int(15.75 * GIB) - 2 * GIB
  assert iteration["collectives"] == {"all-reduce": {"count": 2, "bytes": 100, "sent_bytes": 150}}
  assert iteration["padding_bytes"] == GIB // 4
  flops = summary.flops_per_clip(lean_config()) * 8 / 8
  assert result["tflop_per_device"] == pytest.approx(flops / 1e12)
  assert result["floor_seconds"] == pytest.approx(flops / 197e12)
  assert json.loads(json.dumps(result)) == result


def test_buffers_are_listed_with_their_layers(build):
  listed = build("v5e:2x4")[0]["programs"]["iteration"]["buffers"]
  assert len(listed) == 10
  first, second, third = listed[:3]
  assert (first["layer"], first["operation"], first["pass"]) == (
    *("Generator/conv1", "conv"),
    "backward",
  )
  assert first["padded"] == 1.5
  assert second["layer"] == "state.params"
  assert third["layer"] == third["operation"] == ""  # "broadcast.3" is XLA's own name


def test_the_table_says_what_does_not_fit(build):
  text = report.render(build("v5e:2x4", compiled(temporaries=20 * GIB))[0])
  assert "iteration: DOES NOT FIT, 5.25 GiB above 15.75 GiB" in text
  text = report.render(build("v5e:2x4", compiled(warnings=("no",), refusal="RESOURCE a\nb"))[0])
  assert "iteration: fits, 13.75 GiB of 15.75 GiB left" in text
  assert "WARNING: no" in text and "the compiler refuses it: RESOURCE a b" in text
  assert re.search(
    r"768\.00 +x1\.5 +temporary +bf16\[2,64\] +Generator/conv1: conv, backward", text
  )
  assert "the compiler names no layer (b.3)" in text
  assert "2 all-reduce 0.1 kB" in text
  assert "  convolutions: 7 2-D, channels last; 2 3-D, channels first\n" in text
  assert "  moved: 3 transpose 2.0 MB, 0 copy 0.0 kB\n" in text
  assert "  computed twice by the compiler, to save memory: 2 results 3.0 MB\n" in text
  none = compiled(recomputed={"count": 0, "bytes": 0})
  assert "computed twice" not in report.render(build("v5e:2x4", none)[0])


def test_the_head_names_the_settings_that_save_memory(build):
  (head, *_) = report.render(build("h100:1", chunks=4)[0]).splitlines()
  assert head.endswith("batch 8, bfloat16, replicated, remat none, 4 chunks")
  assert "chunks" not in report.render(build("h100:1")[0])
  with pytest.raises(UserError, match=r"config\.chunks 3"):
    build("h100:1", chunks=3)


def test_the_precision_is_that_of_the_topology(build):
  assert build("v5e:2x4")[0]["precision"] == build("h100:8")[0]["precision"] == "bfloat16"
  assert build("cpu:2")[0]["precision"] == "float32"
  assert build("cpu:2")[0]["programs"]["iteration"]["fits"] is None


def test_a_batch_that_training_refuses_is_refused(build):
  with pytest.raises(UserError, match=r"batch_size 12 is not divisible by .* devices, 8"):
    build("v5e:2x4", batch_size=12)
  result, asked = build("v5e:2x2", batch_size=12)
  assert result["batch_size"] == 12 and asked[0][2] == 12


def test_devices_that_training_refuses_give_a_warning():
  mesh = lambda *hosts: types.SimpleNamespace(
    devices=np.array([types.SimpleNamespace(process_index=host) for host in hosts])
  )
  assert programs.mesh_warnings(mesh(0, 0, 1, 1)) == []
  for hosts, reason in ((0, 0, 1), "same number of devices"), ((0, 1, 0, 1), "not adjacent"):
    (warning,) = programs.mesh_warnings(mesh(*hosts))
    assert warning.startswith("training would refuse") and reason in warning


def test_a_missing_compiler_is_one_line(lean_config):
  if importlib.util.find_spec("libtpu"):
    pytest.skip("libtpu is installed")
  with pytest.raises(UserError, match=r"needs a compiler that is not installed: pip install"):
    report.build(lean_config(batch_size=8), names.parse("v5e:2x4"))


def test_an_iteration_compiled_in_a_process_of_its_own(lean_config):
  """It has the arguments and the communication of the program that training compiles."""
  config = lean_config(batch_size=4)
  text = configuration.to_json(config)
  program = compiler.compile_program(names.parse("cpu:2"), "iteration", text)
  mesh = meshes.make_mesh(jax.devices()[:2])
  gan = registry.build(config, platform="cpu")
  transforms = optimizers.build(config, gan.discriminators)
  like = state.abstract(gan, transforms, config.seed, mesh, config.sharding)
  expected, _ = Phases(gan, config).compiled(0, transforms, like, mesh, {})
  assert program.memory.arguments == expected.memory_analysis().argument_size_in_bytes
  assert sorted((c.kind, c.bytes) for c in program.collectives) == sorted(
    (c.kind, c.bytes) for c in collectives(expected)
  )
  assert program.memory.temporaries > 0 and not program.refusal
  assert sum(program.convolutions.values()) > 20 and program.moves["transpose"]["count"] > 0
  largest = [layers.layer(program.sources.of(b.instruction)) for b in program.memory.buffers[:10]]
  assert any(one.path.startswith(("Generator", "Discriminator", "state.")) for one in largest)
  assert (program.device_kind, program.processes) == ("cpu", 1)


def test_a_config_that_cannot_be_compiled_is_one_line(lean_config):
  text = configuration.to_json(lean_config(batch_size=3))
  with pytest.raises(UserError, match="batch_size 3 is not divisible by the number of devices, 2"):
    compiler.compile_program(names.parse("cpu:2"), "iteration", text)


def test_the_compiling_process_ends_with_the_one_that_started_it(tmp_path):
  """Also if that one is killed, which leaves it no time to end the other."""
  folder = tmp_path / "work"
  folder.mkdir()
  wait = "import time; time.sleep(60)"
  parent = subprocess.Popen([sys.executable, "-c", wait])
  watch = threading.Thread(target=worker._end_with_parent, args=(folder, parent.pid))
  ended = []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(worker.os, "getppid", lambda: 1 if parent.poll() is not None else parent.pid)
    patch.setattr(worker.os, "_exit", ended.append)
    watch.start()
    assert folder.exists() and not ended
    parent.kill()
    watch.join(60)
  assert ended == [1] and not folder.exists()
