#!/usr/bin/env bash
# Run the tests in the project's environment, making it first if need be.
#
#   bash tools/run_tests.sh                       all tests
#   bash tools/run_tests.sh tests/tools -k resume what pytest understands
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tools/setup_env.sh" || exit 1
cd "$root"
# Few threads are faster for tests this small.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
exec python -m pytest "$@"
