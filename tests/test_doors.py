"""The commands in a shell: they train and sample a run, and refuse bad input in one line."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from vidgan_jax.runtime.config import schema
from vidgan_jax.training import state as states
from vidgan_jax.training.logs import read_log

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = "--config=configs/quickstart.py:runlocal"

# Importing JAX takes longer than most refusals. So one interpreter imports the libraries, and each
# command runs as __main__ in a fork of it. JAX may not have started its threads by then.
OPENER = """
import json, os, runpy, sys

import av, flax, jax, matplotlib.figure, ml_collections, optax, orbax.checkpoint, tensorboardX

for line in sys.stdin:
  order = json.loads(line)
  child = os.fork()
  if not child:
    for number in (1, 2):
      os.dup2(os.open(order["files"][number - 1], os.O_CREAT | os.O_WRONLY), number)
    sys.argv = ["door", *order["arguments"]]
    os.environ.update(order["environment"])
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    sys.exit()
  status = os.waitpid(child, 0)[1]
  print(os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.fixture(scope="module")
def door(tmp_path_factory):
  """A function (command, *arguments) that returns exit code, stdout and stderr of one call."""
  folder = tmp_path_factory.mktemp("output")
  with subprocess.Popen(
    [sys.executable, "-c", OPENER],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as process:

    def call(name, *arguments, **environment):
      files = [str(folder / stream) for stream in ("stdout", "stderr")]
      for file in files:
        pathlib.Path(file).unlink(missing_ok=True)
      order = dict(
        module=f"vidgan_jax.{name}",
        arguments=[str(argument) for argument in arguments],
        files=files,
        environment=environment,
      )
      process.stdin.write(json.dumps(order) + "\n")
      process.stdin.flush()
      code = int(process.stdout.readline())
      stdout, stderr = (pathlib.Path(file).read_text() for file in files)
      return types.SimpleNamespace(returncode=code, stdout=stdout, stderr=stderr)

    yield call
    process.stdin.close()


@pytest.fixture(scope="module")
def flags(lean_config, load_config):
  """The flags that turn the quickstart's config into the tiny one, for eight devices."""
  tiny = lean_config(batch_size=8, sample_every=4)
  whole = schema.flatten(load_config("quickstart", "runlocal"))
  return [CONFIG] + [
    f"--config.{name}={tuple(value) if isinstance(value, list) else value}"
    for name, value in schema.flatten(tiny).items()
    if whole[name] != value
  ]


@pytest.fixture(scope="module")
def trained(flags, tmp_path_factory):
  """A run of 4 iterations, trained by the command: its folder and the result of the process."""
  workdir = tmp_path_factory.mktemp("doors") / "runs" / "tiny"
  result = subprocess.run(
    [sys.executable, "-m", "vidgan_jax.train", *flags, f"--workdir={workdir}"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=500,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  return workdir, result


def everything(folder):
  """{path: (bytes, time of the last change)} of all files below a folder."""
  return {
    str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
    for path in folder.rglob("*")
    if path.is_file()
  }


def contents(folder):
  """{path: bytes} of all files below a folder."""
  return {name: data for name, (data, _) in everything(folder).items()}


def assert_refused(result, *words):
  """One line on stderr with the words in it, nothing on stdout, exit code 2."""
  assert result.returncode == 2, result.stderr
  assert result.stdout == ""
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: ")
  assert all(word in line for word in words), line


def test_training_tells_where_its_results_are(trained):
  workdir, result = trained
  assert f"samples generated during training: {workdir}/samples" in result.stdout
  assert f"checkpoints: {workdir}/checkpoints" in result.stdout
  assert sorted(path.name for path in workdir.iterdir()) == sorted(
    ".lock checkpoints config.json curves.png data.json log.jsonl samples tensorboard".split()
  )
  assert [path.name for path in sorted((workdir / "checkpoints").iterdir())] == ["2", "4"]
  previews = sorted(path.name for path in (workdir / "samples").iterdir())
  assert previews == ["00000004.mp4", "00000004.png"]
  assert json.loads((workdir / "config.json").read_text())["model"]["resolution"] == 8
  assert len((workdir / "log.jsonl").read_text().splitlines()) == 4


def test_a_finished_run_is_left_as_it_is(trained, door, flags):
  workdir, _ = trained
  before = contents(workdir)
  result = door("train", *flags, f"--workdir={workdir}")
  assert result.returncode == 0 and result.stderr == ""
  assert "already trained for 4 iterations" in result.stdout
  assert contents(workdir) == before


def test_a_branch_and_a_run_with_other_weights(trained, door, flags, tmp_path):
  workdir = shutil.copytree(trained[0], tmp_path / "run")
  before = contents(workdir)
  assert_refused(
    door("train", *flags, f"--workdir={workdir}", "--restart_from=3"), "there are: 2, 4"
  )
  assert contents(workdir) == before
  result = door("train", *flags, f"--workdir={workdir}", "--restart_from=2")
  assert result.returncode == 0, result.stderr
  branch = workdir / "branches" / "1"
  assert f"going back to iteration 2, in {branch}" in result.stdout
  assert f"checkpoints: {branch}/checkpoints" in result.stdout
  after = contents(workdir)
  assert {name: after[name] for name in before} == before
  arguments = [f"--workdir={tmp_path / 'new'}", f"--init_from={branch}"]
  result = door("train", *flags, *arguments, "--config.num_iterations=1")
  assert result.returncode == 0, result.stderr
  assert f"beginning with the weights of the run {branch} at iteration 4" in result.stdout
  assert (tmp_path / "new" / "checkpoints" / "0").is_dir()
  arguments = [f"--workdir={tmp_path / 'new'}", f"--init_from={workdir}"]
  assert_refused(door("train", *flags, *arguments), str(branch), str(workdir), "leave the flag out")


def test_the_same_seed_gives_the_same_bytes(trained, door, tmp_path):
  workdir, _ = trained
  before = everything(workdir)
  arguments = [f"--workdir={workdir}", "--labels=disk_vertical,3", "--seed=5", "--frames=6"]
  first = subprocess.run(
    [sys.executable, "-m", "vidgan_jax.sample", *arguments, f"--output={tmp_path / 'a'}"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert (first.returncode, first.stderr) == (0, "")
  second = door("sample", *arguments, f"--output={tmp_path / 'b'}")
  assert (second.returncode, second.stderr) == (0, "")
  a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
  assert a == b and {"samples.npz", "grid.mp4", "grid.gif", "contact_sheet.png"} < set(a)
  assert sum(name.startswith("clips/") and name.endswith(".mp4") for name in a) == 4
  with np.load(tmp_path / "a" / "samples.npz", allow_pickle=False) as archive:
    assert archive["clips"].shape == (4, 6, 8, 8, 3) and archive["clips"].dtype == np.uint8
    assert archive["labels"].tolist() == [4, 4, 3, 3]
  assert everything(workdir) == before
  # Drawn again into the same place, they are refused and stay.
  before = everything(tmp_path)
  result = door("sample", *arguments, f"--output={tmp_path / 'a'}", "--seed=6")
  assert_refused(result, str(tmp_path / "a"), "already holds", "--overwrite")
  assert everything(tmp_path) == before


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--config=configs/quickstart.py:no_such"], ["'no_such'", "known: quickstart"]),
    (["--config.batch_size=12"], ["batch_size 12 is not divisible", "devices, 8"]),
    (["--config.batch_size=0"], ["config.batch_size is 0, must be an integer from 1"]),
    (["--config.num_iterations=0"], ["num_iterations is 0"]),
    (["--config.model.resolution=48"], ["48x48"]),
    (["--config.model.generator.channels=6"], ["model.generator.channels: 4 there, 6 here"]),
    (["--config.seed=1", "--config.model.frames=8"], ["model.frames: 4 there, 8 here"]),
    (["--config.batch_size=many"], ["--config.batch_size=many"]),
    (["--config.ema.decay=often"], ["--config.ema.decay=often"]),
    (["--config.model.no_such=1"], ["no_such"]),
    (["--config.model.generator.variant=other"], ["generator.variant is 'other'", "stacked_rnn"]),
  ],
)
def test_training_refuses_in_one_line_and_leaves_the_run(trained, door, flags, arguments, words):
  workdir, _ = trained
  before = everything(workdir)
  assert_refused(door("train", *flags, *arguments, f"--workdir={workdir}"), *words)
  assert everything(workdir) == before


def test_unknown_resolutions_list_the_known_ones(door, tmp_path):
  workdir = tmp_path / "run"
  result = door("train", CONFIG, "--config.model.resolution=48", f"--workdir={workdir}")
  assert_refused(result, "48", "known: 32, 64, 128, 256")
  assert not workdir.exists()


@pytest.fixture
def bad_data(tmp_path):
  """Flags of data that cannot be trained on, by name."""
  clips = np.zeros((3, 4, 8, 8, 3), np.uint8)
  np.savez(tmp_path / "labels.npz", clips=clips, labels=[0, 1, 9])
  (tmp_path / "empty").mkdir()
  for index in range(8):
    (tmp_path / "broken" / f"class{index}").mkdir(parents=True)
    (tmp_path / "broken" / f"class{index}" / "clip.mp4").write_bytes(b"no video")
  folder = lambda name: ["--config.data.name=video_folder", f"--config.data.directory={name}"]
  return {
    "labels": ["--config.data.name=npz", f"--config.data.directory={tmp_path / 'labels.npz'}"],
    "missing": ["--config.data.name=npz", f"--config.data.directory={tmp_path / 'none.npz'}"],
    "empty": folder(tmp_path / "empty"),
    "broken": [*folder(tmp_path / "broken"), f"--config.data.cache_directory={tmp_path / 'c'}"],
  }


@pytest.mark.parametrize(
  ("which", "words"),
  [
    ("labels", ["labels.npz", "label 9 of clip 2", "0..7"]),
    ("missing", ["none.npz: no such file"]),
    ("empty", ["empty", "no video files"]),
  ],
)
def test_data_that_cannot_be_trained_on(door, flags, bad_data, tmp_path, which, words):
  result = door("train", *flags, *bad_data[which], f"--workdir={tmp_path / 'run'}")
  assert_refused(result, *words)
  assert not (tmp_path / "run" / "checkpoints").exists()


def test_zero_usable_clips(door, flags, bad_data, tmp_path):
  result = door("train", *flags, *bad_data["broken"], f"--workdir={tmp_path / 'run'}")
  assert result.returncode == 2
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: ") and "broken" in line
  assert "clip.mp4" in result.stdout  # which files were left out, and why


def test_bad_data_leaves_no_run_behind(door, flags, bad_data, tmp_path):
  """Or the corrected command, with as many classes as there are, would be refused."""
  assert_refused(
    door("train", *flags, *bad_data["labels"], f"--workdir={tmp_path / 'run'}"), "label 9"
  )
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  "place",
  [
    "file/run",
    "file",
    "/proc/run",
    "/proc",
    "",
  ],
)
def test_workdirs_that_cannot_be_written(door, flags, tmp_path, place):
  """The superuser ignores permissions, but not that a file is no folder."""
  (tmp_path / "file").write_text("mine")
  assert_refused(door("train", *flags, f"--workdir={place and tmp_path / place}"), "workdir")
  assert contents(tmp_path) == {"file": b"mine"}


def test_outputs_that_cannot_be_written(trained, door, tmp_path):
  (tmp_path / "file").write_text("mine")
  output = tmp_path / "file" / "out"
  result = door("sample", f"--workdir={trained[0]}", f"--output={output}")
  assert_refused(result, f"cannot write to {output}: ", f"{tmp_path}/file is no folder")
  assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--truncation=0"], ["--truncation=0: must be a number above 0"]),
    (["--truncation=nan"], ["--truncation=nan: must be a number above 0"]),
    (["--checkpoint=3"], ["no checkpoint at iteration 3", "there are: 2, 4"]),
    (["--frames=-1"], ["--frames=-1"]),
    (["--seed=4294967296"], ["--seed=4294967296"]),
    (["--frame_rate=nan"], ["--frame_rate=nan: must be a number from 0.1"]),
    (["--interpolate=pixel"], ["--interpolate=pixel", "one of latent, class"]),
    (["--labels=no_such"], ["'no_such'", "known names: disk_horizontal, "]),
    (["--workdir={tmp}/none"], ["no run in", "none"]),
    (["--workdir={tmp}"], ["no run in"]),
    (["--workdir="], ["no run in"]),
  ],
)
def test_sampling_refuses_in_one_line_and_writes_nothing(trained, door, tmp_path, arguments, words):
  arguments = [argument.format(tmp=tmp_path) for argument in arguments]
  result = door("sample", f"--workdir={trained[0]}", f"--output={tmp_path / 'out'}", *arguments)
  assert_refused(result, *words)
  assert not list(tmp_path.iterdir())


def test_a_run_without_a_checkpoint_cannot_be_sampled(trained, door, tmp_path):
  for name in ("config.json", "data.json"):
    (tmp_path / name).write_bytes((trained[0] / name).read_bytes())
  for arguments in (("sample", f"--output={tmp_path / 'out'}"), ("analyze",)):
    result = door(*arguments, f"--workdir={tmp_path}")
    assert_refused(result, "has no checkpoint yet")


def test_what_a_run_draws_is_looked_at(trained, door, tmp_path):
  folder = tmp_path / "looks"
  arguments = ("analyze", f"--workdir={trained[0]}", f"--output={folder}")
  what = "--what=neighbours,darkness,smoothness"
  result = door(*arguments, what, "--clips=8", "--frames=4")
  assert result.returncode == 0, result.stderr
  names = [line.rsplit("/", 1)[1] for line in result.stdout.splitlines() if "written: " in line]
  shown = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
  assert sorted(names) == sorted(shown)  # hidden is the file that locks the folder
  assert {"neighbours.json", "darkness.png", "smoothness_class.png"} < set(names)
  neighbours = json.loads((folder / "neighbours.json").read_text())
  assert neighbours["step"] == 4 and neighbours["searched"]["held_out"] > 0
  assert json.loads((folder / "darkness.json").read_text())["training"]["step"] == [1, 2, 3, 4]
  assert_refused(door(*arguments, what), "exists; ", "--overwrite")


@pytest.mark.parametrize("name", ["train", "sample", "analyze"])
def test_help_imports_no_jax(name, tmp_path):
  (tmp_path / "jax.py").write_text("raise SystemExit('jax was imported')")
  result = subprocess.run(
    [sys.executable, "-m", f"vidgan_jax.{name}", "--help"],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": f"{tmp_path}"},
    capture_output=True,
    text=True,
    timeout=100,
    check=False,
  )
  assert (result.returncode, result.stderr) == (0, "")
  required = "Required, except with --print_config." if name == "train" else "--workdir (required)"
  assert required in result.stdout and "Exit codes:" in result.stdout


@pytest.mark.parametrize("name", ["train", "summarize"])
def test_help_with_a_config_lists_its_fields(name, tmp_path):
  (tmp_path / "jax.py").write_text("raise SystemExit('jax was imported')")

  def call(*options):
    return subprocess.run(
      [sys.executable, "-m", f"vidgan_jax.{name}", *options],
      cwd=ROOT,
      env={**os.environ, "PYTHONPATH": f"{tmp_path}"},
      capture_output=True,
      text=True,
      timeout=100,
      check=False,
    )

  without = call("--help")
  assert "--config=NAME --help also lists the fields" in without.stdout
  assert "--config.model.latent_dim" not in without.stdout
  for options in (("--config=quickstart", "--help"), ("-h", "--config", "quickstart")):
    result = call(*options, "--config.batch_size=24")
    assert (result.returncode, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    assert "--config.batch_size=24 Clips per update, over all devices. Allowed: an integer" in text
    assert "--config.model.generator.multipliers=" in text
    assert "--config.model.latent_dim=12 " in text
  for options, message in (
    (("--config=no_such", "--help"), "unknown config 'no_such'"),
    (("--config=quickstart", "--help", "--config.no_such=1"), "unknown config field"),
  ):
    result = call(*options)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"The fields of this config cannot be listed: {message}" in " ".join(
      result.stdout.split()
    )


def test_evaluating(trained, door, tmp_path):
  options = [f"--workdir={trained[0]}", f"--output={tmp_path / 'scores'}", "--seed=3"]
  options += ["--count=16", "--real_count=40", "--bootstrap=4"]
  twice = [door("evaluate", *options, VIDGAN_JAX_REFERENCES=str(tmp_path / "kept")) for _ in "ab"]
  for result in twice:
    assert result.returncode == 0, result.stderr
    assert (
      "iteration 4" in result.stdout and f"written: {tmp_path}/scores/report.html" in result.stdout
    )
  table = lambda result: [line for line in result.stdout.splitlines() if line.startswith("  ")]
  assert table(twice[0]) == table(twice[1])
  assert "features of 40 real clips: " in twice[1].stdout
  content = json.loads((tmp_path / "scores" / "results.json").read_text())
  assert {r["step"] for r in content["records"]} == {4}
  assert {"is", "fid", "accuracy"} <= {r["metric"] for r in content["records"]}


def test_protocols_are_told_without_jax(tmp_path):
  (tmp_path / "jax.py").write_text("raise SystemExit('jax was imported')")
  for arguments, code in ((["--list"], 0), (["--protocol=fvd2"], 2), (["--help"], 0)):
    result = subprocess.run(
      [sys.executable, "-m", "vidgan_jax.evaluate", *arguments],
      cwd=ROOT,
      env={**os.environ, "PYTHONPATH": f"{tmp_path}"},
      capture_output=True,
      text=True,
      timeout=100,
      check=False,
    )
    assert result.returncode == code and "jax was imported" not in result.stderr
    assert "fvd_unterthiner2018" in result.stdout + result.stderr
  assert len(result.stderr.splitlines()) <= 1


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ([], ["--workdir (a run) or --clips (videos or a file) is required"]),
    (["--workdir={tmp}"], ["no run in"]),
    (["--workdir={tmp}", "--truncations=1,a"], ["--truncations=1,a: must be a list of numbers"]),
    (["--workdir={tmp}", "--count=1"], ["--count=1"]),
    (
      ["--clips={tmp}/no.npz", "--output={tmp}/out"],
      ["--clips needs real clips"],
    ),
    (
      ["--clips={tmp}/videos", "--real={tmp}/real", "--output={tmp}/out", "--protocol=recommended"],
      ["videos: no such file"],
    ),
    (["--convert=i3d"], ["--convert needs --source"]),
    (["--convert=i3d", "--source={tmp}"], ["unknown network 'i3d'", "known: i3d_kinetics400"]),
  ],
)
def test_evaluating_refuses_in_one_line_and_writes_nothing(door, tmp_path, arguments, words):
  result = door("evaluate", *(argument.format(tmp=tmp_path) for argument in arguments))
  assert_refused(result, *words)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("name", "arguments", "words"),
  [
    ("evaluate", ["--list", "--protocol=recommended"], "--protocol: no effect with --list"),
    ("evaluate", ["--convert=i3d", "--source=x", "--count=8"], "--count: no effect with --convert"),
    ("evaluate", ["--workdir=x", "--noallow_unknown", "--mean=x"], "--mean, --allow_unknown: no"),
    ("evaluate", ["--workdir=x", "--truncation=1", "--truncations=1,2"], "--truncation: no effect"),
    ("evaluate", ["--clips=x", "--workdir=x", "--noema"], "--ema: no effect with --clips"),
    ("evaluate", ["--clips=x", "--workdir=x", "--standing_passes=0"], "--standing_passes: no"),
    ("evaluate", ["--clips=x", "--real=x", "--workdir=x"], "--workdir: no effect with --clips"),
    ("evaluate", ["--real=x", "--workdir=x", "--data_directory=x"], "--data_directory: no effect"),
    ("analyze", ["--workdir=x", "--clips=8"], "--clips: no effect with --what=hessian"),
    ("analyze", ["--workdir=x", "--what=gradients", "--products=9"], "--products: no effect"),
    ("analyze", ["--workdir=x", "--what=darkness,smoothness", "--search=9"], "--search: no"),
    ("analyze", ["--workdir=x", "--what=compare", "--seed=0"], "--seed: no effect"),
    ("analyze", ["--workdir=x", "--what=spectra", "--seed=0"], "spectra"),
    ("summarize", [CONFIG, "--devices=2", "--tflops=1"], "--tflops: no effect with --devices"),
    ("summarize", [CONFIG, "--devices=2", "--dtype=float32"], "--dtype: no effect with --devices"),
    ("summarize", [CONFIG, "--topology=cpu:2", "--devices=2"], "--devices: no effect with --topol"),
    ("summarize", [CONFIG, "--topology=cpu:2", "--dtype=float32"], "--dtype: no effect with --top"),
    ("summarize", [CONFIG, "--topology=v9:2x2"], "unknown hardware 'v9'"),
    ("summarize", [CONFIG, "--programs=iteration"], "--programs: no effect without --topology"),
    ("summarize", [CONFIG, "--topology=cpu:2", "--programs=x,sampling"], "--programs: unknown 'x'"),
    ("summarize", [CONFIG, "--topology=cpu:2", "--programs="], "--programs: no program; the pro"),
  ],
)
def test_flags_without_effect_are_refused(door, tmp_path, name, arguments, words):
  assert_refused(door(name, *arguments), words)


