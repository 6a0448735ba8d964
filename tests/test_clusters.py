"""The launch scripts for clusters, with stubs for gcloud, srun, ssh and others on the PATH.

The stub of gcloud has a queued resource with two workers. Each worker is a home folder, and ssh
runs its command there. Nothing is installed or trained, and no cluster is reached.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib

import pytest
import yaml

from tests import docs_commands

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAUNCH = ROOT / "launch"
OWN = ("babysit.sh", "multi_gpu.sh", "slurm.sbatch", "tpu_vm.sh", "tpu_worker.sh")

# `describe` first shows the state in the file, then the next one: a request is granted in time.
GCLOUD = r"""#!/usr/bin/env bash
printf '%s\n' "gcloud $(printf '%s ' "$@")" >>"$NOTES"
[ ! -e "$CLOUD/offline" ] || { echo "ERROR: no network" >&2; exit 1; }
command="" worker=all state="$(cat "$CLOUD/state" 2>/dev/null)"
for argument; do
  case "$argument" in
    --command=*) command="${argument#*=}" ;;
    --worker=*) worker="${argument#*=}" ;;
  esac
done
case "$*" in
  *"queued-resources create"*)
    [ -z "$state" ] || { echo "ERROR: ALREADY_EXISTS" >&2; exit 1; }
    mkdir -p "$CLOUD/homes/w0" "$CLOUD/homes/w1"
    echo WAITING_FOR_RESOURCES >"$CLOUD/state"
    ;;
  *"queued-resources describe"*)
    [ -n "$state" ] || { echo "ERROR: (gcloud) NOT_FOUND: Resource was not found" >&2; exit 1; }
    echo "$state"
    case "$state" in
      WAITING_FOR_RESOURCES) echo "${GRANTED:-PROVISIONING}" >"$CLOUD/state" ;;
      PROVISIONING) echo ACTIVE >"$CLOUD/state" ;;
    esac
    ;;
  *"tpu-vm describe"*) cat "$CLOUD/machines" 2>/dev/null || echo READY ;;
  *"queued-resources delete"*) rm -rf "$CLOUD/homes" "$CLOUD/state" "$CLOUD/machines" ;;
  *"queued-resources scp"*)
    for home in "$CLOUD"/homes/*/; do cp "$5" "$home/${6#*:}" || exit; done
    ;;
  *"queued-resources ssh"*)
    [ "$state" = ACTIVE ] || exit 0 # as the real one does: "could not prepare all nodes"
    result=0
    for home in "$CLOUD"/homes/*/; do
      name="$(basename "$home")"
      [ "$worker" = all ] || [ "w$worker" = "$name" ] || continue
      (cd "$home" && WORKER_NAME="$name" HOME="${home%/}" bash -c "$command") || result=$?
    done
    exit "$result"
    ;;
esac
"""

# Start number N of training on a worker ends with word N of CODES, or of CODES_<worker>. The words
# "wait" and "hang" run until SIGTERM, which ends "wait" with 75 and "hang" never.
TRAINER = r"""#!/usr/bin/env bash
name="${WORKER_NAME:-host}"
count="$CLOUD/starts.$name"
number=$(($(cat "$count" 2>/dev/null || echo 0) + 1))
echo "$number" >"$count"
specific="CODES_$name"
codes=(${!specific:-$CODES})
code="${codes[number - 1]:-0}"
case "$code" in
  wait) trap 'exit 75' TERM ;;
  hang) trap '' TERM ;;
esac
echo "iteration $number of $name"
echo "$name: $*${COLOUR:+ in $COLOUR}" >>"$NOTES"
while [[ "$code" = [wh]* ]]; do sleep 0.05; done
exit "$code"
"""

INSTALLED = r"""#!/usr/bin/env bash
echo "${WORKER_NAME:-host} ${0##*/}: $*" >>"$NOTES"
"""


class Laptop:
  """A folder with the project's launch files, and stubs on the PATH."""

  def __init__(self, folder):
    self.path, self.bin, self.cloud = folder / "a project", folder / "bin", folder / "cloud"
    self.notes, self.started = folder / "notes", []
    self.bin.mkdir()
    self.cloud.mkdir()
    shutil.copytree(LAUNCH, self.path / "launch")
    (self.path / "launch/install.sh").write_text(
      '"$PYTHON" install for $VIDGAN_JAX_DEVICE "$@" ${COLOUR:+"in $COLOUR"}\n'
    )
    for name in ("vidgan_jax", "configs"):
      (self.path / name).mkdir()
      (self.path / name / "a.py").write_text("")
    for file in [
      *ROOT.glob("requirements*.txt"),
      *(ROOT / n for n in ("pyproject.toml", "LICENSE")),
    ]:
      shutil.copy(file, self.path)
    (self.path / "README.md").write_text("")
    self.program("gcloud", GCLOUD)
    self.program("trainer", TRAINER)
    self.program("hostname", '#!/bin/sh\necho "${WORKER_NAME:-host}"\n')
    for name in ("sudo", "mountpoint", "scontrol"):
      self.program(name, INSTALLED)
    self.program(
      "python3", f'#!/bin/sh\n[ "$1" = install ] || exec "{sys.executable}" "$@"\n{RECORD}'
    )
    self.environment = {
      "PATH": f"{self.bin}:/usr/bin:/bin",
      "HOME": str(folder),
      "NOTES": str(self.notes),
      "CLOUD": str(self.cloud),
      "VIDGAN_JAX_PYTHON": str(self.bin / "trainer"),
    }

  def program(self, name, text):
    (self.bin / name).write_text(text)
    (self.bin / name).chmod(0o755)

  def start(self, script, *arguments, **environment):
    """Starts a script; its output is one pipe."""
    self.notes.write_text("")
    process = subprocess.Popen(
      ["bash", self.path / "launch" / script, *map(str, arguments)],
      cwd=self.path,
      env={**self.environment, **environment},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      start_new_session=True,
    )
    self.started.append(process)
    return process

  def end(self):
    """Kills what a failed test leaves; workers have sessions of their own."""
    for process in self.started:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in self.cloud.glob("homes/*/.vidgan_jax_run/pid"):
      with contextlib.suppress(ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGKILL)

  def run(self, script, *arguments, code=0, **environment):
    """Runs a script; returns (its output, the lines that the stubs have noted)."""
    process = self.start(script, *arguments, **environment)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    return output, self.noted()

  def noted(self):
    return self.notes.read_text().splitlines()

  def pids(self):
    """The processes that train on the two workers."""
    for _ in range(2400):
      texts = [p.read_text() for p in self.cloud.glob("homes/*/.vidgan_jax_run/pid")]
      if len(texts) == 2 and all(texts):
        return [int(text) for text in texts]
      time.sleep(0.05)
    raise AssertionError("no worker trains")

  def wait_for(self, words, times=1):
    """Waits until stubs have noted these words in so many lines; returns the lines so far."""
    for _ in range(2400):
      if sum(words in line for line in self.noted()) >= times:
        return self.noted()
      time.sleep(0.05)
    raise AssertionError(f"{words!r} is not in {self.noted()}")


