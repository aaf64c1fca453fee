"""yt-dlp's messages as our classes and errors, and the options that it is opened with. No recordings are needed."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.stages.youtube.message_kit import SEEN
from yt_dlp.networking import Response
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError

from vsumdata.manifests.errors import RetryVideo, SetupError, SkipVideo, ThrottledError, UsageError
from vsumdata.stages.stage import Context
from vsumdata.stages.youtube import session
from vsumdata.stages.youtube.errors import as_ours, retry_after_s
from vsumdata.stages.youtube.messages import NO_ANSWER, REMEDIES, UNAVAILABLE, normalised
from vsumdata.stages.youtube.options import settings

URL = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"

# A video's error, or one that stops the run or all workers.
OUTCOME = {"throttled": ThrottledError, **dict.fromkeys(REMEDIES, SetupError)}
RETRIED = {"transient", "unknown", UNAVAILABLE, NO_ANSWER}


@pytest.mark.parametrize(("message", "kind"), sorted({(normalised(text), kind) for text, kind, _ in SEEN}))
def test_download_errors_become_ours(message: str, kind: str) -> None:
    error = raised(ExtractorError(message, video_id="dQw4w9WgXcQ", ie="youtube", expected=False))
    ours = as_ours(error, URL)
    assert type(ours) is OUTCOME.get(kind, RetryVideo if kind in RETRIED else SkipVideo)
    if isinstance(ours, ThrottledError):
        assert (ours.host, ours.after_s) == ("youtube.com", None)
    elif isinstance(ours, SetupError):
        assert REMEDIES[kind] in str(ours)
        assert "\n" not in str(ours)
    else:
        assert ours.reason == (UNAVAILABLE if kind == NO_ANSWER else kind)
        assert ours.detail == f"[youtube] dQw4w9WgXcQ: {message}"
        assert getattr(ours, "is_counted", True) == (kind not in (UNAVAILABLE, NO_ANSWER))


def raised(cause: ExtractorError) -> DownloadError:
    """A DownloadError as YoutubeDL raises it."""
    try:
        raise cause
    except ExtractorError as error:
        return DownloadError(f"\x1b[0;31mERROR:\x1b[0m {error}", sys.exc_info())


def test_region_errors_with_yt_dlps_advice() -> None:
    text = "The uploader has not made this video available in your country"
    ours = as_ours(DownloadError(f"ERROR: {text}\nThis video is available in Chad."), URL)
    assert isinstance(ours, SkipVideo)
    assert ours.reason == "region"
    assert as_ours(GeoRestrictedError(text), URL).args == SkipVideo("region", text).args


def http_error(retry_after: str | None) -> HTTPError:
    headers = Message()
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return HTTPError(Response(BytesIO(), URL, headers, status=429))


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("120", 120, 120),
        (" 0 ", 0, 0),
        ("9" * 30, 86_400, 86_400),
        (timedelta(hours=1), 3300, 3600),
        (timedelta(hours=-1), 0, 0),
    ],
)
def test_retry_after_is_found_behind_the_message(value: str | timedelta, low: float, high: float) -> None:
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    with closing(http_error(value)) as cause:
        ours = as_ours(raised(ExtractorError("Unable to download: HTTP Error 429", cause=cause)), URL)
        assert isinstance(ours, ThrottledError)
        assert ours.after_s is not None
        assert low <= ours.after_s <= high


@pytest.mark.parametrize("value", [None, "", "soon", "-5", "1e3", "²", "Fri, 31 Dec 2027 23:59:59 +9999999999999"])
def test_retry_after_that_says_nothing(value: str | None) -> None:
    with closing(http_error(value)) as error:
        assert retry_after_s(error) is None


def options(tmp_path: Path, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return settings(Context(root=str(tmp_path), scratch=str(tmp_path), crawl={"yt_dlp": given}), **more)


def test_defaults_then_the_manifest_then_what_the_work_needs(tmp_path: Path) -> None:
    given = {"socket_timeout": 5, "proxy": "socks5://127.0.0.1:9", "quiet": False, "ignoreerrors": True, "format": "x"}
    found = options(tmp_path, given, format="wa")
    assert (found["socket_timeout"], found["proxy"]) == (5, "socks5://127.0.0.1:9")
    assert (found["quiet"], found["ignoreerrors"], found["format"]) == (True, False, "wa")
    assert found["retries"] == options(tmp_path, {})["retries"]
    assert set(found["js_runtimes"]) >= {"deno", "node"}
    assert options(tmp_path, {"js_runtimes": {"node": {"path": "/n"}}})["js_runtimes"] == {"node": {"path": "/n"}}


def test_extractor_arguments_are_joined(tmp_path: Path) -> None:
    given = {"youtube": {"player_skip": "configs,initial_data", "player_client": ["tv"]}, "vimeo": {"client": ["web"]}}
    found = options(tmp_path, {"extractor_args": given})["extractor_args"]
    assert found["vimeo"] == {"client": ["web"]}
    assert found["youtube"] == {"player_skip": ["configs"], "player_client": ["tv"], "lang": ["en"]}
    lists = options(tmp_path, {}, extract_flat="in_playlist")["extractor_args"]
    assert lists["youtube"]["raise_incomplete_data"] == ["true"]


def test_cookies_are_copied_once_for_each_process(tmp_path: Path) -> None:
    cookies = tmp_path / "mine.txt"
    cookies.write_text("first")
    copy = Path(options(tmp_path, {"cookiefile": str(cookies)})["cookiefile"])
    assert str(os.getpid()) in copy.name
    copy.write_text("what yt-dlp wrote back")
    assert options(tmp_path, {"cookiefile": str(cookies)})["cookiefile"] == str(copy)
    assert copy.read_text() == "what yt-dlp wrote back"
    assert cookies.read_text() == "first"


def test_cookies_that_are_not_there(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match=r"cookiefile: .*gone\.txt: No such file"):
            options(tmp_path, {"cookiefile": str(tmp_path / "gone.txt")})


def test_endless_captions_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert session.read_bounded(BytesIO("für".encode())) == "für".encode()
    monkeypatch.setattr(session, "TEXT_BYTES", 10_000)
    with open("/dev/zero", "rb") as endless:
        assert session.read_bounded(endless) is None
    monkeypatch.setattr(session, "TEXT_S", -1.0)
    assert session.read_bounded(BytesIO(b"in drips")) is None
