"""Against a local server that the transport map shows as https://site.invalid, so all rules stay on."""

import gzip
from collections.abc import Iterator

import pytest
from tests.web_kit import HOST, HTML, QUICK, Site, drip, endless, serving

from vsumdata.pipeline.errors import FailVideo, RetryVideo, SkipVideo, ThrottledError
from vsumdata.pipeline.stage import Context
from vsumdata.stages.web import Fetcher, Limits


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


def test_wrong_content_type(site, fetcher):
    with pytest.raises(FailVideo, match="no_steps"):
        fetcher.get(site.add("/a", (200, {"Content-Type": "application/pdf"}, b"%PDF")))


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"x" * 200_000),
        ({"Content-Length": "100000000"}, b"x"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"x" * 50_000_000)),
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
