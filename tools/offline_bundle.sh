#!/usr/bin/env bash
# Fetch what a machine without a network needs, into one folder of at most 60 MB.
#
#   bash tools/offline_bundle.sh --python 3.12 --out bundle
#
# --help says more. Any Python 3.10 or later with pip does (DR2NET_PYTHON names one).
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec "${DR2NET_PYTHON:-python3}" "$root/tools/environment/offline_bundle.py" "$@"
