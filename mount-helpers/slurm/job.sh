#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A job without the administrator's help: sbatch job.sh.  The first task of each node mounts the stream for the
# user alone, by fusermount3, and all tasks of the node read it.  A job that is requeued goes on at the step of its
# checkpoint.
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --requeue
# shellcheck disable=SC2016
set -euo pipefail

url=${STREAM_URL:-s3://bucket/stream}
dir=${TMPDIR:-/tmp}/batchweave-${SLURM_JOB_ID:?this is run by sbatch}
export url dir

each_node=(srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --overlap --kill-on-bad-exit=1)

unmount() {
	kill "$looks" 2>/dev/null || true
	"${each_node[@]}" bash -c 'fusermount3 -u "$dir" || fusermount3 -uz "$dir"; rmdir "$dir" || true' || true
	# Slurm kills what is left when this ends, and what is queued is committed within 30 s.
	for _ in {1..60}; do
		kill -0 "$mounts" 2>/dev/null || break
		sleep 1
	done
}

# Each step of a job has a container of its own that is emptied at its end, the daemon with it: the step that mounts
# lasts as long as the job.
"${each_node[@]}" bash -c '
	mkdir -p "$dir"
	exec mount.batchweave "$url" "$dir" -o foreground,wait=5m' &
mounts=$!
"${each_node[@]}" bash -c 'until [ -r "$dir/status/head" ]; do sleep 0.2; done' &
looks=$!
trap unmount EXIT
# Whichever ends first: a mount that could not be made ends with an error, and so does this.
wait -n

srun --overlap python3 train.py --data "$dir"
