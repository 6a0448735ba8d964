"""benchmarks/league.py: what a row may spend, how rows continue, the choice of widths, the page."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def race():
  """The modules of benchmarks/race, as attributes."""
  sys.path.insert(0, str(ROOT / "benchmarks"))
  try:
    import race
    from race import (
      budget,
      choice,
      drawer,
      entries,
      features,
      league_file,
      page,
      processes,
      rows,
      scoring,
      tables,
      tasks,
      weizmann,
    )

    del budget, choice, entries, features, league_file, page, processes, rows
    del drawer, scoring, tables, tasks, weizmann
    yield race
  finally:
    sys.path.remove(str(ROOT / "benchmarks"))


def league(*arguments):
  """Runs the program with the current Python."""
  command = [sys.executable, ROOT / "benchmarks" / "league.py", *arguments]
  return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


# The budget.


def test_a_meter_counts_each_part_of_the_time(race):
  now = 5.0
  meter = race.budget.Meter(lambda: now)
  with meter.within("training"):
    now = 7.0
    with meter.within("compiling"):
      now = 10.0
    now = 11.0
  now = 11.5
  assert meter.spent() == {"training": 3.0, "compiling": 3.0, "other": 5.5}
  meter.add({"training": 1.0, "compiling": 2.0, "other": 3.0})
  assert meter.spent() == {"training": 4.0, "compiling": 5.0, "other": 8.5}


def spent(training):
  return {"training": training, "compiling": 1.0, "other": 2.0}


def test_lost_work_is_not_counted(race, tmp_path):
  ledger = race.budget.Ledger(tmp_path)
  assert ledger.begin(0) == {"training": 0, "compiling": 0, "other": 0}
  ledger.add(10, spent(4.0), 100)
  ledger.add(20, spent(8.0), 300)
  with open(ledger.path, "a") as file:
    file.write('{"step": 30, "trai')  # a process was killed here
  assert ledger.summary() == {"iterations": 20, **spent(8.0), "peak_bytes": 300}
  assert ledger.begin(10) == spent(4.0)
  assert ledger.summary() == {"iterations": 10, **spent(4.0), "peak_bytes": 100}


@pytest.mark.parametrize(
  ("options", "enough"),
  [({"minutes": 0.2}, True), ({"minutes": 0.3}, False), ({"iterations": 10}, True)],
)
def test_a_cascade_shares_its_minutes(race, tmp_path, options, enough):
  ledger = race.budget.Ledger(tmp_path)
  ledger.add(10, spent(6.5), 1)
  assert race.rows.Budget(**options).is_spent(ledger, stages=2) == enough


def test_training_stops_when_the_budget_is_spent_and_continues(race, lean_config, tmp_path):
  from race.metered import Metered

  config = lean_config(num_iterations=10_000, checkpoint_every=5000, log_every=5000)
  import jax

  quiet = {"report": lambda line: None, "devices": jax.devices()[:1]}
  old = signal.getsignal(signal.SIGTERM)
  trainer = Metered(config, tmp_path, 1e-6, **quiet)
  trainer.run()
  first = race.budget.Ledger(tmp_path).summary()
  assert trainer.stopped and trainer.spent_all
  assert first["iterations"] == 1 and 0 < first["training"] < first["compiling"] + first["other"]

  more = first["training"] + 1e-6
  trainer = Metered(config, tmp_path, more, **quiet)
  trainer.run()
  second = race.budget.Ledger(tmp_path).summary()
  assert second["iterations"] > 1 and second["training"] >= more
  assert second["compiling"] > first["compiling"]
  assert signal.getsignal(signal.SIGTERM) == old


# Rows.


class Trainer:
  """Stands in for the programs of a row: each call trains by `step` seconds and iterations."""

  def __init__(self, race, monkeypatch, step=1000.0, code=0):
    self.jobs, self._race, self._step, self.code = [], race, step, code
    self.finishes = True  # whether it ends the run of a stage that another one follows
    monkeypatch.setattr(race.processes, "run_job", self)

  def __call__(self, program, job, log):
    assert program == "trainer"
    self.jobs.append(job)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("the end\n")
    ledger = self._race.budget.Ledger(job["workdir"])
    done = ledger.summary()
    seconds = min(self._step, (job["seconds"] or 1e9) - done["training"])
    spent_now = {"training": done["training"] + seconds, "compiling": 1.0, "other": 1.0}
    ledger.add(job["iterations"] or done["iterations"] + 7, spent_now, 1)
    finished = job["finish"] and self.finishes
    last = ledger.summary()["iterations"] if finished else 10**7
    (ledger.path.parent / "config.json").write_text(json.dumps({"num_iterations": last}))
    return self._race.processes.Done(self.code, 1.0, 1)


def train(race, name, folder, budget):
  task = race.tasks.Task("shapes", ["a", "b"], "moving_shapes", folder / "data")
  setting = {"width": 1, "seed": 3, "trial": False}
  return race.rows.train(race.entries.BY_NAME[name], task, folder, budget, setting)


def test_a_finished_row_is_not_trained_again_and_more_minutes_continue_it(
  race, monkeypatch, tmp_path
):
  trainer = Trainer(race, monkeypatch)
  for minutes, calls in ((1, 1), (1, 1), (2, 2)):
    (run,) = train(race, "tgan", tmp_path, race.rows.Budget(minutes=minutes))
    assert len(trainer.jobs) == calls
  assert trainer.jobs[0]["workdir"] == trainer.jobs[1]["workdir"] == str(run)
  assert [job["seconds"] for job in trainer.jobs] == [60, 120]
  assert race.rows.spent([run])["minutes"]["training"] == 2
  assert trainer.jobs[0]["fields"]["seed"] == 3


def test_a_run_that_trained_longer_is_no_row_of_a_smaller_budget(race, monkeypatch, tmp_path):
  Trainer(race, monkeypatch)
  train(race, "tgan", tmp_path, race.rows.Budget(minutes=2))
  for smaller in ({"minutes": 1}, {"iterations": 6}):
    with pytest.raises(race.rows.UserError, match="has trained for more than"):
      train(race, "tgan", tmp_path, race.rows.Budget(**smaller))
  train(race, "tgan", tmp_path, race.rows.Budget(iterations=7))


def test_a_cascade_trains_a_later_stage_anew_and_continues_the_first(race, monkeypatch, tmp_path):
  trainer = Trainer(race, monkeypatch)
  train(race, "ssw_gan", tmp_path, race.rows.Budget(minutes=1))
  first, second = train(race, "ssw_gan", tmp_path, race.rows.Budget(minutes=2))
  assert [job["seconds"] for job in trainer.jobs] == [30, 30, 60, 60]
  fields = trainer.jobs[3]["fields"]
  assert fields["model.earlier_run"] == str(first)
  assert fields["model.earlier.resolution"] == trainer.jobs[2]["fields"]["model.resolution"] == 16
  iterations = lambda run: race.budget.Ledger(run).summary()["iterations"]
  assert (iterations(first), iterations(second)) == (14, 7)
  old = tmp_path / "1min" / "stage1"
  assert iterations(old) == 7  # the stage that the shorter row used is as it was


def test_a_stage_that_was_killed_before_its_end_is_finished_later(race, monkeypatch, tmp_path):
  trainer = Trainer(race, monkeypatch)
  trainer.finishes = False
  for _ in range(2):
    train(race, "ssw_gan", tmp_path, race.rows.Budget(minutes=1))
  assert [job["finish"] for job in trainer.jobs] == [True, False, True]


def test_a_training_that_is_stopped_or_fails_is_no_row(race, monkeypatch, tmp_path):
  budget = race.rows.Budget(minutes=1)
  Trainer(race, monkeypatch, step=1.0, code=race.processes.STOPPED)
  with pytest.raises(race.processes.Interrupted):
    train(race, "tgan", tmp_path / "stopped", budget)
  Trainer(race, monkeypatch, step=1.0, code=3)
  with pytest.raises(race.rows.UserError, match="not finite"):
    train(race, "tgan", tmp_path / "diverged", budget)
  Trainer(race, monkeypatch, step=1.0, code=2)
  with pytest.raises(race.rows.UserError, match=r"exit code 2; .*the end"):
    train(race, "tgan", tmp_path / "failed", budget)


def test_two_processes_do_not_share_a_row(race, tmp_path):
  with (
    race.rows.locked(tmp_path),
    pytest.raises(race.rows.Busy),
    race.rows.locked(tmp_path),
  ):
    pass
  with race.rows.locked(tmp_path):
    pass


def test_a_signal_reaches_the_program(race, tmp_path):
  text = "import os, time; os.kill(os.getppid(), 15); time.sleep(60)"
  with pytest.raises(race.processes.Interrupted):
    race.processes.run([sys.executable, "-c", text], tmp_path / "log.txt")


# Systems and widths.


def test_all_systems_are_there_and_their_fields_fit_their_configs(race):
  from vidgan_jax.models import registry, switches

  models = set()
  sys.path.insert(0, str(ROOT / "benchmarks"))
  import settings

  task = race.tasks.Task("shapes", list("abcdefgh"), "moving_shapes", pathlib.Path("data"))
  for entry in race.entries.ENTRIES:
    assert len(entry.widths) == 3 and entry.chosen_like in race.entries.BY_NAME
    for number, stage in enumerate(entry.stages):
      for width in range(3):
        fields = race.entries.fields(entry, number, width, task.classes, 0) | task.data(stage)
        config = settings.config_of(stage.config, fields)
        switches.check(config)
        models.add(config.model.name)
  assert models == set(registry._OWN)


@pytest.mark.parametrize(
  ("rates", "over", "number"),
  [
    ([], False, 0),
    ([10], True, 0),
    ([100], False, 0),
    ([100, 59], True, 0),
    ([100, 60], False, 1),
    ([300, 100, 10], True, 1),
    ([300, 100, 60], True, 2),
  ],
)
def test_the_widest_that_is_fast_enough_is_chosen(race, rates, over, number):
  assert (race.choice.is_over(rates, 3), race.choice.chosen(rates)) == (over, number)


def test_the_slowest_stage_counts_with_its_share(race):
  assert race.choice.rate([30, 10], [10.0, 10.0]) == 30.0


def test_trials_are_kept_and_must_be_complete(race, tmp_path):
  trials = race.choice.Trials(tmp_path / "trials.json")
  trials.add("shapes", "tgan", {"rate": 100.0})
  with pytest.raises(race.choice.UserError, match="tgan has no width yet"):
    trials.width("shapes", "tgan", 3)
  trials.add("shapes", "tgan", {"rate": 30.0})
  assert race.choice.Trials(tmp_path / "trials.json").width("shapes", "tgan", 3) == 0


# Clips and scores.


def clips(count, seed=0, side=32):
  return np.random.default_rng(seed).integers(0, 256, (count, 16, side, side, 3), np.uint8)


@pytest.fixture
def task(race, tmp_path):
  """A task of 12 training clips, 8 real and 6 held-out ones, in two classes."""
  made = race.tasks.Task("shapes", ["a", "b"], "", tmp_path, learned="learned.npz")
  for path, array in (
    (tmp_path / "learned.npz", clips(12)),
    (made.real, clips(8, 1)),
    (made.held_out, clips(6, 2)),
  ):
    np.savez(path, clips=array, labels=np.arange(len(array)) % 2)
  return made


def test_motion_and_copies_are_measured(race, task, tmp_path):
  def values(array):
    np.savez(tmp_path / "clips.npz", clips=array)
    records, _ = race.scoring.evaluate(task, tmp_path)  # no protocol: pixels alone
    return {record["metric"]: record for record in records}

  other = values(clips(10, 3))
  assert other["motion"]["value"] == pytest.approx(1, abs=0.02)
  assert other["nearest"]["value"] == pytest.approx(1, abs=0.05)
  low, high = other["nearest"]["interval"]
  assert low <= other["nearest"]["value"] <= high
  copies = values(clips(12)[:10])
  assert copies["nearest"]["value"] == pytest.approx(0, abs=0.01)
  assert values(np.repeat(clips(10, 3)[:, :1], 16, axis=1))["motion"]["value"] == 0
  fingerprints = lambda records: {name: each["fingerprint"] for name, each in records.items()}
  assert fingerprints(other) == fingerprints(copies)
  assert fingerprints(values(clips(9)))["motion"] != fingerprints(other)["motion"]


def test_larger_clips_are_averaged(race):
  large = clips(2, side=64)
  small = race.drawer.averaged(large, 32)
  assert small.shape == (2, 16, 32, 32, 3)
  assert abs(small[1, 3, 5, 6, 2] - large[1, 3, 10:12, 12:14, 2].mean()) <= 0.5
  assert race.drawer.averaged(small, 32) is small


def test_the_files_of_a_task_are_made_once(race, tmp_path):
  made = race.tasks.shapes(tmp_path, clips=16, scored=8)
  names = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
  data = made.data(race.entries.BY_NAME["ssw_gan"].stages[0])
  with np.load(data["data.directory"]) as first, np.load(tmp_path / made.learned) as full:
    assert np.array_equal(first["clips"], full["clips"][:, ::2, ::2, ::2])
    assert np.array_equal(first["labels"], np.arange(16) % 8)
  with np.load(made.real) as real, np.load(made.held_out) as held_out:
    assert (len(real["clips"]), len(held_out["clips"])) == (8, 4)
  race.tasks.shapes(tmp_path, clips=16, scored=8)
  assert names == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
  race.tasks.shapes(tmp_path, clips=24, scored=8)
  with np.load(tmp_path / made.learned) as full:
    assert len(full["clips"]) == 24


def prepared(write_prepared, folder):
  """Videos of 34 frames, each with as many grey levels: windows begin at 0, 1 and 2."""
  grey = lambda first: np.broadcast_to(
    (first + 3 * np.arange(34, dtype=np.uint8))[:, None, None, None], (34, 64, 64, 3)
  )
  return write_prepared(folder, [grey(0), grey(90)], [0, 1], ["bend", "wave"], png=True)


def test_windows_of_videos_are_cut(race, write_prepared, tmp_path):
  found = race.weizmann.windows(prepared(write_prepared, tmp_path / "set"), "train", None)
  assert found["clips"].shape == (4, 16, 32, 32, 3)
  assert found["clips"][:, :2, 0, 0, 0].tolist() == [[0, 6], [6, 12], [90, 96], [96, 102]]
  assert found["labels"].tolist() == found["videos"].tolist() == [0, 0, 1, 1]
  chosen = race.weizmann.windows(tmp_path / "set", "train", 3)
  assert chosen["clips"][:, 0, 0, 0, 0].tolist() == [0, 6, 96]  # of 0, 3, 6, 90, 93, 96


@pytest.mark.parametrize(("share", "protocol"), [(0.79, ""), (0.8, "moving_shapes")])
def test_features_that_fail_on_held_out_people_are_not_used(
  race, write_prepared, monkeypatch, tmp_path, share, protocol
):
  prepared(write_prepared, tmp_path / "prepared")
  monkeypatch.setattr(race.tasks, "write_missing", lambda *arguments: None)
  (tmp_path / "features.json").write_text(json.dumps({"clips": share}))
  assert race.weizmann.task(tmp_path, None).protocol == protocol


def test_varied_clips_stay_in_range(race):
  varied = race.features.varied(clips(4), np.random.default_rng(0))
  assert varied.shape == (4, 16, 32, 32, 3) and -1 <= varied.min() < varied.max() <= 1


# The page.


def record(metric, value, fingerprint="abc", interval=None):
  return {
    "metric": metric,
    "value": value,
    "interval": interval,
    "fingerprint": fingerprint,
    "real": 3.2,
  }


def row(system, fid, fingerprint="abc", **others):
  scores = [record("fid", fid, fingerprint, [fid - 1, fid + 1]), record("vendi", 2.0)]
  minutes = {"training": 8.0, "scoring": 1.0}
  versions = dict.fromkeys(("python", "jax", "flax", "numpy"), "1.2")
  machine = {"date": "2026-11-29T08:00", "cpu": "EPYC", "cores": 1, "versions": versions}
  whole = {**machine, "seed": 0, "budget": "8min", "iterations": [700], "peak_mb": 500, **others}
  return {"task": "shapes", "system": system, "minutes": minutes, "scores": scores, **whole}


@pytest.fixture
def written(race, tmp_path):
  """A function (rows) that writes the page; returns its text."""

  def write(*rows):
    results, trials = tmp_path / "league.jsonl", tmp_path / "trials.json"
    results.write_text("".join(json.dumps(each) + "\n" for each in rows) + '{"task": "sha')
    race.choice.Trials(trials).add("shapes", "tgan", {"rate": 300.4})
    race.page.write(tmp_path, results, trials, tmp_path)
    return (tmp_path / "league.md").read_text()

  return write


def test_the_page_has_scores_with_intervals_fingerprints_and_hours(written):
  control = row("control_real", 1.0, seed=None, budget=None, iterations=[0])
  del control["seed"], control["budget"], control["iterations"]
  text = written(row("vgan", 51234.5, seed=1), row("tgan", 20.0), control)
  lines = [line for line in text.splitlines() if line.startswith("| ")]
  scores = [line for line in lines if "[" in line]
  assert [line.split(" | ")[0] for line in scores] == [
    "| other real clips",
    "| TGAN",
    "| VGAN",
  ]
  assert "| 0 | 700 | 20 [19, 21] |" in scores[1]
  assert "| 51,200 [51,200, 51,200] |" in scores[2]
  assert "2026-11-29; EPYC, 1 core(s); python 1.2, jax 1.2, flax 1.2, numpy 1.2." in text
  assert "fid `abc`" in text and "¹" not in text
  assert "0.45 processor hours in all" in text  # three rows of nine minutes
  assert "| TGAN | 300 | narrow |" in text


def test_a_number_with_another_fingerprint_is_marked(written):
  text = written(row("tgan", 20.0), row("tgan_f", 30.0), row("vgan", 40.0, "xyz"))
  assert "40 [39, 41] ¹" in text and "30 [29, 31] |" in text
  assert "not comparable with the column: VGAN: fid `xyz`" in text


def test_the_page_shows_clips_that_are_here(race, written, tmp_path):
  first = row("tgan", 20.0)
  path = race.league_file.clips_of(first, tmp_path)
  assert path == tmp_path / "shapes" / "tgan_0" / "8min" / "clips.npz"
  path.parent.mkdir(parents=True)
  np.savez(path, clips=clips(8))
  text = written(first, row("vgan", 40.0))
  assert "league_shapes.png" in text
  assert 0 < (tmp_path / "league_shapes.png").stat().st_size <= race.page.pictures.LARGEST
  report = (tmp_path / "league.html").read_text()
  assert report.count("data:image/gif") == 1 and "fid 20" in report


def test_the_page_needs_no_clips(race, tmp_path, capsys):
  results, docs = tmp_path / "league.jsonl", tmp_path / "docs"
  results.write_text(json.dumps(row("tgan", 20.0)) + "\n")
  docs.mkdir()
  race.page.write(tmp_path / "none", results, tmp_path / "trials.json", docs)
  assert "| TGAN | 0 |" in (docs / "league.md").read_text()
  assert "no report with moving clips" in "".join(capsys.readouterr())
  assert not (tmp_path / "none").exists()


def test_given_frames_of_real_clips_are_grey_in_the_picture(race, written, tmp_path):
  for task, hidden in (("shapes", False), ("weizmann", True)):
    of_task = row("dvd_gan_fp", 20.0, task=task)
    path = race.league_file.clips_of(of_task, tmp_path)
    path.parent.mkdir(parents=True)
    bright = clips(8)
    bright[:] = 250
    np.savez(path, clips=bright)
    assert ("given real frames are grey" in written(of_task)) is hidden
    picture = np.asarray(Image.open(tmp_path / f"league_{task}.png").convert("L"))
    frame = lambda n, p=picture: p[8:24, 260 + 32 * n + 8 : 260 + 32 * n + 24].mean()
    # Every second frame: numbers 0 and 2 are given, 4 is not.
    expected = [128, 128, 250] if hidden else [250] * 3
    assert [round(frame(n)) for n in range(3)] == expected


def test_rows_of_another_budget_have_a_table_of_their_own(written):
  text = written(row("tgan", 20.0), row("tgan", 10.0, budget="20min"), row("vgan", 9.0))
  assert text.index("8 processor minutes") < text.index("20 processor minutes")


# The command.


def test_rows_without_clips_are_not_scored_anew(race, tmp_path):
  results = tmp_path / "league.jsonl"
  results.write_text(json.dumps(row("tgan", 3.0)) + "\n")
  result = league("rescore", f"--output={tmp_path}", f"--results={results}")
  assert result.returncode == 2 and "rows without clips in --output: 1" in result.stderr, (
    result.stderr
  )
  assert "shapes/tgan_0/8min/clips.npz" in result.stderr
  assert results.read_text() == json.dumps(row("tgan", 3.0)) + "\n"
  assert os.listdir(tmp_path) == ["league.jsonl"]


def test_scores_are_replaced_and_rows_written_meanwhile_are_kept(race, tmp_path):
  path = tmp_path / "league.jsonl"
  path.write_text(json.dumps(row("tgan", 3.0)) + "\n")
  file = race.league_file.File(path)
  (old,) = file.rows()
  with path.open("a") as other:  # another process finishes a row
    other.write(json.dumps(row("vgan", 4.0)) + "\n")
  file.update(old, {"scores": [record("fid", 5.0)], "rescored": "2026-11-30"}, {"scoring": 2.0})
  first, second = file.rows()
  assert first["scores"] == [record("fid", 5.0)] and second == row("vgan", 4.0)
  assert first["minutes"] == {"training": 8.0, "scoring": 2.0}
  text = race.tables.circumstances([first, second])
  assert text.startswith("2026-11-29, clips scored again on 2026-11-30; EPYC"), text


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--systems=tgan,none"], ("unknown system 'none'", "known: ")),
    (["--seeds=0,x"], ("--seeds=0,x",)),
    (["--minutes=0"], ("--minutes", "above 0")),
    (["page"], ("no finished rows",)),
    (["rescore"], ("none.jsonl has no rows of --task=shapes",)),
    (["trials", "--task=weizmann"], ("--task=shapes",)),
    (["--task=weizmann", "--systems=tgan"], ("task weizmann needs --videos",)),
    (["--task=weizmann", "--systems=tgan", "--videos=/no"], ("--videos=/no", "UCF-101's layout")),
    (["--core=9999"], ("--core=9999", "no such core")),
  ],
)
def test_bad_input_is_refused(tmp_path, arguments, words):
  options = [f"--output={tmp_path}", f"--results={tmp_path}/none.jsonl", f"--trials={tmp_path}/t"]
  result = league(*arguments, *options)
  assert result.returncode == 2
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: ") and all(word in line for word in words), line
  assert os.listdir(tmp_path) == []
