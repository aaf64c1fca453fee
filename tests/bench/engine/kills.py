"""Kill the driver, workers and ffmpeg at random moments; then the tables must be those of an undisturbed run.

    python tests/bench/engine/kills.py [--kills N] [--videos N] [--seed N] [--json]

Runs the program over the made-up channel of flow.py, again and again on one root until it ends by itself, while a
process of it dies now and then by SIGKILL. Then one more run does again what was given up because its worker had died
twice. The root must hold the rows of an undisturbed run, each once, and no other file. If kills are left, the next
round begins with a new root. Exits with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from flow import MANIFEST, FlowSite, rendered
from machine import report
from tests.pipeline.sample_kit import REPAIR, assert_same, contents, disturbed, leftovers, vsumdata


def command(folder: Path, root: str) -> list[str]:
    manifest = ["--manifest", str(folder / "flow.yaml")]
    return ["run", *manifest, "--stage", "crawl,asr,features", "--root", str(folder / root)]


def check(folder: Path, root: str, site: FlowSite, expected: dict[str, dict[str, dict[str, object]]]) -> None:
    """Let a last run repair what died twice; compare. Raises AssertionError."""
    last = vsumdata(*command(folder, root), *REPAIR, site=site.address)
    assert last.returncode in (0, 1), last.stdout + last.stderr
    assert_same(expected, contents(folder / root))
    assert not leftovers(folder / root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    chance, killed, rounds = random.Random(asked.seed), Counter[str](), 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "flow.yaml").write_text(json.dumps(MANIFEST))
        with FlowSite(asked.videos, rendered(folder)) as site:
            disturbed(command(folder, "undisturbed"), site.address, 0, chance)
            expected = contents(folder / "undisturbed")
            while killed.total() < asked.kills:
                rounds += 1
                left = asked.kills - killed.total()
                killed += disturbed(command(folder, f"round-{rounds}"), site.address, left, chance)
                check(folder, f"round-{rounds}", site, expected)
                print(f"round {rounds}: {dict(killed)}, the tables are equal", file=sys.stderr)
    wall_s = time.monotonic() - begun
    figures = {"kills": killed.total(), **killed, "rounds": rounds, "videos": asked.videos, "wall_s": wall_s}
    if asked.json:
        print(json.dumps(report("kills", figures), indent=1))
    else:
        print(", ".join(f"{name} {value:g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
