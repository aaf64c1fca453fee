"""A made-up site on a local port. The transport map shows it as https://site.invalid, so that all rules apply."""

import gzip
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BufferedIOBase
from itertools import pairwise
from pathlib import Path

import pytest
from tests.stages.fuzz_kit import limited
from tests.stages.web.web_kit import HOST, HTML, QUICK, Site, drip, endless, serving

from vsumdata.manifests.errors import FailVideo, RetryVideo, SkipVideo, ThrottledError
from vsumdata.manifests.roots.folder import Folder
from vsumdata.stages.articles import load
from vsumdata.stages.stage import Context
from vsumdata.stages.web.answers import refuse_wall
from vsumdata.stages.web.cache import Page, WebCache
from vsumdata.stages.web.fetch import Fetcher, Limits


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture
def fetcher(site, tmp_path):
    context = Context(root=str(tmp_path), scratch=str(tmp_path), transport={HOST: site.address})
    return Fetcher(context, limits=QUICK)


def test_a_page_comes_with_its_text_and_we_say_who_we_are(site, fetcher):
    url = site.add("/a", (200, HTML, "<p>1⁄4</p>".encode()))
    page = fetcher.get(url)
    assert (page.url, page.text) == (url, "<p>1⁄4</p>")
    assert site.paths() == ["/robots.txt", "/a"]
    _, headers = site.asked[-1]
    assert headers["User-Agent"].startswith("vsumdata/")
    assert headers["Host"] == HOST


@pytest.mark.parametrize("status", [404, 410])
def test_gone(site, fetcher, status):
    with pytest.raises(SkipVideo, match="article_gone"):
        fetcher.get(site.add("/a", (status, HTML, b"")))


def test_a_passing_error_is_tried_again(site, fetcher):
    url = site.add("/a", (500, HTML, b""), (503, HTML, b""), (200, HTML, b"<p>here"))
    assert fetcher.get(url).body == b"<p>here"
    assert site.paths().count("/a") == 3


@pytest.mark.parametrize(("stated", "after_s", "asked"), [({}, 300.0, 3), ({"Retry-After": "120"}, 120.0, 1)])
def test_a_lasting_error_is_to_be_tried_when_the_host_says(site, fetcher, stated, after_s, asked):
    with pytest.raises(RetryVideo) as caught:
        fetcher.get(site.add("/a", (503, HTML | stated, b"")))
    assert (caught.value.reason, caught.value.after_s) == ("transient", after_s)
    assert site.paths().count("/a") == asked


def test_a_forbidden_page_is_not_hammered(site, fetcher):
    with pytest.raises(RetryVideo) as caught:
        fetcher.get(site.add("/a", (403, HTML, b"")))
    assert caught.value.after_s >= 900
    assert site.paths().count("/a") == 1


def test_429_stops_everybody_for_as_long_as_the_host_says(site, fetcher):
    with pytest.raises(ThrottledError) as caught:
        fetcher.get(site.add("/a", (429, HTML | {"Retry-After": "900"}, b"")))
    assert (caught.value.host, caught.value.after_s) == (HOST, 900.0)
    assert site.paths().count("/a") == 1


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/a",
        "http://127.0.0.1/a",
        "https://127.0.0.1/a",
        "https://localhost/a",
        "https://169.254.169.254/latest",
        f"http://{HOST}/b",
        f"https://{HOST}:8443/b",
        f"https://user:word@{HOST}/b",
        "file:///etc/passwd",
        "https://[::1/",
    ],
)
def test_redirects_stay_on_allowed_sites(site, fetcher, target):
    site.add("/b", (200, HTML, b"<p>reached"))
    with pytest.raises(FailVideo, match="not_allowed"):
        fetcher.get(site.add("/a", (302, {"Location": target}, b"")))
    assert "/b" not in site.paths()


def test_a_redirect_within_the_site_is_followed_but_not_for_ever(site, fetcher):
    url = site.add("/a", (301, {"Location": "/b"}, b""))
    site.add("/b", (200, HTML, b"<p>moved"))
    assert fetcher.get(url).url == f"https://{HOST}/b"
    with pytest.raises(FailVideo, match="redirects"):
        fetcher.get(site.add("/loop", (302, {"Location": "/loop"}, b"")))
    assert site.paths().count("/loop") == QUICK.redirects + 1


def test_the_body_of_a_redirect_is_not_read(site, fetcher):
    site.add("/b", (200, HTML, b"<p>moved"))
    assert fetcher.get(site.add("/a", (302, {"Location": "/b"}, endless))).body == b"<p>moved"


