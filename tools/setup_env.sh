# Make the project's Python environment once, and use it afterwards.
#
#   bash tools/setup_env.sh     makes it (about 5 minutes the first time on two cores)
#   . tools/setup_env.sh        makes it if needed, and activates it in this shell
#
# The environment is kept in $DR2NET_ENV, by default in the user's cache under a name
# that changes with the requirements and the Python version; `.venv` in the repository
# points to it. Variables:
#   DR2NET_ENV       folder of the environment
#   DR2NET_PYTHON    Python to make it with (default: python3.11, or a python3 that is 3.11)
#   DR2NET_GPU       1 or 0 instead of asking nvidia-smi
#   MAX_JOBS         processes that compile MMCV (default: all cores)
#
# Without a GPU: torch 2.13, and MMCV built from source with CPU operators. With one:
# torch 2.1 and the MMCV wheel that OpenMMLab built for it; that branch follows their
# installation guide and has not been run yet.

_dr2net_fail() {
    echo "setup_env: error: $*" >&2
    return 1
}

_dr2net_find_python() {
    local candidate
    for candidate in ${DR2NET_PYTHON:-python3.11 python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
            >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    _dr2net_fail "no Python 3.11 found${DR2NET_PYTHON:+ at DR2NET_PYTHON=$DR2NET_PYTHON};" \
        "apt-get install python3.11 python3.11-venv python3.11-dev, or set DR2NET_PYTHON"
}

_dr2net_has_gpu() {
    case "${DR2NET_GPU:-}" in
        1) return 0 ;;
        0) return 1 ;;
        "") command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU ;;
        *) _dr2net_fail "DR2NET_GPU must be 0 or 1, got '$DR2NET_GPU'" ;;
    esac
}

_dr2net_check_build_tools() {
    local python=$1 compiler=${CXX:-c++}
    # ensurepip is what Debian leaves out of python3 and puts into python3-venv.
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        { _dr2net_fail "$python has no venv module; apt-get install python3.11-venv"; return 1; }
    [ "$2" = gpu ] && return 0
    command -v "$compiler" >/dev/null ||
        { _dr2net_fail "no C++ compiler ($compiler), which MMCV is built with;" \
            "apt-get install build-essential"; return 1; }
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        { _dr2net_fail "the headers of $python are missing; apt-get install python3.11-dev"
          return 1; }
}

# Runs one step of the set-up, with its output in the log; shows the log's end on failure.
_dr2net_step() {
    local what=$1 started=$SECONDS
    shift
    echo "setup_env: $what ..."
    if ! { echo "+ $*"; "$@"; } >>"$_dr2net_log" 2>&1; then
        tail -n 15 "$_dr2net_log" >&2
        _dr2net_fail "$what failed; the whole log is $_dr2net_log"
        return 1
    fi
    echo "setup_env: $what: done in $((SECONDS - started)) s"
}

