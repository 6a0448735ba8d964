#!/usr/bin/env bash
# Trains on a Cloud TPU slice from another machine, such as a laptop. A slice is requested as a
# queued resource. Every action but create and delete acts on all workers of the slice.
#   launch/tpu_vm.sh ACTION --name=NAME [OPTION ...] [-- TRAINING ARGUMENTS]
#   create   requests the slice and waits for it     needs --type; --spot, --version, --valid_for
#   install  copies this project, installs it        --nfs, --setup, --env
#   run      starts training, which goes on without this machine; --env
#   logs     the end of a worker's log               --worker, --lines, --follow
#   status   the slice, and a line per worker
#   stop     stops training after it has saved a checkpoint
#   delete   deletes the slice: it costs money until then
#   train    create, install and run, as far as needed; waits, and ends with training's exit code.
#            Ends with 75 if the slice is taken away; the next call creates it again. After a
#            failure it adds the logs of all workers to NAME-workers.log in this folder. Takes the
#            options of these three, and --delete_at_end.
# Options of all actions:
#   --zone=ZONE --project=PROJECT   by default those of gcloud's configuration
#   --iap                           reaches workers without external addresses (create them with
#                                   --create_flag=--internal-ips)
#   --dry_run                       prints the commands of gcloud, and runs none
# Options of some:
#   --type=v5litepod-32             accelerator type; counts cores for v2 to v5p, chips for others
#   --version=VERSION               software of the slice, by default the one for --type
#   --spot                          cheaper, and may be taken away at any time
#   --valid_for=6h                  gives up the request after this time, and ends with 2
#   --create_flag=FLAG              a further flag for the request; may be repeated
#   --nfs=HOST:/SHARE               mounted on each worker at /mnt/vidgan_jax
#   --setup=COMMAND                 runs on each worker before the installation
#   --env=NAME=VALUE                a variable for installation and training; may be repeated
#   --delete_at_end                 train deletes the slice when training has ended with 0, 2 or 3
#   --worker=0 --lines=50 --follow  which log, how much of it, and whether to follow it
#   --poll=30                       seconds between two looks at the slice
# Exit codes: 0 done; 2 bad input, or training's, or --valid_for is over; 3 training's; 75 taken
# away or stopped, and the same command continues; else a failure of gcloud or of training.
set -uo pipefail
unset CDPATH
PROJECT_FOLDER="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)" || exit 1
REMOTE=vidgan_jax # the project's folder on each worker, in the home folder
PARTS=(vidgan_jax configs launch pyproject.toml README.md LICENSE)

fail() {
  echo "error: $1" >&2
  exit "${2:-2}"
}
ACTION="${1:-}"
[ $# -eq 0 ] || shift
case "$ACTION" in
  create | install | run | logs | status | stop | delete | train) ;;
  -h | --help | help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
    exit
    ;;
  *)
    fail "usage: launch/tpu_vm.sh create|install|run|logs|status|stop|delete|train --name=NAME \
[OPTION ...] [-- TRAINING ARGUMENTS]; --help lists the options"
    ;;
