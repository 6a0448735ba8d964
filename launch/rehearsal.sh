#!/usr/bin/env bash
# Rehearses accidents of a run of several processes on this machine, before a cluster is paid for.
#   launch/rehearsal.sh [FOLDER] [--processes=4]
# Processes on this machine's CPU train a tiny model together, as they do on several machines, and
# are left alone. Others train the same under launch/babysit.sh. In the middle one of them is killed
# (SIGKILL): the others must say which one, and end. After the next start process 0 is killed: it
# writes the log and the checkpoints, and connects the others. After the third start one receives
# SIGTERM: all must save a checkpoint, and end with 75. At the end both runs must hold the same
# state, bit for bit. It takes some minutes on two free CPU cores. FOLDER must be new, and
# is kept with both runs and their output; a temporary one is removed unless something failed.
# VIDGAN_JAX_PYTHON is another Python than that of .venv.
# Exit codes: 0 all of that holds; 1 it does not; 2 bad input.
set -uo pipefail
unset CDPATH
PROJECT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)" || exit 1
PYTHON="${VIDGAN_JAX_PYTHON:-$PROJECT/.venv/bin/python}"
FOLDER="" COUNT=4
ITERATIONS=240 KILLED_AT=50 KILLED_0_AT=110 STOPPED_AT=170
PATIENCE=1200 # seconds that the rehearsal waits for any of its steps, which take a tenth of that

fail() {
  echo "error: $1" >&2
  exit "${2:-2}"
}
usage() { fail "usage: launch/rehearsal.sh [FOLDER] [--processes=N], N from 2 to 16"; }
for argument in "$@"; do
  case "$argument" in
    --processes=*)
      COUNT="${argument#*=}"
      [[ "$COUNT" =~ ^[1-9][0-9]?$ ]] && ((COUNT >= 2 && COUNT <= 16)) || usage
      ;;
    -h | --help)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
      exit
      ;;
    "" | -*) usage ;;
    *) if [ -n "$FOLDER" ]; then usage; else FOLDER="$argument"; fi ;;
  esac
done
command -v -- "$PYTHON" >/dev/null || fail "$PYTHON does not exist; launch/quickstart.sh creates it"
GIVEN="$FOLDER"
if [ -n "$GIVEN" ]; then
  [ ! -e "$GIVEN" ] || fail "$GIVEN exists; name a new folder"
  mkdir -p -- "$GIVEN" || exit 2
fi
FOLDER="$(cd -- "${GIVEN:-$(mktemp -d)}" && pwd)" || exit 1
cd -- "$PROJECT" || exit 1

# One CPU device per process. LLVM optimises nothing, because compiling takes longer than training.
export JAX_PLATFORMS=cpu XLA_FLAGS="--xla_backend_optimization_level=0"
# COUNT clips per batch, so that each process has one.
TINY=(--config.num_iterations="$ITERATIONS" --config.checkpoint_every=20 --config.log_every=1
  --config.sample_every=0 --config.batch_size="$COUNT" --config.ema.start=2
  --config.data.num_examples=40 --config.model.frames=4 --config.model.resolution=8
  --config.model.latent_dim=4 --config.model.embedding_dim=4 --config.model.savings=false
  --config.model.generator.channels=4 --config.model.generator.multipliers="(2,1)"
  --config.model.discriminator.channels=4 --config.model.discriminator.multipliers="(1,2)"
  --config.model.discriminator.sampled_frames=2 --config.model.discriminator.temporal=false)

CHILD=""
finish() {
  local code=$?
  [ -z "$CHILD" ] || kill -TERM "$CHILD" 2>/dev/null
  if [ -z "$GIVEN" ] && [ "$code" != 1 ]; then rm -rf -- "$FOLDER"; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
broken() {
  say "FAILED: $1; the output is in $FOLDER"
  exit 1
}
# start NAME [COMMAND ...]: all processes of a run in the background, as arguments of a command.
start() {
  RUN="$FOLDER/$1" OUTPUT="$FOLDER/$1.txt"
  shift
  "$@" launch/local_multiprocess.sh --patience=300 "$COUNT" "$PYTHON" -m vidgan_jax.train \
    --config="$PROJECT/configs/quickstart.py:runlocal" --workdir="$RUN" "${TINY[@]}" \
    >"$OUTPUT" 2>&1 &
  CHILD=$!
}
# until_true WHAT COMMAND ...: waits until a command succeeds, at most until CHILD ends.
until_true() {
  local what="$1" end=$((SECONDS + PATIENCE))
  shift
  until "$@"; do
    kill -0 "$CHILD" 2>/dev/null || "$@" || broken "the processes have ended before: $what"
    ((SECONDS < end)) || broken "$PATIENCE s have passed without: $what"
    sleep 0.1
  done
}
gone() { ! kill -0 "$CHILD" 2>/dev/null; }
iterations() { if [ -e "$RUN/log.jsonl" ]; then wc -l <"$RUN/log.jsonl"; else echo 0; fi; }
reached() { (($(iterations) >= $1)); }
BEFORE=0 # lines of the run's output before the last accident
since() { tail -n "+$((BEFORE + 1))" "$OUTPUT"; }
# told PATTERN: whether a line since the last accident has a pattern.
told() { since | grep -E -- "$1" >/dev/null; }
# show PATTERN: lines since the last accident.
show() { since | grep -E -- "$1" | sed 's/^/        /'; }
# hit SIGNAL NUMBER: sends a signal to a process of the run. Its PID is in its sign of life.
hit() {
  PID="$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$RUN/alive/$2.json")"
  BEFORE="$(wc -l <"$OUTPUT")" HIT=$SECONDS
  [ -n "$PID" ] && kill -"$1" "$PID" || broken "process $2 cannot be found"
  say "SIG$1 for process $2 (pid $PID), after iteration $(($(iterations)))"
}
ENDS='^(process [0-9]+|babysit, .*:) ended with '

