#!/usr/bin/env bash
# Formats, lints and types are checked, then the tests run on CPU. Arguments go to pytest:
#   launch/test.sh tests/layers -k attention
set -euo pipefail
PLATFORMS="${JAX_PLATFORMS:-cpu}"
# No CUDA wheels are fetched for tests on CPU; those that are in .venv stay.
VIDGAN_JAX_DEVICE="${VIDGAN_JAX_DEVICE:-cpu}"
. "$(dirname -- "${BASH_SOURCE[0]}")/install.sh" requirements-test.txt

ruff format --check .
ruff check .
mypy
export JAX_PLATFORMS="$PLATFORMS"
# All of them: a process per core, a file at a time; what takes long is XLA's compiling, one thread.
# In the order of tests/conftest.py: the longest files first.
[ $# -gt 0 ] || set -- -rs --numprocesses=auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder
exec python -m pytest "$@"
