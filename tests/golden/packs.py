"""Compare our evaluation with the answers of the field's official code, stored in a folder of golden packs.

    python tests/golden/packs.py FOLDER [--annotations PARQUET]

Prints a line per case: pack, case, ours, theirs, ok. The exit code is 1 if any differs or a pack is not known.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Run as a script, Python puts this folder on the path, and not the checkout with `tests`.
sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.golden import highlight_packs, score_packs, shot_packs
from tests.golden.answers import Answer, Pack, shown
from tests.recordings import RECORDINGS

ANNOTATIONS = RECORDINGS / "tvsum_annotations.parquet"
Checks = Mapping[str, Callable[[Pack], Iterator[Answer]]]
Kind = Callable[[Mapping[str, Any]], object]


def stated(content: Mapping[str, Any]) -> object:
    """The kind of a pack, as it says itself."""
    return content.get("pack")


CHECKS: Checks = {
    "kts": shot_packs.kts,
    "knapsack": shot_packs.knapsacks,
    "scores_to_summary": shot_packs.summaries,
    "rank_correlation_tvsum": score_packs.ranks,
    "highlight_metrics": highlight_packs.highlights,
    "human_tvsum": score_packs.humans,
    "chance_levels": score_packs.chances,
}


def check(path: Path, annotations: Path, benchmarks: Path, checks: Checks, kind: Kind = stated) -> Iterator[Answer]:
    """Yield the cases of one pack by one of the `checks`; one that cannot be read or checked is a case that differs."""
    name = path.stem
    try:
        content = json.loads(path.read_text())
        beside = path.with_suffix(".npz")
        arrays = dict(np.load(beside)) if beside.is_file() else {}
        # By the content, never by the file's name: other packs of the same kind may come under any name.
        name = str(kind(content))
        if name in checks:
            yield from checks[name](Pack(content, arrays, annotations, benchmarks))
        else:
            yield Answer("pack", f"known are {', '.join(checks)}", name, False)
    except (KeyError, IndexError, TypeError, ValueError, OSError, AssertionError) as error:
        yield Answer("pack", f"cannot be checked: {type(error).__name__}: {error}", name, False)


def main(checks: Checks, what: str | None, kind: Kind = stated) -> int:
    """Check the folder that the command line names; the exit code. `what` describes the program."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--annotations", type=Path, default=ANNOTATIONS, metavar="PARQUET")
    parser.add_argument("--benchmarks", type=Path, default=RECORDINGS / "benchmarks", metavar="DIR")
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.json"))
    if not paths:
        print(f"{options.folder}: no pack (*.json) is here", file=sys.stderr)
        return 1
    num_cases = num_wrong = 0
    for path in paths:
        for answer in check(path, options.annotations, options.benchmarks, checks, kind):
            num_cases += 1
            num_wrong += not answer.ok
            verdict = "ok" if answer.ok else "DIFFERS"
            print(path.stem, answer.case, shown(answer.ours), shown(answer.theirs), verdict, sep="\t")
    print(f"{num_cases} cases, {num_wrong} differ")
    return int(num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main(CHECKS, __doc__))
