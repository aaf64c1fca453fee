#!/usr/bin/env bash
# A run over several nodes of a Slurm cluster, that may be preempted:
#
#   sbatch --nodes=4 recipes/cluster/slurm.sh --manifest wikihow_ehow --root /shared/howto
#
# The arguments are those of `vsumdata run`. The root must be a folder that all nodes share, or a URL. `vsumdata` and
# `ray` must be on the nodes' PATH, at the same versions: activate the environment first, sbatch passes it on.
#
#   HEAD_IP            the first node's address that the others reach (default: the first of `hostname -I`)
#   RAY_START_OPTIONS  more options of `ray start`, such as --temp-dir=… or --metrics-export-port=…
#
#SBATCH --job-name=vsumdata
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --output=vsumdata-%j.log
#SBATCH --open-mode=append
# A minute before the end, TERM comes to this script alone (B:), not to Ray: the run commits what is finished first.
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
set -euo pipefail

nodes="${SLURM_JOB_NUM_NODES:-1}"
head_ip="${HEAD_IP:-$(hostname -I | awk '{print $1}')}"
# Two jobs may share a node.
address="$head_ip:$((20000 + SLURM_JOB_ID % 10000))"
# `ray symmetric-run` counts the nodes of the Ray that it finds. It does not find a head with a --temp-dir of its own: then
# it starts another Ray, and waits in vain.
export RAY_ADDRESS="$address"
# Ray's 30 s are too few where each node first reads Python from a shared file system.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT="${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-300}"
# Other users reach the nodes' ports too. `srun` passes the token on, and Ray talks to nobody without it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="${RAY_AUTH_TOKEN:-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}"
# Ray's head runs the command on this node, the first one, where this script runs too: they meet in this folder.
meeting=$(mktemp -d)
trap 'rm -rf "$meeting"' EXIT

is_told=
# shellcheck disable=SC2329 # the trap below calls it
stop() {
    is_told=1
    echo "slurm.sh: told to stop; the run commits what is finished"
    # Before the run has begun there is nothing to commit.
    kill -TERM "$(cat "$meeting/pid" 2>/dev/null || echo "$step")" 2>/dev/null || true
}

# The exit code is written down: that of srun is the highest of all nodes, and those of the others mean nothing.
# shellcheck disable=SC2016 # the inner shell expands it
inner='vsumdata run "${@:2}" & echo $! >"$1/pid"; echo $PPID >"$1/ray"
    wait $!; code=$?; echo $code >"$1/code"; exit $code'
# shellcheck disable=SC2086 # RAY_START_OPTIONS holds several words
srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 \
    ray symmetric-run --address "$address" --min-nodes "$nodes" \
    ${SLURM_CPUS_PER_TASK:+--num-cpus="$SLURM_CPUS_PER_TASK"} ${RAY_START_OPTIONS:-} \
    -- bash -c "$inner" run "$meeting" --address "$address" "$@" &
step=$!
trap stop TERM

# The other nodes notice only after a minute that their head is gone, so wait for the run and not for srun.
until [ -s "$meeting/code" ] || ! kill -0 "$step" 2>/dev/null; do
    sleep 0.5 &
    # A signal ends the wait, not the sleep.
    wait $! || true
done
code=$(cat "$meeting/code" 2>/dev/null || echo 1)
trap '' TERM
# The head's Ray stops by itself now, and leaves nothing behind if nobody ends it first.
for _ in $(seq 30); do
    kill -0 "$(cat "$meeting/ray" 2>/dev/null || echo none)" 2>/dev/null || break
    sleep 0.5
done
kill -TERM "$step" 2>/dev/null || true
echo "slurm.sh: the run ended with $code"
if [ -n "$is_told" ]; then
    # A site that preempts with REQUEUE does so itself. After a time limit, or with PreemptMode=CANCEL, nobody does.
    # Last of all: Slurm ends this script for it.
    scontrol requeue "$SLURM_JOB_ID" || echo "slurm.sh: not requeued; submit it again to go on"
fi
exit "$code"