RECORD = 'echo "${WORKER_NAME:-host} python3: $*" >>"$NOTES"\n'
TPU = ("--name=my-tpu", "--zone=here-a")
SLICE = (*TPU, "--type=v5litepod-8", "--spot", "--poll=0")
RUN = ("--", "--config=a:b,c", "--workdir=/mnt/a b")


@pytest.fixture
def laptop(tmp_path):
  laptop = Laptop(tmp_path)
  yield laptop
  laptop.end()


def calls(notes, words):
  return [line for line in notes if words in line]


def test_shellcheck_finds_nothing():
  program = shutil.which("shellcheck")
  if program is None:
    pytest.skip("shellcheck is not installed")
  files = sorted([*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"])
  found = subprocess.run(
    [program, "--external-sources", "--severity=warning", *files],
    cwd=LAUNCH,
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 0, found.stdout


def test_scripts_are_executable_and_valid_bash():
  for name in OWN:
    assert os.access(LAUNCH / name, os.X_OK), name
    assert subprocess.run(["bash", "-n", LAUNCH / name], check=False).returncode == 0
    assert max(map(len, (LAUNCH / name).read_text().splitlines())) <= 100, name


# babysit.sh


@pytest.mark.parametrize(
  ("codes", "code", "starts"),
  [
    ("0", 0, 1),
    ("75 75 0", 0, 3),
    ("2", 2, 1),
    ("3", 3, 1),
    ("130", 130, 1),
    ("1 134 137", 137, 3),  # three crashes in a row
    ("1 75 1 75 1 75 1 75 1", 1, 9),  # five crashes in all
    ("1 1 75 1 1 0", 0, 6),  # 75 ends the row
    ("75 2", 2, 2),
  ],
)
def test_the_exit_code_decides_whether_training_starts_again(laptop, codes, code, starts):
  options = ("--pause=0", "--all_crashes=5")
  output, notes = laptop.run(
    "babysit.sh", *options, laptop.bin / "trainer", "a b", "c", code=code, CODES=codes
  )
  assert notes == ["host: a b c"] * starts
  assert output.count("babysit, ") >= 2 * starts


def test_long_runs_are_not_counted_as_crashes_in_a_row(laptop):
  arguments = ("--pause=0", "--steady=0", "--crashes=1", laptop.bin / "trainer")
  _, notes = laptop.run("babysit.sh", *arguments, code=1, CODES="1")
  assert len(notes) == 1
  arguments = ("--pause=0", "--steady=0", "--crashes=2", laptop.bin / "trainer")
  _, notes = laptop.run("babysit.sh", *arguments, CODES="1 1 1 1 1 0")
  assert len(notes) == 5  # start 1 was that of the first command
  # A run that crashes again and again at the same iteration ends nevertheless.
  arguments = ("--pause=0", "--steady=0", "--all_crashes=4", laptop.bin / "trainer")
  _, notes = laptop.run("babysit.sh", *arguments, code=1, CODES="1 " * 20)
  assert len(notes) == 4


def test_a_signal_for_babysit_stops_training_and_starts_nothing(laptop):
  process = laptop.start("babysit.sh", "--pause=0", laptop.bin / "trainer", CODES="wait")
  laptop.wait_for("host:")
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 75 and "stopped by a signal" in output
  assert laptop.noted() == ["host: "]


def test_a_signal_during_a_pause_ends_babysit(laptop):
  process = laptop.start("babysit.sh", "--pause=600", laptop.bin / "trainer", CODES="75")
  while "next start in 600 s" not in process.stdout.readline():
    pass
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=120)
  assert process.returncode == 75


@pytest.mark.parametrize("arguments", [[], ["--pause=x", "a"], ["--crashes=0", "a"], ["--no", "a"]])
def test_wrong_arguments_of_babysit_are_refused(laptop, arguments):
  output, _ = laptop.run("babysit.sh", *arguments, code=2)
  assert output.startswith("error: usage: launch/babysit.sh") and output.count("\n") == 1


def test_a_command_that_does_not_exist_is_refused_at_once(laptop):
  output, _ = laptop.run("babysit.sh", "no such command", code=2)
  assert output == "error: cannot run no such command: no such command\n"


@pytest.mark.parametrize("script", ["babysit.sh", "slurm.sbatch"])
def test_the_exit_code_is_known_if_training_ends_at_the_moment_of_a_signal(laptop, script):
  arguments = ["--pause=0", laptop.bin / "trainer"] if script == "babysit.sh" else ["--workdir=a"]
  laptop.program("srun", SRUN)

  def signalled(number):
    notes = laptop.notes.with_name(f"notes {number}")
    process = laptop.start(
      script, *arguments, CODES="wait " * 99, NOTES=str(notes), JOB_STATE="RUNNING", **SLURM
    )
    while not (notes.exists() and "host: " in notes.read_text()):
      time.sleep(0.001)
    pids = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    for pid in (process.pid, *map(int, pids.stdout.split())):
      with contextlib.suppress(ProcessLookupError):  # a `sleep` of babysit.sh that has just ended
        os.kill(pid, signal.SIGTERM)
    process.communicate(timeout=120)
    return process.returncode

  # Several at a time, because a signal meets that moment only on a busy machine.
  with concurrent.futures.ThreadPoolExecutor(12) as pool:
    codes = list(pool.map(signalled, range(60)))
  assert codes == [75] * 60


# Each of four processes runs until process 0 has counted to ten, or until one of them is told to
# stop, which ends all: as JAX does.
MEMBER = r"""#!/usr/bin/env bash
for argument; do
  case "$argument" in
    --process_id=*) id="${argument#*=}" ;;
    --coordinator=*) stop="$CLOUD/stop of ${argument##*:}" ;; # another port for each start
  esac
done


trap 'touch "$stop"' TERM # before its number is known
echo "$BASHPID" >"$CLOUD/pid$id"
echo "process $id runs" >>"$NOTES"
while :; do
  [ ! -e "$stop" ] || exit 75
  step=$(($(cat "$CLOUD/step" 2>/dev/null || echo 0)))
  if [ "$step" -ge 10 ]; then exit 0; fi
  if [ "$id" = 0 ] && [ -e "$CLOUD/go" ]; then echo $((step + 1)) >"$CLOUD/step"; fi
  sleep 0.05
done
"""


def test_four_processes_are_killed_and_stopped_and_still_finish(laptop):
  """One process is killed, then one receives SIGTERM; babysit.sh starts all of them again."""
  laptop.program("member", MEMBER)
  process = laptop.start(
    "babysit.sh", "--pause=0", "launch/local_multiprocess.sh", "4", laptop.bin / "member"
  )
  for number, how in ((2, signal.SIGKILL), (3, signal.SIGTERM)):
    for _ in range(2400):
      if all(laptop.noted().count(f"process {i} runs") == number - 1 for i in range(4)):
        break
      time.sleep(0.05)
    os.kill(int((laptop.cloud / f"pid{number}").read_text()), how)
  (laptop.cloud / "go").touch()
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  ends = re.findall(r"ended with (\d+)", output)
  assert ends == ["137", "75"] and "done, after 3 starts" in output


# tpu_vm.sh


@pytest.mark.parametrize(
  ("action", "arguments", "words"),
  [
    ("create", SLICE, ["queued-resources create my-tpu --node-id=my-tpu"]),
    ("install", TPU, ["queued-resources scp", "tpu_worker.sh\\ install"]),
    ("run", (*TPU, *RUN), ["tpu_worker.sh\\ start\\ --config=a:b"]),
    ("logs", (*TPU, "--follow"), ["--worker=0", "logs\\ 50\\ follow"]),
    ("status", TPU, ["queued-resources describe my-tpu", "tpu_worker.sh\\ status"]),
    ("stop", TPU, ["--worker=all", "tpu_worker.sh\\ stop"]),
    ("delete", TPU, ["queued-resources delete my-tpu --force --quiet"]),
    ("train", (*SLICE, *RUN), ["create", "scp", "start", "status"]),
  ],
)
def test_a_dry_run_prints_commands_and_runs_none(laptop, action, arguments, words):
  output, notes = laptop.run("tpu_vm.sh", action, "--dry_run", *arguments)
  assert notes == [] and not list(laptop.cloud.iterdir())
  for word in words:
    assert word in output
  commands = [line for line in output.splitlines() if line.startswith("gcloud ")]
  assert commands and all("--zone=here-a" in shlex.split(line) for line in commands)


def test_the_request_has_the_software_of_its_type(laptop):
  for kind, version in (
    ("v6e-16", "v2-alpha-tpuv6e"),
    ("v5p-32", "v2-alpha-tpuv5"),
    ("v5litepod-32", "v2-alpha-tpuv5-lite"),
    ("v4-32", "tpu-ubuntu2204-base"),
  ):
    output, _ = laptop.run("tpu_vm.sh", "create", *TPU, f"--type={kind}", "--dry_run")
    assert f"--accelerator-type={kind} --runtime-version={version} " in output
    assert "--spot" not in output
  options = ("--type=v9-4", "--version=new", "--spot", "--valid_for=6h", "--create_flag=--reserved")
  output, _ = laptop.run("tpu_vm.sh", "create", *TPU, *options, "--dry_run", "--project=p")
  assert "--runtime-version=new --spot --valid-until-duration=6h --reserved " in output
  assert "--project=p" in output


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ([], "usage: launch/tpu_vm.sh create|install"),
    (["begin"], "usage: launch/tpu_vm.sh"),
    (["status"], "--name is ''"),
    (["status", "--name=My_TPU"], "--name is 'My_TPU'"),
    (["create", *TPU], "create needs --type"),
    (["create", *TPU, "--type=v9-8"], "no software is known for --type=v9-8"),
    (["create", *TPU, "--type=v5e-32"], "v5e is called v5litepod: --type=v5litepod-32"),
    (["train", *TPU, "--type=v5e-8", "--version=a", *RUN], "--type=v5litepod-8"),
    (["create", *TPU, "--typ=v4-8"], "unknown option --typ=v4-8"),
    (["run", *TPU], "run needs the arguments of training"),
    (["run", *TPU, "--", "--config=a"], "have no --workdir"),
    (["stop", *TPU, "--", "--config=a"], "stop takes no training arguments"),
    (["logs", *TPU, "--worker=x"], "are numbers"),
    (["run", *TPU, "--env=A", *RUN], "--env is 'A'; it needs NAME=VALUE"),
    (["run", *TPU, "--env=1A=b", *RUN], "--env is '1A=b'"),
    (["run", *TPU, "--delete_at_end", *RUN], "run does not take --delete_at_end"),
    (
      ["train", *SLICE, "--delete_at_end", "--", "--config=a", "--workdir=/home/me/runs"],
      "--delete_at_end would delete the run",
    ),
  ],
)
def test_wrong_arguments_of_tpu_vm_are_refused_before_anything_is_done(laptop, arguments, words):
  output, notes = laptop.run("tpu_vm.sh", *arguments, code=2)
  assert output.startswith("error: ") and words in output and output.count("\n") == 1
  assert notes == []


