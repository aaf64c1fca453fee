"""One open yt-dlp for many videos, and a channel's recorded listing, through yt-dlp's own extractors."""

from __future__ import annotations

import gc
import json
import stat
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import tests.stages.youtube.youtube_kit as kit
from tests.stages.youtube.youtube_kit import YouTube

from vsumdata.datasets.sample.site import Answer, json_answer
from vsumdata.manifests.errors import RetryVideo, SkipVideo, ThrottledError
from vsumdata.manifests.roots.folder import Folder
from vsumdata.stages.youtube import session as sessions
from vsumdata.stages.youtube.channels import list_channel
from vsumdata.stages.youtube.session import Session

pytestmark = pytest.mark.recorded
BROWSE, PLAYER = "/youtubei/v1/browse", "/youtubei/v1/player"
NO_SCRIPTS: dict[str, Any] = {"js_runtimes": {}}


@pytest.fixture
def site(recordings: Path) -> Iterator[YouTube]:
    with YouTube(recordings) as site:
        yield site


@pytest.fixture
def session(site: YouTube, tmp_path: Path) -> Session:
    return Session(site.context(tmp_path, yt_dlp=NO_SCRIPTS))


def watch(video_id: str) -> str:
    return f"https://www.youtube.com/watch?v={video_id}"


def scripts(site: YouTube) -> int:
    return site.paths().count(kit.PLAYER_URL)


def test_player_script_is_fetched_once_for_many_videos(site: YouTube, session: Session) -> None:
    asked = []
    for video_id in (kit.KEPT, kit.LOW_VIEWS, kit.NO_HEATMAP, kit.KEPT):
        site.asked.clear()
        assert session.extract(watch(video_id))["id"] == video_id
        asked.append(len(site.asked))
    assert asked == [4, 3, 3, 3]  # page, player, manifest of streams, and for the first video the script


def test_videos_own_state_keeps_the_session(site: YouTube, session: Session) -> None:
    session.extract(watch(kit.KEPT))
    with pytest.raises(SkipVideo):
        session.extract(watch(kit.PRIVATE))
    session.extract(watch(kit.KEPT))
    assert scripts(site) == 1


def test_trouble_with_one_video_says_nothing_of_the_next(site: YouTube, session: Session) -> None:
    broken = Answer(HTTPStatus.INTERNAL_SERVER_ERROR)
    site.faults = [lambda asked: broken if (asked.path, asked.about) == ("/watch", kit.KEPT) else None]
    session.extract(watch(kit.KEPT))
    with pytest.raises(RetryVideo, match="any player response"):
        session.extract(watch(kit.NONEXISTENT))


def test_session_is_renewed(site: YouTube, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "RENEWED_AFTER", 2)
    for _ in range(5):
        session.extract(watch(kit.KEPT))
        assert session.body("https://www.youtube.com/api/timedtext?lang=en&fmt=vtt") is not None
    assert scripts(site) == 3


def test_wall_in_the_middle_costs_nothing_but_a_fresh_session(site: YouTube, session: Session) -> None:
    def wall(asked: kit.Asked) -> Answer | None:
        return site.block("request_blocked") if site.paths().count(PLAYER) == 3 and asked.path == PLAYER else None

    site.faults = [wall]
    for _ in range(2):
        session.extract(watch(kit.KEPT))
    with pytest.raises(ThrottledError, match="not a bot"):
        session.extract(watch(kit.KEPT))
    assert session.extract(watch(kit.KEPT))["view_count"] == 81077
    assert scripts(site) == 2


def test_wall_that_only_one_of_yt_dlps_clients_meets_is_none(site: YouTube, tmp_path: Path) -> None:
    clients = {"youtube": {"player_client": ["tv_samsung", "visionos"]}}
    session = Session(site.context(tmp_path, yt_dlp=NO_SCRIPTS | {"extractor_args": clients}))

    def wall(asked: kit.Asked) -> Answer | None:
        is_television = asked.path == PLAYER and asked.body["context"]["client"]["clientName"] == "TVHTML5"
        return site.block("request_blocked") if is_television else None

    site.faults = [wall]
    info = session.extract(watch(kit.KEPT))
    assert site.paths().count(PLAYER) == 2
    assert (len(info["heatmap"]), len(info["subtitles"])) == (100, 12)


def test_network_that_is_gone_is_not_the_videos_fault(site: YouTube, session: Session) -> None:
    site.server.shutdown()
    site.server.server_close()
    with pytest.raises(RetryVideo, match=r"transient.*refused"):
        session.extract(watch(kit.KEPT))