say "$COUNT processes train $ITERATIONS iterations, left alone"
start alone
until_true "the end of training" gone
wait "$CHILD" || broken "training that was left alone ended with $?"
say "they have ended with 0; the same again under babysit.sh"
start disturbed launch/babysit.sh --pause=1
# kill_one NUMBER ITERATION: kills a process after an iteration. The others say which one it was,
# and babysit.sh starts all again.
kill_one() {
  local words="^WARNING: process $1 on .* has shown no sign of life" jax=""
  if (($1 == 0)); then
    # JAX may end the others before they can look for themselves, and calls it the leader task.
    jax="^F[0-9]+ .*Either the leader task was"
  fi
  until_true "iteration $2" reached "$2"
  hit KILL "$1"
  (($1 > 0)) || until_true "the machine of process 0" \
    told "^process 0, which JAX calls the leader task, is on .* \(pid $PID\)"
  until_true "a line about process $1" told "$words${jax:+|$jax}"
  say "$((SECONDS - HIT)) s later the others say which process it was:"
  show "$words|^process 0, which JAX${jax:+|$jax}" |
    sed 's/^\( *\)F.*\(Either the leader task was [^ ]*\).*/\1JAX: ...\2 .../'
  until_true "the end of the others" told "ended with [0-9]*: crash"
  say "$((SECONDS - HIT)) s later all have ended:"
  show "$ENDS"
  until_true "another start that continues" told "^continuing from the checkpoint"
  say "babysit.sh has started all again:"
  show "^continuing from the checkpoint"
}
kill_one $((COUNT / 2)) "$KILLED_AT"
kill_one 0 "$KILLED_0_AT"
until_true "iteration $STOPPED_AT" reached "$STOPPED_AT"
hit TERM $((COUNT - 1))
until_true "the end of all processes" told "ended with 75: stopped"
say "$((SECONDS - HIT)) s later all have saved and ended:"
show "^stopped by a signal|$ENDS"
until_true "the end of training" gone
wait "$CHILD" || broken "babysit.sh ended with $?"
say "babysit.sh has started all again, and training is done:"
show "^continuing from the checkpoint|^iteration $ITERATIONS of|^babysit, .*: done"
CHILD=""

"$PYTHON" - "$FOLDER/alone" "$FOLDER/disturbed" <<'COMPARE' || broken "the two runs differ"
import json, pathlib, sys
import jax
from vidgan_jax.runtime.trees import leaf_names
from vidgan_jax.training import state as states

one, other = map(pathlib.Path, sys.argv[1:])
first, second = (jax.device_get(states.load(folder)[2]) for folder in (one, other))
names, pairs = leaf_names(first), list(zip(*map(jax.tree.leaves, (first, second)), strict=True))
content = lambda array: (array.shape, str(array.dtype), array.tobytes())
apart = [n for n, (a, b) in zip(names, pairs, strict=True) if content(a) != content(b)]
logs = []
for folder in (one, other):  # times differ
  records = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
  logs.append([{k: v for k, v in r.items() if not k.startswith("time/")} for r in records])
size = sum(a.nbytes for a, _ in pairs)
print(f"        {len(names)} arrays of {size} bytes at iteration {first.step}, "
      f"{len(apart)} of them differ: {', '.join(apart[:9]) or 'none'}")
real = [[r["pixel/real_red"] for r in log] for log in logs]
print(f"        logs of {len(logs[0])} and {len(logs[1])} iterations: colours of the real clips "
      f"{'equal' if real[0] == real[1] else 'DIFFER'}, losses and all else "
      f"{'equal' if logs[0] == logs[1] else 'DIFFER'}")
sys.exit(bool(apart) or logs[0] != logs[1])
COMPARE
say "done: the run with accidents equals the other, bit for bit"
