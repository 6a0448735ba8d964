#!/usr/bin/env bash
# Runs vidgan_jax.train as several processes of this machine that train together over the loopback,
# on CPU unless JAX_PLATFORMS says otherwise: for trying out what runs on many hosts.
#   launch/local_multiprocess.sh COUNT COMMAND [ARGUMENT ...]
#   launch/local_multiprocess.sh 2 .venv/bin/python -m vidgan_jax.train --config=... --workdir=...
# Shows what process 0 says, and another one's words where that one fails first. A signal reaches
# all of them. The exit code is that of the first to fail, else 75 where a signal stopped training,
# which the same command continues, else 0.
set -uo pipefail

if [[ ! "${1:-}" =~ ^[1-9][0-9]*$ || $# -lt 2 ]]; then
  echo "error: usage: launch/local_multiprocess.sh COUNT COMMAND [ARGUMENT ...]" >&2
  exit 2
fi
COUNT="$1"
shift
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
WORDS="$(mktemp -d)"
PORT="$(python3 -c 'import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])')"
PIDS=()
CODE=0

start() {
  exec "${COMMAND[@]}" --coordinator="localhost:$PORT" --num_processes="$COUNT" --process_id="$1"
}
finish() {
  kill -KILL "${PIDS[@]}" 2>/dev/null
  rm -rf "$WORDS"
}
COMMAND=("$@")
trap finish EXIT
trap 'kill -TERM "${PIDS[@]}" 2>/dev/null' TERM INT
for ((i = 0; i < COUNT; i++)); do
  if ((i == 0)); then start 0 & else start "$i" >"$WORDS/$i" 2>&1 & fi
  PIDS+=($!)
done

alive() { kill -0 "$1" 2>/dev/null; }
LEFT=("${!PIDS[@]}")
while ((${#LEFT[@]})); do
  for i in "${LEFT[@]}"; do
    alive "${PIDS[i]}" && continue
    wait "${PIDS[i]}"
    ENDED=$?
    unset "LEFT[i]"
    ((ENDED == 0)) && continue
    if ((ENDED == 75)); then # stopped by a signal, to be continued: the others are about to leave
      ((CODE == 0)) && CODE=75
      continue
    fi
    ((CODE == 0 || CODE == 75)) || continue
    CODE=$ENDED
    # The others wait for it in vain; process 0 may be about to say the same.
    PATIENCE=20 # tenths of a second; a run that was refused or stopped has its words and files to end
    ((ENDED == 2 || ENDED == 3)) && PATIENCE=600
    for ((t = 0; t < PATIENCE && i > 0; t++)); do alive "${PIDS[0]}" && sleep 0.1; done
    # Unless process 0 has failed meanwhile, and said why: it still runs, or has ended well before.
    if ((i > 0)) && { [ -z "${LEFT[0]-}" ] || alive "${PIDS[0]}"; }; then
      echo "process $i:" >&2
      tail -n 20 "$WORDS/$i" >&2
    fi
    kill -KILL "${PIDS[@]}" 2>/dev/null
  done
  sleep 0.1 &
  wait $!
done
exit "$CODE"
