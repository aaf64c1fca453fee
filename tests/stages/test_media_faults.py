"""Sites that fail in the middle of a video: one outcome each through the real downloader, and nothing left behind."""

from __future__ import annotations

import errno
import itertools
import resource
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from tests.stages.media_site import HOST, MEDIA, MP4, VIDEO_ID, MediaSite, files, obtain, row, stream

from vsumdata.datasets.sample.site import Answer, SampleSite
from vsumdata.manifests.errors import FailVideo, RetryVideo, SkipVideo, StorageError, ThrottledError
from vsumdata.pipeline.workers.worker import Job, Worker
from vsumdata.stages.stage import Context, Stage
from vsumdata.stages.youtube import download

HALF = len(MEDIA) // 2
HTML = Answer(HTTPStatus.OK, b"<html><body>Please log in</body></html>", {"Content-Type": "text/html; charset=utf-8"})


@pytest.fixture
def site() -> Iterator[MediaSite]:
    with MediaSite() as site:
        yield site


@pytest.fixture(params=[False, True], ids=["scratch", "kept"])
def context(site: MediaSite, tmp_path: Path, request: pytest.FixtureRequest) -> Context:
    return site.context(tmp_path, keep=request.param, max_mb=1)


def left(context: Context) -> list[str]:
    """Files and folders of downloads, wherever they lie."""
    return [name for folder in (context.root, context.scratch) for name in files(Path(folder)) if name != "media"]


def is_whole(found: dict[str, Any]) -> bool:
    return Path(found["media"]).read_bytes() == MEDIA


def outcome(context: Context, url: str | None = None) -> Exception:
    with pytest.raises((FailVideo, RetryVideo, SkipVideo, ThrottledError)) as caught:
        obtain(row(url) if url else row(), "picture", context)
    return caught.value


@pytest.mark.parametrize("status", [403, 404, 410, 500, 503])
def test_refused_file_is_tried_again(site: MediaSite, context: Context, status: int) -> None:
    """The page was there a moment ago, so a 404 is not the video's end."""
    site.fault = lambda n, headers: Answer(HTTPStatus(status), b"no")
    error = outcome(context)
    assert isinstance(error, RetryVideo)
    assert (error.reason, f"HTTP Error {status}" in error.detail) == ("transient", True)
    assert left(context) == []


def test_rate_limit_is_nobodys_fault(site: MediaSite, context: Context) -> None:
    site.fault = lambda n, headers: Answer(HTTPStatus.TOO_MANY_REQUESTS, b"", {"Retry-After": "77"})
    error = outcome(context)
    assert isinstance(error, ThrottledError)
    assert (error.host, error.after_s) == (HOST, 77)
    assert left(context) == []


