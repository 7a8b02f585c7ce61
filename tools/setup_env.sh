# Make the project's Python environment once, and use it afterwards.
#
#   bash tools/setup_env.sh     makes it (two to four minutes the first time on two cores)
#   . tools/setup_env.sh        makes it if needed, and activates it in this shell
#
# The environment is kept in $DR2NET_ENV, by default in the user's cache under a name
# that changes with the requirements, the stack and the Python version; `.venv` in the
# repository points to it. Variables:
#   DR2NET_STACK     openmmlab: OpenMMLab's last releases, of 2024 (Python 3.11)
#                    onedl: their maintained forks (Python 3.10 to 3.13)
#                    (default: see below)
#   DR2NET_ENV       folder of the environment
#   DR2NET_PYTHON    Python to make it with (default: the first that fits the stack)
#   DR2NET_GPU       1 or 0 instead of asking nvidia-smi
#   MAX_JOBS         processes that compile MMCV (default: all cores)
#   TORCH_CUDA_ARCH_LIST  what to compile MMCV for (default: the GPUs of this machine)
#
# The stack, if DR2NET_STACK does not name it:
#   no GPU                     openmmlab with Python 3.11, onedl with another Python
#   a GPU and nvcc             onedl, MMCV compiled for this GPU
#   a GPU up to compute capability 9.0 without nvcc, and Python 3.11
#                              openmmlab, with the MMCV wheel that OpenMMLab built
# Neither of the two with a GPU has been run yet.

_dr2net_fail() {
    echo "setup_env: error: $*" >&2
    return 1
}

# Path of a Python that the stack works with.
_dr2net_find_python() {
    local stack=$1 first=11 last=11 candidate
    [ "$stack" = onedl ] && first=10 last=13
    for candidate in ${DR2NET_PYTHON:-python3.11 python3 python3.12 python3.13 python3.10}; do
        if "$candidate" -c "import sys; v = sys.version_info
sys.exit(v[0] != 3 or not $first <= v[1] <= $last)" >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

_dr2net_no_python() {
    local which="3.11" name=python3.11 other=", or DR2NET_STACK=onedl for 3.10 to 3.13"
    [ "$1" = onedl ] && which="3.10 to 3.13" name=python3 other=""
    _dr2net_fail "no Python $which found${DR2NET_PYTHON:+ at DR2NET_PYTHON=$DR2NET_PYTHON};" \
        "apt-get install $name $name-venv $name-dev, or set DR2NET_PYTHON$other"
}

_dr2net_has_gpu() {
    case "${DR2NET_GPU:-}" in
        1) return 0 ;;
        0) return 1 ;;
        "") command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU ;;
        *) _dr2net_fail "DR2NET_GPU must be 0 or 1, got '$DR2NET_GPU'"; return 2 ;;
    esac
}

# Compute capabilities of the GPUs, as torch writes them: 8.0;9.0
_dr2net_capabilities() {
    nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
        grep -x '[0-9]*\.[0-9]*' | sort -Vu | paste -sd ';'
}

_dr2net_has_nvcc() {
    command -v nvcc >/dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]
}

# Sets the variables stack and why.
_dr2net_choose_stack() {
    local kind=$1 newest
    why="DR2NET_STACK"
    case "${DR2NET_STACK:-}" in
        openmmlab | onedl) stack=$DR2NET_STACK; return 0 ;;
        "") ;;
        *) _dr2net_fail "DR2NET_STACK must be openmmlab or onedl, got '$DR2NET_STACK'"
           return 1 ;;
    esac
    if [ "$kind" = cpu ]; then
        stack=openmmlab why="no GPU"
        _dr2net_find_python openmmlab >/dev/null && return 0
        # What to install is said for the stack that every Python has.
        stack=onedl why="no Python 3.11, which OpenMMLab's packages need"
        return 0
    fi
    stack=onedl why="a GPU, and nvcc to compile MMCV for it"
    _dr2net_has_nvcc && return 0
    newest=$(_dr2net_capabilities | tr ';' '\n' | tail -n 1)
    if [ -n "$newest" ] && printf '%s\n9.0\n' "$newest" | sort -CV &&
        _dr2net_find_python openmmlab >/dev/null; then
        stack=openmmlab why="a GPU of compute capability $newest and no nvcc"
    fi
}

# What a compiled MMCV for a GPU needs beside the compiler.
_dr2net_check_cuda() {
    _dr2net_has_nvcc ||
        { _dr2net_fail "no nvcc, which compiles MMCV for this GPU; install the CUDA toolkit" \
            "of torch's CUDA version, or set DR2NET_GPU=0 to compute on the CPU"; return 1; }
    [ -n "${TORCH_CUDA_ARCH_LIST:-$(_dr2net_capabilities)}" ] ||
        { _dr2net_fail "nvidia-smi names no compute capability to compile MMCV for;" \
            "set TORCH_CUDA_ARCH_LIST, such as 9.0"; return 1; }
}