def in_two_processes(*arguments):
  """Starts training in two processes, of four devices each."""
  flag = "device_count"
  others = [f for f in os.environ.get("XLA_FLAGS", "").split() if flag not in f]
  return subprocess.Popen(
    [ROOT / "launch" / "local_multiprocess.sh", "2", sys.executable, "-m", "vidgan_jax.train"]
    + [str(argument) for argument in arguments],
    cwd=ROOT,
    env={**os.environ, "XLA_FLAGS": " ".join([*others, f"--xla_force_host_platform_{flag}=4"])},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_two_processes_train_one_run_and_leave_together(trained, flags, tmp_path, monkeypatch):
  """One folder, one log, one checkpoint of parts; a signal to the launcher reaches both.

  And scores: the networks run in both, the best state is kept by both.
  """
  run = tmp_path / "run"
  monkeypatch.setenv("VIDGAN_JAX_REFERENCES", str(tmp_path / "kept"))
  scores = dict(every=4, protocol="moving_shapes", best="is", count=16, real_count=24)
  process = in_two_processes(
    *flags,
    f"--workdir={run}",
    "--config.num_iterations=1000",
    "--config.sharding=zero1",
    *(f"--config.evaluation.{name}={value}" for name, value in scores.items()),
  )
  end = time.monotonic() + 500
  while process.poll() is None and len(read_log(run / "log.jsonl")) < 6:
    assert time.monotonic() < end
    time.sleep(0.1)
  process.send_signal(signal.SIGTERM)
  stdout, stderr = process.communicate(timeout=100)
  assert process.returncode == 75, stderr
  assert "training on 8 x cpu in 2 processes, float32, batch 8" in stdout
  step = int(states.load(run)[2].step)
  assert f"stopped by a signal: saved at iteration {step};" in stdout
  records = read_log(run / "log.jsonl")
  assert [record["step"] for record in records] == list(range(1, step + 1))
  # In one process the same devices do the same.
  alone = read_log(trained[0] / "log.jsonl")[0]
  for name in ("loss/discriminator", "sigma_max/generator", "pixel/real_red"):
    assert records[0][name] == pytest.approx(alone[name], rel=1e-4)
  assert (run / "samples" / "00000004.png").exists()
  assert (run / "evaluation" / "moving_shapes" / "report.html").exists()
  assert int(states.load(run / "best")[2].step) == 4


@pytest.mark.parametrize(
  ("option", "words"),
  [
    (
      "--config.batch-size=3",
      "unknown config field 'batch-size' in --config.batch-size=3; did you",
    ),
    ("--config.model..channels=3", "unknown config field 'model..channels'"),
    ("--config.=3", "unknown config field ''"),
    ("--config.1=3", "unknown config field '1'"),
    ("--config.a b=3", "unknown config field 'a b'"),
    (
      "--config.model.generator.multipliers[0]=3",
      "a part of a value cannot be set; write the whole",
    ),
    ("--config.model.generator.multipliers=(2,", "(2, is no tuple, such as (4,2)"),
    ("--config.model=mocogan", "'mocogan' cannot replace a group; set its fields"),
    ("--config.optimizer=3", "'3' cannot replace a group; set its fields"),
    ("--config=", "--config is empty"),
    ("--flagfile=/no/such", "Unable to open flagfile: [Errno 2] No such file"),
  ],
)
def test_fields_and_values_that_no_config_can_have_are_one_line(door, option, words):
  result = door("train", "--config=quickstart", "--print_config", option)
  assert (result.returncode, result.stdout) == (2, "")
  assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
  assert words in result.stderr


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("", "it defines no 'get_config'"),
    ("import no_such_module", "No module named 'no_such_module'"),
  ],
)
def test_config_files_that_cannot_be_read_are_one_line(door, tmp_path, text, words):
  (tmp_path / "mine.py").write_text(text)
  result = door("train", f"--config={tmp_path / 'mine.py'}", "--print_config")
  assert (result.returncode, result.stdout) == (2, "")
  assert result.stderr == f"error: cannot read the config file: {words}\n"


def test_two_processes_are_refused_in_one_line(tmp_path):
  process = in_two_processes(CONFIG, f"--workdir={tmp_path / 'run'}", "--config.batch_size=12")
  stderr = process.communicate(timeout=100)[1]
  lines = [line for line in stderr.splitlines() if "error" in line]
  assert process.returncode == 2, stderr
  assert lines == ["error: batch_size 12 is not divisible by the number of devices, 8"]
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--num_processes=2"], ["need --coordinator"]),
    (["--coordinator=localhost"], ["must be host:port or auto"]),
    (["--coordinator=localhost:1"], ["needs --num_processes and --process_id"]),
    (["--coordinator=localhost:1", "--num_processes=2", "--process_id=2"], ["2 is not one of 2"]),
  ],
)
def test_processes_that_cannot_be(door, tmp_path, arguments, words):
  result = door("train", CONFIG, f"--workdir={tmp_path / 'run'}", *arguments)
  assert_refused(result, *words)
