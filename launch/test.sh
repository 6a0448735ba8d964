#!/usr/bin/env bash
# Formats and lints are checked, then the tests run on CPU. Arguments go to pytest:
#   launch/test.sh tests/layers -k attention
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/install.sh" requirements-test.txt

ruff format --check .
ruff check .
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
exec python -m pytest "$@"
