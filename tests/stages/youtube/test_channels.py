"""Listing a channel: its URL, its tabs, and resuming where a listing stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.crawl_kit import MadeUpSite, refuse, video_id

from vsumdata.datasets.sample.site import Answer
from vsumdata.manifests.errors import RetryVideo, SkipVideo, ThrottledError
from vsumdata.manifests.roots.folder import Folder
from vsumdata.stages.stage import Context
from vsumdata.stages.youtube import kept_pages
from vsumdata.stages.youtube.channels import channel_url, list_channel, unique

CHANNEL = "https://sample.invalid/@big"
NUM_VIDEOS = 22


@pytest.fixture
def site() -> Iterator[MadeUpSite]:
    with MadeUpSite(NUM_VIDEOS) as made_up:
        yield made_up


@pytest.fixture
def context(site: MadeUpSite, tmp_path: Path) -> Context:
    return Context(root=str(tmp_path), scratch=str(tmp_path), transport={"sample.invalid": site.address})


@pytest.mark.parametrize(
    ("channel", "url"),
    [
        ("@wikihow", "https://www.youtube.com/@wikihow/videos"),
        ("wikihow", "https://www.youtube.com/@wikihow/videos"),
        ("UCsXVk37bltHxD1rDPwtNM8Q", "https://www.youtube.com/channel/UCsXVk37bltHxD1rDPwtNM8Q/videos"),
        ("https://www.youtube.com/@ehow/", "https://www.youtube.com/@ehow/videos"),
        ("https://www.youtube.com/@ehow/featured", "https://www.youtube.com/@ehow/videos"),
        ("https://www.youtube.com/@ehow/shorts?view=0", "https://www.youtube.com/@ehow/videos"),
        ("youtube.com/c/ehow", "https://youtube.com/c/ehow/videos"),
        ("https://m.youtube.com/user/ehow", "https://m.youtube.com/user/ehow/videos"),
        ("https://www.youtube.com/playlist?list=PLabc", "https://www.youtube.com/playlist?list=PLabc"),
        ("https://sample.invalid/@kitchen", "https://sample.invalid/@kitchen"),
    ],
)
def test_the_address_of_a_tab(channel: str, url: str) -> None:
    assert channel_url(channel, "videos") == url


def test_all_pages_of_a_channel_are_listed_in_order(context: Context) -> None:
    records = list(list_channel(CHANNEL, ["videos"], context))
    assert [record.video_id for record in records] == [video_id(number) for number in range(NUM_VIDEOS)]
    assert records[3].source == f"channel:{CHANNEL}"
    assert records[3].listed_title == "Video 3"
    assert records[3].listed_view_count is None


def test_duplicates_are_not_looked_for_by_comparing_all_entries(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """yt-dlp's way takes the square of their number."""

    def comparing(*_: object, **__: object) -> None:
        raise AssertionError

    ytdlp = sys.modules["yt_dlp.YoutubeDL"]
    monkeypatch.setattr(ytdlp, "orderedSet", comparing)
    assert list(list_channel(CHANNEL, ["videos"], context))
    assert ytdlp.orderedSet is comparing
    twice: list[Any] = [(1, {}), (2, {}), (1, {}), "a", "a"]
    assert unique(twice) == list(unique(iter(twice), lazy=True)) == [(1, {}), (2, {}), "a"]


def test_a_tab_that_a_channel_lacks_is_said_and_the_others_are_listed(context: Context) -> None:
    said: list[str] = []
    assert list(list_channel(f"{CHANNEL}/shorts", ["videos"], context, say=said.append)) == []
    assert "does not have a shorts tab" in said[0]


