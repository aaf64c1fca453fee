"""models.json through the whole program: the revision that it names is what the workers load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.media_kit import MODELS, lavfi, needs_models, read_tables, write_manifest
from tests.pipeline.sample_kit import vsumdata
from tests.stages.encoders.model_hub import OLD_REVISION, REVISION, put_in_cache, tiny_bert

pytestmark = [pytest.mark.slow, pytest.mark.ray, needs_models]
SAID = "WEBVTT\n\n00:00.000 --> 00:01.000\nCrush the clove.\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a hub that nobody can reach, for the program and its workers."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "hub"


@pytest.mark.long
def test_workers_load_the_locked_revision_after_the_hubs_has_moved(tmp_path: Path, cache: Path) -> None:
    lavfi(tmp_path / "one.mp4", "testsrc=s=96x64:r=25:d=2")
    (tmp_path / "said.vtt").write_text(SAID)
    lines = [{"video": "one.mp4", "captions": "said.vtt"}]
    features = MODELS["features"] | {"text": {"model": "someone/tiny"}}
    root = tmp_path / "root"
    put_in_cache(cache, "someone/tiny", OLD_REVISION, tiny_bert(tmp_path / "old", 1))
    first = vsumdata("run", "--manifest", str(write_manifest(tmp_path, lines, features=features)), "--root", str(root))
    assert first.returncode == 0, first.stdout + first.stderr

    put_in_cache(cache, "someone/tiny", REVISION, tiny_bert(tmp_path / "new", 2))
    shutil.copy(tmp_path / "one.mp4", tmp_path / "two.mp4")
    manifest = write_manifest(tmp_path, [*lines, {"video": "two.mp4", "captions": "said.vtt"}], features=features)
    second = vsumdata("run", "--manifest", str(manifest), "--root", str(root))
    assert second.returncode == 0, second.stdout + second.stderr
    assert len(list((root / "features").iterdir())) == 1, "one fingerprint"
    one, two = (read_tables(root)["features"][name]["sentence_feature"] for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)

    shown = vsumdata("models", "--root", str(root))
    assert f"someone/tiny@{OLD_REVISION}" in shown.stdout, shown.stderr
    assert REVISION not in shown.stdout
    moved = vsumdata("models", "--root", str(root), "--update")
    assert f"someone/tiny@{REVISION}" in moved.stdout, moved.stderr
    assert f"before: someone/tiny@{OLD_REVISION}" in " ".join(moved.stdout.split())
    assert "the next run makes these tables again: features" in moved.stdout
    lock = json.loads((root / "models.json").read_text())["text someone/tiny"]
    assert lock["identity"] == f"someone/tiny@{REVISION}"
    assert str(cache) not in lock["location"], "nothing of this machine"

    shutil.rmtree(cache)
    gone = vsumdata("run", "--manifest", str(manifest), "--root", str(root))
    assert gone.returncode == 2
    assert f"the revision {REVISION} of the model someone/tiny" in gone.stderr
    assert "`vsumdata models --update`" in gone.stderr
