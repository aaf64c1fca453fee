"""Compare our models with the results of the field's official code, stored in a folder of parity packs.

    python tests/golden/parity.py FOLDER

Prints a line per array: pack, array, largest difference, ok. The exit code is 1 if any differs, if we do not compute
one, or if a pack is not known. Each pack runs in float32 and in float64.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

# Run as a script, Python puts this folder on the path, and not the checkout with `tests`.
sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.golden.models.pack import Ours, Pack, Verdict

# The errors that a pack of another form, or a damaged one, causes.
UNREADABLE = (KeyError, IndexError, AttributeError, TypeError, ValueError, OSError, RuntimeError, zipfile.BadZipFile)
Check = Callable[[Pack, Mapping[str, Any], torch.dtype], Iterator[Ours]]


def checks() -> dict[str, Check]:
    """Return the check of each official class."""
    from tests.golden.models import a2summ, attention, csta, dsnet, losses, msva, triplesumm, umt

    return {
        **a2summ.CHECKS,
        **attention.CHECKS,
        **csta.CHECKS,
        **dsnet.CHECKS,
        **losses.CHECKS,
        **msva.CHECKS,
        **triplesumm.CHECKS,
        **umt.CHECKS,
    }


def check(path: Path, known: Mapping[str, Check]) -> Iterator[Verdict]:
    """Yield a verdict for each array of a pack; an unreadable or unknown pack counts as a difference."""
    try:
        pack = Pack.read(path)
        if pack.cls not in known:
            yield Verdict("pack", float("nan"), False, f"{pack.cls} is not known; known are {', '.join(known)}")
            return
        yield from compared(pack, known[pack.cls])
    except UNREADABLE as error:
        yield Verdict("pack", float("nan"), False, f"cannot be checked: {type(error).__name__}: {error}")


def compared(pack: Pack, run: Check) -> Iterator[Verdict]:
    missing = dict.fromkeys(pack.arrays)
    # Rounding hides small faults in float32; in float64 the tolerance is 1e-9.
    for dtype in (torch.float32, torch.float64):
        for case in pack["cases"]:
            for ours in run(pack, case, dtype):
                for verdict in pack.compare(case["id"], ours, dtype):
                    missing.pop(verdict.array, None)
                    yield verdict
    for array in missing:
        yield Verdict(array, float("nan"), False, "not computed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    paths = sorted(parser.parse_args().folder.glob("*.json"))
    if not paths:
        print("no pack (*.json) is here", file=sys.stderr)
        return 1
    num_arrays = num_wrong = 0
    known = checks()
    for path in paths:
        for verdict in check(path, known):
            num_arrays += 1
            num_wrong += not verdict.ok
            word = "ok" if verdict.ok else "DIFFERS"
            print(path.stem, verdict.array, f"{verdict.difference:.3g}", word, verdict.remark, sep="\t")
    print(f"{num_arrays} arrays, {num_wrong} differ")
    return int(num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
