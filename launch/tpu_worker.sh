#!/usr/bin/env bash
# The part of tpu_vm.sh that runs on each worker of a TPU. tpu_vm.sh calls it by ssh.
#   launch/tpu_worker.sh install [NFS_HOST:/SHARE] [COMMAND]
#   launch/tpu_worker.sh idle           ends with 2 if training runs
#   launch/tpu_worker.sh start TRAINING_ARGUMENT...   training survives the ssh connection
#   launch/tpu_worker.sh status         one line: worker=NAME state=STATE code=CODE | LOG
#   launch/tpu_worker.sh logs LINES [follow] [named]   named: each line begins with the worker
#   launch/tpu_worker.sh stop [SECONDS] SIGTERM, and SIGKILL after so many seconds
# States: none (never started), running, ended (with CODE), lost (the worker has been restarted).
# The log and the exit code are in ~/.vidgan_jax_run on the worker.
set -uo pipefail
unset CDPATH
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" && exit ;;
esac
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 1
RUN="$HOME/.vidgan_jax_run"
ACTION="${1:-}"
[ $# -eq 0 ] || shift

state() { # sets STATE and CODE
  STATE=none CODE=""
  if [ -s "$RUN/code" ]; then
    STATE=ended CODE="$(cat "$RUN/code")"
  elif [ -s "$RUN/pid" ]; then
    STATE=lost
    # The same number may belong to another program after a restart of the worker.
    if grep -qa vidgan_jax "/proc/$(cat "$RUN/pid")/cmdline" 2>/dev/null; then
      STATE=running
      return
    fi
    # Training may have ended just now: its exit code is written a moment later.
    for ((i = 0; i < 20; i++)); do
      if [ -s "$RUN/code" ]; then
        STATE=ended CODE="$(cat "$RUN/code")"
        return
      fi
      sleep 0.1
    done
  fi
}
# Ends with 2 if training runs, whose files must not be replaced.
idle() {
  state
  [ "$STATE" = running ] || return 0
  echo "error: training already runs on worker $(hostname); stop it first: tpu_vm.sh stop" >&2
  exit 2
}
# Python 3.11 or newer that can create virtual environments. Images of Ubuntu 22.04 have 3.10.
find_python() {
  local python
  for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
      2>/dev/null; then
      PYTHON="$python"
      return
    fi
  done
  echo "no Python 3.11 or newer on this worker; installing one with uv"
  python3 -m pip install --user --quiet uv &&
    "$HOME/.local/bin/uv" python install 3.12 &&
    PYTHON="$("$HOME/.local/bin/uv" python find 3.12)"
}

case "$ACTION" in
  install)
    if [ -n "${1:-}" ] && ! mountpoint -q /mnt/vidgan_jax; then
      if ! command -v mount.nfs >/dev/null; then
        # The lists of packages of an older image name files that are no longer there.
        sudo apt-get -o DPkg::Lock::Timeout=600 update -qq
        sudo apt-get -o DPkg::Lock::Timeout=600 install -y -qq nfs-common || exit 1
      fi
      sudo mkdir -p /mnt/vidgan_jax && sudo mount -t nfs "$1" /mnt/vidgan_jax || exit 1
    fi
    if [ -n "${2:-}" ]; then bash -c "$2" || exit 1; fi
    find_python || exit 1
    export PYTHON
    # With the packages for gs:// folders: a slice that was created anew must need no other step.
    VIDGAN_JAX_DEVICE=tpu bash -euo pipefail launch/install.sh requirements-gcs.txt &&
      echo "installed on worker $(hostname)"
    ;;
  idle) idle ;;
  start)
    idle
    mkdir -p "$RUN" && rm -f "$RUN/code" "$RUN/pid" || exit 1
    # A session of its own, so that the end of the ssh connection does not end training.
    setsid bash launch/tpu_worker.sh supervise "$@" </dev/null >>"$RUN/log" 2>&1 &
    for ((i = 0; i < 100; i++)); do [ -s "$RUN/pid" ] || sleep 0.1; done
    [ -s "$RUN/pid" ] && echo "started on worker $(hostname)"
    ;;
  supervise)
    export PYTHONUNBUFFERED=1
    "${VIDGAN_JAX_PYTHON:-.venv/bin/python}" -m vidgan_jax.train --coordinator=auto "$@" &
    echo $! >"$RUN/pid"
    wait $!
    echo $? >"$RUN/code"
    ;;
  status)
    state
    # One write, because the lines of all workers arrive in one stream.
    printf 'worker=%s state=%s code=%s | %s\n' "$(hostname)" "$STATE" "$CODE" \
      "$(tail -n 1 "$RUN/log" 2>/dev/null | tr '\r' '\n' | tail -n 1 | cut -c 1-200)"
    ;;
  logs)
    FOLLOW="" WORKER=""
    [[ " $* " != *" follow "* ]] || FOLLOW=-F
    [[ " $* " != *" named "* ]] || WORKER="$(hostname): "
    tail -n "${1:-50}" ${FOLLOW:+"$FOLLOW"} "$RUN/log" | sed -u "s/^/$WORKER/"
    ;;
  stop)
    state
    if [ "$STATE" = running ]; then
      pid="$(cat "$RUN/pid")"
      kill -TERM "$pid"
      for ((i = 0; i < ${1:-600} * 5; i++)); do [ -s "$RUN/code" ] || sleep 0.2; done
      [ -s "$RUN/code" ] || kill -KILL "$pid"
      for ((i = 0; i < 50; i++)); do [ -s "$RUN/code" ] || sleep 0.1; done
    fi
    exec bash launch/tpu_worker.sh status
    ;;
  *)
    echo "error: usage: launch/tpu_worker.sh install|start|status|logs|stop" >&2
    exit 2
    ;;
esac
