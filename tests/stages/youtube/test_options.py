"""What a manifest may tell yt-dlp: a list of options, each with its type. All others are refused with a reason."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import yt_dlp
from tests.stages.youtube.youtube_kit import firefox_profile
from tests.terminal import console

from vsumdata.manifests.errors import ManifestError, UsageError
from vsumdata.manifests.manifest import load
from vsumdata.pipeline import session
from vsumdata.stages.stage import Context
from vsumdata.stages.youtube.network import open_ytdlp
from vsumdata.stages.youtube.options import REFUSED, YtDlp, browser_cookies, resolve_options, settings

KNOWN = yt_dlp.parse_options([]).ydl_opts
# A value of the right type for each option.
VALUES: dict[str, Any] = {
    "cookiefile": "cookies.txt",
    "username": "me",
    "password": "0123",
    "twofactor": "123456",
    "videopassword": "x",
    "client_certificate": "cert.pem",
    "client_certificate_key": "key.pem",
    "client_certificate_password": "x",
    "proxy": "socks5://127.0.0.1:1080",
    "geo_verification_proxy": "http://proxy.example:3128",
    "source_address": "192.0.2.7",
    "geo_bypass": True,
    "geo_bypass_country": "US",
    "geo_bypass_ip_block": "192.0.2.0/24",
    "http_headers": {"User-Agent": "Mozilla/5.0"},
    "extractor_args": {"youtube": {"player_client": ["web", "tv"], "po_token": ["web.gvs+x"]}},
    "retries": 3,
    "fragment_retries": 0,
    "extractor_retries": 2,
    "file_access_retries": 2,
    "socket_timeout": 10,
    "ratelimit": 1e6,
    "throttledratelimit": 50_000,
    "http_chunk_size": 10_485_760,
    "concurrent_fragment_downloads": 4,
    "sleep_interval": 0,
    "max_sleep_interval": 2.5,
    "sleep_interval_requests": 0.75,
}


def resolve(folder: Path, options: dict[str, Any], *settings: str) -> dict[str, Any]:
    import yaml

    manifest = folder / "mine.yaml"
    manifest.write_text(yaml.safe_dump({"sources": [{"channel": "@x"}], "crawl": {"yt_dlp": options}}))
    return resolve_options(load(str(manifest), settings))


def refusal(folder: Path, options: dict[str, Any], *settings: str) -> str:
    with pytest.raises(ManifestError) as caught:
        resolve(folder, options, *settings)
    return str(caught.value)


def test_every_option_in_the_list_is_yt_dlps_and_is_taken(tmp_path: Path) -> None:
    assert set(VALUES) == set(YtDlp.model_fields) <= KNOWN.keys()
    files = {
        name: tmp_path / str(VALUES[name]) for name in ("cookiefile", "client_certificate", "client_certificate_key")
    }
    for path in files.values():
        path.write_text("# Netscape HTTP Cookie File\n")
    found = resolve(tmp_path, VALUES)
    assert found == VALUES | {name: str(path) for name, path in files.items()}
    context = Context(root=str(tmp_path), scratch=str(tmp_path), crawl={"yt_dlp": found})
    certificates = {"client_certificate": None, "client_certificate_key": None}  # these files hold none
    with open_ytdlp(settings(context) | certificates, {}) as ydl:
        assert ydl.params["retries"] == 3


def test_every_other_option_of_yt_dlp_is_refused(tmp_path: Path) -> None:
    others = KNOWN.keys() - YtDlp.model_fields.keys()
    assert others >= REFUSED.keys() - {"match_filter"}
    assert len(others) > 140
    for key in sorted(others):
        assert f"crawl.yt_dlp.{key}: {REFUSED.get(key, 'is not one of the options')}" in refusal(tmp_path, {key: True})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"netrc_cmd": "touch /tmp/pwned"}, "netrc_cmd: runs a program"),
        ({"js_runtimes": {"node": {"path": "./evil"}}}, "js_runtimes: runs a program"),
        ({"remote_components": ["ejs:github"]}, "remote_components: fetches programs and runs them"),
        ({"external_downloader": "curl"}, "is set by vsumdata itself"),
        ({"cookiesfrombrowser": ["firefox"]}, "reads the user's browser: give it on the command line"),
        ({"usenetrc": True}, "reads the user's passwords"),
        ({"print_to_file": {"video": [["x", "/tmp/x"]]}}, "writes files of its own"),
        ({"enable_file_urls": True}, "would let a page read files of this machine"),
        ({"nocheckcertificate": True}, "would let others on the network"),
        ({"impersonate": "chrome"}, "cannot be kept from private addresses"),
        ({"test": True}, "downloads a piece of each video only"),
        ({"max_downloads": 3}, "would drop videos without a word"),
        ({"cookies": "c.txt"}, "did you mean `cookiefile`"),
        ({"verbose": True}, "is not one of the options that a manifest may set; these are: cookiefile, "),
        ({"cookiefile": "none.txt"}, "none.txt does not exist"),
        ({"extractor_args": {"youtubepot-bgutilscript": {"script_path": "evil.js"}}}, "may name programs to run"),
        ({"extractor_args": {"youtube": {"player_skip": "configs,initial_data"}}}, "there are no heatmaps"),
    ],
)
def test_what_no_manifest_may_set(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    assert says in refusal(tmp_path, options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retries": -1}, "retries: Input should be greater than or equal to 0"),
        ({"retries": "infinite"}, "retries: Input should be a valid integer"),
        ({"retries": True}, "retries: Input should be a valid integer"),
        ({"socket_timeout": 0}, "socket_timeout: Input should be greater than 0"),
        ({"socket_timeout": math.inf}, "socket_timeout: Input should be a finite number"),
        ({"sleep_interval_requests": math.nan}, "sleep_interval_requests: Input should be"),
        ({"ratelimit": "50K"}, "ratelimit: Input should be a valid number"),
        ({"concurrent_fragment_downloads": 0}, "concurrent_fragment_downloads: Input should be greater than 0"),
        ({"password": 123}, "password: Input should be a valid string"),
        ({"geo_bypass_country": False}, "geo_bypass_country: Input should be a valid string"),
        ({"source_address": "eth0"}, "source_address: 'eth0' does not appear to be an IPv4 or IPv6 address"),
        ({"http_headers": "User-Agent: x"}, "http_headers: Input should be a valid dictionary"),
        ({"http_headers": {"X-A": 1}}, "http_headers.X-A: Input should be a valid string"),
        ({"http_headers": {"X-A": "a\r\nHost: b"}}, "http_headers.X-A: String should match"),
        ({"extractor_args": ["youtube"]}, "extractor_args: Input should be a valid dictionary"),
        ({"extractor_args": {"youtube": "skip=hls"}}, "extractor_args.youtube: Input should be a valid dictionary"),
        ({"extractor_args": {"youtube": {"skip": 1}}}, "extractor_args.youtube.skip: Input should be a valid list"),
        (
            {"extractor_args": {"youtube": {"skip": [1]}}},
            "extractor_args.youtube.skip.0: Input should be a valid string",
        ),
    ],
)
def test_values_of_the_wrong_type_are_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    assert says in refusal(tmp_path, options)


def test_a_refusal_names_every_mistake_and_no_value(tmp_path: Path) -> None:
    said = refusal(tmp_path, {"password": 12345678, "username": ["s3cret"], "netrc_cmd": "pass show s3cret"})
    assert [line.split(": ")[1] for line in said.splitlines()] == [
        "crawl.yt_dlp.username", "crawl.yt_dlp.password", "crawl.yt_dlp.netrc_cmd"
    ]  # fmt: skip
    assert "s3cret" not in said
    assert "12345678" not in said


def test_the_command_lines_set_obeys_the_same_list(tmp_path: Path) -> None:
    assert "runs a program" in refusal(tmp_path, {}, "crawl.yt_dlp.netrc_cmd=./evil")
    assert resolve(tmp_path, {"proxy": "http://a"}, "crawl.yt_dlp.proxy=null", "crawl.yt_dlp.retries=5") == {
        "retries": 5
    }
    assert resolve(tmp_path, {"extractor_args": {"youtube": {"player_client": "web,tv"}}}) == {
        "extractor_args": {"youtube": {"player_client": ["web", "tv"]}}
    }


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return firefox_profile(tmp_path / "profile")


def test_cookies_of_a_browser_come_from_the_command_line(tmp_path: Path, profile: Path) -> None:
    found = browser_cookies(f"firefox:{profile}")
    context = Context(root=str(tmp_path), scratch=str(tmp_path), crawl={"yt_dlp": found})
    with open_ytdlp(settings(context), {}) as ydl:
        assert [(cookie.domain, cookie.name, cookie.value) for cookie in ydl.cookiejar] == [
            (".sample.invalid", "SID", "s3cret")
        ]
    assert browser_cookies(None) == {}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("netscape", "`netscape` is not one of brave, "),
        ("firefox:/none/at/all", "cannot be read: could not find firefox"),
    ],
)
def test_a_browser_that_cannot_be_read_is_an_error_before_any_work(tmp_path: Path, given: str, says: str) -> None:
    with pytest.raises(UsageError, match="--cookies-from-browser") as caught:
        browser_cookies(given)
    assert says in str(caught.value)
    request = session.Request(
        manifest="sample", stage="crawl", root=str(tmp_path / "root"), dry_run=True, cookies_from_browser=given
    )
    with pytest.raises(UsageError, match="--cookies-from-browser"):
        session.run(request, console(io.StringIO()))
