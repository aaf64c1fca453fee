"""The sample's site, and the real yt-dlp reading it."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
import yt_dlp

from vsumdata.datasets.sample.site import ASSETS, HOST, PAGE_SIZE, Answer, SampleSite
from vsumdata.stages.web.transport import mount
from vsumdata.stages.youtube.network import open_ytdlp

VIDEOS: dict[str, dict[str, Any]] = {
    video["id"]: video
    for video in yaml.safe_load(ASSETS.with_name("corpus.yaml").read_text(encoding="utf-8"))["videos"]
}
READABLE = [video_id for video_id, video in VIDEOS.items() if "unavailable" not in video]
CHANNELS = ("kitchen", "workshop")
QUIET: dict[str, Any] = {"quiet": True, "noprogress": True, "no_warnings": True}


@pytest.fixture(scope="module")
def site() -> Iterator[SampleSite]:
    with SampleSite() as site:
        yield site


@pytest.fixture
def session(site: SampleSite) -> Iterator[requests.Session]:
    with requests.Session() as session:
        mount(session, {HOST: site.address})
        yield session


@pytest.fixture
def ydl(site: SampleSite) -> Iterator[yt_dlp.YoutubeDL]:
    with open_ytdlp(QUIET, {HOST: site.address}) as ydl:
        yield ydl


def watch(video_id: str) -> str:
    return f"https://{HOST}/watch?v={video_id}"


# The site


def test_site_serves_whole_part_and_unchanged(session: requests.Session) -> None:
    url = f"https://{HOST}/media/dressing_03.mp4"
    body = (ASSETS / "media" / "dressing_03.mp4").read_bytes()
    whole = session.get(url)
    assert whole.content == body
    assert whole.headers["Content-Type"] == "video/mp4"
    assert whole.headers["Content-Length"] == str(len(body))
    unchanged = session.get(url, headers={"If-None-Match": whole.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    head = session.head(url)
    assert (head.headers["Content-Length"], head.content) == (str(len(body)), b"")


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=5-99999999", slice(5, None)),
    ],
)
def test_site_serves_ranges(session: requests.Session, asked: str, part: slice) -> None:
    body = (ASSETS / "media" / "badhinge_11.mp4").read_bytes()
    answer = session.get(f"https://{HOST}/media/badhinge_11.mp4", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, body[part])


@pytest.mark.parametrize("asked", ["bytes=20000-", "bytes=9-3", "bytes=-0"])
def test_site_refuses_ranges_beyond_the_end(session: requests.Session, asked: str) -> None:
    answer = session.get(f"https://{HOST}/media/badhinge_11.mp4", headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */20000"


def test_a_resumed_download_starts_over_when_the_file_has_changed(session: requests.Session) -> None:
    headers = {"Range": "bytes=100-", "If-Range": '"of another file"'}
    assert session.get(f"https://{HOST}/media/badhinge_11.mp4", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../corpus.yaml",
        "/media/../../corpus.yaml",
        "/media/%2e%2e/%2e%2e/corpus.yaml",
        "//etc/passwd",
        "/media/",
        "/",
    ],
)
def test_site_gives_nothing_but_its_files(site: SampleSite, path: str) -> None:
    connection = http.client.HTTPConnection(site.address)  # sends the path as it is
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()


def test_site_serves_articles_and_robots(session: requests.Session) -> None:
    answer = session.get(f"https://{HOST}/wikihow/Make-a-Salad-Dressing?utm_source=video")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "steps_list_2" in answer.text
    assert session.get(f"https://{HOST}/robots.txt").text.startswith("User-agent: *")


def test_site_runs_in_the_foreground() -> None:
    command = [sys.executable, "-m", "vsumdata.datasets.sample.site"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stdout.readline().strip()
        answer = requests.get(f"http://{address}/robots.txt", timeout=10)
        process.terminate()
        assert answer.status_code == 200
        assert process.stderr.read() == ""


# yt-dlp


def test_ytdlp_lists_both_channels(site: SampleSite) -> None:
    listed: dict[str, tuple[str, dict[str, Any]]] = {}
    with open_ytdlp({**QUIET, "extract_flat": "in_playlist"}, {HOST: site.address}) as ydl:
        for channel in CHANNELS:
            playlist = ydl.extract_info(f"https://{HOST}/@{channel}", download=False)
            listed |= {entry["id"]: (channel, entry) for entry in playlist["entries"]}
    assert {video_id: channel for video_id, (channel, _) in listed.items()} == {
        video_id: video["channel"] for video_id, video in VIDEOS.items()
    }
    assert all(entry["title"] == VIDEOS[video_id]["title"] for video_id, (_, entry) in listed.items())
    kitchen = {video_id: entry["view_count"] for video_id, (name, entry) in listed.items() if name == "kitchen"}
    assert kitchen["boil-egg_04"] == 12340
    assert kitchen["private-_06"] is None
    assert {entry["view_count"] for name, entry in listed.values() if name == "workshop"} == {None}
    assert listed["boil-egg_04"][1]["url"] == watch("boil-egg_04")


def test_a_channel_is_listed_page_by_page() -> None:
    class WatchedSite(SampleSite):
        def listing(self, name: str, page: int) -> Answer:
            pages.append(page)
            return super().listing(name, page)

    pages: list[int] = []
    with WatchedSite() as site, open_ytdlp(QUIET, {HOST: site.address}) as ydl:
        url = f"https://{HOST}/@workshop/videos"
        entries = iter(ydl.extract_info(url, download=False, process=False)["entries"])
        assert len(list(islice(entries, PAGE_SIZE))) == PAGE_SIZE
        assert pages == [0]
        assert len(list(entries)) == 2
        assert pages == [0, 1]


@pytest.mark.parametrize("video_id", READABLE)
def test_ytdlp_reads_every_video(ydl: yt_dlp.YoutubeDL, video_id: str) -> None:
    info = ydl.extract_info(watch(video_id), download=False)
    video = VIDEOS[video_id]
    assert (info["id"], info["title"], info["view_count"]) == (video_id, video["title"], video["views"])
    assert (info["live_status"], info["availability"], info["media_type"]) == ("not_live", "public", "video")
    assert info["upload_date"] == video["uploaded"].strftime("%Y%m%d")
    assert (info["heatmap"] is None) == (not video.get("heatmap", True))
    [media] = info["formats"]
    assert media["filesize"] == (ASSETS / "media" / f"{video_id}.mp4").stat().st_size
    assert media["url"] == f"https://{HOST}/media/{video_id}.mp4"
    for caption in video["captions"]:
        tracks = info["subtitles" if caption["kind"] == "manual" else "automatic_captions"]
        [track] = tracks[caption["key"]]
        assert track["ext"] == caption["format"]
        name = f"{video_id}.{caption['kind']}.en.{caption['format']}"
        assert ydl.urlopen(track["url"]).read() == (ASSETS / "captions" / name).read_bytes()


def test_ytdlp_downloads_a_film_unchanged(site: SampleSite, tmp_path: Path) -> None:
    options = {**QUIET, "outtmpl": str(tmp_path / "%(id)s.%(ext)s"), "format": "b[height<=360][height>=224]"}
    with open_ytdlp(options, {HOST: site.address}) as ydl:
        assert ydl.download([watch("-knot-sq_12")]) == 0
    [file] = tmp_path.iterdir()
    assert file.read_bytes() == (ASSETS / "media" / "-knot-sq_12.mp4").read_bytes()


def test_ytdlp_resumes_a_download(site: SampleSite, tmp_path: Path) -> None:
    body = (ASSETS / "media" / "airplane_09.mp4").read_bytes()
    (tmp_path / "airplane_09.mp4.part").write_bytes(body[:50_000])
    with open_ytdlp({**QUIET, "outtmpl": str(tmp_path / "%(id)s.%(ext)s")}, {HOST: site.address}) as ydl:
        assert ydl.download([watch("airplane_09")]) == 0
    [file] = tmp_path.iterdir()
    assert file.read_bytes() == body


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("watch?v=private-_06", "This video is private"),
        ("watch?v=nothing_here", "This video is unavailable"),
        ("@nobody", "This channel does not exist."),
        ("@kitchen/shorts", "This channel does not have a shorts tab"),
    ],
)
def test_what_cannot_be_read_says_why_as_youtube_does(ydl: yt_dlp.YoutubeDL, path: str, message: str) -> None:
    with pytest.raises(yt_dlp.DownloadError, match=re.escape(message)) as caught:
        ydl.extract_info(f"https://{HOST}/{path}", download=False)
    assert caught.value.exc_info[1].expected
