"""Downloads: the smallest stream that serves, fetched once, resumed after a kill, kept or removed as asked."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.manifests.object_kit import keys_of, root_url
from tests.pipeline.media_kit import lavfi
from tests.stages.media_site import MEDIA, MP4, VALID, VIDEO_ID, MediaSite, files, obtain, row, stream

from vsumdata.datasets.sample.site import HOST, Answer, partial
from vsumdata.manifests.errors import FailVideo, RetryVideo, SkipVideo
from vsumdata.manifests.manifest import Captions
from vsumdata.manifests.sources import Record
from vsumdata.stages import media, videos
from vsumdata.stages.media import fetch_ahead, fetch_picture, fetch_sound, locked
from vsumdata.stages.stage import Context
from vsumdata.stages.youtube.session import Session

HALF = len(MEDIA) // 2
KEPT = f"media/v-{VIDEO_ID}"
CHILD = """
import json, sys
from vsumdata.stages.stage import Context
from vsumdata.stages.media import fetch_picture
context, row = json.loads(sys.argv[1])
fetch_picture({}, Context(**context))(row)
"""


@pytest.fixture
def site() -> Iterator[MediaSite]:
    with MediaSite() as site:
        yield site


def start(context: Context) -> subprocess.Popen[bytes]:
    """Another run's worker, which fetches the same video."""
    fields = {name: value for name, value in asdict(context).items() if name not in ("pace", "media")}
    return subprocess.Popen([sys.executable, "-c", CHILD, json.dumps([fields, row()])])


def kill_in_the_middle(site: MediaSite, context: Context, about: dict[str, str], how: int = signal.SIGKILL) -> int:
    """Kill a worker once half of the file has arrived; return the size of what it leaves."""
    released = threading.Event()

    def half() -> Iterator[bytes]:
        yield MEDIA[:HALF]
        released.wait(60)

    site.fault = lambda n, headers: stream(half, about, length=len(MEDIA))
    process, part = start(context), Path(context.root) / KEPT / "picture.partial" / "media.mp4.part"
    deadline = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < HALF // 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    process.wait(60)
    released.set()
    site.fault = lambda n, headers: None
    site.asked.ranges.clear()
    return part.stat().st_size


# Kept or removed


def test_one_extraction_and_one_request_for_each_video(site: MediaSite, tmp_path: Path) -> None:
    asked: list[str] = []
    context = site.context(tmp_path)
    turns = Context(root=context.root, scratch=context.scratch, transport=context.transport, pace=asked.append)
    found = fetch_picture({}, turns)(row())
    assert Path(found["media"]).read_bytes() == MEDIA
    assert (len(site.asked.pages), site.asked.ranges, asked) == (1, [None], ["sample.invalid"])


def test_what_is_not_kept_lies_in_scratch(site: MediaSite, tmp_path: Path) -> None:
    context = site.context(tmp_path)
    found = obtain(row(), "picture", context)
    assert Path(found["media"]).parent == context.media_path(row()["video_id"])
    assert files(Path(context.scratch)) == ["media", KEPT, f"{KEPT}/picture+sound.mp4"]


def test_kept_file_serves_both_tables_and_later_runs(site: MediaSite, tmp_path: Path) -> None:
    context = site.context(tmp_path, keep=True)
    heard = fetch_sound({"languages": ["en"]}, context)(row())
    seen = fetch_picture({}, site.context(tmp_path, keep=True))(row())
    assert heard["media"] == seen["media"]
    assert (len(site.asked.pages), len(site.asked.ranges)) == (1, 1)
    assert files(Path(context.root)) == ["media", KEPT, f"{KEPT}/picture+sound.mp4"]


def test_a_download_is_kept_on_an_object_store(site: MediaSite, tmp_path: Path, s3_port: int, bucket: str) -> None:
    url = root_url(s3_port, bucket)
    context = replace(site.context(tmp_path, keep=True), root=url)
    assert Path(obtain(row(), "picture", context)["media"]).read_bytes() == MEDIA
    assert keys_of(s3_port, bucket) == [f"root/media/{KEPT.rpartition('/')[2]}/picture+sound.mp4"]
    shutil.rmtree(Path(context.scratch) / "media")
    heard = fetch_sound({"languages": ["en"]}, context)(row())
    assert Path(heard["media"]).read_bytes() == MEDIA
    assert (len(site.asked.pages), len(site.asked.ranges)) == (1, 1), "another run has it without a visit"


