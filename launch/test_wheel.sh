#!/usr/bin/env bash
# Uses the package as a user without a clone does: builds a wheel, installs it into a new virtual
# environment in an empty folder whose path has spaces and an accent, and runs the commands there
# with no environment variable but PATH and HOME. It takes about two minutes.
#   launch/test_wheel.sh [pinned|oldest|newest] [--notebooks]
#   pinned       the versions in requirements.txt (default)
#   oldest       those in requirements-oldest.txt; needs Python 3.11
#   newest       the newest that pyproject.toml allows
#   --notebooks  also runs the notebooks of colabs/, with few iterations and clips
# PYTHON=/path/to/python chooses the Python. Exit codes: 0 done; else that of the failed command.
set -euo pipefail
unset CDPATH
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" && exit ;;
esac
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
PROJECT="$PWD" VERSIONS=pinned NOTEBOOKS="" PYTHON="${PYTHON:-python3}"
for argument in "$@"; do
  case "$argument" in
    --notebooks) NOTEBOOKS=1 ;;
    *) VERSIONS="$argument" ;;
  esac
done
case "$VERSIONS" in
  pinned)
    LIMITS=(--constraint "$PROJECT/requirements.txt"
      --constraint "$PROJECT/requirements-notebooks.txt")
    ;;
  oldest) LIMITS=(--constraint "$PROJECT/requirements-oldest.txt") ;;
  newest) LIMITS=(--upgrade --upgrade-strategy=eager) ;;
  *) echo "error: unknown versions $VERSIONS; known: pinned, oldest, newest" >&2 && exit 2 ;;
esac
SCRATCH="$(mktemp -d)"
trap 'rm -rf "$SCRATCH"' EXIT
HERE="$SCRATCH/an émpty folder"
mkdir -p "$HERE" "$SCRATCH/home" "$SCRATCH/source"

# pip writes into the folder that it builds, so it gets a copy.
cp -RP pyproject.toml README.md LICENSE vidgan_jax configs "$SCRATCH/source"
find "$SCRATCH/source" -name __pycache__ -prune -exec rm -rf {} +
"$PYTHON" -m venv "$HERE/environment"
PIP=("$HERE/environment/bin/python" -m pip --disable-pip-version-check --quiet)
"${PIP[@]}" wheel --no-deps --wheel-dir "$SCRATCH" "$SCRATCH/source"
"${PIP[@]}" install "${LIMITS[@]}" "$SCRATCH"/vidgan_jax-*.whl
rm -rf "$SCRATCH/source"
cd -- "$HERE"

# Prints a command and runs it in an emptied environment, on the CPU.
run() {
  echo "+ $*"
  env -i PATH="$HERE/environment/bin:/usr/bin:/bin" HOME="$SCRATCH/home" JAX_PLATFORMS=cpu "$@"
}
# Fails unless the command ends with exit code 2 and one line on stderr.
refused() {
  local code=0
  run "$@" 2>"$SCRATCH/refused" >/dev/null || code=$?
  if [ "$code" != 2 ] || [ "$(wc -l <"$SCRATCH/refused")" != 1 ]; then
    cat "$SCRATCH/refused"
    echo "error: exit code $code, expected 2 and one line on stderr" >&2
    return 1
  fi
}

run vidgan --version
run vidgan --help >/dev/null
refused vidgan no_such_command
refused vidgan train --config=no_such_config --workdir=run
run python -c 'import vidgan_jax; print(vidgan_jax.load("moving_shapes").sample().shape)'
run vidgan sample --workdir=moving_shapes --output="packaged samples" --labels=disk_vertical
run vidgan train --config=quickstart --config.num_iterations=3 --workdir="a run"
run vidgan sample --workdir="a run" --output="some samples" --labels=disk_vertical,3 --standing_passes=2
run vidgan export --workdir="a run" --output="a modél" --standing_passes=2
run vidgan sample --workdir="a modél" --output="the same samples" --labels=disk_vertical,3 \
  --standing_passes=2
cmp "some samples/samples.npz" "the same samples/samples.npz"
mv "a run" "a run elsewhere"
run vidgan evaluate --workdir="a modél" --count=16 --real_count=16 --batch_size=16 --bootstrap=0 \
  --standing_passes=2
run python -c 'import vidgan_jax; print(vidgan_jax.load("a modél", standing_passes=2).sample().shape)'
test -s "some samples/grid.mp4" && test -s "a modél/evaluation/moving_shapes/report.html"
printf ' ' >>"a modél/generator.safetensors"
refused vidgan sample --workdir="a modél" --output="no samples"
if [ -n "$NOTEBOOKS" ]; then
  WHEEL=("$SCRATCH"/vidgan_jax-*.whl)
  "${PIP[@]}" install "${LIMITS[@]}" "${WHEEL[0]}[notebooks]"
  run python "$PROJECT/colabs/notebooks.py" run --fast --output="executed notebooks"
fi
echo "the wheel works ($VERSIONS versions, $("$HERE/environment/bin/python" --version))"
