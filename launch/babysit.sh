#!/usr/bin/env bash
# Runs a training command again and again until training is done. The exit code decides:
#   0           done
#   75          a signal stopped training, or a spot machine was taken away: starts it again
#   2, 3, 130   bad input, stopped by a guard, Ctrl-C: ends with this code
#   any other   a crash: starts it again, but ends with this code after --crashes crashes in a row,
#               or --all_crashes in all
#   launch/babysit.sh [--crashes=3] [--all_crashes=20] [--pause=10] [--steady=600] [--dry_run] \
#     COMMAND [ARGUMENT ...]
#   launch/babysit.sh .venv/bin/python -m vidgan_jax.train --config=... --workdir=...
#   launch/babysit.sh launch/tpu_vm.sh train --name=... --type=... --spot -- --config=... ...
# The second example also creates the TPU again after a preemption. Pauses between two starts begin
# at --pause seconds and double up to ten minutes. A run of --steady seconds or more resets the
# pause and the count of crashes in a row; --all_crashes ends a run that crashes again and again at
# the same iteration. SIGTERM, SIGINT and SIGHUP stop the command with SIGTERM; it is
# not started again, and its exit code is returned.
set -uo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" && exit ;;
esac
CRASHES=3 ALL_CRASHES=20 PAUSE=10 STEADY=600 DRY=""
usage() {
  echo "error: usage: launch/babysit.sh [--crashes=N] [--all_crashes=N] [--pause=SECONDS]" \
    "[--steady=SECONDS] [--dry_run] COMMAND [ARGUMENT ...]" >&2
  exit 2
}
number() { # NAME=VALUE, from 0 or from the second argument
  if ! [[ "${1#*=}" =~ ^[0-9]{1,6}$ ]] || ((10#${1#*=} < ${2:-0})); then usage; fi
  echo "$((10#${1#*=}))"
}
while [ $# -gt 0 ]; do
  case "$1" in
    --crashes=*) CRASHES="$(number "$1" 1)" || exit 2 ;;
    --all_crashes=*) ALL_CRASHES="$(number "$1" 1)" || exit 2 ;;
    --pause=*) PAUSE="$(number "$1")" || exit 2 ;;
    --steady=*) STEADY="$(number "$1")" || exit 2 ;;
    --dry_run) DRY=1 ;;
    --) shift && break ;;
    -*) usage ;;
    *) break ;;
  esac
  shift
done
[ $# -gt 0 ] || usage
if ! command -v -- "$1" >/dev/null; then
  echo "error: cannot run $1: no such command" >&2
  exit 2
fi
if [ -n "$DRY" ]; then
  printf 'would run until it ends with 0, 2, 3 or 130, or crashes %s times in a row or %s in all:' \
    "$CRASHES" "$ALL_CRASHES"
  printf ' %q' "$@"
  echo
  exit
fi

say() { echo "babysit, $(date '+%Y-%m-%d %H:%M:%S'): $*"; }
CHILD="" STOPPED=""
on_signal() {
  STOPPED=1
  [ -z "$CHILD" ] || kill -TERM "$CHILD" 2>/dev/null
}
trap on_signal TERM INT HUP
# Runs a command to its end; sets CODE. It asks whether the command still runs, because a signal
# interrupts `wait`, and Bash 5.2 then loses the exit code of a command that ends at that moment.
until_end_of() {
  "$@" &
  CHILD=$!
  [ -z "$STOPPED" ] || kill -TERM "$CHILD" 2>/dev/null # the signal came before CHILD was set
  while kill -0 "$CHILD" 2>/dev/null; do sleep 0.2; done
  wait "$CHILD"
  CODE=$?
  CHILD=""
}

crashes=0 all=0 pause=$PAUSE
for ((start = 1; ; start++)); do
  say "start $start: $*"
  begin=$SECONDS
  until_end_of "$@"
  code=$CODE
  if ((SECONDS - begin >= STEADY)); then crashes=0 pause=$PAUSE; fi
  case "$code" in
    0) say "done, after $start starts" ;;
    2) say "ended with 2, which another start does not change; see the lines above" ;;
    3) say "ended with 3: a guard stopped training; see the last lines of the log" ;;
    130) say "ended with 130: Ctrl-C" ;;
    *)
      if [ "$code" = 75 ]; then
        crashes=0
        say "ended with 75: stopped from outside, can continue"
      else
        crashes=$((crashes + 1)) all=$((all + 1))
        say "ended with $code: crash $crashes of $CRASHES in a row, $all of $ALL_CRASHES in all"
      fi
      if [ -z "$STOPPED" ] && ((crashes < CRASHES && all < ALL_CRASHES)); then
        say "next start in $pause s"
        until_end_of sleep "$pause"
        pause=$((pause * 2 > 600 ? 600 : pause * 2))
        [ -n "$STOPPED" ] || continue
      fi
      ;;
  esac
  [ -z "$STOPPED" ] || say "stopped by a signal; the same command continues"
  exit "$code"
done
