#!/usr/bin/env bash
# Runs the tests on CPU with several versions of Python, JAX and the other requirements that
# pyproject.toml allows, and prints how many tests passed, failed and were skipped in each cell:
#   launch/test_versions.sh [CELL ...] [-- PYTEST ARGUMENT ...]
#   launch/test_versions.sh newest oldest -- tests/layers
#   launch/test_versions.sh -- --short        a selection of tests that takes some minutes
# A cell is a combination of versions. By default all cells run:
#   3.11, 3.12, 3.13   this Python with requirements.txt
#   newest             Python 3.12 with the newest versions that pyproject.toml allows
#   oldest             Python 3.11 with the oldest versions: requirements-oldest.txt
# Each cell has its own environment, .venvs/CELL (VIDGAN_JAX_VENVS sets another folder). Python is
# searched for as python3.12 and in pyenv's folder; PYTHON_3_12=/path/to/python sets its path.
# The output of the tests is in .venvs/CELL.log. Exit code 1 if a cell failed or could not run.
set -uo pipefail
unset CDPATH
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" && exit ;;
esac
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 1
VENVS="${VIDGAN_JAX_VENVS:-.venvs}"
case "$VENVS" in /*) ;; *) VENVS="$PWD/$VENVS" ;; esac
ALL=(3.11 3.12 3.13 newest oldest)
SHORT=(
  tests/runtime tests/objectives tests/layers/test_spectral_norm.py tests/layers/test_recurrent.py
  tests/data/sources/test_video_folder.py tests/data/sources/test_prepared.py tests/sampling/test_files.py
  tests/training/test_step.py tests/training/test_checkpoints.py tests/analysis/cost/test_summary.py
  tests/evaluation/features/test_embedded.py tests/test_prepare.py
)

CELLS=()
while (($#)); do
  [ "$1" = -- ] && shift && break
  [[ " ${ALL[*]} " == *" $1 "* ]] || {
    echo "error: unknown cell $1; known: ${ALL[*]}" >&2
    exit 2
  }
  CELLS+=("$1")
  shift
done
((${#CELLS[@]})) || CELLS=("${ALL[@]}")
TESTS=()
for argument in "$@"; do
  [ "$argument" = --short ] && TESTS+=("${SHORT[@]}") || TESTS+=("$argument")
done
((${#TESTS[@]})) ||
  TESTS=(--numprocesses=auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder)

# Prints the path of a Python of this version.
python_of() {
  local named="PYTHON_${1/./_}" path
  for path in "${!named:-}" "python$1" "${PYENV_ROOT:-${HOME:-/}/.pyenv}/versions/$1."*"/bin/python$1"; do
    [ -z "$path" ] || ! "$path" -c '' >/dev/null 2>&1 || { echo "$path" && return; }
  done
  return 1
}

# Creates the environment of a cell, unless it exists for the same requirements (and, for the cell
# "newest", was created today).
make() {
  local cell="$1" version="$2" python wanted files
  python="$(python_of "$version")" || { echo "no Python $version here" && return 1; }
  case "$cell" in
    newest) files=(--upgrade --upgrade-strategy=eager ".[test]") ;; # pip resolves pyproject.toml
    oldest) files=(-r requirements-oldest.txt ".[test]") ;;
    *) files=(-r requirements.txt -r requirements-test.txt) ;;
  esac
  wanted="$(cat pyproject.toml requirements.txt requirements-test.txt requirements-oldest.txt | cksum)"
  [ "$cell" != newest ] || wanted+=" $(date +%F)"
  [ "$(cat "$VENVS/$cell/made" 2>/dev/null)" != "$wanted" ] || return 0
  rm -rf "${VENVS:?}/$cell"
  mkdir -p "$VENVS" && "$python" -m venv "$VENVS/$cell" &&
    "$VENVS/$cell/bin/python" -m pip install --quiet --disable-pip-version-check "${files[@]}" &&
    "$VENVS/$cell/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
      --editable . &&
    echo "$wanted" >"$VENVS/$cell/made"
}

ROWS=() CODE=0
for cell in "${CELLS[@]}"; do
  begin=$SECONDS
  case "$cell" in newest) version=3.12 ;; oldest) version=3.11 ;; *) version=$cell ;; esac
  echo "=== $cell: Python $version"
  if ! make "$cell" "$version"; then
    ROWS+=("$(printf '%-8s could not be installed' "$cell")")
    CODE=1
    continue
  fi
  python="$VENVS/$cell/bin/python"
  env -u XLA_FLAGS -u PYTHONPATH JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$VENVS/$cell.jax" \
    "$python" -m pytest -rs "${TESTS[@]}" 2>&1 | tee "$VENVS/$cell.log"
  ended=${PIPESTATUS[0]}
  ((ended == 0)) || CODE=1
  line="$(grep -aE '[0-9]+ (passed|failed|skipped|errors?).* in [0-9.]+s' "$VENVS/$cell.log" | tail -n 1)"
  number() { grep -oE "[0-9]+ $1" <<<"$line" | grep -oE '^[0-9]+' || echo 0; }
  errors="$(number 'errors?')"
  versions="$("$python" -c '
import importlib.metadata as m
print(" ".join(f"{n} {m.version(n)}" for n in ("jax", "flax", "orbax-checkpoint", "av", "numpy")))')"
  ROWS+=("$(printf '%-8s %6s %6s %7s %6s s  exit %s  %s' "$cell" "$(number passed)" \
    "$(($(number failed) + errors))" "$(number skipped)" "$((SECONDS - begin))" "$ended" "$versions")")
done
echo
printf '%-8s %6s %6s %7s %6s\n' cell passed failed skipped time
printf '%s\n' "${ROWS[@]}"
exit "$CODE"
