"""benchmarks/topologies.py with a stand-in for `vidgan summarize`."""

import fcntl
import importlib.util
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "topologies.py"
MAIN = "dvd_gan:kinetics600_64x12"
_SPEC = importlib.util.spec_from_file_location(
  "topology_page", ROOT / "benchmarks" / "topology_page.py"
)
topology_page = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(topology_page)

# Answers like `vidgan summarize`. PEAKS has {"sharding remat": GiB or a message}; each call with a
# topology is noted in calls.txt.
COMMAND = """
import json, os, sys, time
flags = dict(word.lstrip("-").split("=", 1) for word in sys.argv[2:] if "=" in word)
GIB = 2**30
if "devices" in flags:
  print("state of 8,000.0 MB, 250.0 MB on each of 32 (zero1)")
elif flags.get("batch_size") == os.environ.get("REFUSED", ""):
  sys.exit("error: this model needs a multiple of 8")
elif "topology" not in flags:
  policies = {"none": 64, "conv_outputs": 48, "block_inputs": 32}
  clips, scale = int(flags.get("batch_size", 64)), float(os.environ.get("SCALE", "1"))
  remat = flags.get("config.model.remat", "none")
  print(json.dumps({
    "frames": 12, "resolution": 64, "discriminator_steps": 2, "batch_size": 64,
    "static_bytes": {"total": 8 * GIB, "gradients": 2 * GIB, "parameters": 2 * GIB,
      "earlier stages": GIB // 4},
    "activations": {p: {"batch_bytes": size * clips * GIB // 64} for p, size in policies.items()},
    "peak_bytes": {
      kind: {"total": int(total * GIB), "least": int(0.75 * total * GIB)}
      for kind, other in {"gpu": 7, "tpu": 6}.items()
      for total in [other + policies[remat] * clips / 32 * scale]
    },
  }))
else:
  setting = f"{flags['config.sharding']} {flags.get('config.model.remat')}"
  with open(os.environ["CALLS"], "a") as file:
    file.write(f"{flags['config']} {flags['topology']} {setting}\\n")
  peak = json.loads(os.environ["PEAKS"])[setting]
  if peak == "sleep":
    with open(os.environ["NUMBER"], "w") as file:
      file.write(str(os.getpid()))
    time.sleep(60)
  if isinstance(peak, str):
    sys.stderr.write(f"compiling\\nerror: {peak}\\n")
    sys.exit(2)
  program = {
    "fits": peak <= 16, "margin_bytes": (16 - peak) * GIB, "peak_bytes": peak * GIB,
    "argument_bytes": GIB, "temporary_bytes": GIB, "padding_bytes": 0, "refusal": "",
    "collectives": {"all-reduce": {"count": 2, "bytes": 10, "sent_bytes": 20_000_000_000}},
    "recomputed": {"count": 3, "bytes": 2 * GIB},
    "seconds_lowering": 1.0, "seconds_until_buffer_assignment": 2.0,
    "buffers": [{"bytes": GIB, "shape": "f32[4]", "layer": "D", "operation": "a", "pass": "b"}],
  }
  print(json.dumps({
    "processes": 8, "devices": 32, "device_kind": "chip", "batch_size": 64,
    "precision": "bfloat16", "warnings": [], "memory_bytes": 16 * GIB, "tflop_per_device": 1.0,
    "floor_seconds": 0.5, "programs": {"iteration": program, "sampling": {**program, "fits": True}},
  }))
"""
SETTINGS = ("replicated none", "zero1 conv_outputs", "zero1 block_inputs")


