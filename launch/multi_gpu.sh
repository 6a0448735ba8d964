#!/usr/bin/env bash
# Trains on all GPUs of this machine, or of several machines that ssh reaches, without a scheduler.
#   launch/multi_gpu.sh --config=... --workdir=...
#   launch/multi_gpu.sh --hosts=HOST,HOST [--port=8476] --config=... --workdir=SHARED_FOLDER
# Each machine runs one process, which uses all of its GPUs (CUDA_VISIBLE_DEVICES selects some, on
# this machine). With --hosts, the project is at the same path on all of them, installed, and ssh
# asks for no password. The first host's PORT must be reachable from the others. SIGTERM and Ctrl-C
# save a checkpoint and stop all processes. Exit codes are those of training, as in
# launch/local_multiprocess.sh. VIDGAN_JAX_PYTHON is another Python than that of .venv.
set -uo pipefail
unset CDPATH
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" && exit ;;
esac
PROJECT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)" || exit 1
PYTHON="${VIDGAN_JAX_PYTHON:-$PROJECT/.venv/bin/python}"
SELF="$PROJECT/launch/multi_gpu.sh"
fail() {
  echo "error: $1" >&2
  exit 2
}
# Ends with 2 if this machine has no Python $1.
installed() {
  command -v -- "$1" >/dev/null ||
    fail "$1 does not exist on $(hostname): run launch/install.sh there (docs/clusters.md)"
}

# On a host, at the other end of ssh: runs a command. Each line of stdin is a signal for it; if the
# connection breaks, it is killed, because the other processes end too.
if [ "${1:-}" = --on_host ]; then
  shift
  installed "$1"
  exec 3<&0
  "$@" 3<&- </dev/null &
  TASK=$!
  {
    while read -r name; do kill -s "$name" "$TASK"; done
    kill -KILL "$TASK"
  } <&3 >/dev/null 2>&1 &
  READER=$!
  exec 3<&-
  wait "$TASK"
  CODE=$?
  kill "$READER" 2>/dev/null
  exit "$CODE"
fi
# On this machine, once per host: local_multiprocess.sh adds the last three arguments.
if [ "${1:-}" = --connect ]; then
  IFS=, read -r -a HOSTS <<<"$2"
  PORT="$3"
  shift 3
  ID="${*: -1}" && ID="${ID#--process_id=}"
  COMMAND=("${@:1:$#-3}" --coordinator="${HOSTS[0]#*@}:$PORT" --num_processes="${#HOSTS[@]}"
    --process_id="$ID")
  REMOTE="$(printf '%q ' bash "$SELF" --on_host "${COMMAND[@]}")"
  STOPPED="" CONNECTED=""
  trap 'STOPPED=1; [ -z "$CONNECTED" ] || echo TERM >&4' TERM
  # ServerAliveInterval: a machine that has lost its power is noticed after 90 s.
  exec 4> >(exec ssh -o BatchMode=yes -o ServerAliveInterval=30 "${HOSTS[ID]}" "$REMOTE" 4>&-)
  TASK=$! CONNECTED=1
  [ -z "$STOPPED" ] || echo TERM >&4
  # A signal interrupts `wait`, and Bash 5.2 then loses the exit code of a command that ends at that
  # moment.
  while kill -0 "$TASK" 2>/dev/null; do sleep 0.2; done
  wait "$TASK"
  exit
fi

MACHINES="" PORT=8476
while [ $# -gt 0 ]; do
  case "$1" in
    --hosts=?*) MACHINES="${1#*=}" ;;
    --port=?*) PORT="${1#*=}" ;;
    --) shift && break ;;
    *) break ;;
  esac
  shift
done
if [[ " $* " != *" --config"[=\ ]* || " $* " != *" --workdir"[=\ ]* ]] ||
  [[ ! "$PORT" =~ ^[0-9]+$ || ! "$MACHINES" =~ ^([^,-][^,]*(,[^,-][^,]*)*)?$ ]]; then
  fail "usage: launch/multi_gpu.sh [--hosts=HOST,HOST] [--port=PORT] --config=... --workdir=..."
fi
if [ -z "$MACHINES" ]; then
  installed "$PYTHON"
  GPUS="$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ')"
  [ "$GPUS" != 0 ] || [ -n "${JAX_PLATFORMS:-}" ] ||
    fail "nvidia-smi lists no GPU; JAX_PLATFORMS=cpu trains on the CPU, and JAX_PLATFORMS=cuda on \
GPUs that it does not list"
  echo "one process for $GPUS GPUs on this machine"
  exec "$PYTHON" -m vidgan_jax.train "$@"
fi
COUNT="$(tr ',' '\n' <<<"$MACHINES" | grep -c .)"
echo "one process on each of $COUNT machines: $MACHINES"
exec bash "$PROJECT/launch/local_multiprocess.sh" "$COUNT" \
  bash "$SELF" --connect "$MACHINES" "$PORT" "$PYTHON" -m vidgan_jax.train "$@"