esac
NAME="" TYPE="" VERSION="" NFS="" SETUP="" SPOT="" DRY="" FOLLOW="" NAMED=""
VALID_FOR="" DELETE="" VARIABLES=""
WORKER=0 LINES_SHOWN=50 POLL=30 WHERE=() CREATE=() IAP=() ARGUMENTS=()
while [ $# -gt 0 ]; do
  case "$1" in
    --name=?*) NAME="${1#*=}" ;;
    --zone=?* | --project=?*) WHERE+=("$1") ;;
    --type=?*) TYPE="${1#*=}" ;;
    --version=?*) VERSION="${1#*=}" ;;
    --spot) SPOT=1 ;;
    --valid_for=?*)
      VALID_FOR="${1#*=}"
      CREATE+=("--valid-until-duration=$VALID_FOR")
      ;;
    --create_flag=--?*) CREATE+=("${1#*=}") ;;
    --nfs=?*:/*) NFS="${1#*=}" ;;
    --setup=?*) SETUP="${1#*=}" ;;
    --env=*)
      [[ "${1#*=}" =~ ^([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] ||
        fail "--env is '${1#*=}'; it needs NAME=VALUE"
      VARIABLES+="$(printf '%s=%q ' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}")"
      ;;
    --delete_at_end) DELETE=1 ;;
    --iap) IAP=(--tunnel-through-iap) ;;
    --worker=?*) WORKER="${1#*=}" ;;
    --lines=?*) LINES_SHOWN="${1#*=}" ;;
    --follow) FOLLOW=follow ;;
    --poll=?*) POLL="${1#*=}" ;;
    --dry_run) DRY=1 ;;
    --)
      shift
      ARGUMENTS=("$@")
      break
      ;;
    *) fail "unknown option $1; launch/tpu_vm.sh --help lists the options" ;;
  esac
  shift
done
[[ "$NAME" =~ ^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
  fail "--name is '$NAME'; it needs small letters, digits and hyphens, and begins with a letter"
[[ "$POLL$LINES_SHOWN" =~ ^[0-9]+$ && "$WORKER" =~ ^([0-9]+|all)$ ]] ||
  fail "--poll, --lines and --worker are numbers"
case "$ACTION" in
  run | train)
    [ "${#ARGUMENTS[@]}" -gt 0 ] ||
      fail "$ACTION needs the arguments of training: -- --config=... --workdir=..."
    [[ " ${ARGUMENTS[*]} " == *" --workdir"[=\ ]* ]] ||
      fail "the training arguments have no --workdir"
    ;;
  *) [ "${#ARGUMENTS[@]}" -eq 0 ] || fail "$ACTION takes no training arguments" ;;
esac
if [ "$ACTION" = create ] || [ "$ACTION" = train ]; then
  [ -n "$TYPE" ] || fail "$ACTION needs --type, such as --type=v5litepod-32"
  [[ "$TYPE" != v5e-* ]] || fail "v5e is called v5litepod: --type=v5litepod-${TYPE#v5e-}"
  case "${VERSION:+given}$TYPE" in
    given*) ;;
    v6e-*) VERSION=v2-alpha-tpuv6e ;;
    v5p-*) VERSION=v2-alpha-tpuv5 ;;
    v5litepod-*) VERSION=v2-alpha-tpuv5-lite ;;
    v[234]-*) VERSION=tpu-ubuntu2204-base ;;
    *) fail "no software is known for --type=$TYPE; name it with --version" ;;
  esac
fi
if [ -n "$DELETE" ]; then
  [ "$ACTION" = train ] || fail "$ACTION does not take --delete_at_end; train does"
  [[ " ${ARGUMENTS[*]} " =~ \ --workdir[=\ ](gs://|/mnt/) ]] ||
    fail "--delete_at_end would delete the run: --workdir must begin with gs:// or /mnt/"
fi
command -v gcloud >/dev/null || [ -n "$DRY" ] ||
  fail "gcloud is not installed (cloud.google.com/sdk)"

say() { echo "$NAME: $*"; }
# Runs gcloud compute tpus ... with zone and project, or prints the command.
tpus() {
  local command=(gcloud compute tpus "$@" ${WHERE[@]+"${WHERE[@]}"})
  if [ -n "$DRY" ]; then
    printf '%q ' "${command[@]}" | sed 's/ $//'
    echo
  else
    "${command[@]}"
  fi
}
# Runs tpu_worker.sh with these arguments on the workers $1.
on_workers() {
  local workers="$1" command
  shift
  command="${VARIABLES}bash $REMOTE/launch/tpu_worker.sh$(printf ' %q' "$@")"
  tpus queued-resources ssh "$NAME" --worker="$workers" --node=all ${IAP[@]+"${IAP[@]}"} \
    --command="$command"
}
# The same on all workers, which must answer with a line that contains $1: gcloud ends with 0 if it
# cannot prepare the connection to the slice, and then has reached none of them.
answered() {
  local words="$1" codes
  shift
  if [ -n "$DRY" ]; then
    on_workers all "$@"
    return
  fi
  on_workers all "$@" | awk -v words="$words" '
    { print; fflush() }
    index($0, words) { found = 1 }
    END { exit !found }'
  codes=("${PIPESTATUS[@]}")
  [ "${codes[0]}" = 0 ] || return "${codes[0]}"
  [ "${codes[1]}" = 0 ] || echo "error: no worker of $NAME has answered" >&2
  return "${codes[1]}"
}

costs() { say "costs money until: launch/tpu_vm.sh delete --name=$NAME ${WHERE[*]-}"; }
create() {
  say "requesting $TYPE${SPOT:+ (spot)}"
  tpus queued-resources create "$NAME" --node-id="$NAME" --accelerator-type="$TYPE" \
    --runtime-version="$VERSION" ${SPOT:+--spot} ${CREATE[@]+"${CREATE[@]}"} || return
}
delete() { tpus queued-resources delete "$NAME" --force --quiet; }

missing() { grep -qiE 'NOT_FOUND|not found' "$1"; }
# Sets STATE: NONE if there is no request of this name, the state of the request until it is ACTIVE,
# then the state of the slice's machines, which is READY while they work. Fails if gcloud does.
look() {
  local errors
  errors="$(mktemp)" || return
  STATE=""
  if STATE="$(tpus queued-resources describe "$NAME" --format='value(state.state)' \
    2>"$errors")"; then
    if [ "$STATE" = ACTIVE ]; then
      STATE="$(tpus tpu-vm describe "$NAME" --format='value(state)' 2>"$errors")" || STATE=""
      if [ -z "$STATE" ] && missing "$errors"; then STATE=TERMINATED; fi
    fi
  elif missing "$errors"; then
    STATE=NONE
  else
    STATE=""
  fi
  [ -n "$STATE" ] || cat "$errors" >&2
  rm -f "$errors"
  [ -n "$STATE" ]
}
# Whether a slice in STATE will never work (again).
gone() { [[ "$STATE" =~ ^(NONE|SUSPENDING|SUSPENDED|FAILED|DELETING|PREEMPTED|TERMINATED)$ ]]; }
# Sleeps between two looks. In the background, because bash handles signals only between commands.
nap() {
  sleep "$POLL" >/dev/null 2>&1 &
  wait $!
}

# Waits until the slice works. 75 if it is taken away meanwhile, 2 if --valid_for is over.
wait_until_ready() {
  local last="" misses=0
  [ -z "$DRY" ] || return 0
  while :; do
    if look; then
      misses=0
      [ "$STATE" = "$last" ] || say "$STATE"
      last="$STATE"
      [ "$STATE" != READY ] || return 0
      if [ "$STATE" = FAILED ]; then
        echo "error: the request failed${VALID_FOR:+, or was not granted within $VALID_FOR}:" \
          "gcloud compute tpus queued-resources describe $NAME ${WHERE[*]-} says why" >&2
        [ -z "$VALID_FOR" ] || return 2
        return 1
      fi
      ! gone || return 75
    else # the connection to the laptop may be lost for some time
      misses=$((misses + 1))
      ((misses < 20)) || fail "gcloud fails; see above" 1
    fi
    nap
  done
}

install() {
  local archive command file failed="" files=("${PARTS[@]}")
  archive=/tmp/vidgan_jax.tgz
  [ -n "$DRY" ] || archive="$(mktemp -d)/vidgan_jax.tgz" || return
  for file in "$PROJECT_FOLDER"/requirements*.txt; do files+=("${file##*/}"); done
  say "copying the project to every worker, and installing it"
  # Without COPYFILE_DISABLE, tar of macOS adds a file for each file with attributes.
  [ -n "$DRY" ] ||
    COPYFILE_DISABLE=1 tar -C "$PROJECT_FOLDER" --exclude=__pycache__ \
      -czf "$archive" "${files[@]}" || return
  tpus queued-resources scp "$archive" "$NAME:vidgan_jax.tgz" --worker=all --node=all \
    ${IAP[@]+"${IAP[@]}"} || failed=1
  [ -n "$DRY" ] || rm -rf "${archive%/*}"
  [ -z "$failed" ] || return 1
  # Old modules of the project must not stay. .venv stays, and is not installed again if it fits.
  command="mkdir -p $REMOTE && cd $REMOTE"
  command+=" && { [ ! -e launch ] || bash launch/tpu_worker.sh idle; }"
  command+=" && rm -rf vidgan_jax configs launch && tar -xzf ../vidgan_jax.tgz"
  tpus queued-resources ssh "$NAME" --worker=all --node=all ${IAP[@]+"${IAP[@]}"} \
    --command="$command" || return
  answered "installed on worker" install "$NFS" "$SETUP"
}

