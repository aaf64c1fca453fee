"""What a site may do to a crawler, and what becomes of it. All through the real fetcher, against a local server."""

import gzip
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BufferedIOBase
from itertools import pairwise

import pytest
from tests.web_kit import HOST, HTML, QUICK, Site, drip, endless, serving

from vsumdata.pipeline.errors import FailVideo, RetryVideo, SkipVideo, ThrottledError
from vsumdata.stages.articles import load
from vsumdata.stages.web import Fetcher, Limits
from vsumdata.stages.web_cache import WebCache

WALL = b"<html><head><title>Just a moment...</title></head><form id='challenge-form'></form>"
ARTICLE = (
    b"<h1>How to Verify You Are Human</h1><div class='section steps'><ol class='steps_list_2'><li><div class='step'>"
    b"<b class='whb'>Solve it.</b> Now.</div></li></ol></div><div class='g-recaptcha'></div>"
)
SHORT_TIME = Limits(connect_s=2, read_s=2, total_s=0.6, attempts=1)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture
def fetcher(site: Site, tmp_path) -> Fetcher:
    return Fetcher(site.context(tmp_path), limits=QUICK)


def article_of(site: Site, root, path: str) -> dict:
    row = {"video_id": "a", "source": {"article_url": f"https://{HOST}{path}"}, "videos": None}
    return load({}, site.context(root))(row)


def test_429_with_a_date_stops_everybody_until_then(site, fetcher):
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    with pytest.raises(ThrottledError) as caught:
        fetcher.get(site.add("/a", (429, HTML | {"Retry-After": until}, b"")))
    assert caught.value.after_s == pytest.approx(600, abs=60)


def test_no_retry_after_stops_a_crawl_for_years(site, fetcher):
    with pytest.raises(ThrottledError) as caught:
        fetcher.get(site.add("/a", (429, HTML | {"Retry-After": "9" * 400}, b"")))
    assert caught.value.after_s == 86_400


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {}, WALL),
        (403, {}, WALL),
        (503, {}, WALL),
        (403, {"cf-mitigated": "challenge"}, b""),
        (202, {"x-amzn-waf-action": "challenge"}, b""),
        (405, {"x-amzn-waf-action": "captcha"}, b""),
        (200, {"Content-Encoding": "gzip"}, gzip.compress(WALL)),
    ],
)
def test_a_bot_wall_is_nobodys_fault(site, fetcher, tmp_path, status, headers, body):
    url = site.add("/a", (status, HTML | headers, body))
    with pytest.raises(ThrottledError) as caught:
        fetcher.get(url)
    assert caught.value.host == HOST
    assert WebCache(str(tmp_path)).read(url) is None
    assert site.paths().count("/a") == 1


def test_an_article_about_captchas_is_no_wall(site, tmp_path):
    site.add("/wikihow/X", (200, HTML, ARTICLE))
    assert [step["text"] for step in article_of(site, tmp_path, "/wikihow/X")["step"]] == ["Solve it. Now."]


@pytest.mark.parametrize("status", [202, 204, 304, 500, 502])
def test_what_is_neither_a_page_nor_a_refusal_is_tried_again(site, fetcher, status):
    url = site.add("/a", (status, HTML, b""), (200, HTML, b"<p>here"))
    assert fetcher.get(url).body == b"<p>here"


@pytest.mark.parametrize("status", [400, 401, 404, 410, 451])
def test_what_the_site_refuses_for_good_is_gone(site, fetcher, status):
    with pytest.raises(SkipVideo, match="article_gone"):
        fetcher.get(site.add("/a", (status, HTML, b"")))


# ---- time --------------------------------------------------------------------------------------------------


def headers_in_drips(file: BufferedIOBase) -> None:
    file.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Slow: ")
    drip(file)


def chunk_size_in_drips(file: BufferedIOBase) -> None:
    file.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    drip(file)


def for_ever_100(file: BufferedIOBase) -> None:
    for _ in range(400):
        file.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        file.flush()
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [headers_in_drips, chunk_size_in_drips, for_ever_100])
def test_the_total_time_holds_wherever_the_bytes_drip(site, tmp_path, answer):
    site.raw["/a"] = answer
    with pytest.raises(RetryVideo, match="transient"):
        Fetcher(site.context(tmp_path), limits=SHORT_TIME).get(f"https://{HOST}/a")


def test_silence_ends_by_the_read_time(site, tmp_path):
    site.raw["/a"] = lambda file: time.sleep(1)
    limits = Limits(read_s=0.2, total_s=30, attempts=1)
    with pytest.raises(RetryVideo, match="transient"):
        Fetcher(site.context(tmp_path), limits=limits).get(f"https://{HOST}/a")


# ---- size --------------------------------------------------------------------------------------------------


def deflated(num_bytes: int) -> bytes:
    return zlib.compress(b"x" * num_bytes)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"x" * 100_000_000),
        ({"Content-Length": "100000000"}, b"x"),
        ({"Content-Length": "9" * 5000}, b"x"),
        ({"Transfer-Encoding": "identity"}, endless),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"x" * 100_000_000)),
        ({"Content-Encoding": "deflate"}, deflated(100_000_000)),
        ({"Content-Encoding": "gzip, gzip"}, gzip.compress(gzip.compress(b"x" * 100_000_000))),
    ],
    ids=["100MB", "claimed", "absurd", "endless", "gzip", "deflate", "gzip-in-gzip"],
)
def test_a_page_beyond_the_default_size_is_too_large(site, tmp_path, headers, body):
    url = site.add("/a", (200, HTML | headers, body))
    with pytest.raises(FailVideo, match="too_large"):
        Fetcher(site.context(tmp_path)).get(url)