_dr2net_check_build_tools() {
    local python=$1 compiler=${CXX:-c++} name
    name=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    # ensurepip is what Debian leaves out of python3 and puts into python3-venv.
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        { _dr2net_fail "$python has no venv module; apt-get install $name-venv"; return 1; }
    [ "$2" = prebuilt ] && return 0
    command -v "$compiler" >/dev/null ||
        { _dr2net_fail "no C++ compiler ($compiler), which MMCV is built with;" \
            "apt-get install build-essential"; return 1; }
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        { _dr2net_fail "the headers of $python are missing; apt-get install $name-dev"
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

# All builds of OpenCV are installed into one folder; leaves the largest without windows.
_dr2net_headless_opencv() {
    local python=$1/bin/python version
    version=$("$python" -c 'from importlib.metadata import version
print(version("opencv-python"))') || return 1
    "$python" -m pip uninstall -y opencv-python opencv-python-headless \
        opencv-contrib-python &&
        "$python" -m pip install --no-input --no-deps \
            "opencv-contrib-python-headless==$version"
}

# OpenMMLab's own prebuilt stack: its MMCV carries CUDA operators.
_dr2net_install_prebuilt() {
    local root=$1 env=$2 pip=$3
    local gpu=$root/requirements/constraints_gpu.txt
    _dr2net_step "install torch for CUDA" \
        $pip -c "$gpu" 'setuptools<81' wheel numpy torch torchvision &&
        _dr2net_step "install openmim" $pip -c "$gpu" openmim &&
        _dr2net_step "install MMCV (prebuilt)" \
            env PIP_CONSTRAINT="$gpu" "$env/bin/mim" install mmcv==2.1.0
}

# MMCV compiled for one Python, torch and GPU; kept for the next environment of these.
_dr2net_install_compiled() {
    local root=$1 env=$2 pip=$3 kind=$4 constraints=$5 mmcv wheels pattern target=CPU
    mmcv=$(grep -o '^\(onedl-\)\?mmcv==[0-9.]*' "$constraints") || return 1
    pattern=$(echo "$mmcv" | sed 's/-/_/; s/==/-/')-*.whl
    _dr2net_step "install torch" $pip -c "$constraints" \
        -c "$root/requirements/constraints_tools.txt" \
        'setuptools<81' wheel ninja numpy torch || return 1
    wheels=${XDG_CACHE_HOME:-$HOME/.cache}/dr2net_mm/wheels/$("$env/bin/python" -c '
import sys, torch
print("torch-%s-python-%d.%d" % (torch.__version__, *sys.version_info[:2]))') || return 1
    set -- "$mmcv"
    if [ "$kind" = gpu ]; then
        target=${TORCH_CUDA_ARCH_LIST:-$(_dr2net_capabilities)}
        wheels=$wheels-cuda-$(echo "$target" | tr -c '0-9.\n' '-')
        set -- "$@" --cuda-arch "$target"
    fi
    if ! ls "$wheels"/$pattern >/dev/null 2>&1; then
        echo "setup_env: MMCV is compiled now, once: about a minute for the CPU on two" \
            "idle cores, much longer for a GPU"
        _dr2net_step "build MMCV for $target" "$env/bin/python" \
            "$root/tools/environment/build_mmcv.py" "$@" --out "$wheels" || return 1
    fi
    _dr2net_step "install MMCV" $pip -c "$constraints" "$wheels"/$pattern
}

_dr2net_install() {
    local root=$1 env=$2 python=$3 kind=$4 stack=$5
    local lists=$root/requirements
    local constraints=$lists/constraints.txt required=$root/requirements.txt
    local pip="$env/bin/python -m pip install --disable-pip-version-check --no-input"
    local tools="-c $lists/constraints_tools.txt"
    _dr2net_step "make $env" "$python" -m venv --clear "$env" || return 1
    if [ "$stack $kind" = "openmmlab gpu" ]; then
        constraints=$lists/constraints_gpu.txt tools=
        _dr2net_install_prebuilt "$root" "$env" "$pip" || return 1
    else
        [ "$stack" = onedl ] &&
            constraints=$lists/constraints_onedl.txt required=$lists/onedl.txt
        _dr2net_install_compiled "$root" "$env" "$pip" "$kind" "$constraints" || return 1
    fi
    # Sources are built beside the packages that are there.
    _dr2net_step "install the rest" $pip --no-build-isolation -c "$constraints" $tools \
        -r "$required" -r "$lists/tests.txt" || return 1
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
import dr2net_mm, mmcv.ops, mmdet.models, mmdet.datasets, mmaction.models' "$root"
}

_dr2net_setup() {
    local root=$1 python kind=cpu key stack why build=compiled
    _dr2net_has_gpu
    case $? in 0) kind=gpu ;; 2) return 1 ;; esac
    _dr2net_choose_stack $kind || return 1
    python=$(_dr2net_find_python $stack) || { _dr2net_no_python $stack; return 1; }
    [ "$stack $kind" = "openmmlab gpu" ] && build=prebuilt
    key=$({ cat "$root"/requirements.txt "$root"/requirements/*.txt
            "$python" -c 'import sys; print(sys.version)'; echo $kind $stack; } |
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
            echo "setup_env: stack: $stack ($why), $("$python" --version)"
            { [ "$stack $kind" != "onedl gpu" ] || _dr2net_check_cuda; } &&
                _dr2net_check_build_tools "$python" $build &&
                _dr2net_install "$root" "$env" "$python" $kind $stack &&
                echo "$key" >"$env/.complete"
        fi
    ) 9>"$env.lock" || return 1
    ln -sfn "$env" "$root/.venv"
    _dr2net_env=$env
}

_dr2net_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if ! _dr2net_setup "$_dr2net_root"; then
    return 1 2>/dev/null || exit 1
fi
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    echo "setup_env: ready: . tools/setup_env.sh activates $_dr2net_env"
fi
# Only a shell that sources this file keeps these.
. "$_dr2net_env/bin/activate"
export PYTHONPATH="$_dr2net_root${PYTHONPATH:+:$PYTHONPATH}"