@pytest.mark.parametrize("stops_at", [1, 3, 5])
def test_a_listing_goes_on_behind_the_pages_that_came(
    stops_at: int, site: MadeUpSite, context: Context, tmp_path: Path
) -> None:
    pages = Folder(str(tmp_path / "pages"))
    site.fault = lambda target, _: (
        refuse(HTTPStatus.SERVICE_UNAVAILABLE) if target.endswith(f"page={stops_at}") else None
    )
    with pytest.raises(RetryVideo):
        list(list_channel(CHANNEL, ["videos"], context, pages))
    site.fault, site.asked = lambda *_: None, []
    records = list(list_channel(CHANNEL, ["videos"], context, pages))
    assert [record.video_id for record in records] == [video_id(number) for number in range(NUM_VIDEOS)]
    assert site.pages_asked() == list(range(stops_at, 6))


def test_a_wall_in_the_middle_is_a_wall(site: MadeUpSite, context: Context, tmp_path: Path) -> None:
    site.fault = lambda target, _: (
        refuse(HTTPStatus.TOO_MANY_REQUESTS, Retry_After="77") if target.endswith("page=2") else None
    )
    with pytest.raises(ThrottledError) as caught:
        list(list_channel(CHANNEL, ["videos"], context, Folder(str(tmp_path / "pages"))))
    assert caught.value.after_s == 77


def test_a_page_that_came_damaged_is_not_kept(site: MadeUpSite, context: Context, tmp_path: Path) -> None:
    damaged = Answer(HTTPStatus.OK, b'{"entries": [', {"Content-Type": "application/json"})
    site.fault = lambda target, _: damaged if target.endswith("page=2") else None
    with pytest.raises(RetryVideo):
        list(list_channel(CHANNEL, ["videos"], context, Folder(str(tmp_path / "pages"))))
    site.fault = lambda *_: None
    assert len(list(list_channel(CHANNEL, ["videos"], context, Folder(str(tmp_path / "pages"))))) == NUM_VIDEOS


def test_tokens_that_no_longer_lead_on_begin_the_listing_anew(
    site: MadeUpSite, context: Context, tmp_path: Path
) -> None:
    pages = Folder(str(tmp_path / "pages"))
    for status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.BAD_REQUEST):
        site.fault = lambda target, _, status=status: refuse(status) if target.endswith("page=3") else None  # type: ignore[misc]
        with pytest.raises(RetryVideo):
            list(list_channel(CHANNEL, ["videos"], context, pages))
    site.fault, site.asked = lambda *_: None, []
    assert len(list(list_channel(CHANNEL, ["videos"], context, pages))) == NUM_VIDEOS
    assert site.pages_asked() == list(range(6))


def test_a_page_that_is_missing_does_not_mean_that_the_channel_is(
    site: MadeUpSite, context: Context, tmp_path: Path
) -> None:
    # The sample's extractor reads the body of a 404. Only a body that is not JSON shows as the HTTP error.
    gone = Answer(HTTPStatus.GONE, b"gone", {"Content-Type": "text/plain"})
    site.fault = lambda target, _: gone if target.endswith("page=2") else None
    with pytest.raises(RetryVideo):
        list(list_channel(CHANNEL, ["videos"], context, Folder(str(tmp_path / "pages"))))


def test_old_pages_are_not_used(
    site: MadeUpSite, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.fault = lambda target, _: refuse(HTTPStatus.SERVICE_UNAVAILABLE) if target.endswith("page=3") else None
    with pytest.raises(RetryVideo):
        list(list_channel(CHANNEL, ["videos"], context, Folder(str(tmp_path / "pages"))))
    monkeypatch.setattr(kept_pages, "SERVES", timedelta(seconds=-1))
    site.fault, site.asked = lambda *_: None, []
    list(list_channel(CHANNEL, ["videos"], context, Folder(str(tmp_path / "pages"))))
    assert site.pages_asked() == list(range(6))


def test_a_channel_that_does_not_exist_is_no_empty_channel(site: MadeUpSite, context: Context) -> None:
    gone = refuse(HTTPStatus.NOT_FOUND)
    site.fault = lambda *_: Answer(gone.status, b'{"unavailable": "This channel does not exist."}', gone.headers)
    with pytest.raises(SkipVideo, match="removed"):
        list(list_channel(CHANNEL, ["videos"], context))
