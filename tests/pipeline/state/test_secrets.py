"""What is secret among yt-dlp's options, and what is not."""

from __future__ import annotations

import logging

import pytest

from vsumdata.pipeline.state.secrets import HIDDEN, RedactingFormatter, masked, redact, secrets_of


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_credentials_are_secret_and_ordinary_settings_are_not() -> None:
    options = {
        "proxy": "http://joe:p%40ss@proxy.example:3128",
        "username": "somebody",
        "videopassword": "opensesame",
        "http_headers": {"Authorization": "Bearer abc", "Referer": "https://www.youtube.com/"},
        "extractor_args": {"youtube": {"player_client": ["android"], "po_token": ["web.gvs+0123456789abc"]}},
        "cookiefile": "cookies.txt",
        "format": "best",
        "retries": 3,
    }
    found = secrets_of(options)
    assert set(found) == {
        "joe:p%40ss", "joe:p@ss", "p%40ss", "p@ss", "somebody", "opensesame", "Bearer abc", "web.gvs+0123456789abc",
    }  # fmt: skip
    text = "HTTP 407 from http://joe:p%40ss@proxy.example:3128 for somebody"
    assert redact(text, found) == f"HTTP 407 from http://{HIDDEN}@proxy.example:3128 for {HIDDEN}"


def test_parts_of_tokens_and_cookies_are_secret_by_themselves() -> None:
    found = secrets_of({
        "http_headers": {"Cookie": "SID=abcdefgh12; path=/; HSID=ijklmnop34"},
        "extractor_args": {"youtube": {
            "po_token": ["web.gvs+0123456789abcdefgh,mweb.gvs+ijklmnopqrstuvwxyz"],
            "visitor_data": ["CgtABCDEFGHIJKLMN%3D%3D"],
        }},
    })  # fmt: skip
    for text in ("pot=0123456789abcdefgh", "pot=ijklmnopqrstuvwxyz", "v=CgtABCDEFGHIJKLMN==", "sid abcdefgh12"):
        assert HIDDEN in redact(text, found)
    assert redact("path=/ of the file", found) == "path=/ of the file"


def test_a_proxy_of_the_environment_is_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://jane:hunter22@proxy.example:3128")
    assert "hunter22" in secrets_of({})


def test_dataset_json_shows_switches_and_numbers_only() -> None:
    assert masked({"proxy": "x", "geo_bypass": True, "retries": 3, "extractor_args": {"youtube": {}}}) == {
        "proxy": HIDDEN,
        "geo_bypass": True,
        "retries": 3,
        "extractor_args": HIDDEN,
    }


def test_a_traceback_in_a_log_is_redacted() -> None:
    try:
        raise ValueError("cannot log in with opensesame")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "%s", ("opensesame",), (type(error), error, None))
    line = RedactingFormatter(("opensesame",)).format(record)
    assert "opensesame" not in line
    assert line.count(HIDDEN) == 2