def test_help_lists_the_actions(laptop):
  output, _ = laptop.run("tpu_vm.sh", "--help")
  assert "  delete   deletes the slice" in output and "set -uo" not in output


def test_the_life_of_a_slice(laptop):
  output, notes = laptop.run("tpu_vm.sh", "create", *SLICE)
  states = [line.partition(": ")[2] for line in output.splitlines()[1:]]
  assert states == ["WAITING_FOR_RESOURCES", "PROVISIONING", "READY"]
  output, notes = laptop.run("tpu_vm.sh", "install", *TPU, "--setup=echo set up >>$NOTES")
  assert notes.count("set up") == 2
  assert "w1 python3: install for tpu requirements-gcs.txt" in notes
  home = laptop.cloud / "homes/w1"
  with tarfile.open(home / "vidgan_jax.tgz") as archive:
    assert set(archive.getnames()) >= {
      "vidgan_jax/a.py",
      "configs/a.py",
      "requirements-tpu.txt",
      "requirements-gcs.txt",
    }
  assert (home / "vidgan_jax/launch/tpu_worker.sh").exists()

  laptop.run("tpu_vm.sh", "run", *TPU, *RUN, CODES="wait 0")
  notes = laptop.wait_for("w1: -m")
  assert f"w0: -m vidgan_jax.train --coordinator=auto {RUN[1]} {RUN[2]}" in notes
  output, _ = laptop.run("tpu_vm.sh", "run", *TPU, *RUN, code=2)
  assert output.count("error: training already runs on worker w") == 2
  output, _ = laptop.run("tpu_vm.sh", "install", *TPU, code=2)
  assert "error: training already runs" in output and (home / "vidgan_jax/vidgan_jax/a.py").exists()
  output, _ = laptop.run("tpu_vm.sh", "status", *TPU)
  lines = [
    "my-tpu: READY",
    *(f"worker=w{i} state=running code= | iteration 1 of w{i}" for i in "01"),
  ]
  assert output.splitlines() == lines
  output, _ = laptop.run("tpu_vm.sh", "stop", *TPU)
  assert output.count("state=ended code=75") == 2 and "costs money until" in output
  output, _ = laptop.run("tpu_vm.sh", "logs", *TPU, "--worker=1")
  assert output == "iteration 1 of w1\n"
  output, _ = laptop.run("tpu_vm.sh", "logs", *TPU, "--worker=all")
  assert output == "w0: iteration 1 of w0\nw1: iteration 1 of w1\n"
  _, notes = laptop.run("tpu_vm.sh", "delete", *TPU)
  assert not (laptop.cloud / "homes").exists()
  output, _ = laptop.run("tpu_vm.sh", "status", *TPU)
  assert output == "my-tpu: NONE\n"


