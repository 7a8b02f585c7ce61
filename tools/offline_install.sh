#!/usr/bin/env bash
# Make an environment from a bundle of tools/offline_bundle.sh; needs no network.
#
#   bash tools/offline_install.sh bundle
#
# --help says more. DR2NET_PYTHON names the Python that has torch (default: python3).
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec "${DR2NET_PYTHON:-python3}" "$root/tools/environment/offline_install.py" "$@"
