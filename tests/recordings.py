"""Where the recordings are: pages, captions, media and official answers that lie beside a checkout, not in it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORDINGS = ROOT.parent / "shared" / "data"
