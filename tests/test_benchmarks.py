"""What benchmarks refuse before they measure, and what remains if something fails."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "accelerator.sh"

# A stand-in for Python: prints like a benchmark; those named in FAILING then fail.
PYTHON = """#!/bin/sh
name=$(basename "$1" .py)
echo "new $name"
case " $FAILING " in *" $name "*) exit 2 ;; esac
"""


def program(name, *arguments):
  """Runs a benchmark with the current Python."""
  command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", *arguments]
  return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def assert_refused(result, *words):
  """Asserts one line on stderr that contains the words, nothing on stdout, and exit code 2."""
  assert (result.returncode, result.stdout) == (2, ""), result
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: ") and all(word in line for word in words), line


@pytest.fixture(scope="module")
def settings():
  """The module benchmarks/settings.py."""
  sys.path.insert(0, str(ROOT / "benchmarks"))
  try:
    import settings

    yield settings
  finally:
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", ["training", "convolutions"])
def test_a_results_file_that_cannot_be_written_is_refused_at_the_start(tmp_path, name):
  path = tmp_path / "no_such_folder" / "results.jsonl"
  assert_refused(program(name, f"--results={path}"), "--results", "No such file or directory")


def test_a_folder_as_results_file_is_refused(tmp_path):
  assert_refused(program("discriminators", f"--results={tmp_path}"), "--results", "Is a directory")


@pytest.mark.parametrize("name", ["training", "convolutions"])
@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_a_peak_must_be_a_number_above_zero(tmp_path, name, value):
  result = program(name, f"--tflops={value}", f"--results={tmp_path}/results.jsonl")
  assert_refused(result, "--tflops", "must be a number above 0")


@pytest.mark.parametrize(
  ("name", "flag"),
  [("check_twin", "tolerance"), ("equality", "tolerance"), ("data", "soak"), ("data", "seconds")],
)
def test_nan_is_refused(name, flag):
  assert_refused(program(name, f"--{flag}=nan"), f"--{flag}", "must be a number from 0")


def test_help_lists_the_shared_flag():
  assert "--results (default " in program("convolutions", "--help").stdout


def test_checking_a_results_file_does_not_change_it(settings, tmp_path):
  path = tmp_path / "results.jsonl"
  assert settings._writable(str(path)) and not list(tmp_path.iterdir())
  path.write_text("{}\n")
  assert settings._writable(str(path)) and path.read_text() == "{}\n"


def test_a_result_that_cannot_be_appended_is_printed(settings, tmp_path, capsys):
  with pytest.raises(settings.UserError, match="cannot write"):
    settings.append(str(tmp_path), "some", {"seconds": 1.5})
  printed = json.loads(capsys.readouterr().out)
  assert (printed["benchmark"], printed["seconds"]) == ("some", 1.5)


WORKER = f"""
import sys

sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import settings

settings.define_worker()


def measure(case):
  if case == "broken":
    raise settings.UserError("nothing to measure")
  return {{"case": case}}


