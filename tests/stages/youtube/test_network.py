"""yt-dlp's requests: mapped hosts lead to a local port, all others to public addresses or nowhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yt_dlp
from yt_dlp.networking.exceptions import HTTPError, RequestError, TransportError

from vsumdata.datasets.sample.site import HOST, Answer, SampleSite
from vsumdata.manifests.errors import FailVideo
from vsumdata.manifests.roots.folder import Folder
from vsumdata.stages.stage import Context
from vsumdata.stages.youtube.channels import list_channel
from vsumdata.stages.youtube.network import install, open_ytdlp
from vsumdata.stages.youtube.session import Session

PAGE = f"https://{HOST}/wikihow/Hang-a-Picture"
MOVED_PAGE = f"https://{HOST}/wikihow/Hang-a-Picture-Frame"
MEDIA = f"https://{HOST}/media/pancakes_01.mp4"
QUIET = {"quiet": True, "noprogress": True, "logtostderr": False}
# Names and spellings of this machine, and addresses that only this machine's network reaches.
PRIVATE = [
    *("127.0.0.1", "localhost", "sub.localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1"),
    *("2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "169.254.169.254", "10.0.0.1", "[fe80::1]"),
]


class WatchedSite(SampleSite):
    """The sample's site, which also records its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.extra: dict[str, Answer] = {}

    def answer(self, target: str, headers: Message) -> Answer:
        self.asked.append((target, dict(headers)))
        return self.extra.get(target) or super().answer(target, headers)


@pytest.fixture
def site() -> Iterator[WatchedSite]:
    with WatchedSite() as site:
        yield site


@pytest.fixture
def inner() -> Iterator[WatchedSite]:
    """A service of this machine that no request may reach."""
    with WatchedSite() as inner:
        yield inner
        assert inner.asked == []


@pytest.fixture
def ydl(site: WatchedSite) -> Iterator[yt_dlp.YoutubeDL]:
    with open_ytdlp(QUIET, {HOST: site.address}) as ydl:
        yield ydl


def port(site: WatchedSite) -> str:
    return site.address.rpartition(":")[2]


def refused(ydl: yt_dlp.YoutubeDL, url: str) -> str:
    """The words in which a request was refused as one to a private address."""
    with pytest.raises(TransportError) as caught:
        ydl.urlopen(url)
    assert isinstance(caught.value.cause, FailVideo)
    assert caught.value.cause.reason == "not_allowed"
    return str(caught.value)


def test_keeps_url_host_and_range(site: WatchedSite, ydl: yt_dlp.YoutubeDL) -> None:
    whole = ydl.urlopen(MEDIA).read()
    request = yt_dlp.networking.Request(MEDIA, headers={"Range": "bytes=5000-"})
    response = ydl.urlopen(request)
    assert (response.status, response.url) == (206, MEDIA)
    assert response.read(10) + response.read() == whole[5000:]
    assert {headers["Host"] for _, headers in site.asked} == {HOST}


def test_follows_redirects_within_the_map(ydl: yt_dlp.YoutubeDL) -> None:
    with ydl.urlopen(MOVED_PAGE) as response:
        assert response.url == PAGE


def test_raises_http_errors(ydl: yt_dlp.YoutubeDL) -> None:
    with pytest.raises(HTTPError) as caught:
        ydl.urlopen(f"https://{HOST}/captions/tea-brew_02.automatic.en.vtt?tlang=de")
    assert caught.value.status == 429
    assert caught.value.response.get_header("Retry-After") == "900"
    caught.value.close()  # yt-dlp leaves it open


def test_raises_transport_errors() -> None:
    with SampleSite() as site:
        address = site.address
    with open_ytdlp(QUIET, {HOST: address}) as ydl, pytest.raises(TransportError):
        ydl.urlopen(PAGE)


def test_an_unmapped_host_is_looked_up(site: WatchedSite, ydl: yt_dlp.YoutubeDL) -> None:
    with pytest.raises(TransportError, match=r"unmapped\.invalid"):
        ydl.urlopen("https://unmapped.invalid/")
    assert site.asked == []


def test_install_serves_an_ytdlp_opened_elsewhere(site: WatchedSite) -> None:
    with yt_dlp.YoutubeDL(QUIET) as ydl:
        install(ydl, {"www.youtube.com": site.address})
        assert b"User-agent" in ydl.urlopen("https://www.youtube.com/robots.txt").read()


def test_the_samples_extractors_come_before_the_generic_one(ydl: yt_dlp.YoutubeDL) -> None:
    assert list(ydl._ies)[:2] == ["SampleVideo", "SampleChannel"]
    assert "Youtube" in ydl._ies


@pytest.mark.parametrize("host", PRIVATE)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_private_addresses_get_no_request(ydl: yt_dlp.YoutubeDL, inner: WatchedSite, scheme: str, host: str) -> None:
    assert "not_allowed" in refused(ydl, f"{scheme}://{host}:{port(inner)}/secret")


