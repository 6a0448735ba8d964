# Sourced by the other scripts: makes .venv in the project's folder and installs what is pinned.
# usage: . install.sh [requirements-test.txt ...]
# VIDGAN_JAX_DEVICE=cpu|cuda|tpu chooses jax's build; by default cuda where a driver answers.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PROJECT="$(pwd)"
PYTHON="${PYTHON:-python3}"

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "error: needs Python 3.11 or newer as $PYTHON (set PYTHON=/path/to/python3)" >&2
  exit 2
fi
if [ -z "${VIDGAN_JAX_DEVICE:-}" ]; then
  VIDGAN_JAX_DEVICE=cpu
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then
    VIDGAN_JAX_DEVICE=cuda
  fi
fi
case "$VIDGAN_JAX_DEVICE" in
  cpu) REQUIREMENTS=(requirements.txt) ;;
  cuda | tpu) REQUIREMENTS=("requirements-$VIDGAN_JAX_DEVICE.txt") ;;
  *)
    echo "error: VIDGAN_JAX_DEVICE is '$VIDGAN_JAX_DEVICE'; known: cpu, cuda, tpu" >&2
    exit 2
    ;;
esac
REQUIREMENTS+=("$@")

STAMP="$(cat requirements.txt "${REQUIREMENTS[@]}" pyproject.toml | cksum | tr ' ' '-')"
if [ "$(cat .venv/installed 2>/dev/null)" = "$STAMP" ] \
  || grep -qx "$STAMP" .venv/installed 2>/dev/null; then
  echo "installed already: .venv ($VIDGAN_JAX_DEVICE)"
else
  echo "installing into .venv ($VIDGAN_JAX_DEVICE) ..."
  [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
  FILES=()
  for file in "${REQUIREMENTS[@]}"; do FILES+=(-r "$file"); done
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "${FILES[@]}"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
  echo "$STAMP" >>.venv/installed
fi
export PATH="$PROJECT/.venv/bin:$PATH"
