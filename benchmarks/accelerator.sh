#!/usr/bin/env bash
# Runs all benchmarks for an accelerator with the first python in PATH; needs neither tensorflow nor
# PyTorch. A new table replaces an old one only if its program succeeds. The output of a program that
# fails is in NAME.failed.txt.
set -uo pipefail

usage() {
  cat <<'END'
usage: [ROWS=thesis] [EXTRA=--runlocal] benchmarks/accelerator.sh [FOLDER]

  FOLDER  folder for the tables, NAME.txt, and results.jsonl; default benchmarks/
  ROWS    rows of training.py, separated by commas; default thesis,paper
  EXTRA   flags for the two programs that take configs, sampling.py and training.py; with EXTRA the
          other programs are not run

Exit codes: 0 done, 1 a program failed, 2 bad input.
END
}

refuse() {
  echo "error: $*" >&2
  exit 2
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  -*) refuse "unknown option $1: see --help" ;;
esac
[ $# -le 1 ] || refuse "one FOLDER at most, not $#: see --help"
FOLDER="${1:-$(dirname "${BASH_SOURCE[0]}")}"
mkdir -p "$FOLDER" 2>/dev/null || refuse "cannot make the folder $FOLDER"
FOLDER="$(realpath "$FOLDER")"
RESULTS="$FOLDER/results.jsonl"
{ [ -w "$FOLDER" ] && [ -x "$FOLDER" ]; } || refuse "cannot write into $FOLDER"
[ ! -e "$RESULTS" ] || { [ -f "$RESULTS" ] && [ -w "$RESULTS" ]; } || refuse "cannot write $RESULTS"
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-.92}"
CODE=0

run() {
  local table="$FOLDER/$1.txt" unfinished="$FOLDER/$1.failed.txt"
  echo "== $*"
  # shellcheck disable=SC2086
  if python "benchmarks/$1.py" "${@:2}" --results="$RESULTS" ${EXTRA:-} | tee "$unfinished"; then
    mv -f "$unfinished" "$table" || CODE=1
  else
    CODE=1
  fi
}
run sampling
run training --rows="${ROWS:-thesis,paper}"
if [ -z "${EXTRA:-}" ]; then
  run convolutions
  run discriminators --clips=32
  run evaluation
fi
exit "$CODE"