@pytest.mark.parametrize(
  ("first", "second", "code"),
  [
    ("0", "0", 0),
    ("75", "75", 75),
    ("134", "2", 2),
    ("3", "134", 3),
    ("1", "0", 1),
    ("0", "75", 75),
  ],
)
def test_train_ends_with_the_code_of_training(laptop, first, second, code):
  """If one process refuses its input, JAX ends the other with a code of its own."""
  output, notes = laptop.run(
    "tpu_vm.sh", "train", *SLICE, *RUN, code=code, CODES_w0=first, CODES_w1=second
  )
  assert len(calls(notes, "-m vidgan_jax.train")) == 2
  assert len(calls(notes, "queued-resources create")) == 1
  assert not calls(notes, "queued-resources delete")
  assert ("the same command continues" in output) == (code == 75)
  assert "costs money until: launch/tpu_vm.sh delete --name=my-tpu --zone=here-a" in output


def test_a_slice_that_is_taken_away_is_created_again(laptop):
  """babysit.sh and tpu_vm.sh together: preempted in training, created again, done."""
  process = laptop.start(
    "babysit.sh", "--pause=0", "launch/tpu_vm.sh", "train", *SLICE, *RUN, CODES="wait 0"
  )
  laptop.wait_for("w1: -m")
  pids = laptop.pids()
  (laptop.cloud / "state").write_text("SUSPENDED\n")
  for pid in pids:
    os.kill(pid, signal.SIGKILL)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  notes = laptop.noted()
  assert len(calls(notes, "queued-resources create")) == 2
  assert len(calls(notes, "queued-resources delete")) == 1
  assert len(calls(notes, "-m vidgan_jax.train")) == 4
  assert "ended with 75" in output and "SUSPENDED: deleting what is left" in output


def test_machines_that_are_gone_are_created_again_although_the_request_is_active(laptop):
  laptop.run("tpu_vm.sh", "create", *SLICE)
  (laptop.cloud / "machines").write_text("PREEMPTED\n")
  _, notes = laptop.run("tpu_vm.sh", "train", *SLICE, *RUN, CODES="0")
  assert len(calls(notes, "queued-resources delete")) == 1


def test_a_request_that_fails_is_no_preemption(laptop):
  output, _ = laptop.run("tpu_vm.sh", "train", *SLICE, *RUN, code=1, GRANTED="FAILED")
  assert "error: the request failed: gcloud" in output


def test_a_request_that_was_not_granted_in_time_is_given_up(laptop):
  """Exit code 2, so that babysit.sh does not request the slice again."""
  options = (*SLICE, "--valid_for=6h", "--delete_at_end", *RUN)
  output, notes = laptop.run(
    "babysit.sh", "--pause=0", "launch/tpu_vm.sh", "train", *options, code=2, GRANTED="FAILED"
  )
  assert "error: the request failed, or was not granted within 6h: gcloud" in output
  assert "ended with 2, which another start does not change" in output
  assert len(calls(notes, "queued-resources create")) == 1
  assert len(calls(notes, "queued-resources delete")) == 1


@pytest.mark.parametrize(("code", "deleted"), [(0, 1), (2, 1), (3, 1), (1, 0), (75, 0)])
def test_a_slice_is_deleted_at_the_end_after_its_logs_are_kept(laptop, code, deleted):
  arguments = (*SLICE, "--delete_at_end", *RUN)
  output, notes = laptop.run("tpu_vm.sh", "train", *arguments, code=code, CODES=str(code))
  assert len(calls(notes, "queued-resources delete")) == deleted
  assert ("costs money until" in output) == (not deleted)
  kept = laptop.path / "my-tpu-workers.log"
  assert kept.exists() == (code != 75)
  if deleted:
    assert "delete" in notes[-1] and "logs 1000 named" in notes[-2]
    assert not (laptop.cloud / "homes").exists()


