#!/usr/bin/env bash
# Run the tests in the project's environment, making it first if need be.
#
#   bash tools/run_tests.sh                       all tests
#   bash tools/run_tests.sh tests/tools -k resume what pytest understands
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tools/setup_env.sh" || exit 1
cd "$root"
# The models are so small that a process for each core beats threads within one.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
# A module stays in one process; tests/conftest.py orders the modules, slow ones first.
exec python -m pytest -n "${DR2NET_TEST_PROCESSES:-auto}" --dist loadscope \
    --no-loadscope-reorder "$@"
