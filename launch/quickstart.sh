#!/usr/bin/env bash
# Installs the package, trains a small class-conditional DVD-GAN on synthetic moving shapes,
# generates samples and evaluates them, on a GPU or TPU if there is one. It takes at most 12 minutes
# on two CPU cores. The same command continues where it stopped, and skips what is finished.
#   launch/quickstart.sh [FOLDER] [--short] [--config.FIELD=VALUE ...]
# FOLDER is by default runs/quickstart in the project's folder. --short trains three iterations and
# evaluates 64 clips, to check that everything runs. Fields of the config are passed to training.
# Exit codes: 0 done; 75 a signal stopped training; else the code of the command that failed.
set -euo pipefail
help() { # the comment at the head of this file
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
  exit 0
}
FOLDER="" SHORT="" TRAIN=() SCORE=()
for argument in "$@"; do
  case "$argument" in
    --short) SHORT=1 ;;
    -h | --help) help ;;
    --config.*) TRAIN+=("$argument") ;;
    -*) FOLDER="-" && break ;;
    *) [ -z "$FOLDER" ] && FOLDER="$argument" || FOLDER="-" ;;
  esac
done
if [ "$FOLDER" = - ]; then
  echo "error: usage: launch/quickstart.sh [FOLDER] [--short] [--config.FIELD=VALUE ...]" >&2
  exit 2
fi
case "$FOLDER" in
  "" | /* | "~"*) ;;
  *:/*)
    echo "error: launch/quickstart.sh takes a local folder; vidgan train --workdir=$FOLDER takes a bucket" >&2
    exit 2
    ;;
  *) FOLDER="$PWD/$FOLDER" ;;
esac
GIVEN="$FOLDER"
set -- # otherwise the sourced install.sh would read these arguments
. "$(dirname -- "${BASH_SOURCE[0]}")/install.sh"
FOLDER="${GIVEN:-$PROJECT/runs/quickstart}"
case "$FOLDER" in # Python also expands ~user; training refuses what Python cannot expand
  "~"*) FOLDER="$("$PYTHON" -c 'import os, sys; print(os.path.expanduser(sys.argv[1]))' "$FOLDER")" ;;
esac
CONFIG="$PROJECT/configs/quickstart.py"
[ -z "$SHORT" ] || { CONFIG+=":runlocal" && SCORE=(--count=64 --real_count=64); }

if [ -z "$GIVEN" ] && [ ! -w . ]; then
  echo "error: $PROJECT cannot be written, but runs/quickstart must be created there; name another" \
    "folder: launch/quickstart.sh FOLDER" >&2
  exit 2
fi

CODE=0
python -m vidgan_jax.train --config="$CONFIG" --workdir="$FOLDER" ${TRAIN[@]+"${TRAIN[@]}"} || CODE=$?
if [ "$CODE" = 75 ]; then
  echo "training stopped before its end, and nothing was sampled; the same command continues"
fi
[ "$CODE" = 0 ] || exit "$CODE"
END="$(python -c 'import json, sys; print(json.load(open(sys.argv[1], encoding="utf-8"))["num_iterations"])' \
  "$FOLDER/config.json")"
if [ -e "$FOLDER/final/samples.npz" ]; then
  echo "samples exist already: $FOLDER/final"
else
  python -m vidgan_jax.sample --workdir="$FOLDER" --output="$FOLDER/final" --per_label=4
fi
SCORES="$FOLDER/evaluation/moving_shapes"
if [ -e "$SCORES/report.html" ] && grep -q "\"step\": $END," "$SCORES/results.json"; then
  echo "scores exist already: $SCORES"
else
  python -m vidgan_jax.evaluate --workdir="$FOLDER" --protocol=moving_shapes ${SCORE[@]+"${SCORE[@]}"}
fi