class Bench:
  """Runs the script in a folder."""

  def __init__(self, folder):
    self.results, self.calls = folder / "results.jsonl", folder / "calls.txt"
    self.number, self.command = folder / "number.txt", folder / "command.py"
    self.command.write_text(COMMAND)

  def start(self, *arguments, peaks=(), **variables):
    command = " ".join(map(shlex.quote, (sys.executable, str(self.command))))
    options = [f"--results={self.results}", f"--command={command}"]
    options += [] if any("--memory" in word for word in arguments) else ["--memory=0"]
    peaks = json.dumps(dict(zip(SETTINGS, peaks, strict=False)))
    environment = {**os.environ, "CALLS": str(self.calls), "PEAKS": peaks, **variables}
    environment["NUMBER"] = str(self.number)
    return subprocess.Popen(
      [sys.executable, SCRIPT, *arguments, *options],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def run(self, *arguments, code=0, **options):
    process = self.start(*arguments, **options)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == code, (output, errors)
    return output if code == 0 else errors

  def lines(self):
    return [json.loads(line) for line in self.results.read_text().splitlines()]

  def compiled(self):
    return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def bench(tmp_path):
  return Bench(tmp_path)


CELL = f"--only={MAIN},v5e:4x8"


def test_the_first_setting_that_fits_is_the_last_tried(bench):
  bench.run(CELL, peaks=(20, 12, 8))
  names = [(line["setting"], line["outcome"], line["peak_gib"]) for line in bench.lines()]
  assert names == [("plain", "too large", 20.0), ("zero1 conv_outputs", "fits", 12.0)]
  line = bench.lines()[1]
  assert line["margin_gib"] == 4.0 and line["collectives"]["all-reduce"]["count"] == 2
  assert line["recomputed"] == {"count": 3, "bytes": 2 * 2**30}
  # 250 MB of state, 256 MiB of earlier stages; kept: 1/32 of 2 GiB of gradients and of 48 GiB of
  # activations; peak: 3 GiB, and 2 GiB of weights in bfloat16.
  # What the compiler can save is a quarter of the 9 GiB of one device without zero1.
  sizes = {"kept": 2.045, "most": 4.483, "least": 4.483 - 9 / 4, "peak": 4.483}
  assert line["estimate"] == pytest.approx({f"{name}_gib": size for name, size in sizes.items()})
  assert line["versions"]["jax"]


def test_gpus_and_tpus_have_their_own_estimates(bench):
  bench.run(f"--only={MAIN},v5e:4x8,h100:8", peaks=(12, 12, 8))
  peaks = {line["target"]: line["estimate"]["peak_gib"] for line in bench.lines()}
  assert peaks == {"v5e:4x8": 6 + 64 * 2 / 32, "h100:8": 7 + 64 * 8 / 32}


@pytest.mark.parametrize(
  ("scale", "tpu", "gpu"),
  [
    (2.0, 14.0, 39.0),
    (3.0, 15.75, 55.0),  # 18 GiB, of which 13.5 remain if all is computed again
    (4.0, 16.5, 63.287),  # at least 16.5 of 22 GiB; at most 71, above 80 % of 79.1
  ],
)
def test_where_memory_is_short_results_are_computed_again(bench, scale, tpu, gpu):
  bench.run(f"--only={MAIN},v5e:4x8,h100:8", peaks=(12, 12, 8), SCALE=str(scale))
  peaks = {line["target"]: line["estimate"]["peak_gib"] for line in bench.lines()}
  assert peaks == pytest.approx({"v5e:4x8": tpu, "h100:8": gpu}, abs=0.01)


def test_a_run_continues_where_it_was(bench):
  bench.run(CELL, peaks=(20, 12, 8))
  before = bench.results.read_text()
  bench.run(CELL, peaks=(20, 12, 8))
  assert bench.results.read_text() == before
  # One line is missing and the next one is not complete, as after a kill.
  whole = before.splitlines(keepends=True)
  bench.results.write_text(whole[0] + whole[1][:40])
  assert "1 of 1 cells are left" in bench.run(CELL, "--dry_run", peaks=(20, 12, 8))
  bench.run(CELL, peaks=(20, 12, 8))
  assert [line["setting"] for line in bench.lines()] == ["plain", "zero1 conv_outputs"]
  assert len(bench.compiled()) == 3


def test_a_dry_run_lists_what_is_left_and_compiles_nothing(bench):
  output = bench.run("--dry_run").splitlines()
  assert output[-1] == "60 of 60 cells are left" and f"{MAIN} v5e:4x8: plain" in output
  assert not bench.compiled() and not bench.results.exists()
  bench.run(CELL, peaks=(20, 20, 20))
  assert "59 of 60 cells are left" in bench.run("--dry_run")


def test_no_cell_begins_when_the_time_is_over(bench):
  assert "over" in bench.run(CELL, "--minutes=0", peaks=(8, 8, 8))
  assert not bench.compiled()


def test_a_refused_config_is_one_line_and_no_other_setting_is_tried(bench):
  bench.run(CELL, peaks=("batch_size 64 is not divisible by | 48",) * 3)
  (line,) = bench.lines()
  assert line["outcome"] == "refused" and "not divisible" in line["message"]
  page = bench.results.with_name("page.md")
  bench.run("page", f"--page={page}")
  assert "* `dvd_gan:kinetics600_64x12` on v5e:4x8: batch_size 64 is not divi" in page.read_text()


def test_clips_of_a_device_that_are_refused_have_no_estimate(bench):
  bench.run(CELL, peaks=("this model needs a multiple of 8",) * 3, REFUSED="2")
  (line,) = bench.lines()
  assert line["outcome"] == "refused" and line["estimate"] is None


def test_memory_that_ends_in_an_error_leads_to_the_next_setting(bench):
  bench.run(CELL, peaks=("cannot compile the iteration: RESOURCE_EXHAUSTED: 18G of 16G", 12))
  assert [line["outcome"] for line in bench.lines()] == ["too large", "fits"]


def test_a_compiler_that_fails_is_not_refused(bench):
  bench.run(CELL, peaks=("cannot compile the iteration for v5e:4x8: exit code 1",) * 3)
  assert [line["outcome"] for line in bench.lines()] == ["failed"]


def test_hopeless_settings_are_not_compiled(bench):
  """The limit is 1.15 x 15.75 GiB. Without remat 0.75 x (6 + 64 x 2 / 32 x 5) = 19.5 GiB."""
  bench.run(CELL, peaks=(20, 20, 12), SCALE="5")
  assert [line["outcome"] for line in bench.lines()] == ["skipped", "too large", "fits"]
  assert len(bench.compiled()) == 2


def test_the_page_has_what_a_setting_needs_at_least_if_it_was_not_compiled(bench):
  bench.run(CELL, SCALE="30", peaks=(8, 8, 8))
  page = bench.results.with_name("page.md")
  bench.run("page", f"--page={page}")
  least = bench.lines()[-1]["estimate"]["least_gib"]
  assert [line["outcome"] for line in bench.lines()] == ["skipped"] * 3
  assert f"| too large: about {least:.1f} of 15.8 |" in page.read_text(encoding="utf-8")


def test_an_attempt_that_takes_too_long_is_repeated_only_with_more_time(bench):
  bench.run(CELL, "--limit=0.02", peaks=("sleep",) * 3)
  assert [line["outcome"] for line in bench.lines()] == ["time"] * 3
  bench.run(CELL, "--limit=0.02", peaks=("sleep",) * 3)
  assert len(bench.lines()) == 3
  bench.run(CELL, "--limit=5", peaks=(8, 8, 8))
  assert [line["outcome"] for line in bench.lines()] == ["time"] * 3 + ["fits"]


def test_the_page_says_how_far_communication_slows_scaling(bench):
  """20 GB at 200 GB/s are 0.1 s; computation takes 0.5 s, and 0.5 / 0.35 s."""
  bench.run(CELL, peaks=(8, 8, 8))
  page = bench.results.with_name("page.md")
  bench.run("page", f"--page={page}")
  assert "| 0.5 | 20,000 | 0.1 | 83% | 93% |" in page.read_text(encoding="utf-8")


def test_after_an_attempt_that_takes_too_long_comes_the_next_setting(bench):
  bench.run(CELL, "--limit=0.2", peaks=("sleep", 8, 8))
  assert [line["outcome"] for line in bench.lines()] == ["time", "fits"]
  page = bench.results.with_name("page.md")
  bench.run("page", f"--page={page}")
  assert "`plain`: not within 0.2 minutes" in page.read_text(encoding="utf-8")


def test_an_interrupted_attempt_leaves_no_line(bench):
  process = bench.start(CELL, peaks=("sleep",) * 3)
  while not (bench.number.exists() and bench.number.read_text()):
    time.sleep(0.1)
    assert process.poll() is None
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=50)  # would wait for a child that still holds the pipes
  assert process.returncode == 128 + signal.SIGTERM and bench.results.read_text() == ""
  assert not _exists(int(bench.number.read_text()))