@pytest.mark.parametrize("page", [b"<div>" * 100_000, b"<b>" * 20_000, b"<a>x</a>" * 200_000])
def test_a_page_of_nested_or_countless_tags_is_too_large(site, tmp_path, page):
    site.add("/wikihow/X", (200, HTML, page))
    with pytest.raises(FailVideo, match="too_large"):
        article_of(site, tmp_path, "/wikihow/X")


def test_a_truncated_compressed_page_is_not_taken_for_the_page(site, fetcher):
    whole = gzip.compress(b"<p>whole</p>" * 1000)
    packed = HTML | {"Content-Encoding": "gzip"}
    url = site.add("/a", (200, packed | {"Content-Length": str(len(whole))}, whole[:-20]), (200, packed, whole))
    assert fetcher.get(url).body == b"<p>whole</p>" * 1000


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "image/png"}, {"Content-Type": "application/json"}])
def test_what_is_not_html_has_no_steps(site, fetcher, headers):
    with pytest.raises(FailVideo, match="no_steps"):
        fetcher.get(site.add("/a", (200, headers, ARTICLE)))


# ---- where it leads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", "[::1] [::ffff:127.0.0.1] [fe80::1] 2130706433 0x7f000001 0177.0.0.1 127.1 10.0.0.1 192.168.0.1".split()
)
def test_redirects_to_this_machine_in_any_spelling_are_not_followed(site, fetcher, host):
    for scheme in ("http", "https"):
        with pytest.raises(FailVideo, match="not_allowed"):
            fetcher.get(site.add("/a", (302, {"Location": f"{scheme}://{host}/b"}, b"")))
    assert site.paths().count("/a") == 2


@pytest.mark.parametrize(
    "url", [f"https://user:word@{HOST}/a", f"https://user@{HOST}/a", f"https://{HOST}:22/a", f"https://{HOST}:x/"]
)
def test_addresses_with_credentials_or_ports_are_not_asked(site, fetcher, url):
    with pytest.raises(FailVideo, match="not_allowed"):
        fetcher.get(url)
    assert site.asked == []


def test_a_name_that_is_none_is_not_asked(tmp_path, site):
    with pytest.raises(FailVideo, match="not_allowed"):
        Fetcher(site.context(tmp_path), limits=QUICK).get(f"https://{'x' * 80}.wikihow.com/A")


def test_a_deleted_article_that_leads_elsewhere_is_gone(site, tmp_path):
    site.add("/wikihow/Old", (301, {"Location": "/"}, b""))
    site.add("/", (200, HTML, ARTICLE))
    with pytest.raises(SkipVideo, match="article_gone"):
        article_of(site, tmp_path, "/wikihow/Old")


def test_no_cookie_is_kept(site, fetcher):
    cookie = {"Set-Cookie": "id=1; Path=/"}
    site.add("/b", (200, HTML | cookie, b"<p>"))
    fetcher.get(site.add("/a", (302, cookie | {"Location": "/b"}, b"")))
    fetcher.get(site.add("/c", (200, HTML, b"<p>")))
    assert len(site.asked) == 4
    assert not any("Cookie" in headers for _, headers in site.asked)


def test_articles_leave_by_the_source_address_of_the_videos(site, tmp_path):
    context = site.context(tmp_path, crawl={"yt_dlp": {"source_address": "127.0.0.3"}})
    Fetcher(context, limits=QUICK).get(site.add("/a", (200, HTML, b"<p>")))
    assert {address for _, address in site.came} == {"127.0.0.3"}


# ---- robots.txt --------------------------------------------------------------------------------------------


def test_the_crawl_delay_is_left_between_pages(site, fetcher):
    site.add("/robots.txt", (200, {}, b"User-agent: *\nCrawl-delay: 0.2\n"))
    site.add("/b", (200, HTML, b"<p>"))
    for path in ("/a", "/b", "/c"):
        fetcher.get(site.add(path, (200, HTML, b"<p>")))
    times = [at_s for at_s, _ in site.came][1:]
    assert all(after - before > 0.15 for before, after in pairwise(times))


def test_of_an_endless_robots_file_the_beginning_counts(site, fetcher):
    def rules(file: BufferedIOBase) -> None:
        file.write(b"User-agent: *\nDisallow: /private\n")
        while True:
            file.write(b"# more\n" * 1000)

    site.add("/robots.txt", (200, {}, rules))
    assert fetcher.get(site.add("/a", (200, HTML, b"<p>open"))).body == b"<p>open"
    with pytest.raises(SkipVideo, match="robots"):
        fetcher.get(f"https://{HOST}/private")


def test_a_redirect_to_a_forbidden_page_is_not_followed(site, fetcher):
    site.add("/robots.txt", (200, {}, b"User-agent: *\nDisallow: /private\n"))
    with pytest.raises(SkipVideo, match="robots"):
        fetcher.get(site.add("/a", (302, {"Location": "/private"}, b"")))
    assert "/private" not in site.paths()
