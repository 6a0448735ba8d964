#!/usr/bin/env bash
# Measures one accelerator in ten minutes: compiles the programs in parallel, then measures them one
# after the other. benchmarks/accelerator.sh measures more and takes longer.
set -uo pipefail

usage() {
  cat <<'END'
usage: [EXTRA=--runlocal] [BATCH=64] [COMPILE_SECONDS=330] benchmarks/card.sh [FOLDER]

  FOLDER           folder for results.jsonl, tables and logs of compilation; default a new temporary
                   folder
  BATCH            batch size of the paper's row without remat
  COMPILE_SECONDS  programs that take longer to compile are stopped and not measured
  EXTRA            flags for training.py and sampling.py; --runlocal tries the script

Prints, in this order: losses and gradients on the accelerator against the CPU (equality.py); the
thesis' row; the paper's row at batch size BATCH, with and without the exact savings; the paper's
full batch in micro-batches of BATCH; the full batch with remat; latency and throughput of sampling.
Exit codes: 0 done, 1 a program failed or was stopped, 2 bad input.
END
}
case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  -*) echo "error: unknown option $1: see --help" >&2; exit 2 ;;
esac
[ $# -le 1 ] || { echo "error: one FOLDER at most, not $#: see --help" >&2; exit 2; }
FOLDER="${1:-$(mktemp -d)}"
mkdir -p "$FOLDER" || exit 2
FOLDER="$(realpath "$FOLDER")"
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
read -r -a MORE <<<"${EXTRA:-}"
BATCH="${BATCH:-64}"
PYTHON="$(command -v python || command -v python3)"
# Several processes share the card's memory while they compile, because autotuning runs kernels.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$FOLDER/compiled}"
export XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1
RESULTS="--results=$FOLDER/results.jsonl"
CODE=0

declare -A ROWS=(
  [thesis]="--rows=thesis"
  [paper]="--rows=paper --batch_size=$BATCH --remat=none"
  [plain]="--rows=paper --batch_size=$BATCH --remat=none --nosavings"
  [microbatches]="--rows=paper --microbatch=$BATCH --remat=none"
  [full]="--rows=paper --remat=block_inputs"
)
[ -z "${EXTRA:-}" ] || ROWS[microbatches]="--rows=paper --batch_size=$((2 * BATCH)) --microbatch=$BATCH --remat=none"
ORDER=(thesis paper plain microbatches full)
say() { echo "[$SECONDS s] $*"; }
declare -A PIDS
start() {
  local name="$1"
  shift
  timeout "${COMPILE_SECONDS:-330}" "$PYTHON" "$@" >"$FOLDER/$name.log" 2>&1 &
  PIDS[$name]=$!
}

"$PYTHON" -c 'import jax; print(f"jax {jax.__version__}, {jax.devices()}")' || exit 1
start equality benchmarks/equality.py "$RESULTS"
for name in "${ORDER[@]}"; do
  # shellcheck disable=SC2086
  start "$name" benchmarks/training.py ${ROWS[$name]} --compile_only "$RESULTS" "${MORE[@]}"
done
start sampling benchmarks/sampling.py --calls=1 --warm_up=1 --results=/dev/null "${MORE[@]}"
declare -A READY
for name in "${!PIDS[@]}"; do
  if wait "${PIDS[$name]}"; then READY[$name]=1; else CODE=1; fi
  say "$name: $([ -n "${READY[$name]:-}" ] && echo compiled || echo failed or stopped): $(tail -n 1 "$FOLDER/$name.log")"
done
tail -n 6 "$FOLDER/equality.log"

export XLA_PYTHON_CLIENT_PREALLOCATE=true XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-.95}"
measure() {
  local name="$1"
  shift
  [ -n "${READY[$name]:-}" ] || return
  say "$*"
  timeout 120 "$PYTHON" "$@" "$RESULTS" "${MORE[@]}" 2>&1 | tee "$FOLDER/$name.txt" | grep '^|\|error' || CODE=1
}
for name in "${ORDER[@]}"; do
  # shellcheck disable=SC2086
  measure "$name" benchmarks/training.py ${ROWS[$name]} --iterations=6
done
measure sampling benchmarks/sampling.py
say "done: $FOLDER"
exit "$CODE"
