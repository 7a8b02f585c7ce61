#!/usr/bin/env bash
# The first run with video: environment, films, a short training of a recognizer and of a
# temporal action detector from raw frames, and a summary. Arguments go to tools/train.py
# of the detector, for instance
#   bash tools/video_first_run.sh --work-dir work_dirs/longer \
#       --cfg-options train_cfg.max_epochs=30
# A second call reuses the environment and the videos.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

configs=configs/video_first_run
detector=$configs/vsgn_dr2-swin3d-nano_1xb4-6e_spliced-clips.py
recognizer=$configs/dr2-swin3d-nano_1xb8-6e_spliced-clips.py
work_dir=work_dirs/video_first_run

# Both trainings and the summary write below the same folder.
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

step '1/5 environment'
# shellcheck source=tools/setup_env.sh
. tools/setup_env.sh
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

# Threads that wait sleep: on a machine that does other work too, spinning ones cost the
# training several times its own time.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

step '2/5 videos'
python tools/data/spliced_clips.py

step "3/5 recognizer: $recognizer"
python tools/train.py "$recognizer" --work-dir "$work_dir/recognition"

step "4/5 detector: $detector"
python tools/train.py "$detector" --work-dir "$work_dir/detection" \
  ${arguments[@]+"${arguments[@]}"}

step '5/5 summary'
python tools/video_first_run_summary.py "$work_dir"