@pytest.mark.parametrize("resets", [False, True], ids=["body shorter than stated", "connection reset"])
def test_break_in_the_middle_is_gone_on_with(site: MediaSite, context: Context, resets: bool) -> None:
    part = MEDIA[: -len(MEDIA) // 3]
    first = stream(part, length=len(MEDIA), resets=resets)
    site.fault = lambda n, headers: first if n == 0 else None
    assert is_whole(obtain(row(), "picture", context))
    begin, again = site.asked.ranges
    assert begin is None
    assert again is not None
    assert 0 < int(again.removeprefix("bytes=").rstrip("-")) <= len(part)
    assert len(site.asked.pages) == 1


def test_file_without_a_validator_is_gone_on_with_by_its_size(site: MediaSite, context: Context) -> None:
    def fault(n: int, headers: Any) -> Answer:
        if n == 0:
            return stream(MEDIA[:HALF], MP4, length=len(MEDIA))
        start = int(headers["Range"].removeprefix("bytes=").rstrip("-"))
        about = MP4 | {"Content-Range": f"bytes {start}-{len(MEDIA) - 1}/{len(MEDIA)}"}
        return Answer(HTTPStatus.PARTIAL_CONTENT, MEDIA[start:], about)

    site.fault = fault
    assert is_whole(obtain(row(), "picture", context))
    assert len(site.asked.ranges) == 2


def test_file_that_never_ends_well_is_tried_again(site: MediaSite, context: Context) -> None:
    site.fault = lambda n, headers: stream(b"x" * 100, length=len(MEDIA))
    error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (RetryVideo, "transient")
    if not context.crawl["keep_media"]:
        assert left(context) == []


def test_endless_stream_is_cut_at_the_limit(site: MediaSite, context: Context) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for piece in itertools.repeat(b"x" * 50_000):
            sent += len(piece)
            yield piece

    site.fault = lambda n, headers: stream(endless)
    error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (SkipVideo, "too_big")
    assert "more than 1 MB" in str(error)
    assert left(context) == []
    assert sent < 20e6


def test_stated_size_is_believed(site: MediaSite, context: Context) -> None:
    site.fault = lambda n, headers: stream(b"x" * 20_000, length=2_000_000)
    error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (SkipVideo, "too_big")
    assert len(site.asked.ranges) == 1
    assert left(context) == []


def playlist(*names: str) -> Answer:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:9", "#EXT-X-MEDIA-SEQUENCE:0"]
    lines += [f"#EXTINF:9,\nhttps://{HOST}{name}" for name in names]
    text = "\n".join([*lines, "#EXT-X-ENDLIST\n"])
    return Answer(HTTPStatus.OK, text.encode(), {"Content-Type": "application/vnd.apple.mpegurl"})


STREAMED = f"https://{HOST}/stream.m3u8"
PIECES = [f"/media/piece-{number}.ts" for number in range(3)]


def test_fragments_are_joined(site: MediaSite, context: Context) -> None:
    site.extra["/stream.m3u8"] = playlist(*PIECES)
    third = len(MEDIA) // 3 + 1
    parts = {name: MEDIA[i * third : (i + 1) * third] for i, name in enumerate(PIECES)}
    site.extra |= {name: Answer(HTTPStatus.OK, part, MP4) for name, part in parts.items()}
    found = obtain(row(STREAMED), "picture", context)
    assert is_whole(found)
    assert left(context)[-1].endswith("picture+sound.mp4")
    assert len([name for name in left(context) if "picture" in name]) == 1


@pytest.mark.parametrize(
    ("last", "kind", "reason"),
    [
        (stream(b"x" * 900_000), SkipVideo, "too_big"),
        (Answer(HTTPStatus.NOT_FOUND, b"gone"), RetryVideo, "transient"),
        (HTML, RetryVideo, "transient"),
    ],
    ids=["too much in all", "one is missing", "a page"],
)
def test_fragments_that_fail(site: MediaSite, context: Context, last: Answer, kind: type, reason: str) -> None:
    site.extra["/stream.m3u8"] = playlist(*PIECES)
    site.extra |= {name: Answer(HTTPStatus.OK, b"x" * 200_000, MP4) for name in PIECES[:2]}
    site.extra[PIECES[2]] = last
    error = outcome(context, STREAMED)
    assert (type(error), getattr(error, "reason", "")) == (kind, reason)
    assert left(context) == []


def test_encrypted_stream_is_no_format(site: MediaSite, context: Context) -> None:
    text = playlist(*PIECES).body.replace(
        b"#EXTINF", b'#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"\n#EXTINF', 1
    )
    site.extra["/stream.m3u8"] = Answer(HTTPStatus.OK, text, {"Content-Type": "application/vnd.apple.mpegurl"})
    error = outcome(context, STREAMED)
    assert (type(error), getattr(error, "reason", "")) == (SkipVideo, "no_formats")
    assert left(context) == []


def test_ffmpeg_never_fetches_by_itself(site: MediaSite, context: Context) -> None:
    """ffmpeg knows neither the limit of size nor that of rate."""
    key = f'#EXT-X-KEY:METHOD=SAMPLE-AES,URI="https://{HOST}/key"\n#EXTINF'.encode()
    text = playlist(*PIECES).body.replace(b"#EXTINF", key, 1)
    site.extra["/stream.m3u8"] = Answer(HTTPStatus.OK, text, {"Content-Type": "application/vnd.apple.mpegurl"})
    error = outcome(context, STREAMED)
    assert (type(error), "ffmpeg could not be found" in str(error)) == (RetryVideo, True)
    assert left(context) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"live_status": "is_live"}, "live"),
        ({"live_status": "is_upcoming"}, "upcoming"),
        ({"live_status": "post_live"}, "live"),
        ({"format": {"has_drm": True}}, "no_formats"),
    ],
)
def test_what_cannot_be_downloaded_is_not_asked_for(
    site: MediaSite, context: Context, changes: dict[str, Any], reason: str
) -> None:
    site.changes = changes
    error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (SkipVideo, reason)
    assert site.asked.ranges == []
    assert left(context) == []


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (HTML, RetryVideo, "transient"),
        (Answer(HTTPStatus.OK, b"", MP4), RetryVideo, "transient"),
        (Answer(HTTPStatus.OK, b"\x00\x01" * 5000, MP4), FailVideo, "unreadable"),
        (Answer(HTTPStatus.OK, MEDIA[:3000], MP4), FailVideo, "unreadable"),
    ],
    ids=["a page", "nothing", "noise", "a beginning that states its own length"],
)
def test_what_is_no_media_is_never_kept(
    site: MediaSite, context: Context, answer: Answer, kind: type, reason: str
) -> None:
    site.fault = lambda n, headers: answer
    error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (kind, reason)
    assert left(context) == []
    site.fault = lambda n, headers: None
    assert is_whole(obtain(row(), "picture", context)), "the next attempt asks again"


