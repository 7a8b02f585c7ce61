#!/usr/bin/env bash
# The first run: environment, images, a short training of a small DINO with a reversible
# Swin, and a summary. Arguments go to tools/train.py, for instance
#   bash tools/first_run.sh --work-dir work_dirs/another --cfg-options train_dataloader.batch_size=4
# A second call reuses the environment and the images.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

config=configs/first_run/dino-2scale_dr2-swin-nano_1xb2-4e_tree-crowns.py
work_dir=work_dirs/first_run

# The summary has to look where the training writes.
arguments=("$@")
for ((i = 0; i < $#; i++)); do
  case "${arguments[i]}" in
    --work-dir) work_dir=${arguments[i + 1]:-} ;;
    --work-dir=*) work_dir=${arguments[i]#--work-dir=} ;;
  esac
done

step() { printf '\n=== %s\n' "$*"; }

step '1/4 environment'
# shellcheck source=tools/setup_env.sh
. tools/setup_env.sh
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# Threads that wait sleep: on a machine that does other work too, spinning ones cost the
# training several times its own time.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

step '2/4 images'
python tools/data/deepforest_to_coco.py

step "3/4 training: $config"
python tools/train.py "$config" --work-dir "$work_dir" "$@"

step '4/4 summary'
python tools/first_run_summary.py "$work_dir"
