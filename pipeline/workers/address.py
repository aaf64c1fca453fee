"""Which Ray a command uses: the one that it was given, the one it runs in, or one of its own."""

from __future__ import annotations

import os
from pathlib import Path

from vsumdata.manifests.errors import UsageError

# Ray's own variable. Ray sets it in a submitted job, and KubeRay in its pods.
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


def present_token() -> None:
    """Have Ray send the user's token to the cluster that it connects to; call it before Ray is imported."""
    # Since 2.60 `ray start` asks for a token where the user has one, and any Ray that a program starts for itself makes
    # one. A program that connects sends it only if told to, and else fails with `Failed to connect`. A cluster that
    # asks for none does not mind.
    home = Path.home() / ".ray" / "auth_token"
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")) or home.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
