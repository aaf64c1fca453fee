"""Which Ray a command uses: the one that it was given, the one it runs in, or one of its own."""

from __future__ import annotations

import os

from vsumdata.manifests.errors import UsageError

# Ray's own variable. Ray sets it in a submitted job, in a RayJob of Kubernetes and under `ray symmetric-run`.
VARIABLE = "RAY_ADDRESS"
OWN = "local"


def ray_address(given: str | None) -> str | None:
    """Return the address of a running Ray (`auto` or HOST:PORT), or None for a Ray of this process.

    What was not given is taken from RAY_ADDRESS: else a run that was submitted to a cluster would start a private Ray
    on the cluster's head. Raises UsageError for an address of another kind.
    """
    found, where = (given, "--address") if given else (os.environ.get(VARIABLE, "").strip(), VARIABLE)
    if not found or found == OWN:
        return None
    if found.startswith("ray://"):
        raise UsageError(
            f"{where}: {found} is Ray Client's, which vsumdata does not use; give HOST:PORT of the cluster "
            "(port 6379 unless told otherwise) on one of its machines, or submit the run with `ray job submit`"
        )
    if "://" in found:
        raise UsageError(
            f"{where}: {found} is the address of Ray's job API, not of a cluster to run on; submit the run with "
            f"`ray job submit`, or give --address HOST:PORT (port 6379 unless told otherwise), auto or {OWN}"
        )
    return found
