#!/usr/bin/env bash
# Checks format, lint and types, then runs the tests on CPU. Arguments are passed to pytest:
#   launch/test.sh tests/layers -k attention
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" && exit ;;
esac
PLATFORMS="${JAX_PLATFORMS:-cpu}"
# Tests on CPU do not install CUDA wheels; those that are installed stay.
VIDGAN_JAX_DEVICE="${VIDGAN_JAX_DEVICE:-cpu}"
. "$(dirname -- "${BASH_SOURCE[0]}")/install.sh" requirements-test.txt

ruff format --check .
ruff check .
mypy
export JAX_PLATFORMS="$PLATFORMS"
# Without arguments, all tests run in as many processes as there are cores, but at most 8, because
# XLA compiles in one thread. Each process runs whole files, the longest first (tests/conftest.py).
[ $# -gt 0 ] || set -- -rs --numprocesses=auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder
exec python -m pytest "$@"
