#!/usr/bin/env bash
# Run the tests on the stack that tools/setup_env.sh does not choose on a machine without
# a GPU: OneDL's forks. Makes their environment first if need be.
#
#   bash tools/test_stacks.sh                 all tests
#   bash tools/test_stacks.sh --core          the part that continuous integration runs
#   bash tools/test_stacks.sh tests/backbones what pytest understands
#
# DR2NET_STACK=openmmlab runs them on the other stack. With DR2NET_ENV the environment
# lies beside that folder, in $DR2NET_ENV-onedl. `.venv` points to where it pointed.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export DR2NET_STACK=${DR2NET_STACK:-onedl}
if [ -n "${DR2NET_ENV:-}" ]; then
    export DR2NET_ENV=$DR2NET_ENV-$DR2NET_STACK
fi

# What differs between the stacks: imports, data sets and their transforms, each family of
# backbones, checkpoints, and a short training through tools/train.py.
core=(
    tests/compat tests/test_import.py tests/test_lazy_classes.py
    tests/checkpoints/test_safe_load.py
    tests/backbones/swin/test_swin_state_dict.py
    tests/backbones/swin/test_swin_equivalence.py
    tests/backbones/swin/test_swin3d.py
    tests/backbones/vit/test_vit.py
    tests/backbones/timm/test_backbone.py
    tests/engine/test_coefficient_hook.py
    tests/tools/test_train.py
    tests/configs/test_tad.py
)
if [ "${1:-}" = --core ]; then
    shift
    set -- "${core[@]}" "$@"
fi

link=$(readlink "$root/.venv")
bash "$root/tools/run_tests.sh" "$@"
code=$?
if [ -n "$link" ]; then
    ln -sfn "$link" "$root/.venv"
fi
exit $code
