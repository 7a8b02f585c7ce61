#!/usr/bin/env bash
# Train as a slurm job.
#
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
#
# Variables: GPUS (8; processes in all), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS
# (further options of srun). Where the partition has no GPUs none are asked for and the
# processes run on CPUs over gloo.
if [ $# -lt 4 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
WORK_DIR=$4
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

GRES=()
if sinfo --noheader --partition="$PARTITION" --format=%G | grep -q gpu; then
    GRES=(--gres="gpu:$GPUS_PER_NODE")
fi

# SRUN_ARGS is a list of options, to be split at spaces.
PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" exec srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    ${GRES[@]+"${GRES[@]}"} \
    --ntasks="${GPUS:-8}" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$TOOLS/train.py" "$CONFIG" --work-dir="$WORK_DIR" --launcher=slurm "${@:5}"