def test_a_kept_download_never_touches_scratch(site: MediaSite, tmp_path: Path) -> None:
    """Scratch may be on another disk, where the last rename would fail."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    scratch = Path(tempfile.mkdtemp(dir=memory))
    plain = site.context(tmp_path, keep=True)
    obtain(row(), "picture", replace(plain, scratch=str(scratch)))
    assert files(scratch) == []
    scratch.rmdir()
    assert files(Path(plain.root)) == ["media", KEPT, f"{KEPT}/picture+sound.mp4"]


def test_kept_picture_without_sound_serves_only_frames(site: MediaSite, tmp_path: Path) -> None:
    silent = lavfi(tmp_path / "silent.mp4", "testsrc=s=426x240:r=5:d=2").read_bytes()
    site.fault = lambda n, headers: Answer(HTTPStatus.OK, silent, MP4)
    context = site.context(tmp_path, keep=True)
    assert obtain(row(), "picture", context)["media"].endswith("/picture.mp4")
    site.fault = lambda n, headers: None
    assert obtain(row(), "sound", context)["media"].endswith("/picture+sound.mp4")
    assert len(site.asked.pages) == 2


def test_nothing_is_fetched_where_captions_serve(site: MediaSite, tmp_path: Path) -> None:
    text = "WEBVTT\n\n00:00.000 --> 00:02.000\nMix the flour.\n"
    spoken = row()
    spoken["videos"]["caption"] = {"language": "en", "kind": "manual", "format": "vtt", "text": text}
    assert fetch_sound({"languages": ["en"]}, site.context(tmp_path))(spoken) == spoken
    assert site.asked.pages == []


SPARSE = "WEBVTT\n\n00:00.000 --> 00:01.000\nMix the flour.\n"


@pytest.mark.parametrize(
    ("kind", "text", "settings", "hears"),
    [
        ("automatic", SPARSE, {}, True),
        ("automatic", SPARSE, {"automatic": "always"}, False),
        ("automatic", SPARSE, {"clean": {"min_coverage_of_video": 0.01}}, False),
        ("automatic", SPARSE.replace("01.000", "30.000"), {}, False),
        ("automatic", SPARSE.replace("01.000", "30.000"), {"automatic": "never"}, True),
        ("manual", SPARSE, {}, False),
    ],
)
def test_captions_that_are_not_clean_bring_sound_in_the_same_visit(
    site: MediaSite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    text: str,
    settings: dict[str, Any],
    hears: bool,
) -> None:
    asked, bring = list[frozenset[str]](), media.bring_ahead

    def watched(video_id: str, url: str, needed: frozenset[str], session: Session) -> None:
        asked.append(needed)
        bring(video_id, url, needed, session)

    monkeypatch.setattr(media, "bring_ahead", watched)
    url = f"https://{HOST}/captions/made-up.vtt"
    site.extra["/captions/made-up.vtt"] = Answer(HTTPStatus.OK, text.encode(), {"Content-Type": "text/vtt"})
    tracks = {"en": [{"ext": "vtt", "url": url}]}
    names = ("subtitles", "automatic_captions") if kind == "manual" else ("automatic_captions", "subtitles")
    site.changes = {names[0]: tracks, names[1]: {}}
    captions = Captions.model_validate(settings)
    context = replace(site.context(tmp_path, keep=True), media=frozenset({"picture", "sound"}), captions=captions)
    record = Record(video_id=VIDEO_ID, source="channel:x", url=row()["videos"]["url"])
    found = videos.load({"languages": ["en"]}, context)({"source": record.as_dict()})
    assert found["caption"]["kind"] == kind
    # The sample's stream holds both, so one file comes in any case; what was asked for tells.
    wanted = frozenset({"picture", "sound"} if hears else {"picture"})
    assert asked == [wanted]
    assert len(files(context.media_dir(VIDEO_ID))) == 1
    assert len(site.asked.pages) == 1
    # The visit for videos that were read before decides alike.
    again = row() | {"videos": found, "task": SimpleNamespace(media=frozenset({"picture", "sound"}))}
    fetch_ahead(captions.model_dump(), context)(again)
    assert asked == [wanted, wanted]


def test_captions_that_are_not_clean_serve_where_no_sound_is_to_be_had(site: MediaSite, tmp_path: Path) -> None:
    sparse = row()
    sparse["videos"] |= {
        "caption": {"language": "en", "kind": "automatic", "format": "vtt", "text": SPARSE},
        "duration_s": 100.0,
    }
    options, context = {"languages": ["en"]}, site.context(tmp_path, max_mb=0.001)
    found = fetch_sound(options, context)(sparse)
    assert found["no_media"].startswith("too_big")
    with pytest.raises(SkipVideo, match="too_big"):
        fetch_sound(options | {"automatic": "never"}, context)(sparse)


def test_own_files_are_used_where_they_lie(tmp_path: Path) -> None:
    own = tmp_path / "clip.mp4"
    asked = row() | {"source": {"video": str(own)}}
    context = Context(root=str(tmp_path / "root"), scratch=str(tmp_path))
    with pytest.raises(FailVideo, match="file_missing"):
        obtain(asked, "picture", context)
    own.write_bytes(MEDIA)
    assert obtain(asked, "picture", context) == {"media": str(own)}
    assert files(tmp_path) == ["clip.mp4"]


# Broken off and resumed


def test_a_killed_run_is_gone_on_with(site: MediaSite, tmp_path: Path) -> None:
    context = site.context(tmp_path, keep=True)
    size = kill_in_the_middle(site, context, VALID)
    found = obtain(row(), "picture", context)
    assert Path(found["media"]).read_bytes() == MEDIA
    assert site.asked.ranges == [f"bytes={size}-"]
    assert files(Path(context.root)) == ["media", KEPT, f"{KEPT}/picture+sound.mp4"]


def test_an_interrupted_run_is_gone_on_with(site: MediaSite, tmp_path: Path) -> None:
    context = site.context(tmp_path, keep=True)
    size = kill_in_the_middle(site, context, VALID, signal.SIGINT)
    assert Path(obtain(row(), "picture", context)["media"]).read_bytes() == MEDIA
    assert site.asked.ranges == [f"bytes={size}-"]


@pytest.mark.parametrize(
    ("about", "ranges"),
    [(MP4 | {"ETag": '"old"'}, 2), (MP4 | {"Last-Modified": "Sat, 02 Mar 2024 00:00:00 GMT"}, 2)],
    ids=["another ETag", "another date"],
)
def test_a_file_that_changed_comes_whole(site: MediaSite, tmp_path: Path, about: dict[str, str], ranges: int) -> None:
    context = site.context(tmp_path, keep=True)
    kill_in_the_middle(site, context, about)
    assert Path(obtain(row(), "picture", context)["media"]).read_bytes() == MEDIA
    assert (len(site.asked.ranges), site.asked.ranges[-1]) == (ranges, None)


@pytest.mark.parametrize("size", [HALF // 4, HALF * 8], ids=["shorter than the part", "longer"])
def test_a_file_of_another_size_comes_whole(site: MediaSite, tmp_path: Path, size: int) -> None:
    context = site.context(tmp_path, keep=True)
    kill_in_the_middle(site, context, MP4)
    new = lavfi(tmp_path / "new.mp4", "testsrc=s=426x240:r=5:d=2").read_bytes()
    new += b"\0\0\0\x08free" * (max(0, size - len(new)) // 8)

    site.fault = lambda n, headers: partial(Answer(HTTPStatus.OK, new, MP4), headers.get("Range"))
    assert Path(obtain(row(), "picture", context)["media"]).read_bytes() == new
    assert site.asked.ranges[-1] is None


def test_a_part_of_another_format_is_not_gone_on_with(site: MediaSite, tmp_path: Path) -> None:
    context = site.context(tmp_path, keep=True)
    kill_in_the_middle(site, context, VALID)
    note = Path(context.root) / KEPT / "picture.partial" / "begun.json"
    note.write_text(json.dumps(json.loads(note.read_bytes()) | {"format_id": "134"}))
    assert Path(obtain(row(), "picture", context)["media"]).read_bytes() == MEDIA
    assert site.asked.ranges == [None]


def test_a_file_that_changes_between_two_chunks_is_tried_again(site: MediaSite, tmp_path: Path) -> None:
    """yt-dlp requests YouTube's files in chunks."""
    old = Answer(HTTPStatus.OK, bytes(reversed(MEDIA)), MP4 | {"ETag": '"old"'})
    site.fault = lambda n, headers: partial(old, headers["Range"]) if n < 2 else None
    context = site.context(tmp_path, keep=True, http_chunk_size=40_000)
    with pytest.raises(RetryVideo, match="changed"):
        obtain(row(), "picture", context)
    assert Path(obtain(row(), "picture", context)["media"]).read_bytes() == MEDIA


