#!/usr/bin/env bash
# Installs, trains a small class-conditional DVD-GAN on the embedded moving shapes on whatever
# device is there, draws samples and scores them: at most 12 minutes on two CPU cores. Run again, it
# continues where it stopped, or says what is there.
#   launch/quickstart.sh [FOLDER]      by default runs/quickstart in the project's folder
set -euo pipefail
FOLDER="${1:-}"
[ -z "$FOLDER" ] || case "$FOLDER" in /*) ;; *) FOLDER="$PWD/$FOLDER" ;; esac
set -- # or they would be install.sh's
. "$(dirname "${BASH_SOURCE[0]}")/install.sh"
FOLDER="${FOLDER:-$PROJECT/runs/quickstart}"

python -m vidgan_jax.train --config="$PROJECT/configs/quickstart.py" --workdir="$FOLDER"
# Stopped by a signal, training saves and succeeds as well; only the last checkpoint tells the end.
END="$(python -c 'import json, sys; print(json.load(open(sys.argv[1], encoding="utf-8"))["num_iterations"])' \
  "$FOLDER/config.json")"
if [ ! -d "$FOLDER/checkpoints/$END" ]; then
  echo "training stopped before its end, nothing was sampled; the same command continues"
  exit 0
fi
if [ -e "$FOLDER/final/samples.npz" ]; then
  echo "samples are there already: $FOLDER/final"
else
  python -m vidgan_jax.sample --workdir="$FOLDER" --output="$FOLDER/final" --per_label=4
fi
SCORES="$FOLDER/evaluation/moving_shapes"
if [ -e "$SCORES/report.html" ] && grep -q "\"step\": $END," "$SCORES/results.json"; then
  echo "scores are there already: $SCORES"
else
  python -m vidgan_jax.evaluate --workdir="$FOLDER" --protocol=moving_shapes
fi
