#!/usr/bin/env bash
# Run every check of this project that a GPU is needed for; --help says more.
#
#   bash tools/gpu_report.sh [STEP ...]
#
# Runs in the environment that is active if mmengine can be imported there (such as one
# of tools/offline_install.sh), otherwise in the project's own (tools/setup_env.sh).
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if ! python -c 'import importlib.util as u, sys
sys.exit(None in (u.find_spec("mmengine"), u.find_spec("torch")))' 2>/dev/null; then
    . "$root/tools/setup_env.sh" || exit 1
fi
exec python "$root/tools/analysis/gpu_report.py" "$@"