def test_chunks_of_one_file_are_joined(site: MediaSite, tmp_path: Path) -> None:
    context = site.context(tmp_path, http_chunk_size=40_000)
    assert Path(obtain(row(), "picture", context)["media"]).read_bytes() == MEDIA
    assert len(site.asked.ranges) == 5
    assert None not in site.asked.ranges


def test_a_whole_part_is_not_asked_for_again_in_pieces(site: MediaSite, tmp_path: Path) -> None:
    """Killed between the last byte and the rename: the site answers 416."""
    context = site.context(tmp_path, keep=True)
    kill_in_the_middle(site, context, VALID)
    part = Path(context.root) / KEPT / "picture.partial" / "media.mp4.part"
    part.write_bytes(MEDIA)
    assert Path(obtain(row(), "picture", context)["media"]).read_bytes() == MEDIA
    assert site.asked.ranges == [f"bytes={len(MEDIA)}-", None]


def test_retry_leaves_the_part_only_where_media_is_kept(site: MediaSite, tmp_path: Path) -> None:
    for keep in (False, True):
        context = site.context(tmp_path / str(keep), keep=keep, retries=0)
        site.fault = lambda n, headers: stream(MEDIA[:HALF], length=len(MEDIA))
        with pytest.raises(RetryVideo):
            obtain(row(), "picture", context)
        folder = Path(context.root if keep else context.scratch)
        assert bool(list(folder.rglob("*.part"))) == keep
        site.fault = lambda n, headers: None
        site.asked.ranges.clear()
        assert Path(obtain(row(), "picture", context)["media"]).read_bytes() == MEDIA
        assert (site.asked.ranges[0] is not None) == keep
        assert not list(folder.rglob("*.part*"))


