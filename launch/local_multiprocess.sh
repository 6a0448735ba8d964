#!/usr/bin/env bash
# Runs vidgan_jax.train as several processes on this machine that train together, to test a run
# that is meant for many hosts. The processes use the CPU unless JAX_PLATFORMS is set.
#   launch/local_multiprocess.sh [--patience=SECONDS] COUNT COMMAND [ARGUMENT ...]
#   launch/local_multiprocess.sh 2 .venv/bin/python -m vidgan_jax.train --config=... --workdir=...
# Prints the output of process 0, and the end of another process's output if that process fails
# first. SIGTERM and SIGINT are sent to all processes. The exit code is that of the first process
# that fails, or 137 if another one was killed just before; else 75 if a signal stopped training and
# the same command continues it; else 0.
# If a process fails, the others are killed soon after. With --patience they get so many seconds to
# end by themselves, as on machines of their own, and a line says how each process ends. If process 0
# was killed, it prints what process 1 says about it.
set -uo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" && exit ;;
esac

OWN_END=""
if [[ "${1:-}" =~ ^--patience=([0-9]{1,6})$ ]]; then
  OWN_END="$((10#${BASH_REMATCH[1]}))"
  shift
fi
if [[ ! "${1:-}" =~ ^[1-9][0-9]?$ || $# -lt 2 ]]; then
  echo "error: usage: launch/local_multiprocess.sh [--patience=SECONDS] COUNT COMMAND" \
    "[ARGUMENT ...], COUNT from 1 to 99" >&2
  exit 2
fi
COUNT="$1"
shift
if ! command -v -- "$1" >/dev/null; then
  echo "error: cannot run $1: no such command" >&2
  exit 2
fi
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
OUTPUTS="$(mktemp -d)"
PORT="$(python3 -c 'import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])')"
PIDS=()
CODE=0

start() {
  exec "${COMMAND[@]}" --coordinator="localhost:$PORT" --num_processes="$COUNT" --process_id="$1"
}
finish() {
  kill -KILL "${PIDS[@]}" 2>/dev/null
  rm -rf "$OUTPUTS"
}
COMMAND=("$@")
trap finish EXIT
STOPPED=0
trap 'STOPPED=1; kill -TERM "${PIDS[@]}" 2>/dev/null' TERM INT
for ((i = 0; i < COUNT && !STOPPED; i++)); do
  if ((i == 0)); then start 0 & else start "$i" >"$OUTPUTS/$i" 2>&1 & fi
  PIDS+=($!)
done
# The signal may have come before the last process was in the list, or before the first one.
((STOPPED)) && kill -TERM ${PIDS[@]+"${PIDS[@]}"} 2>/dev/null
((${#PIDS[@]})) || exit 75

alive() { kill -0 "$1" 2>/dev/null; }
LEFT=("${!PIDS[@]}")
LIMIT="" # with --patience: when the processes that are left are killed
LATE=0   # whether they were
CODES=()
while ((${#LEFT[@]})); do
  if [ -n "$LIMIT" ] && ((SECONDS >= LIMIT)); then
    kill -KILL "${PIDS[@]}" 2>/dev/null
    LATE=1
  fi
  NOW=() # have ended since the last look: first what was killed, because of which others may fail
  for i in "${LEFT[@]}"; do
    alive "${PIDS[i]}" && continue
    wait "${PIDS[i]}"
    CODES[i]=$?
    unset "LEFT[i]"
    if ((CODES[i] == 137)); then NOW=("$i" ${NOW[@]+"${NOW[@]}"}); else NOW+=("$i"); fi
  done
  for i in ${NOW[@]+"${NOW[@]}"}; do
    ENDED="${CODES[i]}"
    [ -z "$OWN_END" ] || echo "process $i ended with $ENDED"
    ((ENDED == 0)) && continue
    if ((ENDED == 75)); then # stopped by a signal: the other processes will stop too
      ((CODE == 0)) && CODE=75
      continue
    fi
    ((CODE == 0 || CODE == 75)) || continue
    CODE=$ENDED
    if [ -n "$OWN_END" ]; then
      LIMIT=$((SECONDS + OWN_END))
      continue
    fi
    # The others would wait for this process for ever, so they are killed. Before that, process 0
    # has time to fail with its own message: 2 s, or 60 s after codes 2 and 3, where it may have to
    # finish writing files.
    PATIENCE=20 # tenths of a second
    ((ENDED == 2 || ENDED == 3)) && PATIENCE=600
    for ((t = 0; t < PATIENCE && i > 0; t++)); do alive "${PIDS[0]}" && sleep 0.1; done
    # If process 0 still runs, or ended without an error before, it has printed no message.
    if ((i > 0)) && { [ -z "${LEFT[0]-}" ] || alive "${PIDS[0]}"; }; then
      echo "process $i:" >&2
      tail -n 20 "$OUTPUTS/$i" >&2
    fi
    kill -KILL "${PIDS[@]}" 2>/dev/null
  done
  sleep 0.1
done
# The output of process 0 does not say that it was killed. That of process 1 does.
if [ -n "$OWN_END" ] && [ "${CODES[0]-}" = 137 ] && ((COUNT > 1 && !LATE)); then
  SAID="$(grep -aE '^(process 0, |WARNING: process |F[0-9]{4} )' "$OUTPUTS/1")" &&
    printf 'process 1:\n%s\n' "$SAID" >&2
fi
exit "$CODE"