def _exists(number):
  """Whether a process runs."""
  try:
    os.kill(number, 0)
  except ProcessLookupError:
    return False
  return True


def test_two_runs_do_not_write_one_file(bench):
  with open(bench.results, "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    errors = bench.run(CELL, code=2)
  assert errors.startswith("error: another run writes")


def test_bad_input_is_one_line(bench):
  for arguments, words in (
    (["--only=dvd_gan:none"], "unknown dvd_gan:none; known: dvd_gan:kinetics600_64x12"),
    (["--limit=0"], "--limit"),
    (["pages"], "unknown word 'pages'; known: page, estimate"),
    (["page", "--dry_run"], "--dry_run: no effect with page"),
    (["page"], "has no attempts yet"),
    (["estimate"], "has no attempts yet"),
    (["--memory=nan"], "--memory"),
  ):
    errors = bench.run(*arguments, code=2)
    assert errors.startswith("error: ") and words in errors and errors.count("\n") == 1
  bench.results.write_text('{"a": 1}\n{"a\n{"b": 1}\n')
  assert "line 1: not a result with config, target" in bench.run("page", code=2)
  bench.results.write_bytes(b"\xff\xfe")
  assert "no text file" in bench.run("page", code=2)


def test_too_little_memory_starts_no_compiler(bench):
  errors = bench.run(CELL, "--memory=8000", "--patience=0", code=2, peaks=(8,))
  assert "GiB of memory are free" in errors and not bench.compiled()


def test_the_page(bench):
  bench.run(CELL, peaks=(20, 15.5, 8))
  bench.run(f"--only={MAIN},v6e:4x8", peaks=(40, 40, 40))
  page = bench.results.with_name("page.md")
  bench.run("page", f"--page={page}")
  text = page.read_text()
  assert "2 of 60 cells are known, from 5 attempts" in text and "not yet" in text
  rows = [line for line in text.splitlines() if line.startswith(f"| `{MAIN}`")]
  assert (
    "| zero1 conv_outputs; **15.5 of 16.0**; 0.5 s | not yet | too large: 40.0 of 16.0 |" in rows[0]
  )
  estimate = "v5e:4x8 | zero1 conv_outputs | 2 | 15.5 | 0.00 | 2.0 | 2.0 | 4.5 | 0.13 | 0.29 |"
  assert f"| `{MAIN}` | {estimate}" in rows
  # 64 clips over 8 hosts, twice, 12 frames each, in 0.5 s: 384 frames/s of 12,288 bytes.
  (feed,) = [row for row in rows if row.startswith(f"| `{MAIN}` | v5e:4x8 | 8 |")]
  assert feed == f"| `{MAIN}` | v5e:4x8 | 8 | 16 | 384 | 4.7 | 0.016 | 134 | 1.7 | 0.0055 |"


KNOWN = "ssw_gan:kinetics600_stage2_12"  # has a reason for v5e:4x8, `plain`


@pytest.mark.parametrize(
  ("estimate", "changes", "reason"),
  [
    (14.0, {"recomputed": {"count": 1, "bytes": 5 * 2**30}}, "4.0 GiB too high; the compiler"),
    (14.0, {"recomputed": {"count": 1, "bytes": 3 * 2**30}}, "4.0 GiB too high; not explained."),
    (14.0, {"config": KNOWN}, "4.0 GiB too high; not explained."),  # the reason is of too low
    (8.0, {"padding_gib": 1.5}, "2.0 GiB too low; 1.5 GiB of the compiler's are padding."),
    (8.0, {"padding_gib": 0.9}, "2.0 GiB too low; not explained."),
    (8.0, {"padding_gib": 4.0}, "2.0 GiB too low; 4.0 GiB of the compiler's are padding, the rest"),
    (
      8.0,
      {"config": KNOWN},
      "2.0 GiB too low; the program does not fit, and the compiler computes",
    ),
    (4.0, {"padding_gib": 3.2}, "6.0 GiB too low; 3.2 GiB of the compiler's are padding, the rest"),
    (0.04, {"peak_gib": 0.01}, "0.03 GiB too high."),
  ],
)
def test_the_page_explains_large_differences(estimate, changes, reason):
  attempt = {"config": "tgan:svc", "target": "v5e:4x8", "setting": "plain", "peak_gib": 10.0}
  attempt |= {"estimate": {"peak_gib": estimate, "most_gib": estimate}, **changes}
  close = {**attempt, "estimate": {"peak_gib": attempt["peak_gib"], "most_gib": 99.0}}
  text = topology_page._differences([attempt, close])
  cell = f"`{attempt['config']}` on v5e:4x8, `plain`: {reason}"
  assert text.startswith("1 of 2 estimated peaks are within 15%") and cell in text
  assert ", 1 of them where memory is short" in text
  assert "others" not in topology_page._differences([close])


def test_estimates_are_repeated(bench):
  bench.run(CELL, peaks=(20, 12, 8))
  bench.run("estimate", SCALE="2")
  first, second = bench.lines()
  assert (first["estimate"]["peak_gib"], second["estimate"]["peak_gib"]) == (14.0, 7.483)
  assert first["estimate"]["kept_gib"] == 10.0 and first["peak_gib"] == 20.0


def test_the_page_of_the_docs_is_that_of_the_file(bench):
  """Attempts that were added after the page was written are left out."""
  text = (ROOT / "docs" / "topologies.md").read_text(encoding="utf-8")
  number = int(re.search(r"cells are known, from (\d+) attempts", text)[1])
  lines = (ROOT / "benchmarks" / "topologies.jsonl").read_text().splitlines(keepends=True)
  assert 0 < number <= len(lines)
  bench.results.write_text("".join(lines[:number]))
  page = bench.results.with_name("page.md")
  bench.run("page", f"--page={page}")
  assert page.read_text(encoding="utf-8") == text
