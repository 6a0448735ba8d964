# shellcheck shell=bash
# Creates .venv in the project's folder and installs the pinned requirements into it.
# The other scripts source it:
#   . install.sh [requirements-test.txt ...]
# VIDGAN_JAX_DEVICE=cpu|cuda|tpu chooses the build of JAX. The default is cuda if an NVIDIA driver
# works, else cpu.

case "${1:-}" in
  -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
esac
unset CDPATH # with it, cd may go to another folder, and prints its path
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 1
for file in "$@"; do
  if [[ "$file" != requirements*.txt || ! -f "$file" ]]; then
    echo "error: '$file' is no requirements file of the project, such as requirements-test.txt" >&2
    exit 2
  fi
done
PROJECT="$(pwd)"
PYTHON="${PYTHON:-python3}"

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "error: needs Python 3.11 or newer as $PYTHON (set PYTHON=/path/to/python3)" >&2
  exit 2
fi
case "${VIDGAN_JAX_DEVICE:-}" in
  "")
    VIDGAN_JAX_DEVICE=cpu
    [[ "$(nvidia-smi -L 2>/dev/null)" != *"GPU "[0-9]* ]] || VIDGAN_JAX_DEVICE=cuda
    ;;
  cpu) export JAX_PLATFORMS=cpu ;; # .venv may contain JAX for GPUs from an earlier installation
  cuda | tpu) ;;
  *)
    echo "error: VIDGAN_JAX_DEVICE is '$VIDGAN_JAX_DEVICE'; known: cpu, cuda, tpu" >&2
    exit 2
    ;;
esac
case "$VIDGAN_JAX_DEVICE" in
  cpu) REQUIREMENTS=(requirements.txt) ;;
  tpu) REQUIREMENTS=(requirements-tpu.txt) ;;
  cuda)
    # nvidia-smi prints the newest CUDA that the driver supports: "CUDA Version: 12.8".
    CUDA="$(nvidia-smi 2>/dev/null | sed -nE 's/.*CUDA( UMD)? Version: *([0-9]+).*/\2/p' || true)"
    REQUIREMENTS=(requirements-cuda12.txt) # all supported drivers run CUDA 12
    [ "${CUDA:-0}" -lt 13 ] || REQUIREMENTS=(requirements-cuda.txt)
    ;;
esac
REQUIREMENTS+=("$@")

# .venv/installed has a line "checksum size name" for each requirements file that is installed.
INSTALLED="$(cat .venv/installed 2>/dev/null || true)"
WANTED="$(cksum requirements.txt pyproject.toml "${REQUIREMENTS[@]}" | sort -u)"
if [ -z "$(grep -vxF "$INSTALLED" <<<"$WANTED")" ]; then
  echo "installed already: $PROJECT/.venv (${REQUIREMENTS[*]})"
elif [ ! -w . ] || { [ -e .venv ] && [ ! -w .venv/ ]; }; then
  echo "error: $PROJECT cannot be written, but .venv must be created there; copy the project" \
    "to a folder of yours, or run python -m vidgan_jax.train if the package is already installed" >&2
  exit 2
else
  echo "installing ${REQUIREMENTS[*]} into $PROJECT/.venv"
  rm -f .venv/installed # written again when everything is installed
  .venv/bin/python -m pip --version >/dev/null 2>&1 || "$PYTHON" -m venv .venv
  case "${REQUIREMENTS[0]}" in # JAX accepts only one CUDA plugin, and the driver may have changed
    requirements-cuda.txt) OTHER=12 ;;
    requirements-cuda12.txt) OTHER=13 ;;
    *) OTHER="" ;;
  esac
  if [ -n "$OTHER" ]; then
    .venv/bin/python -m pip uninstall -qq --yes "jax-cuda$OTHER-plugin" "jax-cuda$OTHER-pjrt"
    INSTALLED="$(grep -v 'requirements-cuda' <<<"$INSTALLED" || true)"
  fi
  FILES=()
  for file in "${REQUIREMENTS[@]}"; do FILES+=(-r "$file"); done
  .venv/bin/python -m pip install --disable-pip-version-check "${FILES[@]}" || exit
  .venv/bin/python -m pip install --disable-pip-version-check --no-deps --editable . || exit
  {
    echo "$WANTED"
    # Other requirements files may have been installed earlier, such as requirements-bench.txt.
    # Their lines stay, unless requirements.txt has changed since.
    if grep -qxF "$(cksum requirements.txt)" <<<"$INSTALLED"; then
      awk 'NR == FNR { new[$3]; next } !($3 in new)' <(echo "$WANTED") <(echo "$INSTALLED")
    fi
  } >.venv/installed
fi
export PATH="$PROJECT/.venv/bin:$PATH"