def test_the_logs_of_all_workers_are_kept_after_a_failure(laptop):
  environment = {"CODES_w0": "134 0", "CODES_w1": "1 3"}
  output, notes = laptop.run("tpu_vm.sh", "train", *SLICE, *RUN, code=134, **environment)
  lines = output.splitlines()
  assert "my-tpu: the logs of all workers: my-tpu-workers.log" in lines
  assert "w0: iteration 1 of w0" in lines and "w1: iteration 1 of w1" not in lines
  assert not calls(notes, "queued-resources delete")
  output, _ = laptop.run("tpu_vm.sh", "train", *SLICE, *RUN, code=3, **environment)
  assert "w1: iteration 2 of w1" in output.splitlines()
  kept = (laptop.path / "my-tpu-workers.log").read_text().splitlines()
  assert re.fullmatch("my-tpu, .*: training ended with 134", kept[0])
  assert kept[1:3] == ["w0: iteration 1 of w0", "w1: iteration 1 of w1"]
  assert kept[-1] == "w1: iteration 2 of w1"  # the second failure has been added


def test_variables_reach_the_installation_and_training_of_every_worker(laptop):
  colour = "$HOME ~ 'dark' blué"
  output, notes = laptop.run("tpu_vm.sh", "train", *SLICE, f"--env=COLOUR={colour}", *RUN)
  assert len(calls(notes, f"install for tpu requirements-gcs.txt in {colour}")) == 2
  assert len(calls(notes, f"{RUN[2]} in {colour}")) == 2
  options = ("--env=COLOUR=a b", "--env=SHAPE=c", "--dry_run")
  output, _ = laptop.run("tpu_vm.sh", "run", *TPU, *options, *RUN)
  command = next(word for word in shlex.split(output) if word.startswith("--command="))
  assert command.startswith("--command=COLOUR=a\\ b SHAPE=c bash vidgan_jax/launch/tpu_worker.sh ")


def test_train_joins_training_that_runs_already(laptop):
  laptop.run("tpu_vm.sh", "create", *SLICE)
  laptop.run("tpu_vm.sh", "install", *TPU)
  laptop.run("tpu_vm.sh", "run", *TPU, *RUN, CODES="wait")
  laptop.wait_for("w1: -m")
  process = laptop.start("tpu_vm.sh", "train", *SLICE, *RUN)
  laptop.wait_for("tpu_worker.sh status", times=2)  # it watches
  process.send_signal(signal.SIGTERM)  # only the laptop's side ends
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 130 and "training goes on" in output
  output, _ = laptop.run("tpu_vm.sh", "status", *TPU)
  assert output.count("state=running") == 2
  process = laptop.start("tpu_vm.sh", "train", *SLICE, *RUN)
  laptop.wait_for("tpu_worker.sh status", times=2)  # it watches
  for pid in laptop.pids():
    os.kill(pid, signal.SIGTERM)
  process.communicate(timeout=120)
  assert process.returncode == 75
  assert not calls(laptop.noted(), "scp") and not calls(laptop.noted(), "-m vidgan_jax")


def test_a_laptop_without_a_network_does_not_end_the_watching(laptop):
  laptop.run("tpu_vm.sh", "create", *SLICE)
  laptop.run("tpu_vm.sh", "install", *TPU)
  laptop.run("tpu_vm.sh", "run", *TPU, *RUN, CODES="wait")
  laptop.wait_for("w1: -m")
  process = laptop.start("tpu_vm.sh", "train", *SLICE, *RUN)
  laptop.wait_for("tpu_worker.sh status", times=2)  # it watches
  (laptop.cloud / "offline").touch()
  laptop.notes.write_text("")
  while len(laptop.noted()) < 25:  # more looks than failures of workers that are accepted
    time.sleep(0.05)
  (laptop.cloud / "offline").unlink()
  for pid in laptop.pids():
    os.kill(pid, signal.SIGTERM)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 75 and "state=ended code=75" in output


def test_workers_that_cannot_be_reached_are_said(laptop):
  laptop.run("tpu_vm.sh", "create", *SLICE)
  (laptop.cloud / "state").write_text("SUSPENDED\n")
  for action, arguments in (("install", TPU), ("run", (*TPU, *RUN)), ("stop", TPU)):
    output, _ = laptop.run("tpu_vm.sh", action, *arguments, code=1)
    assert output.splitlines()[-1] == "error: no worker of my-tpu has answered"


def test_a_slice_that_is_taken_away_during_the_installation_is_no_failure(laptop):
  laptop.run("tpu_vm.sh", "create", *SLICE)
  laptop.program("tar", '#!/bin/sh\necho SUSPENDING >"$CLOUD/state"\nexec /usr/bin/tar "$@"\n')
  laptop.run("tpu_vm.sh", "train", *SLICE, *RUN, code=75)


def test_workers_that_wait_for_a_failed_one_are_stopped(laptop):
  environment = {"CODES_w0": "wait", "CODES_w1": "1"}
  output, _ = laptop.run("tpu_vm.sh", "train", *SLICE, *RUN, code=1, **environment)
  assert "some workers have failed; stopping the others" in output
  assert "worker=w0 state=ended code=75" in output


def test_a_worker_that_was_restarted_has_lost_its_run(laptop):
  laptop.run("tpu_vm.sh", "create", *SLICE)
  laptop.run("tpu_vm.sh", "install", *TPU)
  home = laptop.cloud / "homes/w0/.vidgan_jax_run"
  home.mkdir()
  other = subprocess.Popen(["sleep", "60"])  # another program has the number now
  (home / "pid").write_text(f"{other.pid}\n")
  output, _ = laptop.run("tpu_vm.sh", "status", *TPU)
  other.kill()
  other.wait()
  assert "worker=w0 state=lost code= |" in output and "worker=w1 state=none code= |" in output


def test_a_share_is_mounted_once(laptop):
  laptop.program("mountpoint", "#!/bin/sh\nexit 1\n")
  laptop.program("mount.nfs", "#!/bin/sh\n")
  laptop.run("tpu_vm.sh", "create", *SLICE)
  _, notes = laptop.run("tpu_vm.sh", "install", *TPU, "--nfs=10.0.0.2:/share")
  assert "w1 sudo: mount -t nfs 10.0.0.2:/share /mnt/vidgan_jax" in notes
  laptop.program("mountpoint", "#!/bin/sh\n")
  _, notes = laptop.run("tpu_vm.sh", "install", *TPU, "--nfs=10.0.0.2:/share")
  assert not calls(notes, "sudo")


