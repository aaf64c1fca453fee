import socket

import pytest
import requests

from vsumdata.pipeline.errors import FailVideo
from vsumdata.pipeline.stage import Context
from vsumdata.stages.web import Fetcher, PublicAdapter, check_public, retry_after_s


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 10.1.2.3 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 "
    "::1 fe80::1%eth0 fd00::1 ::ffff:127.0.0.1".split(),
)
def test_private_addresses_are_refused(address):
    with pytest.raises(FailVideo, match="not_allowed"):
        check_public("name.example", address)


def test_public_addresses_are_not_refused():
    check_public("name.example", "93.184.215.14")
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
    assert retry_after_s(None) is None
