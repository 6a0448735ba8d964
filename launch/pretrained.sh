#!/usr/bin/env bash
# Trains, evaluates and exports the model moving_shapes that comes with the package. It takes about
# half an hour on two CPU cores. The same command continues where it stopped.
#   launch/pretrained.sh [FOLDER]
# FOLDER, by default runs/pretrained in the project's folder, receives the run and the exported
# model, FOLDER/moving_shapes. To replace the package's model, copy it to vidgan_jax/pretrained/.
# Exit codes: 0 done; else the code of the command that failed, as of train, evaluate and export.
set -euo pipefail
if [ "${1-}" = --help ] || [ "${1-}" = -h ]; then # prints the comment at the head of this file
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
  exit 0
fi
if [ $# -gt 1 ] || [[ "${1-}" == -* ]]; then
  echo "error: usage: launch/pretrained.sh [FOLDER]" >&2
  exit 2
fi
case "${1-}" in
  "" | /* | "~"*) GIVEN="${1-}" ;;
  *) GIVEN="$PWD/$1" ;;
esac
set -- # otherwise the sourced install.sh would read these arguments
. "$(dirname -- "${BASH_SOURCE[0]}")/install.sh"
FOLDER="${GIVEN:-$PROJECT/runs/pretrained}"
python -m vidgan_jax.train --config="$PROJECT/configs/quickstart.py" --workdir="$FOLDER/run" \
  --config.num_iterations=3000 --config.sample_every=1000
python -m vidgan_jax.evaluate --workdir="$FOLDER/run" --protocol=moving_shapes
python -m vidgan_jax.export --workdir="$FOLDER/run" --output="$FOLDER/moving_shapes"
