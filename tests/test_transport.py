"""The transport map: mapped hosts go to a local port with https rules on, all others are not touched."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message

import pytest
import requests
import yt_dlp
from yt_dlp.networking.exceptions import HTTPError, TransportError

from vsumdata.datasets.sample.site import HOST, Answer, SampleSite
from vsumdata.stages.transport import install, mount, open_ytdlp

PAGE = f"https://{HOST}/wikihow/Hang-a-Picture"
MOVED_PAGE = f"https://{HOST}/wikihow/Hang-a-Picture-Frame"
MEDIA = f"https://{HOST}/media/pancakes_01.mp4"
QUIET = {"quiet": True, "noprogress": True, "logtostderr": False}


class WatchedSite(SampleSite):
    """The sample's site, which also remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, dict[str, str]]] = []

    def answer(self, target: str, headers: Message) -> Answer:
        self.asked.append((target, dict(headers)))
        return super().answer(target, headers)


@pytest.fixture
def site() -> Iterator[WatchedSite]:
    with WatchedSite() as site:
        yield site


@pytest.fixture
def session(site: WatchedSite) -> Iterator[requests.Session]:
    with requests.Session() as session:
        mount(session, {HOST: site.address})
        yield session


@pytest.fixture
def ydl(site: WatchedSite) -> Iterator[yt_dlp.YoutubeDL]:
    with open_ytdlp(QUIET, {HOST: site.address}) as ydl:
        yield ydl


def test_session_sees_https_and_site_sees_its_host(site: WatchedSite, session: requests.Session) -> None:
    response = session.get(PAGE)
    assert response.status_code == 200
    assert response.url == response.request.url == PAGE
    assert "Host" not in response.request.headers
    [(_, headers)] = site.asked
    assert headers["Host"] == HOST


def test_session_follows_redirects_within_the_map(session: requests.Session) -> None:
    response = session.get(MOVED_PAGE)
    assert response.url == PAGE
    assert [hop.status_code for hop in response.history] == [301]


def test_redirect_to_another_mapped_host_changes_the_host_header(site: WatchedSite) -> None:
    with WatchedSite() as other, requests.Session() as session:
        mount(session, {HOST: site.address, "other.invalid": other.address})
        site.moved = {"/away": "https://other.invalid/robots.txt"}
        assert session.get(f"https://{HOST}/away").url == "https://other.invalid/robots.txt"
        [(_, headers)] = other.asked
        assert headers["Host"] == "other.invalid"


def test_session_streams_and_resumes(session: requests.Session) -> None:
    whole = session.get(MEDIA).content
    with session.get(MEDIA, headers={"Range": "bytes=1000-1999"}, stream=True) as response:
        assert response.status_code == 206
        assert response.headers["Content-Range"] == f"bytes 1000-1999/{len(whole)}"
        assert b"".join(response.iter_content(100)) == whole[1000:2000]


def test_proxy_settings_do_not_lead_mapped_hosts_away(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert session.get(PAGE).status_code == 200


@pytest.mark.parametrize("url", ["https://unmapped.invalid/", f"https://sub.{HOST}/", f"https://{HOST}.invalid/"])
def test_unmapped_hosts_are_not_touched(site: WatchedSite, session: requests.Session, url: str) -> None:
    with pytest.raises(requests.ConnectionError):
        session.get(url)
    assert site.asked == []
    assert type(session.get_adapter(url)) is requests.adapters.HTTPAdapter


def test_plain_http_is_not_mapped(site: WatchedSite, session: requests.Session) -> None:
    assert type(session.get_adapter(PAGE.replace("https", "http"))) is requests.adapters.HTTPAdapter


def test_dead_site_is_a_connection_error_of_the_callers_request() -> None:
    with SampleSite() as site:
        address = site.address
    with requests.Session() as session:
        mount(session, {HOST: address})
        with pytest.raises(requests.ConnectionError) as caught:
            session.get(PAGE)
    assert caught.value.request is not None
    assert caught.value.request.url == PAGE


def test_ytdlp_keeps_url_host_and_range(site: WatchedSite, ydl: yt_dlp.YoutubeDL) -> None:
    whole = ydl.urlopen(MEDIA).read()
    request = yt_dlp.networking.Request(MEDIA, headers={"Range": "bytes=5000-"})
    response = ydl.urlopen(request)
    assert (response.status, response.url) == (206, MEDIA)
    assert response.read(10) + response.read() == whole[5000:]
    assert {headers["Host"] for _, headers in site.asked} == {HOST}


def test_ytdlp_follows_redirects_within_the_map(ydl: yt_dlp.YoutubeDL) -> None:
    with ydl.urlopen(MOVED_PAGE) as response:
        assert response.url == PAGE


def test_ytdlp_raises_http_errors(ydl: yt_dlp.YoutubeDL) -> None:
    with pytest.raises(HTTPError) as caught:
        ydl.urlopen(f"https://{HOST}/captions/tea-brew_02.automatic.en.vtt?tlang=de")
    assert caught.value.status == 429
    assert caught.value.response.get_header("Retry-After") == "900"
    caught.value.close()  # yt-dlp leaves it open


def test_ytdlp_raises_transport_errors() -> None:
    with SampleSite() as site:
        address = site.address
    with open_ytdlp(QUIET, {HOST: address}) as ydl, pytest.raises(TransportError):
        ydl.urlopen(PAGE)


def test_ytdlp_leaves_unmapped_hosts_to_its_own_handlers(site: WatchedSite, ydl: yt_dlp.YoutubeDL) -> None:
    with pytest.raises(TransportError, match=r"unmapped\.invalid"):
        ydl.urlopen("https://unmapped.invalid/")
    assert site.asked == []


def test_install_serves_an_ytdlp_opened_elsewhere(site: WatchedSite) -> None:
    with yt_dlp.YoutubeDL(QUIET) as ydl:
        install(ydl, {"www.youtube.com": site.address})
        assert b"User-agent" in ydl.urlopen("https://www.youtube.com/robots.txt").read()


def test_without_a_transport_nothing_is_special() -> None:
    with open_ytdlp(QUIET, {}) as ydl, yt_dlp.YoutubeDL(QUIET) as plain:
        assert list(ydl._ies) == list(plain._ies)
        assert set(ydl._request_director.handlers) == set(plain._request_director.handlers)


def test_the_samples_extractors_come_before_the_generic_one(ydl: yt_dlp.YoutubeDL) -> None:
    assert list(ydl._ies)[:2] == ["SampleVideo", "SampleChannel"]
    assert "Youtube" in ydl._ies
