"""The `duplicates` table: planted re-uploads of real films are found, strangers are not."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stages.labels import planted

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.sections.labels import Duplicates
from vsumdata.stages.encoders.colours import ColourEncoder
from vsumdata.stages.labels.courses import correlation
from vsumdata.stages.labels.duplicates import load
from vsumdata.stages.labels.wordings import Wordings
from vsumdata.stages.stage import Context

OPTIONS = Duplicates().model_dump() | {"fps": 1.0}


def row(video_id: str, *, frames: np.ndarray | None = None, said: str = "", **video: Any) -> dict[str, Any]:
    facts = {"source_id": video_id, "url": None, "title": video_id, "heatmap": None, "view_count": None}
    return {
        "video_id": video_id,
        "videos": facts | {"duration_s": None if frames is None else float(len(frames))} | video,
        "frames": None if frames is None else {"frame_feature": frames},
        "transcripts": {"sentence": [{"text": said}]} if said else None,
    }


def compare(rows: list[dict[str, Any]], tmp_path: Path, **options: Any) -> dict[str, Mapping[str, Any]]:
    made = load(OPTIONS | options, Context(root="unused", scratch=str(tmp_path)))(rows)
    return {video_id: row for video_id, row in made if isinstance(row, dict)}


@pytest.fixture(scope="module")
def reuploads() -> dict[str, np.ndarray]:
    encoder = ColourEncoder()
    return {
        name + version: encoder.encode(np.ascontiguousarray(pictures))
        for name, film in planted.films(encoder.size, encoder.resize, encoder.interpolation)
        for version, pictures in planted.versions(film).items()
    }


def test_reuploads_of_films_are_found_and_strangers_are_not(reuploads: dict[str, np.ndarray], tmp_path: Path) -> None:
    found = compare([row(name, frames=feature) for name, feature in sorted(reuploads.items())], tmp_path)
    groups = {name: made["group"] or name for name, made in found.items()}
    pairs = {(one, other) for one in found for other in found if one < other and groups[one] == groups[other]}
    true = {
        (one, other) for one in found for other in found if one < other and one.split(".")[0] == other.split(".")[0]
    }
    assert len(pairs & true) / len(true) >= 0.95, sorted(true - pairs)
    assert len(pairs & true) / len(pairs) >= 0.95, sorted(pairs - true)
    # A cut is never the one that is kept.
    assert not any(made["is_best"] for name, made in found.items() if name.endswith(".cut") and made["group"])
    assert {made["kind"] for made in found.values() if made["group"]} == {"frames"}


def test_each_of_one_id_or_address_is_one_and_the_best_has_a_heatmap_and_views(tmp_path: Path) -> None:
    heatmap = [{"start_s": 0.0, "end_s": 1.0, "value": 1.0}]
    rows = [
        row("a", source_id="x", view_count=900),
        row("b", source_id="x", view_count=7, heatmap=heatmap),
        row("c", url="https://sample.invalid/c"),
        row("d", url="https://sample.invalid/c", view_count=3),
        row("e"),
    ]
    found = compare(rows, tmp_path)
    assert {name: made["group"] for name, made in found.items()} == {"a": "b", "b": "b", "c": "d", "d": "d", "e": None}
    assert {name for name, made in found.items() if made["is_best"]} == {"b", "d", "e"}
    assert found["a"] == {"group": "b", "is_best": False, "like": "b", "kind": "id", "confidence": 1.0}
    # The better one's file was broken: where duplicates are dropped, the group would have no features at all.
    rows = [row("a", source_id="x"), row("b", source_id="x", view_count=7, heatmap=heatmap)]
    assert not compare(rows, tmp_path)["a"]["is_best"]
    rows[0]["frames"] = {"frame_feature": np.random.default_rng(0).normal(size=(9, 4))}
    assert compare(rows, tmp_path)["a"]["is_best"]


def test_one_title_and_one_length_is_one_video_unless_the_pictures_differ(
    reuploads: dict[str, np.ndarray], tmp_path: Path
) -> None:
    rows = [
        row("a", title="How to Boil an Egg", duration_s=100.0),
        row("b", title="Boil an egg! - wikiHow", duration_s=101.0),
        row("c", title="Boil an egg", duration_s=120.0),
        row("d", title="Sow", duration_s=40.0, frames=reuploads["tea-brew_02"]),
        row("e", title="Sow", duration_s=40.0, frames=reuploads["flattyre_07"]),
    ]
    found = compare(rows, tmp_path)
    assert {name: made["group"] for name, made in found.items()} == {
        "a": "a",
        "b": "a",
        "c": None,
        "d": None,
        "e": None,
    }
    assert found["b"]["kind"] == "title"
    assert found["b"]["confidence"] == pytest.approx(100 / 101)


def test_a_transcript_that_is_a_part_of_another_one_is_found_phrases_in_common_are_not() -> None:
    words = [f"word{at}" for at in range(4000)]
    said = {f"v{at}": " ".join(words[at * 150 : at * 150 + 140]) for at in range(20)}
    greeting = "welcome back to the channel please like and subscribe before we begin with the video of today "
    wordings = Wordings()
    for name, text in said.items():
        wordings.add(name, greeting + text)
    wordings.add("short", " ".join(words[20:100]))
    wordings.add("misheard", " ".join(word if at % 25 else "umm" for at, word in enumerate(words[300:440])))
    found = {frozenset(match[:2]): match[2] for match in wordings.matches(0.6)}
    assert found.keys() == {frozenset(("short", "v0")), frozenset(("misheard", "v2"))}
    assert found[frozenset(("short", "v0"))] == 1.0


def test_few_changes_of_a_cut_and_pictures_that_stand_still_tell_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene = rng.normal(size=(12, 32)).astype(np.float16)
    still = np.repeat(scene[:1], 60, axis=0)
    rows = [row("long", frames=np.repeat(scene, 10, axis=0)), row("still", frames=still), row("too", frames=still[:55])]
    assert {made["group"] for made in compare(rows, tmp_path).values()} == {None}


def test_a_video_with_damaged_or_no_frames_takes_no_other_one_with_it(
    reuploads: dict[str, np.ndarray], tmp_path: Path
) -> None:
    feature = reuploads[min(reuploads)]
    broken = feature.copy()
    broken[3, 0] = np.nan
    rows = [row("a", frames=broken), row("b", frames=feature[:0]), row("c", frames=feature), row("d", frames=feature)]
    found = compare(rows, tmp_path)
    assert {name: made["group"] for name, made in found.items()} == {"a": None, "b": None, "c": "c", "d": "c"}


def test_correlation_along_a_line() -> None:
    course = np.random.default_rng(1).normal(size=(50, 8))
    assert correlation(course[10:30], course, 1.0, 10.0) == pytest.approx(1.0)
    assert correlation(course[10:30] + 3.0, course, 1.0, 10.0) == pytest.approx(1.0)
    assert abs(correlation(course[10:30], course, 1.0, 12.0)) < 0.4
    assert correlation(course, course, 1.0, 30.0) == -1.0, "they share too little"


def test_without_faiss_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"pip install 'vsumdata\[labels\]'"):
        compare([], tmp_path)