settings.run(lambda: print("all cases"), measure)
"""


def test_a_case_is_measured_in_a_fresh_process(settings, tmp_path):
  path = tmp_path / "benchmark.py"
  path.write_text(WORKER)
  assert settings.in_fresh_process(str(path), "fast", flags_of=[]) == {"case": "fast"}
  with pytest.raises(settings.UserError, match=r"broken failed:\nerror: nothing to measure"):
    settings.in_fresh_process(str(path), "broken", flags_of=[])
  result = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
  assert result.stdout == "all cases\n"


@pytest.mark.parametrize(("name", "flag"), [("sampling", "cases"), ("iteration", "variants")])
def test_unknown_cases_are_refused(tmp_path, name, flag):
  result = program(name, f"--{flag}=saved,none", f"--results={tmp_path}/results.jsonl")
  assert_refused(result, "unknown", "known: ")


@pytest.fixture
def script(tmp_path):
  """A function that runs accelerator.sh with a stand-in for Python."""
  (tmp_path / "bin").mkdir()
  stand_in = tmp_path / "bin" / "python"
  stand_in.write_text(PYTHON)
  stand_in.chmod(0o755)

  def run(*arguments, failing="", **variables):
    path = f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "FAILING": failing, **variables}
    command = ["bash", SCRIPT, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

  return run


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_script_prints_its_usage(script, option):
  result = script(option)
  assert (result.returncode, result.stderr) == (0, "")
  assert all(word in result.stdout for word in ("[FOLDER]", "ROWS", "EXTRA"))


def test_the_script_refuses_before_it_measures(script, tmp_path):
  (tmp_path / "file").write_text("")
  (tmp_path / "taken" / "results.jsonl").mkdir(parents=True)
  assert_refused(script("a", "b"), "one FOLDER", "2")
  assert_refused(script("--rows=thesis"), "unknown option --rows=thesis")
  assert_refused(script(tmp_path / "file"), "cannot make the folder", "file")
  assert_refused(script(tmp_path / "file" / "below"), "cannot make the folder", "below")
  assert_refused(script(tmp_path / "taken"), "cannot write", "results.jsonl")


def test_a_program_that_fails_does_not_replace_the_old_table(script, tmp_path):
  folder = tmp_path / "tables"
  folder.mkdir()
  for name in ("sampling", "training"):
    (folder / f"{name}.txt").write_text(f"old {name}\n")
  result = script(folder, failing="training", EXTRA="--runlocal")
  assert result.returncode == 1, result
  tables = {path.name: path.read_text() for path in folder.iterdir()}
  assert tables == {
    "sampling.txt": "new sampling\n",
    "training.txt": "old training\n",
    "training.failed.txt": "new training\n",
  }
  assert script(folder).returncode == 0
  names = ("sampling", "training", "convolutions", "discriminators", "evaluation")
  assert {path.name for path in folder.iterdir()} == {f"{name}.txt" for name in names}


def test_videos_that_are_missing_and_unknown_cases_are_refused(tmp_path):
  missing = program("small_data", f"--videos={tmp_path}/none", f"--results={tmp_path}/r")
  assert_refused(missing, "none is not a folder")
  unknown = program("subsampling", "--cases=both_9", f"--results={tmp_path}/r")
  assert_refused(unknown, "both_9", "both_3")
  assert not list(tmp_path.iterdir())


def test_verdicts_need_all_seeds(settings):
  del settings  # puts the benchmarks on the path
  import verdicts

  assert verdicts.of_seeds([True, True], [False, False]) == "shows"
  assert verdicts.of_seeds([True, False], [False, False]) == "undecided"
  assert verdicts.of_seeds([True, False], [False, True]) == "undecided"
  assert verdicts.of_seeds([False, False], [True, True]) == "does not show"
  assert verdicts.of_seeds([], []) == "undecided"
  assert verdicts.spans([(1, 2), (-0.12345, 3)]) == "1 to 2; -0.123 to 3"


CLAIMS = """
import sys
sys.path.insert(0, "benchmarks")
import cascade_claims, json, sys
results = json.load(sys.stdin)
cost = dict(zip(cascade_claims.COSTS, results.pop("cost")))
print(json.dumps(cascade_claims.rows({**results, **cost})))
"""


def claims(of_systems, cost, seeds=(0, 1)):
  """Verdicts on SSW-GAN's claims.

  Args:
    of_systems: {system: (distance at 12, at 48, motion kept, grounding, sharpness)}.
    cost: (bytes, seconds) of the three programs, or nothing; seconds are known within 2 %.
    seeds: of all systems.

  Returns:
    {claim: verdict}, in the order of the rows.
  """
  near = lambda value: [value, 0.98 * value, 1.02 * value]
  results = {"cost": [{"bytes": size, "seconds": near(seconds)} for size, seconds in cost]}
  for name, (*distances, kept, grounding, sharpness) in of_systems.items():
    lengths = {
      frames: {
        "distance": value,
        "deviation": 0.1,
        "kept_interval": [kept - 0.1, kept + 0.1],
        "grounding": grounding,
        "grounding_interval": [grounding - 3, grounding + 4],
        "sharpness_interval": [sharpness - 0.05, sharpness + 0.05],
      }
      for frames, value in zip(("12", "48"), distances, strict=True)
    }
    of_seed = {"system": name, "lengths": lengths}
    results |= {f"{name}@{seed}": {**of_seed, "seed": seed} for seed in seeds}
  command = [sys.executable, "-c", CLAIMS]
  done = subprocess.run(
    command, input=json.dumps(results), capture_output=True, text=True, cwd=ROOT, check=True
  )
  return {row[0]: row[3] for row in json.loads(done.stdout)}


def test_claims_on_cascades_follow_from_the_measurements():
  shown = claims(
    {
      "matching": (10, 20, 0.9, 20, 1.0),
      "no_matching": (10.2, 40, 0.9, 40, 1.0),
      "dvd_gan": (10, 50, 0.2, 0, 1.0),
    },
    [(10, 1), (20, 1), (100, 5)],
  )
  assert list(shown.values()) == ["shows"] * 8
  contrary = claims(
    {
      "matching": (10, 40, 0.3, 40, 0.5),
      "no_matching": (30, 20, 0.9, 20, 1.0),
      "dvd_gan": (10, 50, 0.8, 0, 1.0),
    },
    [(10, 1), (60, 3), (100, 5)],
  )
  assert list(contrary.values()) == ["does not show"] * 8
  undecided = claims(
    {"matching": (10, 40, 0.5, 40, 0.9), "no_matching": (30, 20, 0.5, 44, 0.5)}, [], seeds=(3,)
  )
  costs = list(claims({}, [(10, 1.2), (25, 1.3), (100, 5)]).values())[-2:]
  assert costs == ["shows", "undecided"]  # memory has no interval, time 0.48 to 0.52
  grounded, _, _, sharp, freezes, goes_on, *costs = undecided.values()
  assert grounded == "undecided (one seed)"  # -1 to 9, by the sides' own widths
  assert (sharp, goes_on) == ("undecided (one seed)",) * 2
  assert [freezes, *costs] == ["not yet"] * 3


@pytest.mark.parametrize(
  ("matching", "without", "verdict"),
  [
    (1, 1.2, "undecided"),  # -0.1 to 0.5, which reaches further than 10 % of 1
    (10, 10.5, "shows"),  # apart, and within 10 %
    (10, 11, "undecided"),  # reaches over the margin
    (10, 12, "does not show"),
  ],
)
def test_distances_are_equal_within_a_margin(matching, without, verdict):
  systems = {"matching": (matching, 9, 1, 9, 1), "no_matching": (without, 9, 1, 9, 1)}
  assert list(claims(systems, []).values())[2] == verdict
  assert set(claims({"no_matching": (10, 20, 0.9, 20, 1.0)}, []).values()) == {"not yet"}


# Reads and extends files of results in a process of its own.
_LINES = """
import result_lines, settings, sys
path = sys.argv[1]
settings.append(path, "name", {"case": "c"})
print([line.get("case", line.get("a")) for line in result_lines.read(path)])
"""


@pytest.mark.parametrize(
  ("before", "read"),
  [
    ("", "['c']"),
    ('{"a": 1}\n', "[1, 'c']"),
    ('{"a": 1}', "[1, 'c']"),  # as some editors leave a last line
  ],
)
def test_results_are_appended_on_a_line_of_their_own(tmp_path, before, read):
  file = tmp_path / "results.jsonl"
  file.write_text(before)
  done = subprocess.run(
    [sys.executable, "-c", _LINES, file], capture_output=True, text=True, cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}, check=True,
  )  # fmt: skip
  assert done.stdout.strip() == read


def test_seeds_that_are_no_integers_and_unknown_systems_are_refused(tmp_path):
  results = f"--results={tmp_path}/r"
  assert_refused(program("cascades", "--seeds=a", results), "--seeds=a")
  assert_refused(program("cascades", "--cases=tgan", results), "tgan", "no_matching")
  assert not list(tmp_path.iterdir())


# Calls benchmarks/claims.py in a process of its own, because it defines flags.
_CLAIMS = """
import claims, claim_table, json, sys
results = json.load(sys.stdin)
print(json.dumps({"rows": claim_table.rows(results), "page": claims.page(results, {})}))
"""


def claims_of(results):
  """What benchmarks/claims.py concludes: ({claim: (verdict, effect)}, the page)."""
  path = str(ROOT / "benchmarks")
  done = subprocess.run(
    [sys.executable, "-c", _CLAIMS],
    input=json.dumps(results), capture_output=True, text=True, check=True, timeout=100,
    env={**os.environ, "PYTHONPATH": path},
  )  # fmt: skip
  said = json.loads(done.stdout)
  return {row[0]: tuple(row[3:]) for row in said["rows"]}, said["page"]


def test_verdicts_of_the_papers_claims_follow_from_the_scores():
  line = {
    "iterations": 9, "train_seconds": 60.0, "date": "2026-01-02T03:04", "cpu": "x", "cores": 2,
    "versions": {"jax": "1"},
  }  # fmt: skip
  scores = {
    "dvd_gan": {"fid": [100, 90, 110], "is": [7.0, 6.9, 7.1], "brightness": [1.0, 0.9, 1.1]},
    "spatial_only": {"fid": [200, 190, 210], "brightness": [0.5, 0.4, 0.7]},
    "temporal_only": {"fid": [112, 100, 124]},
    "k_1": {"fid": [50, 40, 60]},
    "k_6": {"is": [7.1, 7.0, 7.2]},
    "phi_identity": {"is": [9.0, 8.9, 9.1]},
  }
  scores["dvd_gan"] |= {
    "precision": [0.5, 0.4, 0.6], "precision@0.5": [0.9, 0.8, 1.0],
    "recall": [0.5, 0.4, 0.6], "recall@0.5": [0.55, 0.45, 0.65],
  }  # fmt: skip
  scores["phi_half_crop"] = scores["dvd_gan"] | {"seconds": [9, 8, 10]}
  results = [{**line, "case": c, "seed": s, "scores": v} for c, v in scores.items() for s in (0, 1)]
  results.insert(0, {**line, "case": "k_6", "seed": 0, "scores": {"is": [99, 98, 100]}})  # replaced
  found, page = claims_of(results)
  verdict = {claim: said for claim, (said, _) in found.items()}
  assert verdict["Both discriminators are better than the spatial one alone"] == "shows"
  assert verdict["Both discriminators are better than the temporal one alone"] == "undecided"
  assert verdict["The spatial discriminator needs several frames: 3 are better than 1"] == (
    "does not show"
  )
  kept = "Half of the frames are enough: 3 keep the Inception Score of all 6"
  assert verdict[kept] == "shows"  # the later line of k_6 with seed 0 counts
  pooled = (
    "The temporal discriminator can see half the resolution: 2x2 pooling keeps the Inception Score"
  )
  assert verdict[pooled] == "does not show"
  assert verdict["Truncation 0.5 makes better clips: precision is higher"] == "shows"
  assert verdict["Truncation 0.5 makes less varied clips: recall is lower"] == "undecided"
  assert verdict["Without the temporal discriminator, clips are brighter"] == "does not show"
  assert verdict["2x2 pooling is better than 4x4"] == "not yet"
  crop = "2x2 pooling is better than a random crop of half the size"
  assert verdict[crop] == "no test: both cases have the same scores"
  # 100 - 200, and the margins 10 and 10 in quadrature.
  assert found["Both discriminators are better than the spatial one alone"][1] == (
    "-114 to -85.9; -114 to -85.9"
  )
  # 0.5 - 1, below it the margins 0.1 and 0.1, above it 0.2 and 0.1.
  assert found["Without the temporal discriminator, clips are brighter"][1].startswith(
    "-0.641 to -0.276;"
  )
  assert "| 2x2 pooling is better than 4x4 |" in page and "14 minutes" in page
  found, _ = claims_of([r for r in results if r["seed"] == 0])
  assert found["Both discriminators are better than the spatial one alone"][0] == "shows (one seed)"


def test_brightness_and_curvature_are_means_of_what_was_logged():
  code = """
import claims, json
pixels = lambda g: {**{f"pixel/generated_{c}": g for c in ("red", "green", "blue")},
                    **{f"pixel/real_{c}": 0.5 for c in ("red", "green", "blue")}}
log = [{"step": 1}, *(pixels(g) for g in (9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 0.2, 0.3))]
records = [{"step": 0, "smallest": -99.0, "largest": 1.0},
           {"step": 1, "smallest": -8.0, "largest": 2.0}, {"step": 2, "smallest": 0, "largest": 2}]
print(json.dumps([claims.brightness(log), claims.curvature(records)]))
"""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100,
    env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")},
  )  # fmt: skip
  brightness, curvature = json.loads(done.stdout)
  assert brightness[0] == pytest.approx(0.5)  # (0.2 / 0.5 + 0.3 / 0.5) / 2
  assert brightness[1] < 0.5 < brightness[2]
  assert curvature[0] == pytest.approx(4)  # the geometric mean of 8 and 2


def test_wrong_cases_of_the_claims_are_refused(tmp_path):
  results = f"--results={tmp_path}/results.jsonl"
  assert_refused(program("claims", "--seeds=a", results), "--seeds=a")
  assert_refused(program("claims", "--cases=tgan_x", results), "tgan_x", "tgan_tsm")
