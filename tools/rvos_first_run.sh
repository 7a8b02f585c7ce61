#!/usr/bin/env bash
# The first run of referring video object segmentation: environment, digits that move over
# real films, a short training of MTTR with a reversible Video Swin, and a summary.
# Arguments go to tools/train.py, for instance
#   bash tools/rvos_first_run.sh --work-dir work_dirs/rvos_longer \
#       --cfg-options train_cfg.max_epochs=20
# A second call reuses the environment and the clips.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

config=configs/rvos_first_run/mttr_dr2-swin3d-nano_1xb8-8e_moving-digits.py
work_dir=work_dirs/rvos_first_run

arguments=()
while (($#)); do
  case "$1" in
    --work-dir)
      work_dir=${2:?--work-dir needs a folder}
      shift
      ;;
    --work-dir=*) work_dir=${1#--work-dir=} ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

step() { printf '\n=== %s\n' "$*"; }

step '1/4 environment'
# shellcheck source=tools/setup_env.sh
. tools/setup_env.sh
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# Threads that wait sleep: on a machine that does other work too, spinning ones cost the
# training several times its own time.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

step '2/4 clips'
python tools/data/moving_digits.py

step "3/4 training: $config"
python tools/train.py "$config" --work-dir "$work_dir" ${arguments[@]+"${arguments[@]}"}

step '4/4 summary'
python tools/rvos_first_run_summary.py "$work_dir"
