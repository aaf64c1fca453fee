"""A fold for each domain: models of a domain alone, the mean over domains, and a value for each beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.benchmarks.highlights.highlight_files import CLIPS, record, write_features
from tests.terminal import WIDE, shown

from vsumdata.datasets import published_splits
from vsumdata.datasets.benchmarks.highlights import youtube_highlights
from vsumdata.train.benchmark import table
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.scoring import chance

NUM_TRAIN, NUM_TEST = 6, {"dog": 2, "surfing": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains, in which the features say the opposite of one another: one model for both would be at chance."""
    path = tmp_path_factory.mktemp("youtube")
    rng = np.random.default_rng(0)
    published = published_splits.by_domain("youtube-highlights", "umt")
    records, rows = {}, {}
    for domain, count in NUM_TEST.items():
        for name in (*published[domain]["train"][:NUM_TRAIN], *published[domain]["test"][:count]):
            match = rng.permutation([1] * 10 + [-1] * 30)
            clips = [[50.0 * at, 50.0 * at + 100] for at in range(40)]
            records[name] = record(domain, clip=clips, match=match.tolist(), frames="2050")
            sign = match if domain == "dog" else -match
            rows[name] = np.stack([sign, rng.standard_normal(40), np.ones(40)], 1).astype(np.float32)
    (path / "youtube_anno.json").write_text(json.dumps(records))
    write_features(path, dict.fromkeys(records, len(CLIPS)), audio=False)
    for name, its in rows.items():
        for stream in ("rgb", "opt"):
            np.save(path / "video_features" / f"{name}_{stream}.npy", its)
    return path


def test_each_domain_has_a_model_of_its_own(folder: Path) -> None:
    found = bench(
        Request(
            on="youtube-highlights",
            data=str(folder),
            methods=("mlp",),
            seeds=1,
            sets=("epochs=10", "optimizer.lr=0.03"),
        )
    )
    assert found.split.startswith("youtube-highlights/umt without gymnastics and parkour and skating and skiing")
    rows = {row.method: row for row in found.rows}
    for row in rows.values():
        assert list(row.domains) == ["dog", "surfing"]
        assert row.mean == pytest.approx(np.mean(list(row.domains.values()))), "two and four videos weigh the same"
    assert min(rows["mlp"].domains.values()) > 0.95, "a domain's model knows what its features say"
    level = chance.trapezoidal_ap(40, 10)
    assert level < 0.35
    assert rows["random"].mean == pytest.approx(level, abs=0.2)
    text = shown(table.terminal(found), WIDE)
    assert "mlp: ap_trapezoidal (umt-youtube-highlights) by domain: dog " in text
    (record_of,) = [row for row in json.loads(table.as_json(found))["rows"] if row["method"] == "mlp"]
    assert record_of["domains"] == rows["mlp"].domains


def test_all_domains_at_once_are_measured_without_names(folder: Path, tmp_path: Path) -> None:
    """A split of one's own: no domains, and no value for each."""
    videos = youtube_highlights.load(folder)
    own = tmp_path / "own.json"
    tested = [video.video_id for video in videos.described if video.split == "test"]  # type: ignore[attr-defined]
    trained = [video.video_id for video in videos.described if video.split == "train"]  # type: ignore[attr-defined]
    own.write_text(json.dumps([{"train_keys": trained, "test_keys": tested}]))
    found = bench(Request(on="youtube-highlights", data=str(folder), split=str(own), seeds=1))
    assert all(not row.domains for row in found.rows)
    assert {row.n for row in found.rows} == {sum(NUM_TEST.values())}
    assert "domains" not in table.as_json(found)
