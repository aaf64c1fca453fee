"""Compare our evaluation with what official code answers on real annotations and published predictions.

    python tests/golden/real.py FOLDER [--annotations PARQUET] [--benchmarks DIR]

Prints a line per case: pack, case, ours, theirs, ok. The exit code is 1 if any differs or a pack is not known. Packs
name videos whose labels they do not repeat: those are read from PARQUET (TVSum) and DIR (SumMe/GT, QFVS/Tags.mat,
TVSum/umt, QVHighlights).
"""

from __future__ import annotations

import sys
from pathlib import Path

# Run as a script, Python puts this folder on the path, and not the checkout with `tests`.
sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.golden import packs, real_highlights, real_summaries

CHECKS: packs.Checks = {
    "summe_real": real_summaries.summe,
    "tvsum_real_predictions": real_summaries.tvsum,
    "summe_examples": real_summaries.examples,
    "qfvs_real": real_summaries.qfvs,
    "qvhighlights_real": real_highlights.qvhighlights,
    "umt_real": real_highlights.umt,
}

if __name__ == "__main__":
    sys.exit(packs.main(CHECKS, __doc__))
