"""yt-dlp's own YouTube extractors on recorded answers: the outcome of a video, a bot wall, a broken answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import tests.stages.youtube.youtube_kit as kit
from tests.stages.youtube.youtube_kit import YouTube

from vsumdata.datasets.sample.site import Answer, json_answer
from vsumdata.manifests import tables
from vsumdata.manifests.errors import RetryVideo, SkipVideo, ThrottledError
from vsumdata.manifests.select import decide
from vsumdata.manifests.sources import Record
from vsumdata.stages import videos

pytestmark = pytest.mark.recorded
PLAYER, NEXT, WATCH, CAPTIONS = "/youtubei/v1/player", "/youtubei/v1/next", "/watch", "/api/timedtext"
NO_SCRIPTS: dict[str, Any] = {"js_runtimes": {}}  # the recordings are those of the client that needs none

Read = Callable[..., dict[str, Any]]


@pytest.fixture
def site(recordings: Path) -> Iterator[YouTube]:
    with YouTube(recordings) as site:
        yield site


@pytest.fixture
def read(site: YouTube, tmp_path: Path) -> Read:
    stage = videos.load({"languages": ["en"]}, site.context(tmp_path, yt_dlp=NO_SCRIPTS))
    return lambda video_id, **listed: stage({"source": record(video_id, **listed)})


def record(video_id: str, **fields: Any) -> dict[str, Any]:
    url = f"https://www.youtube.com/watch?v={video_id}"
    return Record(video_id=video_id, source="ids:list.jsonl", url=url, **fields).as_dict()


def answers(path: str, answer: Answer, video_id: str = "") -> kit.Fault:
    return lambda asked: answer if asked.path == path and video_id in asked.about else None


def failing(status: int, **headers: str) -> Answer:
    return Answer(HTTPStatus(status), b"", {name.replace("_", "-"): value for name, value in headers.items()})


def test_kept_video_has_all_that_is_promised(read: Read) -> None:
    found = read(kit.KEPT)
    assert {*found} == {name for name, _ in tables.VIDEOS}
    assert (found["view_count"], found["duration_s"], found["channel"]) == (81077, 343.0, "ABCs of Anaesthesia")
    assert (found["media_type"], found["live_status"], found["availability"]) == ("video", "not_live", "public")
    assert (found["source"], found["source_id"], found["fetched"]) == ("ids:list.jsonl", kit.KEPT, True)
    heat = found["heatmap"]
    assert len(heat) == 100
    assert max(mark["value"] for mark in heat) == 1.0
    assert [mark["start_s"] for mark in heat[1:]] == [mark["end_s"] for mark in heat[:-1]]
    assert abs(heat[-1]["end_s"] - found["duration_s"]) <= 1.0
    assert decide(found, {}) is None


def test_caption_track_is_fetched_in_the_same_breath_and_kept_raw(site: YouTube, read: Read) -> None:
    caption = read(kit.KEPT)["caption"]
    assert (caption["language"], caption["kind"], caption["format"]) == ("en", "manual", "json3")
    assert json.loads(caption["text"])["events"][0]["segs"] == [{"utf8": "en manual json3"}]
    assert site.paths().count(CAPTIONS) == 1
    automatic = read(kit.NO_HEATMAP)["caption"]
    assert (automatic["language"], automatic["kind"]) == ("en", "automatic")
    assert "en asr json3" in automatic["text"]


@pytest.mark.parametrize(
    ("video_id", "select", "reason"),
    [
        (kit.LOW_VIEWS, {}, "low_views"),
        (kit.LOW_VIEWS, {"min_views": 12_915}, "no_heatmap"),
        (kit.NO_HEATMAP, {"min_duration_s": 5, "tabs": ["videos", "shorts"]}, "no_heatmap"),
        (kit.NO_HEATMAP, {}, "short"),
    ],
)
def test_videos_without_heat_markers_are_read_and_decided_upon(
    read: Read, video_id: str, select: dict[str, Any], reason: str
) -> None:
    found = read(video_id)
    assert found["heatmap"] is None
    assert decide(found, select) == reason


@pytest.mark.parametrize(
    ("video_id", "reason"),
    [
        (kit.UNPLAYABLE, "removed"),
        (kit.PRIVATE, "private"),
        (kit.AGE_RESTRICTED, "age_restricted"),
    ],
)
def test_recorded_refusals_are_skips(read: Read, video_id: str, reason: str) -> None:
    with pytest.raises(SkipVideo) as caught:
        read(video_id)
    assert caught.value.reason == reason
    assert video_id in caught.value.detail


def test_an_id_that_does_not_exist_is_tried_again_at_first(read: Read) -> None:
    """A broken yt-dlp says the same of every video, see `watches.Alike`."""
    with pytest.raises(RetryVideo, match="Failed to extract any player response") as caught:
        read(kit.NONEXISTENT)
    assert (caught.value.reason, caught.value.is_counted) == ("unavailable", False)


def walled(reason: str, **error_screen: Any) -> Answer:
    """MADE UP: a refusal as YouTube words it."""
    status = {"status": "UNPLAYABLE", "reason": reason, "errorScreen": error_screen}
    return json_answer({"playabilityStatus": status, "videoDetails": {"videoId": kit.KEPT, "title": "x"}})


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (walled("This content isn't available, try again later."), "rate-limited"),
        (walled("Please wait", playerCaptchaViewModel={"key": 1}), "captcha challenge"),
        (json_answer({"videoDetails": {"videoId": "another_one"}}), "IP is likely being blocked"),
        (None, "not a bot"),
    ],
)
def test_every_wall_is_nobodys_fault(site: YouTube, read: Read, refusal: Answer | None, said: str) -> None:
    site.faults = [answers(PLAYER, refusal or site.block("request_blocked")), answers(WATCH, kit.page())]
    with pytest.raises(ThrottledError, match=said) as caught:
        read(kit.KEPT)
    assert caught.value.host == "youtube.com"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Join this channel to get access to members-only content like this video, and other perks.", "members_only"),
        ("Video unavailable. This video has been removed by the uploader", "removed"),
        ("Premieres in 3 hours", "upcoming"),
        ("Sign in to confirm your age", "age_restricted"),
    ],
)
def test_worded_refusals_are_skips(site: YouTube, read: Read, reason: str, expected: str) -> None:
    site.faults = [answers(PLAYER, walled(reason))]
    with pytest.raises(SkipVideo, match=expected):
        read(kit.KEPT)


def test_region_block_is_told_by_the_second_line(site: YouTube, read: Read) -> None:
    text = "The uploader has not made this video available in your country"
    screen = {"reason": {"simpleText": "Video unavailable"}, "subreason": {"simpleText": text}}
    site.faults = [answers(PLAYER, walled("Video unavailable", playerErrorMessageRenderer=screen))]
    with pytest.raises(SkipVideo, match="region"):
        read(kit.KEPT)


def test_refusal_in_unknown_words_is_never_done(site: YouTube, read: Read) -> None:
    site.faults = [answers(PLAYER, walled("Something new"))]
    with pytest.raises(RetryVideo, match="unknown.*Something new"):
        read(kit.KEPT)


@pytest.mark.parametrize("path", [WATCH, PLAYER, CAPTIONS])
def test_429_stops_everything_at_once(site: YouTube, read: Read, path: str) -> None:
    site.faults = [answers(path, site.block("too_many_requests"))]
    with pytest.raises(ThrottledError) as caught:
        read(kit.KEPT)
    assert (caught.value.host, caught.value.after_s) == ("youtube.com", None)
    assert site.paths()[-1] == path


def test_429_tells_how_long_to_wait(site: YouTube, read: Read) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=900))
    for value, low, high in (("77", 77, 77), (at, 880, 900)):
        site.faults = [answers(PLAYER, failing(429, Retry_After=value))]
        with pytest.raises(ThrottledError) as caught:
            read(kit.KEPT)
        assert caught.value.after_s is not None
        assert low <= caught.value.after_s <= high


@pytest.mark.parametrize("status", [403, 404, 500])
def test_player_that_does_not_answer_is_no_video_without_captions(site: YouTube, read: Read, status: int) -> None:
    site.faults = [answers(PLAYER, failing(status))]
    with pytest.raises(RetryVideo, match=f"transient.*{status}"):
        read(kit.KEPT)


@pytest.mark.parametrize("status", [404, 500])
def test_no_answer_at_all_does_not_mean_removed(site: YouTube, read: Read, status: int) -> None:
    site.faults = [answers(PLAYER, failing(status)), answers(WATCH, kit.page())]
    with pytest.raises(RetryVideo, match="transient"):
        read(kit.KEPT)


def test_heatmap_that_was_not_fetched_is_not_an_absent_one(site: YouTube, read: Read) -> None:
    site.faults = [answers(WATCH, kit.page()), answers(NEXT, failing(403))]
    with pytest.raises(RetryVideo, match="heatmap_not_fetched"):
        read(kit.KEPT)
    site.faults = [answers(WATCH, kit.page()), answers(NEXT, failing(404))]
    with pytest.raises(RetryVideo, match="transient"):
        read(kit.KEPT)
    site.faults = [answers(WATCH, kit.page())]
    assert len(read(kit.KEPT)["heatmap"]) == 100


def test_watch_page_that_is_no_page_is_made_up_for(site: YouTube, read: Read) -> None:
    for broken in (failing(500), Answer(HTTPStatus.OK, b"<html", {"Content-Type": "text/html"})):
        site.faults = [answers(WATCH, broken)]
        assert len(read(kit.KEPT)["heatmap"]) == 100


def test_answers_of_an_unknown_kind_are_worth_another_attempt(site: YouTube, read: Read) -> None:
    odd = json_answer({"playabilityStatus": {"status": "OK"}, "videoDetails": {"videoId": kit.KEPT, "keywords": [1]}})
    site.faults = [answers(PLAYER, odd), answers(WATCH, kit.page())]
    with pytest.raises(RetryVideo, match="unknown: AttributeError in yt-dlp"):
        read(kit.KEPT)


def test_trailer_does_not_stand_for_its_film(site: YouTube, read: Read) -> None:
    trailer = {"playerLegacyDesktopYpcTrailerRenderer": {"trailerVideoId": kit.LOW_VIEWS}}
    site.faults = [answers(PLAYER, walled("This video requires payment to watch.", **trailer), kit.KEPT)]
    with pytest.raises(SkipVideo, match=r"no_formats.*trailer"):
        read(kit.KEPT)


def test_captions_that_are_gone_are_said_and_broken_ones_are_tried_again(site: YouTube, read: Read) -> None:
    for gone in (failing(404), failing(403), failing(200)):
        site.faults = [answers(CAPTIONS, gone)]
        found = read(kit.KEPT)
        assert found["caption"] is None
        assert found["detail"] == "the manual en captions could not be fetched"
    site.faults = [answers(CAPTIONS, failing(503))]
    with pytest.raises(RetryVideo, match="transient"):
        read(kit.KEPT)


def test_listed_as_private_costs_no_request(site: YouTube, read: Read) -> None:
    for title, reason in (("[Private video]", "private"), ("[Deleted video]", "removed")):
        with pytest.raises(SkipVideo, match=reason):
            read(kit.KEPT, listed_title=title)
    assert site.asked == []


@pytest.mark.parametrize("status", [500, 503])
def test_a_video_whose_captions_failed_is_read_again_from_the_site(site: YouTube, read: Read, status: int) -> None:
    """The session that failed was closed, and what it remembered of the video is of no use without it."""
    site.faults = [answers(CAPTIONS, failing(status))]
    with pytest.raises(RetryVideo, match="transient"):
        read(kit.KEPT)
    site.faults = []
    assert read(kit.KEPT)["caption"] is not None