def test_the_program_that_mounts_shares_is_installed_from_a_new_list(laptop):
  laptop.program("mountpoint", "#!/bin/sh\nexit 1\n")
  laptop.run("tpu_vm.sh", "create", *SLICE)
  _, notes = laptop.run("tpu_vm.sh", "install", *TPU, "--nfs=10.0.0.2:/share")
  words = [line.split()[-2:] for line in calls(notes, "w0 sudo: apt-get")]
  assert words == [["update", "-qq"], ["-qq", "nfs-common"]]


# slurm.sbatch

SLURM = {
  "SLURM_JOB_ID": "7",
  "SLURM_NTASKS_PER_NODE": "8",
  "SLURM_GPUS_ON_NODE": "8",
  "SLURM_CPUS_PER_TASK": "4",
}
SRUN = r"""#!/usr/bin/env bash
echo "srun $*" >>"$NOTES"
while [[ "$1" = --* ]]; do shift; done
exec "$@"
"""
# Runs the script as Slurm does: its own copy, and again after each `scontrol requeue`.
SBATCH = r"""#!/usr/bin/env bash
echo "sbatch $*" >>"$NOTES"
while [[ "$1" = --* ]]; do shift; done
cp "$1" "$CLOUD/slurm_script"
shift
while :; do
  before="$(grep -c requeue "$NOTES")"
  SLURM_JOB_ID=7 SLURM_SUBMIT_DIR="$PWD" SLURM_NTASKS_PER_NODE=8 SLURM_GPUS_ON_NODE=8 \
    bash "$CLOUD/slurm_script" "$@" </dev/null
  code=$?
  [ "$(grep -c requeue "$NOTES")" -gt "$before" ] || exit "$code"
done
"""


@pytest.fixture
def slurm(laptop):
  laptop.program("srun", SRUN)
  laptop.program("sbatch", SBATCH)
  return laptop


def test_a_job_is_queued_again_until_it_is_done(slurm):
  (slurm.path / "launch/submit.sh").write_text('exec sbatch --nodes=2 launch/slurm.sbatch "$@"\n')
  output, notes = slurm.run("submit.sh", "--config=a:b", "--workdir=a b", CODES="75 75 0")
  assert notes.count("host scontrol: requeue 7") == 2
  assert len(calls(notes, "srun --kill-on-bad-exit=0 --wait=300 ")) == 3
  assert notes[-1] == "host: -m vidgan_jax.train --coordinator=auto --config=a:b --workdir=a b"
  assert output.splitlines()[-1] == "done"


@pytest.mark.parametrize(
  ("code", "steady", "again"),
  [(0, 600, 0), (2, 0, 0), (3, 0, 0), (75, 600, 1), (1, 600, 0), (137, 0, 1)],
)
def test_only_jobs_that_can_continue_are_queued_again(slurm, code, steady, again):
  environment = {**SLURM, "CODES": str(code), "VIDGAN_JAX_STEADY": str(steady)}
  _, notes = slurm.run("slurm.sbatch", "--workdir=a", code=code, **environment)
  assert notes.count("host scontrol: requeue 7") == again
  assert calls(notes, "srun ")[0].startswith(
    "srun --kill-on-bad-exit=0 --wait=300 --cpus-per-task=4"
  )


@pytest.mark.parametrize(("code", "again"), [(1, 0), (75, 1)])
def test_a_job_that_crashes_after_many_restarts_is_not_queued_again(slurm, code, again):
  environment = {**SLURM, "CODES": str(code), "VIDGAN_JAX_STEADY": "0"}
  _, notes = slurm.run(
    "slurm.sbatch", "--workdir=a", code=code, SLURM_RESTART_COUNT="20", **environment
  )
  assert notes.count("host scontrol: requeue 7") == again


SCONTROL = r"""#!/usr/bin/env bash
echo "${WORKER_NAME:-host} scontrol: $*" >>"$NOTES"
if [ "$1" = show ]; then echo "   JobState=$JOB_STATE Reason=None"; fi
"""


@pytest.mark.parametrize(
  ("state", "again"),
  [
    ("CANCELLED", 0),
    ("COMPLETING", 0),  # cancelled, or preempted: then Slurm queues it again itself
    ("RUNNING", 1),  # preempted, and done within the time that Slurm grants
  ],
)
def test_a_cancelled_job_stays_cancelled_and_a_preempted_one_continues(slurm, state, again):
  slurm.program("scontrol", SCONTROL)
  process = slurm.start("slurm.sbatch", "--workdir=a", CODES="wait", JOB_STATE=state, **SLURM)
  slurm.wait_for("host: -m")
  pid = subprocess.run(
    ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
  )
  for number in (process.pid, *map(int, pid.stdout.split())):  # scancel signals all processes
    os.kill(number, signal.SIGTERM)
  process.communicate(timeout=120)
  assert process.returncode == 75
  assert len(calls(slurm.noted(), "requeue 7")) == again


@pytest.mark.parametrize(
  ("changes", "arguments", "words"),
  [
    ({"SLURM_JOB_ID": ""}, ["--workdir=a"], "this is a batch script"),
    ({"SLURM_NTASKS_PER_NODE": "1"}, ["--workdir=a"], "1 tasks but 8 GPUs per node"),
    ({"VIDGAN_JAX_PYTHON": "/no"}, ["--workdir=a"], "/no does not exist"),
    ({}, ["--config=a"], "have no --workdir"),
  ],
)
def test_jobs_that_cannot_work_are_refused(slurm, changes, arguments, words):
  output, notes = slurm.run("slurm.sbatch", *arguments, code=2, **{**SLURM, **changes})
  assert output.startswith("error: ") and words in output and notes == []


def test_the_options_of_the_job():
  lines = re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", (LAUNCH / "slurm.sbatch").read_text(), re.M)
  options = dict(lines)
  assert options["ntasks-per-node"] == options["gpus-per-node"]
  assert re.fullmatch(r"USR1@\d+", options["signal"])  # to the tasks, not to the batch script
  assert "requeue" in options and options["open-mode"] == "append"
  assert options["mem"] == "0"  # all memory of the node


# multi_gpu.sh

SSH = r"""#!/usr/bin/env bash
while [ "$1" = -o ]; do shift 2; done
WORKER_NAME="$1" exec bash -c "$2"
"""


