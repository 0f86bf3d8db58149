#!/usr/bin/env bash
# origins at full scale, on the Ray cluster that this machine belongs to. Further overrides may follow.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"

# Engines hold a GPU each and serve all runs; every run has a GPU of its own: 2 + 6 of them.
exec python -m subnetray.sweep --config-dir "$here/conf" +grid=origins_gpu \
  cluster=gpu cluster.max_concurrent=6 cluster.cpus_per_run=6 cluster.memory_gib_per_run=40 \
  rollout.engines=2 rollout.cpus_per_engine=2 rollout.gpus_per_engine=1 rollout.gpu_memory_utilization=0.8 \
  rollout.max_new_tokens=8 task.max_left=999 task.max_right=999 \
  algorithm.batch_size=512 evaluation.prompts=2048 \
  "$@"