# Sets REPORT to the status line of every worker. Fails if one of them cannot be reached.
report() {
  REPORT="$(on_workers all status 2>/dev/null)" || return
  REPORT="$(grep -E '^worker=[^ ]+ state=' <<<"$REPORT" | sort)"
}
# Whether a worker has this state, and, if it has ended, this exit code (a regular expression).
some() { grep -qE "^worker=[^ ]+ state=$1 code=${2:-[0-9]*} " <<<"$REPORT"; }

FAILED='([1-9]|[1-6][0-9]|7[0-46-9]|[89][0-9]|[0-9]{3})' # every exit code but 0 and 75
# Waits for the end of training on all workers; returns its exit code.
watch() {
  local shown="" line misses=0 waiting=0
  while :; do
    if report; then
      misses=0
      line="$(sed -n '1s/^[^|]*| //p' <<<"$REPORT")"
      [ "$line" = "$shown" ] || say "$line"
      shown="$line"
      if ! some running; then break; fi
      # A process that failed never answers the others again. They get two minutes to end.
      if some lost || some ended "$FAILED"; then
        waiting=$((waiting + 1))
        if ((waiting > 4)); then
          say "some workers have failed; stopping the others"
          on_workers all stop 60 >/dev/null 2>&1
        fi
      fi
    elif look; then
      if gone; then return 75; fi
      misses=$((misses + 1))
      ((misses < 10)) ||
        fail "the workers cannot be reached: launch/tpu_vm.sh status --name=$NAME" 1
    fi # else gcloud fails: this machine has lost its network for a time, and training goes on
    nap
  done
  echo "$REPORT"
  # If one process ends with 2 or 3, JAX ends the others with codes of its own.
  if some ended 2; then return 2; fi
  if some ended 3; then return 3; fi
  if look && gone; then return 75; fi # machines that are being taken away end in any way
  if some lost || some none; then return 1; fi
  line="$(sed -nE 's/^worker=[^ ]+ state=ended code=([0-9]+) .*/\1/p' <<<"$REPORT" |
    grep -vxE '0|75' | head -n 1)"
  if [ -n "$line" ]; then return "$line"; fi
  if some ended 75; then return 75; fi
  return 0
}