def test_one_machine_runs_one_process(laptop):
  laptop.program("nvidia-smi", "#!/bin/sh\necho 'GPU 0: a'\necho 'GPU 1: a'\n")
  output, notes = laptop.run("multi_gpu.sh", "--config=a", "--workdir=b c", code=3, CODES="3")
  assert output.startswith("one process for 2 GPUs on this machine")
  assert notes == ["host: -m vidgan_jax.train --config=a --workdir=b c"]


def test_training_on_the_cpu_is_no_accident(laptop):
  laptop.program("nvidia-smi", "#!/bin/sh\necho 'no driver' >&2\nexit 9\n")
  output, notes = laptop.run("multi_gpu.sh", "--config=a", "--workdir=b", code=2)
  assert output.startswith("error: nvidia-smi lists no GPU; JAX_PLATFORMS=cpu trains on the CPU")
  assert output.count("\n") == 1 and notes == []
  _, notes = laptop.run("multi_gpu.sh", "--config=a", "--workdir=b", JAX_PLATFORMS="cpu")
  assert len(calls(notes, "-m vidgan_jax.train")) == 1


@pytest.mark.parametrize("hosts", [[], ["--hosts=a,b"]])
def test_a_machine_without_an_installation_is_named(laptop, hosts):
  """Exit code 2, so that babysit.sh does not start it again."""
  laptop.program("nvidia-smi", "#!/bin/sh\necho 'GPU 0: a'\n")
  laptop.program("ssh", SSH)
  del laptop.environment["VIDGAN_JAX_PYTHON"]
  options = (*hosts, "--config=a", "--workdir=b")
  output, notes = laptop.run("babysit.sh", "launch/multi_gpu.sh", *options, code=2)
  name = "a" if hosts else "host"
  missing = f"{laptop.path}/.venv/bin/python does not exist on {name}: run launch/install.sh there"
  assert f"error: {missing} (docs/clusters.md)\n" in output
  assert output.count("babysit, ") == 2 and not calls(notes, "vidgan_jax.train")


@pytest.mark.parametrize(
  ("first", "second", "code"), [("0", "0", 0), ("75", "75", 75), ("0", "2", 2)]
)
def test_several_machines_run_one_process_each(laptop, first, second, code):
  laptop.program("ssh", SSH)
  _, notes = laptop.run(
    "multi_gpu.sh", "--hosts=me@a,b", "--config=x", "--workdir=b c",
    code=code, **{"CODES": first, "CODES_b": second},
  )  # fmt: skip
  begin = "-m vidgan_jax.train --config=x --workdir=b c --coordinator=a:8476 --num_processes=2"
  assert sorted(calls(notes, "-m vidgan_jax")) == [
    f"b: {begin} --process_id=1", f"me@a: {begin} --process_id=0",
  ]  # fmt: skip


def test_sigterm_reaches_the_processes_of_other_machines(laptop):
  laptop.program("ssh", SSH)
  process = laptop.start("multi_gpu.sh", "--hosts=a,b", "--config=x", "--workdir=y", CODES="wait")
  laptop.wait_for("a: -m")
  laptop.wait_for("b: -m")
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=120)
  assert process.returncode == 75


def test_processes_of_other_machines_end_if_one_fails(laptop):
  laptop.program("ssh", SSH)
  options = ("--hosts=a,b", "--config=x", "--workdir=y")
  # A pipe that a process keeps open would make this call wait for ever.
  laptop.run("multi_gpu.sh", *options, code=1, CODES="hang", CODES_b="1")


def test_wrong_arguments_of_multi_gpu_are_refused(laptop):
  needed = ["--config=a", "--workdir=b"]
  for arguments in ([], ["--config=a"], ["--port=x", *needed], ["--hosts=a,,b", *needed]):
    output, _ = laptop.run("multi_gpu.sh", *arguments, code=2)
    assert output.startswith("error: usage: launch/multi_gpu.sh") and output.count("\n") == 1


# Dockerfile and jobset.yaml


def instructions():
  """The instructions of the Dockerfile: [(name, arguments)]."""
  text = (LAUNCH / "Dockerfile").read_text()
  lines = [line for line in text.splitlines() if line and not line.startswith("#")]
  joined = "\n".join(lines).replace("\\\n", " ")
  return [tuple(line.split(None, 1)) for line in joined.splitlines()]


PIP = r"""#!/usr/bin/env bash
echo "python $*" >>"$NOTES"
for word; do
  if [ "$last" = -r ]; then cat "$word" >>"$NOTES" || exit; fi
  last="$word"
done
if [[ "$*" = *" --no-deps ." ]]; then
  ls pyproject.toml README.md LICENSE vidgan_jax/train.py vidgan_jax/configs/dvd_gan.py >/dev/null
fi
"""


@pytest.mark.parametrize(
  ("device", "package"),
  [
    ("cpu", "numpy=="),
    ("cuda", "jax[cuda13]=="),
    ("cuda12", "jax[cuda12]=="),
    ("tpu", "jax[tpu]=="),
  ],
)
def test_the_steps_of_the_dockerfile_in_an_empty_folder(laptop, tmp_path, device, package):
  """Each step runs in order, in folders of its own; pip only records what it would install."""
  image = tmp_path / "image"
  laptop.program("python", PIP)
  environment, folder, entry = {**laptop.environment, "DEVICE": device}, image, None
  laptop.notes.write_text("")
  for name, rest in instructions():
    match name:
      case "WORKDIR":
        folder = image / rest.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
      case "COPY":
        *sources, target = rest.split()
        for source in sources:
          if (ROOT / source).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, folder / target, symlinks=True, ignore=ignore)
          else:
            shutil.copy(ROOT / source, folder / target)
      case "RUN":
        subprocess.run(["sh", "-ec", rest], cwd=folder, env=environment, check=True)
      case "ENTRYPOINT":
        (entry,) = yaml.safe_load(rest)
      case _:
        assert name in {"FROM", "ARG", "ENV", "CMD"}
  noted = laptop.notes.read_text()
  assert package in noted and "gcsfs==" in noted and noted.count("python -m pip install") == 2
  assert entry in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_an_unknown_device_is_refused_by_the_dockerfile(laptop):
  (step,) = [rest for name, rest in instructions() if name == "RUN" and "case" in rest]
  environment = {**laptop.environment, "DEVICE": "gpu"}
  ended = subprocess.run(["sh", "-c", step], env=environment, capture_output=True, text=True)
  assert (ended.returncode, ended.stderr) == (
    2,
    "error: DEVICE is 'gpu'; known: cpu, cuda, cuda12, tpu\n",
  )