def test_redirect_to_another_host_is_followed(site: MediaSite, tmp_path: Path) -> None:
    with SampleSite() as other:
        plain = site.context(tmp_path)
        context = Context(
            root=plain.root, scratch=plain.scratch, transport={HOST: site.address, "cdn.invalid": other.address}
        )
        site.fault = lambda n, headers: Answer(
            HTTPStatus.FOUND, b"", {"Location": f"https://cdn.invalid/media/{VIDEO_ID}.mp4"}
        )
        assert is_whole(obtain(row(), "picture", context))


def test_redirect_to_this_machine_is_refused(site: MediaSite, context: Context) -> None:
    with SampleSite() as inner:
        location = f"http://{inner.address}/media/{VIDEO_ID}.mp4"
        site.fault = lambda n, headers: Answer(HTTPStatus.FOUND, b"", {"Location": location})
        error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (FailVideo, "not_allowed")
    assert "127.0.0.1" in str(error)
    assert left(context) == []


def test_fragment_on_this_machine_is_refused(site: MediaSite, context: Context) -> None:
    with SampleSite() as inner:
        text = playlist(*PIECES).body.replace(
            f"https://{HOST}{PIECES[1]}".encode(), f"http://{inner.address}/".encode()
        )
        site.extra["/stream.m3u8"] = Answer(HTTPStatus.OK, text, {"Content-Type": "application/vnd.apple.mpegurl"})
        site.extra |= {name: Answer(HTTPStatus.OK, b"x" * 2000, MP4) for name in PIECES}
        error = outcome(context, STREAMED)
    assert (type(error), getattr(error, "reason", "")) == (FailVideo, "not_allowed")
    assert left(context) == []


def test_stream_that_another_program_would_fetch_is_none(site: MediaSite, context: Context) -> None:
    site.changes = {"format": {"protocol": "rtmp"}}
    error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (SkipVideo, "no_formats")
    assert "rtmp" in str(error)
    assert left(context) == []


def test_drip_is_given_up(site: MediaSite, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SLOW_AFTER_S", 0.2)
    monkeypatch.setattr(download, "SLOWEST_BYTES_PER_S", 10_000_000)

    def drip() -> Iterator[bytes]:
        for start in range(0, len(MEDIA), 20_000):
            yield MEDIA[start : start + 20_000]
            time.sleep(0.1)

    site.fault = lambda n, headers: stream(drip, length=len(MEDIA))
    error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (RetryVideo, "transient")
    assert "bytes/s" in str(error)


def test_silence_is_given_up(site: MediaSite, tmp_path: Path) -> None:
    def silent() -> Iterator[bytes]:
        yield MEDIA[:20_000]
        time.sleep(2)

    site.fault = lambda n, headers: stream(silent, length=len(MEDIA))
    context = site.context(tmp_path, socket_timeout=0.3, retries=0)
    error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (RetryVideo, "transient")
    assert left(context) == []


def test_site_that_is_gone_is_tried_again(tmp_path: Path) -> None:
    with MediaSite() as site:
        context = site.context(tmp_path)
    error = outcome(context)
    assert (type(error), getattr(error, "reason", "")) == (RetryVideo, "transient")


def test_full_disk_stops_the_run(site: MediaSite, context: Context) -> None:
    """A limit on the size of files makes writes fail as on a full disk."""
    stage = Stage(name="frames", reads={}, load=lambda options, context: lambda row: row)
    limits: dict[str, Any] = {"gpus": 0, "max_attempts": 5}
    worker = Worker(Job(stage=stage, context=context, fingerprint="f", inputs={}, **limits))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match="make room") as caught:
            worker.attempt(lambda row: obtain(row, "picture", context), row())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert is_whole(obtain(row(), "picture", context)), "goes on once there is room"