@pytest.mark.parametrize("host", PRIVATE)
def test_redirects_to_private_addresses_are_not_followed(
    site: WatchedSite, ydl: yt_dlp.YoutubeDL, inner: WatchedSite, host: str
) -> None:
    site.extra["/away"] = Answer(HTTPStatus.FOUND, b"", {"Location": f"http://{host}:{port(inner)}/secret"})
    refused(ydl, f"https://{HOST}/away")


def names(monkeypatch: pytest.MonkeyPatch, **found: list[str]) -> None:
    """Stand in for a name server: each name leads to its addresses, one after another, and the last one for ever."""
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        addresses = found.get(str(name).removesuffix(".example"))
        if not addresses:
            return real(host, *args, **kwargs)
        if kwargs.get("flags"):  # it is no address itself
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(addresses.pop(0) if len(addresses) > 1 else addresses[0], *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_a_name_that_leads_here_gets_no_request(
    ydl: yt_dlp.YoutubeDL, inner: WatchedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, inside=["127.0.0.1"])
    assert "inside.example leads to 127.0.0.1" in refused(ydl, f"http://inside.example:{port(inner)}/secret")


def test_a_name_that_changes_its_address_gets_no_request(
    ydl: yt_dlp.YoutubeDL, inner: WatchedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is checked, private when it is connected to."""
    names(monkeypatch, rebinds=["93.184.215.14", "127.0.0.1"])
    assert "rebinds.example leads to 127.0.0.1" in refused(ydl, f"http://rebinds.example:{port(inner)}/secret")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "ws://127.0.0.1/a", "file:///etc/passwd"])
def test_other_schemes_are_not_supported(ydl: yt_dlp.YoutubeDL, url: str) -> None:
    with pytest.raises(RequestError, match="(?i)scheme|websocket|file:"):
        ydl.urlopen(url)


def test_data_urls_need_no_connection(ydl: yt_dlp.YoutubeDL) -> None:
    assert ydl.urlopen("data:text/plain;base64,a2V5").read() == b"key"


def test_the_users_proxy_may_be_anywhere_and_leads_nowhere_private(site: WatchedSite) -> None:
    heard: list[bytes] = []

    def answer() -> None:
        connection, _ = proxy.accept()
        with connection:
            heard.append(connection.recv(4096))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(20)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        thread = threading.Thread(target=answer)
        thread.start()
        with open_ytdlp(QUIET | {"proxy": address}, {HOST: site.address}) as ydl:
            for host in PRIVATE:
                refused(ydl, f"http://{host}/")
            assert ydl.urlopen("http://public.invalid/a").read() == b"ok"
            assert b"User-agent" in ydl.urlopen(f"https://{HOST}/robots.txt").read()
        thread.join()
    assert [asked.split(b"\r\n")[0] for asked in heard] == [b"GET http://public.invalid/a HTTP/1.1"]


def context(site: WatchedSite, folder: Path) -> Context:
    return Context(root=str(folder), scratch=str(folder), transport={HOST: site.address})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
def test_a_video_on_this_machine_is_not_allowed(
    site: WatchedSite, inner: WatchedSite, tmp_path: Path, host: str
) -> None:
    with pytest.raises(FailVideo, match="not_allowed"):
        Session(context(site, tmp_path)).extract(f"http://{host}:{port(inner)}/media/pancakes_01.mp4")


def test_a_page_that_leads_to_this_machine_is_not_allowed(
    site: WatchedSite, inner: WatchedSite, tmp_path: Path
) -> None:
    site.extra["/away"] = Answer(HTTPStatus.FOUND, b"", {"Location": f"http://127.0.0.1:{port(inner)}/"})
    with pytest.raises(FailVideo, match="not_allowed"):
        Session(context(site, tmp_path)).extract(f"https://{HOST}/away")


def test_captions_on_this_machine_are_none(site: WatchedSite, inner: WatchedSite, tmp_path: Path) -> None:
    session = Session(context(site, tmp_path))
    session.extract(f"https://{HOST}/watch?v=pancakes_01")
    assert session.body(f"http://127.0.0.1:{port(inner)}/captions.vtt") is None


@pytest.mark.parametrize("keeps", [False, True], ids=["listed", "with kept pages"])
def test_a_channel_on_this_machine_is_not_allowed(
    site: WatchedSite, inner: WatchedSite, tmp_path: Path, keeps: bool
) -> None:
    url, kept = f"http://127.0.0.1:{port(inner)}/@kitchen", Folder(str(tmp_path / "pages")) if keeps else None
    with pytest.raises(FailVideo, match="not_allowed"):
        list(list_channel(url, ["videos"], context(site, tmp_path), kept))