# Adds the logs of all workers to a file here, because they are deleted with the slice. Prints the
# last lines of the worker that ended with code $1, unless that is 0.
keep_logs() {
  local file="$NAME-workers.log" worker
  echo "$NAME, $(date '+%Y-%m-%d %H:%M:%S'): training ended with $1" >>"$file" || return
  on_workers all logs 1000 named >>"$file" 2>/dev/null
  say "the logs of all workers: $file"
  [ "$1" != 0 ] || return
  worker="$(sed -nE "s/^worker=([^ ]+) state=(ended code=$1|lost code=) .*/\1/p" <<<"$REPORT" |
    head -n 1)"
  [ -z "$worker" ] || grep "^$worker: " "$file" | tail -n 20
}
# After training has ended with code $1: deletes the slice, or says that it costs money.
finish() {
  if [ -n "$DELETE" ] && [[ "$1" =~ ^[023]$ ]]; then
    say "deleting it"
    delete && return
  fi
  gone || costs
}

train() {
  local code=0
  trap 'say "no longer watching; training goes on: launch/tpu_vm.sh status|stop --name=$NAME"; \
exit 130' INT TERM HUP
  if [ -n "$DRY" ]; then
    echo "# unless the slice exists:"
    STATE=NONE
  else
    look || { nap && look; } || { nap && look; } || return 1
  fi
  while [ "$STATE" = SUSPENDING ] || [ "$STATE" = DELETING ]; do
    say "$STATE"
    nap
    look || return 1
  done
  if gone && [ "$STATE" != NONE ]; then
    say "$STATE: deleting what is left of it"
    delete || return 1
    STATE=NONE
  fi
  if [ "$STATE" = NONE ]; then create || return 1; fi
  wait_until_ready || {
    code=$?
    finish "$code"
    return "$code"
  }
  [ -z "$DRY" ] || echo "# unless training runs already:"
  if [ -n "$DRY" ] || ! report || ! some running; then
    if ! install || ! answered "started on worker" start "${ARGUMENTS[@]}"; then
      [ -z "$DRY" ] && look && gone && return 75
      return 1
    fi
  fi
  if [ -n "$DRY" ]; then
    echo "# every $POLL s, until training has ended on all workers:"
    on_workers all status
    [ -z "$DELETE" ] || {
      echo "# after 0, 2 and 3, when the logs of all workers are in $NAME-workers.log:"
      delete
    }
    return 0
  fi
  watch || code=$?
  case "$code" in
    0) say "done" ;;
    75) say "training was stopped or the slice was taken away; the same command continues" ;;
    *) say "training ended with $code" ;;
  esac
  if [ "$code" != 75 ] && ! gone && { [ "$code" != 0 ] || [ -n "$DELETE" ]; }; then
    keep_logs "$code"
  fi
  finish "$code"
  return "$code"
}

case "$ACTION" in
  create) create && wait_until_ready ;;
  install) install ;;
  run) answered "started on worker" start "${ARGUMENTS[@]}" ;;
  logs)
    [ "$WORKER" != all ] || NAMED=named
    on_workers "$WORKER" logs "$LINES_SHOWN" ${FOLLOW:+"$FOLLOW"} ${NAMED:+"$NAMED"}
    ;;
  status)
    if [ -n "$DRY" ]; then
      tpus queued-resources describe "$NAME" --format='value(state.state)'
      on_workers all status
    else
      look || exit 1
      say "$STATE"
      # If it fails, it runs again with gcloud's messages, which are long.
      if [ "$STATE" = READY ]; then
        if report; then echo "$REPORT"; else on_workers all status; fi
      fi
    fi
    ;;
  stop)
    answered "worker=" stop || exit
    [ -n "$DRY" ] || costs
    ;;
  delete) delete ;;
  train) train ;;
esac