def test_turn_is_taken_before_the_first_request(site: YouTube, tmp_path: Path) -> None:
    turns: list[tuple[str, int]] = []
    context = site.context(tmp_path, yt_dlp=NO_SCRIPTS)
    object.__setattr__(context, "pace", lambda host: turns.append((host, len(site.asked))))
    session = Session(context)
    session.extract(watch(kit.KEPT))
    session.extract(watch(kit.LOW_VIEWS))
    assert turns == [("youtube.com", 0), ("youtube.com", 4)]


def test_session_that_goes_is_closed_and_the_users_cookies_stay(site: YouTube, tmp_path: Path) -> None:
    cookies = tmp_path / "mine.txt"
    mine = "# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t2000000000\tGPS\t1\n"
    cookies.write_text(mine)
    session = Session(site.context(tmp_path, yt_dlp=NO_SCRIPTS | {"cookiefile": str(cookies)}))
    session.extract(watch(kit.KEPT))
    [copy] = tmp_path.glob("cookiefile-*")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert "SOCS" not in copy.read_text()
    del session
    gc.collect()
    assert "GPS" in copy.read_text()
    assert "SOCS" in copy.read_text()  # written when it was closed
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert cookies.read_text() == mine


def test_manifest_cannot_switch_off_what_the_work_needs(site: YouTube, tmp_path: Path) -> None:
    harmful = {
        "ignoreerrors": True,
        "ignore_no_formats_error": True,
        "extract_flat": True,
        "extractor_args": {"youtube": {"player_skip": ["initial_data"], "lang": ["de"]}},
    }
    session = Session(site.context(tmp_path, yt_dlp=NO_SCRIPTS | harmful))
    site.faults = [lambda asked: kit.page() if asked.path == "/watch" and asked.about == kit.KEPT else None]
    assert len(session.extract(watch(kit.KEPT))["heatmap"]) == 100
    assert {asked.body["context"]["client"]["hl"] for asked in site.asked if asked.body} == {"en"}
    with pytest.raises(SkipVideo, match="removed"):
        session.extract(watch(kit.UNPLAYABLE))


@pytest.mark.parametrize("channel", [kit.HANDLE, f"https://www.youtube.com/channel/{kit.CHANNEL_ID}/videos"])
def test_channel_lists_all_entries_of_both_pages(site: YouTube, tmp_path: Path, channel: str) -> None:
    listed = list(list_channel(channel, ["videos"], site.context(tmp_path)))
    assert len(listed) == len({entry.video_id for entry in listed}) == 60
    assert [listed[0].video_id, listed[0].listed_title] == ["D0WQK7cMJn8", "We Made A New Channel!"]
    assert (listed[0].listed_view_count, listed[0].listed_duration_s) == (1545374, 183)
    assert all(entry.listed_view_count and entry.listed_duration_s for entry in listed)
    assert listed[0].url == "https://www.youtube.com/watch?v=D0WQK7cMJn8"
    assert site.paths().count(BROWSE) == 2


def test_handle_that_does_not_resolve(site: YouTube, tmp_path: Path) -> None:
    with pytest.raises(SkipVideo, match="removed"):
        list(list_channel("@nobody-here", ["videos"], site.context(tmp_path)))


def test_age_restricted_channel_lists_nothing(site: YouTube, tmp_path: Path) -> None:
    assert list(list_channel(kit.AGE_RESTRICTED_HANDLE, ["videos"], site.context(tmp_path))) == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (json_answer({}), RetryVideo),
        (Answer(HTTPStatus.INTERNAL_SERVER_ERROR), RetryVideo),
        (Answer(HTTPStatus.TOO_MANY_REQUESTS, b"", {"Retry-After": "60"}), ThrottledError),
    ],
)
def test_listing_that_breaks_off_does_not_pass_for_a_whole_one(
    site: YouTube, tmp_path: Path, answer: Answer, error: type[RetryVideo | ThrottledError]
) -> None:
    site.faults = [lambda asked: answer if asked.path == BROWSE else None]
    with pytest.raises(error) as caught:
        list(list_channel(kit.HANDLE, ["videos"], site.context(tmp_path)))
    if isinstance(caught.value, ThrottledError):
        assert caught.value.after_s == 60.0


def test_listing_goes_on_behind_the_pages_that_came(site: YouTube, tmp_path: Path) -> None:
    context, pages = site.context(tmp_path), Folder(str(tmp_path / "pages"))
    later = json.dumps(site.channel_tab("02"))
    broken = Answer(HTTPStatus.INTERNAL_SERVER_ERROR)
    site.faults = [
        lambda asked: broken if asked.path == BROWSE and json.dumps(asked.body["continuation"]) in later else None
    ]
    with pytest.raises(RetryVideo):
        list(list_channel(kit.HANDLE, ["videos"], context, pages))
    site.faults = []
    already = len(site.paths())
    assert len(list(list_channel(kit.HANDLE, ["videos"], context, pages))) == 60
    assert site.paths()[already:] == [BROWSE]  # only the page that had not come