def jobset():
  return yaml.safe_load((LAUNCH / "jobset.yaml").read_text())


def test_the_jobset_restarts_all_pods_together_but_not_after_bad_input():
  spec = jobset()["spec"]
  (rule,) = spec["failurePolicy"]["rules"]
  assert re.fullmatch(r"[A-Za-z]\w*", rule.pop("name"))  # required, and of this form
  assert rule == {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
  (workers,) = spec["replicatedJobs"]
  job = workers["template"]["spec"]
  assert job["completionMode"] == "Indexed" and job["backoffLimit"] == 0
  (failure,) = job["podFailurePolicy"]["rules"]
  (container,) = job["template"]["spec"]["containers"]
  codes = {"containerName": container["name"], "operator": "In", "values": [2, 3]}
  assert failure == {"action": "FailJob", "onExitCodes": codes}
  assert job["template"]["spec"]["restartPolicy"] == "Never"  # pod failure policies require it


def test_the_jobset_has_as_many_pods_as_its_slice_has_hosts():
  job = jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]
  pod = job["template"]["spec"]
  sizes = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
  chips = int(sizes[0]) * int(sizes[1])
  (container,) = pod["containers"]
  resources = container["resources"]
  assert resources["limits"] == resources["requests"]
  assert job["parallelism"] == job["completions"] == chips // resources["limits"]["google.com/tpu"]
  assert "--coordinator=auto" in container["args"] and container["command"] == ["vidgan"]
  assert all(mount["name"] == pod["volumes"][0]["name"] for mount in container["volumeMounts"])


def test_the_account_of_the_jobset_is_a_comment_in_its_place():
  text = (LAUNCH / "jobset.yaml").read_text()
  with_account = yaml.safe_load(text.replace("# serviceAccountName", "serviceAccountName"))
  pods = [
    file["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    for file in (jobset(), with_account)
  ]
  account = pods[1].pop("serviceAccountName")
  assert pods[0] == pods[1]
  assert ["kubectl", "create", "serviceaccount", account] in documented("kubectl")


# docs/clusters.md


def documented(program):
  """The commands of docs/clusters.md that begin with this program, as lists of arguments."""
  text = (ROOT / "docs/clusters.md").read_text().replace("\\\n", " ")
  lines = re.findall(rf"^(?:\S+=\S+ )*((?:\S*/)?{re.escape(program)} .*)$", text, re.M)
  return [shlex.split(line, comments=True) for line in lines]


def test_the_commands_of_the_page_are_accepted(slurm):
  """tpu_vm.sh in dry runs, kubectl and sbatch with stubs that look for the files they name."""
  page = documented("launch/tpu_vm.sh")
  page += [line[1:] for line in documented("launch/babysit.sh") if "tpu_vm.sh" in line[1]]
  assert {line[1] for line in page} >= {
    "create",
    "install",
    "run",
    "logs",
    "status",
    "stop",
    "delete",
  }
  for _, action, *arguments in page:
    output, notes = slurm.run("tpu_vm.sh", action, "--dry_run", *arguments)
    assert "gcloud compute tpus" in output and notes == []
  assert documented("kubectl") and documented("sbatch")
  for line in [*documented("kubectl"), *documented("sbatch")]:
    for argument in line:
      if argument.startswith("launch/"):
        assert (ROOT / argument).exists(), line
  name = jobset()["metadata"]["name"]
  assert ["kubectl", "delete", "jobset", name] in documented("kubectl")


def test_the_dry_runs_of_the_page_are_what_the_scripts_print(laptop):
  text = (ROOT / "docs/clusters.md").read_text()
  shown = re.findall(r"^\$ (launch/.*--dry_run.*)\n((?:[^$`].*\n)+)", text, re.M)
  assert [line.split()[:2] for line, _ in shown] == [
    ["launch/tpu_vm.sh", "create"],
    ["launch/tpu_vm.sh", "run"],
    ["launch/babysit.sh", "--dry_run"],
  ]
  for line, printed in shown:
    script, *arguments = shlex.split(line)
    output, notes = laptop.run(script.removeprefix("launch/"), *arguments)
    assert (output, notes) == (printed, [])


def test_the_node_pool_and_the_claim_of_the_page_are_those_of_the_jobset():
  job = jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]
  (pool,) = (line for line in documented("gcloud") if "node-pools" in line and "create" in line)
  flags = dict(word.lstrip("-").split("=", 1) for word in pool if "=" in word)
  selector = job["template"]["spec"]["nodeSelector"]
  assert flags["tpu-topology"] == selector["cloud.google.com/gke-tpu-topology"]
  assert int(flags["num-nodes"]) == int(flags["max-nodes"]) == job["parallelism"]
  assert ("--spot" in pool) == ("cloud.google.com/gke-spot" in selector)
  (claim,) = map(yaml.safe_load, docs_commands.blocks(ROOT / "docs/clusters.md", "yaml"))
  assert claim["kind"] == "PersistentVolumeClaim"
  assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_page_deletes_the_slices_that_it_creates():
  """The commands that run under babysit.sh; --delete_at_end is only for workdirs elsewhere."""
  lines = [line for line in documented("launch/babysit.sh") if "tpu_vm.sh" in line[1]]
  assert lines and all("--delete_at_end" in line for line in lines)
  assert any(word.startswith("--workdir=gs://") for line in lines for word in line)


def test_the_page_installs_only_for_devices_that_install_sh_knows():
  text = (ROOT / "docs/clusters.md").read_text()
  (known,) = re.findall(r"known: (.*)\"", (LAUNCH / "install.sh").read_text())
  devices = set(re.findall(r"VIDGAN_JAX_DEVICE=(\w+)", text))
  assert devices and devices <= set(known.split(", "))


def test_the_page_names_only_files_that_exist():
  text = (ROOT / "docs/clusters.md").read_text()
  for name in set(re.findall(r"launch/[A-Za-z_.]+[a-z]", text)):
    assert (ROOT / name).exists(), name
  heads = ["before you start", "start", "watch", "stop", "resume", "what it costs"]
  assert all(text.lower().count(f"| {head} |") >= 4 for head in heads)
