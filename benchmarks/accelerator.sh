#!/usr/bin/env bash
# All benchmarks of an accelerator, in the Python that is found first; needs neither tensorflow nor
# PyTorch.
#   benchmarks/accelerator.sh [FOLDER]     tables and results.jsonl go there, by default benchmarks/
# ROWS, e.g. ROWS=thesis, chooses the rows of training.py; EXTRA, e.g. --runlocal, is handed to both
# programs that take configs, and leaves the others out.
set -uo pipefail
mkdir -p "${1:-.}"
FOLDER="$(realpath "${1:-$(dirname "${BASH_SOURCE[0]}")}")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-.92}"
CODE=0

run() {
  echo "== $*"
  # shellcheck disable=SC2086
  python "benchmarks/$1.py" "${@:2}" --results="$FOLDER/results.jsonl" ${EXTRA:-} |
    tee "$FOLDER/$1.txt" || CODE=1
}
run sampling
run training --rows="${ROWS:-thesis,paper}"
if [ -z "${EXTRA:-}" ]; then
  run convolutions
  run discriminators --clips=32
  run evaluation
fi
exit "$CODE"
