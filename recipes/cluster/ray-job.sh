#!/usr/bin/env bash
# Submit a run to a Ray cluster that is up already:
#
#   recipes/cluster/ray-job.sh --manifest wikihow_ehow --root s3://bucket/howto
#
# The arguments are those of `vsumdata run`. Paths are the cluster's: what they name must be there on every node.
#
#   RAY_API_SERVER_ADDRESS  the cluster's job API (default: http://127.0.0.1:8265, as `kubectl port-forward` gives it)
#   WHEEL                   the code that is to run (default: the newest in dist/, which `make build` makes)
#   CODE_ONLY=1             the nodes have the packages already, as in our image; else pip installs them on each node
#   SUBMISSION_ID           the job's name (default: Ray makes one)
#
# The exit code is the run's. `ray job stop` ends a run; with RAY_JOB_STOP_WAIT_TIME_S=60 the head leaves it the time to
# commit what is finished. Then submit it again: it goes on.
set -euo pipefail

export RAY_API_SERVER_ADDRESS="${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}"
# It would count before RAY_API_SERVER_ADDRESS, and means the cluster's own address elsewhere.
unset RAY_ADDRESS

wanted=()
if [ -n "${WHEEL:-}" ]; then wanted+=(--wheel "$WHEEL"); fi
if [ -n "${CODE_ONLY:-}" ]; then wanted+=(--code-only); fi
environment=$(vsumdata cluster env "${wanted[@]}")

options=(--runtime-env-json "$environment")
if [ -n "${SUBMISSION_ID:-}" ]; then options+=(--submission-id "$SUBMISSION_ID"); fi
# Not the program `vsumdata`: a node that gets the code from Ray has none.
exec ray job submit "${options[@]}" -- python -m vsumdata.pipeline.commands.main run "$@"
