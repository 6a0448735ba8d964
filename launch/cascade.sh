#!/usr/bin/env bash
# Trains the stages of a cascade (SSW-GAN) in order, each on the finished one before it. The same
# command continues where it stopped, and skips what is finished.
#   launch/cascade.sh [--folder=FOLDER] CONFIG... [--config.FIELD=VALUE ...]
# CONFIG is FILE:NAME, such as ssw_gan:shapes_stage1 for configs/ssw_gan.py, or a path FILE.py:NAME.
# Stage NAME is trained in FOLDER/NAME; FOLDER is by default runs/cascade in the project's folder.
# Fields of the config are passed to the training of every stage.
# Exit codes: 0 done; 75 a signal stopped training; else the code of the stage that failed.
set -euo pipefail
help() { # the comment at the head of this file
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
  exit 0
}
usage() {
  echo "error: usage: launch/cascade.sh [--folder=FOLDER] CONFIG... [--config.FIELD=VALUE ...]" >&2
  exit 2
}
FOLDER="" CONFIGS=() TRAIN=()
for argument in "$@"; do
  case "$argument" in
    --folder=?*) FOLDER="${argument#--folder=}" ;;
    -h | --help) help ;;
    --config.*) TRAIN+=("$argument") ;;
    -*) usage ;;
    *:?*) CONFIGS+=("$argument") ;;
    *) usage ;;
  esac
done
[ "${#CONFIGS[@]}" -gt 0 ] || usage
case "$FOLDER" in
  "" | /* | "~"*) ;;
  *:/*)
    echo "error: launch/cascade.sh takes a local folder; vidgan train --workdir=$FOLDER takes a bucket" >&2
    exit 2
    ;;
  *) FOLDER="$PWD/$FOLDER" ;;
esac
GIVEN="$FOLDER" START="$PWD"
set -- # otherwise the sourced install.sh would read these arguments
. "$(dirname -- "${BASH_SOURCE[0]}")/install.sh"
FOLDER="${GIVEN:-$PROJECT/runs/cascade}"

FILES=() NAMES=() WORKDIRS=() EARLIER=()
# Checks all names and fields before the first stage is trained.
for config in "${CONFIGS[@]}"; do
  file="${config%%:*}" name="${config#*:}"
  case "$file" in
    /*.py) ;;
    *.py) file="$START/$file" ;;
    *) file="$PROJECT/configs/$file.py" ;;
  esac
  python -m vidgan_jax.train --config="$file:$name" --print_config \
    ${EARLIER[@]+"${EARLIER[@]}"} ${TRAIN[@]+"${TRAIN[@]}"} >/dev/null
  workdir="$FOLDER/${name//,/_}"
  FILES+=("$file") NAMES+=("$name") WORKDIRS+=("$workdir")
  EARLIER=("--config.model.earlier_run=$workdir")
done

EARLIER=()
for index in "${!NAMES[@]}"; do
  file="${FILES[index]}" name="${NAMES[index]}" workdir="${WORKDIRS[index]}"
  echo "stage $name: $workdir"
  CODE=0
  python -m vidgan_jax.train --config="$file:$name" --workdir="$workdir" \
    ${EARLIER[@]+"${EARLIER[@]}"} ${TRAIN[@]+"${TRAIN[@]}"} || CODE=$?
  if [ "$CODE" = 75 ]; then
    echo "training stopped before the end of stage $name; the same command continues"
  fi
  [ "$CODE" = 0 ] || exit "$CODE"
  EARLIER=("--config.model.earlier_run=$workdir")
done
echo "all stages are trained; the last one's folder is enough to sample from them:"
printf '  %q -m vidgan_jax.sample --workdir=%q --output=DIR --standing_passes=200\n' \
  "$(command -v python)" "$workdir"
