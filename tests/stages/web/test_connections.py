import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.manifests.errors import FailVideo, RetryVideo
from vsumdata.stages.stage import Context
from vsumdata.stages.web.answers import retry_after_s
from vsumdata.stages.web.connections import PublicAdapter, check_public
from vsumdata.stages.web.fetch import Fetcher, Limits


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 10.1.2.3 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 "
    "::1 fe80::1%eth0 fd00::1 fec0::1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::1 ff02::1".split(),
)
def test_private_addresses_are_refused(address):
    with pytest.raises(FailVideo, match="not_allowed"):
        check_public("name.example", address)


def test_public_addresses_are_not_refused():
    check_public("name.example", "93.184.215.14")
    check_public("name.example", "64:ff9b::5db8:d70e")
    check_public("name.example", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")


def test_a_name_that_leads_to_this_machine_is_never_connected_to(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        session = requests.Session()
        session.mount("https://", PublicAdapter())
        with pytest.raises(FailVideo, match="not_allowed"):
            session.get(f"https://localhost:{listening.getsockname()[1]}/", timeout=2)
        with pytest.raises(TimeoutError):
            listening.accept()
    fetcher = Fetcher(Context(root=str(tmp_path), scratch=str(tmp_path)), sites=["localhost"])
    with pytest.raises(FailVideo, match="not a public address"):
        fetcher.get("https://localhost/")


def test_retry_after():
    assert retry_after_s("30") == 30.0
    assert retry_after_s("Sat, 01 Aug 2020 10:00:00 GMT") == 0.0
    assert retry_after_s("soon") is None
    assert retry_after_s("9" * 400) == 86_400.0
    assert retry_after_s("Fri, 31 Dec 9999 23:59:59 GMT") == 86_400.0
    assert retry_after_s(None) is None
    assert retry_after_s("Fri, 31 Dec 2027 23:59:59 +9999999999999") is None
    without_zone = format_datetime(datetime.now(UTC) + timedelta(hours=1)).removesuffix(" +0000")
    assert retry_after_s(without_zone) == pytest.approx(3600, abs=60)
    assert retry_after_s("Sat, 01 Aug 2020 10:00:00") == 0.0


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d [+-]\d{1,15}"))
def test_arbitrary_retry_after(value):
    found = retry_after_s(value)
    assert found is None or 0 <= found <= 86_400


def test_a_proxy_is_asked_from_the_source_address_and_its_password_is_not_told(tmp_path):
    heard: list[tuple[str, bytes]] = []

    def answer() -> None:
        for _ in range(2):
            connection, (address, _port) = listening.accept()
            with connection:
                heard.append((address, connection.recv(4096)))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        thread = threading.Thread(target=answer)
        thread.start()
        proxy = f"http://me:sesame@127.0.0.1:{listening.getsockname()[1]}"
        crawl = {"yt_dlp": {"proxy": proxy, "source_address": "127.0.0.3"}}
        context = Context(root=str(tmp_path), scratch=str(tmp_path), crawl=crawl)
        with pytest.raises(RetryVideo) as caught:
            Fetcher(context, limits=Limits(attempts=2, backoff_s=0.01)).get("https://www.wikihow.com/Boil-Eggs")
        thread.join()
    assert [address for address, _ in heard] == ["127.0.0.3"] * 2
    assert all(asked.startswith(b"CONNECT www.wikihow.com:443 ") for _, asked in heard)
    assert "sesame" not in str(caught.value)