# Two at once


def test_two_runs_at_once_fetch_once(site: MediaSite, tmp_path: Path) -> None:
    def slowly() -> Iterator[bytes]:
        for at in range(0, len(MEDIA), 20_000):
            yield MEDIA[at : at + 20_000]
            time.sleep(0.05)

    site.fault = lambda n, headers: stream(slowly, length=len(MEDIA))
    context = site.context(tmp_path, keep=True)
    runs = [start(context) for _ in range(3)]
    assert [process.wait(60) for process in runs] == [0, 0, 0]
    assert (len(site.asked.pages), site.asked.ranges) == (1, [None])
    assert files(Path(context.root)) == ["media", KEPT, f"{KEPT}/picture+sound.mp4"]


def test_two_tables_at_once_get_whole_files(site: MediaSite, tmp_path: Path) -> None:
    context = site.context(tmp_path, keep=True)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda what: obtain(row(), what, context), ["sound", "picture"] * 3))
    assert {Path(one["media"]).read_bytes() == MEDIA for one in found} == {True}
    assert len(site.asked.ranges) <= 2
    assert not list(Path(context.root).rglob("*.partial"))


def test_a_waiting_worker_takes_over_from_one_that_failed(site: MediaSite, tmp_path: Path) -> None:
    site.fault = lambda n, headers: Answer(HTTPStatus.SERVICE_UNAVAILABLE) if n < 3 else None
    context = site.context(tmp_path, keep=True, retries=2)
    with ThreadPoolExecutor(2) as pool:
        tried = [pool.submit(obtain, row(), "picture", context) for _ in range(2)]
    failed = [one.exception() for one in tried if one.exception()]
    assert [type(error) for error in failed] == [RetryVideo]
    [found] = [one.result() for one in tried if not one.exception()]
    assert Path(found["media"]).read_bytes() == MEDIA


# The lock on a download's folder, which its last holder may have removed


def test_a_folder_that_others_remove_is_made_again(tmp_path: Path) -> None:
    partial_folder = tmp_path / "media" / "v-x" / "picture.partial"

    def take_and_remove(times: int) -> int:
        for _ in range(times):
            with locked(partial_folder):
                shutil.rmtree(partial_folder, ignore_errors=True)
                with suppress(OSError):
                    partial_folder.parent.rmdir()
        return times

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take_and_remove, [500] * 6)) == 3000


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "picture.partial").touch()
    with pytest.raises(FileExistsError), locked(tmp_path / "picture.partial"):
        pass


def test_a_lock_whose_folder_was_removed_is_taken_anew(tmp_path: Path) -> None:
    partial_folder = tmp_path / "picture.partial"

    def second() -> bool:
        with locked(partial_folder), (partial_folder / "lock").open("a") as third, pytest.raises(BlockingIOError):
            fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True

    with ThreadPoolExecutor(1) as pool:
        with locked(partial_folder):
            later = pool.submit(second)
            time.sleep(0.3)  # it waits for the file that goes now
            shutil.rmtree(partial_folder)
            partial_folder.mkdir()
            (partial_folder / "lock").touch()
        assert later.result(60), "a third worker must find it locked"


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path: Path) -> None:
    context = Context(root=str(tmp_path / "root"), scratch=str(tmp_path))
    with pytest.raises(FailVideo, match="file_missing"):
        obtain(row() | {"source": {"video": str(tmp_path / ("a" * 300))}}, "picture", context)