_dr2net_headless_opencv() {
    local python=$1/bin/python version
    version=$("$python" -c 'from importlib.metadata import version
print(version("opencv-python"))') || return 1
    "$python" -m pip uninstall -y opencv-python opencv-contrib-python &&
        "$python" -m pip install --no-input --no-deps \
            "opencv-contrib-python-headless==$version"
}

_dr2net_install() {
    local root=$1 env=$2 python=$3 kind=$4
    local constraints=$root/requirements/constraints.txt
    local pip="$env/bin/python -m pip install --disable-pip-version-check --no-input"
    _dr2net_step "make $env" "$python" -m venv --clear "$env" || return 1
    if [ "$kind" = gpu ]; then
        # OpenMMLab's own prebuilt stack: its MMCV carries CUDA operators.
        local gpu=$root/requirements/constraints_gpu.txt
        _dr2net_step "install torch for CUDA" \
            $pip -c "$gpu" 'setuptools<81' wheel numpy torch torchvision || return 1
        _dr2net_step "install openmim" $pip -c "$gpu" openmim || return 1
        _dr2net_step "install MMCV (prebuilt)" \
            env PIP_CONSTRAINT="$gpu" "$env/bin/mim" install mmcv==2.1.0 ||
            return 1
        constraints=$gpu
    else
        _dr2net_step "install torch" \
            $pip -c "$constraints" 'setuptools<81' wheel ninja numpy torch || return 1
        # Compiled for one Python and one torch; kept for the next environment of both.
        local wheels
        wheels=${XDG_CACHE_HOME:-$HOME/.cache}/dr2net_mm/wheels/$("$env/bin/python" -c '
import sys, torch
print("torch-%s-python-%d.%d" % (torch.__version__, *sys.version_info[:2]))') || return 1
        if ! ls "$wheels"/mmcv-2.1.0-*.whl >/dev/null 2>&1; then
            echo "setup_env: MMCV is compiled now: two to three minutes on two cores, once"
            _dr2net_step "build MMCV" "$env/bin/python" \
                "$root/tools/environment/build_mmcv.py" mmcv==2.1.0 --out "$wheels" ||
                return 1
        fi
        _dr2net_step "install MMCV" $pip -c "$constraints" "$wheels"/mmcv-2.1.0-*.whl ||
            return 1
    fi
    _dr2net_step "install the rest" $pip -c "$constraints" -r "$root/requirements.txt" \
        -r "$root/requirements/tests.txt" || return 1
    if ! "$env/bin/python" -c 'import ctypes
for name in ("libGL.so.1", "libgthread-2.0.so.0"):
    ctypes.CDLL(name)' 2>/dev/null; then
        # What OpenCV needs to open windows is part of a desktop, not of a server.
        _dr2net_step "replace OpenCV by its build without windows" \
            _dr2net_headless_opencv "$env" || return 1
    fi
    _dr2net_step "import everything" "$env/bin/python" -c '
import os, sys
sys.path.insert(0, sys.argv[1])
import dr2net_mm, mmcv.ops, mmdet.models, mmaction.models' "$root" || return 1
}

_dr2net_setup() {
    local root=$1 python kind=cpu key
    python=$(_dr2net_find_python) || return 1
    _dr2net_has_gpu && kind=gpu
    key=$({ cat "$root"/requirements.txt "$root"/requirements/*.txt
            "$python" -c 'import sys; print(sys.version)'; echo $kind; } |
          sha256sum | cut -c1-12)
    local env=${DR2NET_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/dr2net_mm/env-$key}
    mkdir -p "$(dirname "$env")" || return 1
    if [ -n "$(ls -A "$env" 2>/dev/null)" ] && [ ! -e "$env/pyvenv.cfg" ]; then
        _dr2net_fail "DR2NET_ENV=$env is a folder with other things in it; name a new one"
        return 1
    fi
    (
        # One set-up at a time; an interrupted one has no stamp and is made again.
        flock 9
        # With DR2NET_ENV the name does not tell whether the requirements are the same.
        if [ "$(cat "$env/.complete" 2>/dev/null)" != "$key" ]; then
            _dr2net_log=$env.log
            : >"$_dr2net_log"
            echo "setup_env: making the environment in $env (log: $_dr2net_log)"
            _dr2net_check_build_tools "$python" $kind &&
                _dr2net_install "$root" "$env" "$python" $kind &&
                echo "$key" >"$env/.complete"
        fi
    ) 9>"$env.lock" || return 1
    ln -sfn "$env" "$root/.venv"
}

_dr2net_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if ! _dr2net_setup "$_dr2net_root"; then
    return 1 2>/dev/null || exit 1
fi
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    echo "setup_env: ready: . tools/setup_env.sh activates $(readlink "$_dr2net_root/.venv")"
fi
# Only a shell that sources this file keeps these.
. "$_dr2net_root/.venv/bin/activate"
export PYTHONPATH="$_dr2net_root${PYTHONPATH:+:$PYTHONPATH}"
