#!/usr/bin/env bash
# Installs, trains a small class-conditional DVD-GAN on the embedded moving shapes on whatever
# device is there, and draws samples from it: at most 12 minutes on two CPU cores. Run again, it
# continues where it stopped, or says what is there.
#   launch/quickstart.sh [FOLDER]      by default runs/quickstart in the project's folder
set -euo pipefail
FOLDER="${1:-}"
[ -z "$FOLDER" ] || case "$FOLDER" in /*) ;; *) FOLDER="$PWD/$FOLDER" ;; esac
. "$(dirname "${BASH_SOURCE[0]}")/install.sh"
FOLDER="${FOLDER:-$PROJECT/runs/quickstart}"

python -m vidgan_jax.train --config="$PROJECT/configs/quickstart.py" --workdir="$FOLDER"
if [ -e "$FOLDER/final/samples.npz" ]; then
  echo "samples are there already: $FOLDER/final"
else
  python -m vidgan_jax.sample --workdir="$FOLDER" --output="$FOLDER/final" --per_label=4
fi
