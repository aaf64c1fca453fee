"""The transport map: mapped hosts lead to a local port with all https rules, other hosts are not affected."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message

import pytest
import requests

from vsumdata.datasets.sample.site import HOST, Answer, SampleSite
from vsumdata.stages.web.transport import mount

PAGE = f"https://{HOST}/wikihow/Hang-a-Picture"
MOVED_PAGE = f"https://{HOST}/wikihow/Hang-a-Picture-Frame"
MEDIA = f"https://{HOST}/media/pancakes_01.mp4"


class WatchedSite(SampleSite):
    """The sample's site, which also records its requests."""

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