@pytest.mark.parametrize(
    "url", ["http://www.wikihow.com/A", "https://evil.example/", "ftp://x", "", "https://[", "https://notehow.com/"]
)
def test_other_addresses_are_not_asked(site, fetcher, url):
    with pytest.raises(FailVideo, match="not_allowed"):
        fetcher.get(url)
    assert site.asked == []


@pytest.mark.parametrize("end", ["com", "life", "com.tr", "it", "jp", "legal"])
def test_wikihows_domains_are_allowed_and_those_that_look_alike_are_not(fetcher, end):
    for host in (f"www.wikihow.{end}", f"wikihow.{end}", f"m.wikihow.{end}", "www.wikihow-fun.com", "es.wikihow.com"):
        assert fetcher.check(f"https://{host}/A") == host
    for host in (f"wikihow.{end}.evil.example", f"evilwikihow.{end}", f"wikihow.{end}x", "wikihow.evil", "fun.com"):
        for url in (f"https://{host}/A", f"https://www.wikihow.{end}@{host}/A", f"http://www.wikihow.{end}/A"):
            with pytest.raises(FailVideo, match="not_allowed"):
                fetcher.check(url)


def test_wrong_content_type(site, fetcher):
    with pytest.raises(FailVideo, match="no_steps"):
        fetcher.get(site.add("/a", (200, {"Content-Type": "application/pdf"}, b"%PDF")))


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"x" * 200_000),
        ({"Content-Length": "100000000"}, b"x"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"x" * 50_000_000, mtime=0)),
        ({}, endless),
    ],
    ids=["stated", "claimed", "gzip-bomb", "endless"],
)
def test_too_large(site, fetcher, headers, body):
    with pytest.raises(FailVideo, match="too_large"):
        fetcher.get(site.add("/a", (200, HTML | headers, body)))


def test_a_slow_drip_ends_by_the_total_time(site, tmp_path):
    limits = Limits(read_s=2, total_s=0.5, attempts=1)
    context = Context(root=str(tmp_path), scratch=str(tmp_path), transport={HOST: site.address})
    with pytest.raises(RetryVideo, match="longer than"):
        Fetcher(context, limits=limits).get(site.add("/a", (200, HTML, drip)))


def test_a_truncated_body_is_not_taken_for_the_page(site, fetcher):
    whole = (200, HTML, b"<p>whole</p>")
    url = site.add("/a", (200, HTML | {"Content-Length": "500"}, b"<p>cut"), whole)
    assert fetcher.get(url).body == b"<p>whole</p>"


def test_compressed_pages_are_read(site, fetcher):
    body = gzip.compress(b"<p>small</p>" * 100)
    assert fetcher.get(site.add("/a", (200, HTML | {"Content-Encoding": "gzip"}, body))).body.startswith(b"<p>small")


def test_robots_are_obeyed_and_read_once(site, fetcher):
    rules = b"User-agent: *\nDisallow: /private\nAllow: /private/open\n"
    site.add("/robots.txt", (200, {"Content-Type": "text/plain"}, rules))
    site.add("/public", (200, HTML, b"<p>open"))
    site.add("/private/open", (200, HTML, b"<p>open"))
    with pytest.raises(SkipVideo, match="robots"):
        fetcher.get(f"https://{HOST}/private/page")
    assert fetcher.get(f"https://{HOST}/public").body == b"<p>open"
    assert fetcher.get(f"https://{HOST}/private/open").body == b"<p>open"
    assert site.paths() == ["/robots.txt", "/public", "/private/open"]


def test_nothing_is_fetched_while_robots_fail(site, fetcher):
    site.add("/robots.txt", (500, {}, b""))
    with pytest.raises(RetryVideo, match="transient"):
        fetcher.get(site.add("/a", (200, HTML, b"<p>")))
    assert "/a" not in site.paths()


def test_every_request_waits_for_its_turn(site, tmp_path):
    turns: list[str] = []
    context = Context(root=str(tmp_path), scratch=str(tmp_path), transport={HOST: site.address}, pace=turns.append)
    site.add("/b", (200, HTML, b"<p>"))
    Fetcher(context, limits=QUICK).get(site.add("/a", (302, {"Location": "/b"}, b"")))
    assert turns == [HOST] * len(site.asked)


# ---- cache -------------------------------------------------------------------------------------------------


