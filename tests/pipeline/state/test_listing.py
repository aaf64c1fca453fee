"""What the sources list: a channel that is gone, and entries that no table could hold."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from tests.manifests.object_kit import keys_of, root_url
from tests.pipeline.crawl_kit import MadeUpSite, video_id, write_manifest

from vsumdata.datasets.sample.site import Answer, json_answer
from vsumdata.manifests.errors import ClusterError, ManifestError
from vsumdata.manifests.manifest import load
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state.listing import list_records
from vsumdata.stages.stage import Context
from vsumdata.stages.youtube import channels

GONE = Answer(
    HTTPStatus.NOT_FOUND,
    b'{"unavailable": "This account has been terminated for a violation of YouTube\'s Terms of Service."}',
    {"Content-Type": "application/json"},
)


@pytest.fixture
def site() -> Iterator[MadeUpSite]:
    with MadeUpSite(num_videos=12) as made_up:
        yield made_up


def listed(site: MadeUpSite, folder: Path, said: list[str]) -> list[Record]:
    """List the channel, whatever was listed before."""
    root = folder / "root"
    for kept in root.glob("listings/*.json"):
        kept.write_text(json.dumps(json.loads(kept.read_text()) | {"listed_at": 0}))
    context = Context(root=str(root), scratch=str(folder), transport={"sample.invalid": site.address})
    return list_records(Store(root), load(str(write_manifest(folder))), context, said.append)


def test_a_terminated_channel_keeps_the_listing_that_it_has(site: MadeUpSite, tmp_path: Path) -> None:
    before, said = listed(site, tmp_path, []), list[str]()
    site.fault = lambda *_: GONE
    assert listed(site, tmp_path, said) == before
    assert len(before) == 12
    (line,) = said
    assert "sample.invalid/@big cannot be listed any more" in line
    assert "terminated" in line
    assert "the listing of the last run serves" in line


@pytest.mark.parametrize(("ahead_s", "again"), [(0, False), (-25 * 3600, True), (3600, True)])
def test_a_listing_serves_for_a_day_and_not_from_the_future(
    site: MadeUpSite, tmp_path: Path, ahead_s: float, again: bool
) -> None:
    listed(site, tmp_path, [])
    (kept,) = tmp_path.glob("root/listings/*.json")
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"listed_at": time.time() + ahead_s}))
    site.asked = []
    context = Context(root=str(tmp_path / "root"), scratch=str(tmp_path), transport={"sample.invalid": site.address})
    list_records(Store(tmp_path / "root"), load(str(write_manifest(tmp_path))), context, print)
    assert bool(site.asked) == again


def test_on_an_object_store_an_interrupted_listing_goes_on(
    site: MadeUpSite, tmp_path: Path, s3_port: int, bucket: str
) -> None:
    store = Store(root_url(s3_port, bucket, keys=True))
    context = Context(root=store.location, scratch=str(tmp_path), transport={"sample.invalid": site.address})
    manifest = load(str(write_manifest(tmp_path)))
    site.fault = lambda target, _: Answer(HTTPStatus.NOT_FOUND, b"", {}) if target.endswith("page=1") else None
    with pytest.raises((ManifestError, ClusterError)):
        list_records(store, manifest, context, print)
    assert [key for key in keys_of(s3_port, bucket) if ".pages/" in key]
    asked_before, site.asked = site.pages_asked(), []
    site.fault = lambda *_: None
    assert len(list_records(store, manifest, context, print)) == 12
    assert 0 in asked_before
    assert 0 not in site.pages_asked(), "its page was kept"
    assert [key for key in keys_of(s3_port, bucket) if ".pages/" in key] == []


def test_a_channel_that_was_never_listed_is_a_mistake_of_the_manifest(site: MadeUpSite, tmp_path: Path) -> None:
    site.fault = lambda *_: GONE
    with pytest.raises(ManifestError, match=r"big\.yaml:1: sources\.0\.channel: .*cannot be listed: .*terminated"):
        listed(site, tmp_path, [])


def test_entries_are_cleaned(site: MadeUpSite, tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = [
        {"title": "half a pair \ud83d", "view_count": 10**19, "duration": 100},
        {"title": ["no", "text"], "view_count": True, "duration": None},
        {"title": None, "view_count": -1, "duration": True},
        {"title": "fine", "view_count": 7, "duration": 2},
    ]
    entries = [{"id": video_id(number)} | entry for number, entry in enumerate(odd)]
    site.fault = lambda target, _: json_answer({"id": "UC", "name": "x", "entries": entries if "=0" in target else []})
    found = [(r.listed_title, r.listed_view_count, r.listed_duration_s) for r in listed(site, tmp_path, [])]
    assert found == [("half a pair ?", None, 100.0), (None, None, None), (None, None, None), ("fine", 7, 2.0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "many", [1], {}, True, -1])
def test_numbers_that_are_none_count_as_not_given(value: object) -> None:
    found = channels.listed({"id": "a", "url": value, "title": value, "view_count": value, "duration": value}, "s")
    assert found.listed_view_count is None
    assert found.listed_duration_s in (None, -1)
    assert (found.listed_title, found.url) == (("many", "many") if value == "many" else (None, None))


def test_an_empty_listing_keeps_the_good_one(site: MadeUpSite, tmp_path: Path) -> None:
    said: list[str] = []
    before = listed(site, tmp_path, [])
    site.num_videos = 0
    assert listed(site, tmp_path, said) == before != []
    assert "the listing of the last run serves" in said[-1]