def test_a_cached_page_is_revalidated(site, tmp_path):
    context = Context(root=str(tmp_path), scratch=str(tmp_path), transport={HOST: site.address})
    dated = HTML | {"ETag": '"1"', "Last-Modified": "Sat, 01 Aug 2020 10:00:00 GMT"}
    url = site.add("/a", (200, dated, b"<p>first"), (304, {"ETag": '"1"'}, b""), (200, HTML, b"<p>second"))
    limits = Limits(fresh_s=0, attempts=1)
    first = Fetcher(context, limits=limits).get(url)
    again = Fetcher(context, limits=limits).get(url)
    assert (again.body, again.etag) == (b"<p>first", '"1"')
    assert again.retrieved_at > first.retrieved_at
    sent = site.asked[-1][1]
    assert sent["If-None-Match"] == '"1"'
    assert sent["If-Modified-Since"] == "Sat, 01 Aug 2020 10:00:00 GMT"
    assert Fetcher(context, limits=limits).get(url).body == b"<p>second"


def test_a_fresh_page_comes_from_the_disk(site, fetcher, tmp_path):
    url = site.add("/a", (200, HTML, b"<p>once"))
    assert fetcher.get(url) == fetcher.get(url)
    assert site.paths().count("/a") == 1
    files = [path for path in (tmp_path / "cache" / "web").rglob("*") if path.is_file()]
    assert len(files) == 1
    files[0].write_bytes(files[0].read_bytes()[:-3])
    assert fetcher.get(url).body == b"<p>once"
    assert site.paths().count("/a") == 2


# ---- what a site may do to a crawler ------------------------------------------------------------------------


WALL = b"<html><head><title>Just a moment...</title></head><form id='challenge-form'></form>"
ARTICLE = (
    b"<h1>How to Verify You Are Human</h1><div class='section steps'><ol class='steps_list_2'><li><div class='step'>"
    b"<b class='whb'>Solve it.</b> Now.</div></li></ol></div><div class='g-recaptcha'></div>"
)
SHORT_TIME = Limits(connect_s=2, read_s=2, total_s=0.6, attempts=1)


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
        (200, {"Content-Encoding": "gzip"}, gzip.compress(WALL, mtime=0)),
    ],
)
def test_a_bot_wall_is_nobodys_fault(site, fetcher, tmp_path, status, headers, body):
    url = site.add("/a", (status, HTML | headers, body))
    with pytest.raises(ThrottledError) as caught:
        fetcher.get(url)
    assert caught.value.host == HOST
    assert WebCache(Folder(str(tmp_path))).read(url) is None
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
        ({"Content-Encoding": "gzip"}, gzip.compress(b"x" * 100_000_000, mtime=0)),
        ({"Content-Encoding": "deflate"}, deflated(100_000_000)),
        ({"Content-Encoding": "gzip, gzip"}, gzip.compress(gzip.compress(b"x" * 100_000_000, mtime=0), mtime=0)),
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


def test_a_page_of_unclosed_titles_is_no_wall_and_takes_no_time():
    """Each of them searched for its end up to the end of the page, which took two seconds for 100 kB."""
    with limited(0.5):
        refuse_wall(b"<title" * 16_000, "https://www.wikihow.com/X")


def test_rules_for_our_own_name_count(site: Site, fetcher: Fetcher) -> None:
    rules = b"User-agent: *\nDisallow:\n\nUser-agent: vsumdata\nDisallow: /private\n"
    site.add("/robots.txt", (200, {"Content-Type": "text/plain"}, rules))
    with pytest.raises(SkipVideo, match="robots"):
        fetcher.get(site.add("/private", (200, HTML, b"<p>")))
    assert site.paths() == ["/robots.txt"]


def test_a_page_of_three_days_ago_is_not_fresh(site: Site, fetcher: Fetcher, tmp_path: Path) -> None:
    url = site.add("/a", (200, HTML, b"<p>new"))
    old = datetime.now(UTC) - timedelta(days=3)
    WebCache(Folder(str(tmp_path))).write(
        url, Page(url=url, body=b"<p>old", content_type="text/html", retrieved_at=old)
    )
    assert fetcher.get(url).body == b"<p>new"


@pytest.mark.parametrize("status", [408, 425])
def test_a_status_that_passes_is_tried_again(site: Site, fetcher: Fetcher, status: int) -> None:
    with pytest.raises(RetryVideo):
        fetcher.get(site.add("/a", (status, HTML, b"<p>")))
