"""Short links to articles: only asked where they lead, and only to end at an article."""

from collections.abc import Iterator

import pytest
from tests.web_kit import HOST, HTML, Site, endless, serving

from vsumdata.pipeline.errors import FailVideo, SkipVideo, ThrottledError
from vsumdata.pipeline.stage import Context
from vsumdata.stages.articles import load

PAGE = b"<h1>How to Fold</h1><h2>Steps</h2><ol><li><b>Fold.</b> Twice.</li></ol>"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture
def article_of(site, tmp_path):
    hosts = dict.fromkeys((HOST, "bit.ly", "t.co"), site.address)
    function = load({}, Context(root=str(tmp_path), scratch=str(tmp_path), transport=hosts))
    return lambda path: function({"video_id": "a", "source": {}, "videos": {"article_url": f"https://bit.ly{path}"}})


def leads_to(site: Site, path: str, target: str) -> None:
    site.add(path, (301, {"Location": target}, endless))  # whose body is never read


def test_a_short_link_leads_to_its_article(site, article_of):
    leads_to(site, "/one", "http://t.co/two")
    leads_to(site, "/two", f"http://{HOST}/wikihow/Fold?utm_source=bitly")
    site.add("/wikihow/Fold", (200, HTML, PAGE))
    row = article_of("/one")
    assert (row["url"], row["title"]) == (f"https://{HOST}/wikihow/Fold", "How to Fold")
    hosts = [headers["Host"] for path, headers in site.asked if path != "/robots.txt"]
    assert hosts == ["bit.ly", "t.co", HOST]


@pytest.mark.parametrize(
    "target",
    [
        "https://www.youtube.com/user/x",
        f"https://{HOST}/shop",
        f"https://user@{HOST}.evil.example/wikihow/Fold",
        "https://127.0.0.1/wikihow/Fold",
        "file:///etc/passwd",
        "https://bit.ly/one",
    ],
)
def test_a_short_link_to_anything_else_is_no_article(site, article_of, target):
    leads_to(site, "/one", target)
    with pytest.raises(SkipVideo, match="no_article"):
        article_of("/one")
    assert {headers["Host"] for _, headers in site.asked} == {"bit.ly"}


def test_a_short_link_that_shows_a_page_is_no_article(site, article_of):
    site.add("/one", (200, HTML, PAGE))
    with pytest.raises(SkipVideo, match="no_article"):
        article_of("/one")


def test_a_shortener_may_ask_to_slow_down_and_to_stay_away(site, article_of):
    site.add("/one", (429, {"Retry-After": "60"}, b""))
    with pytest.raises(ThrottledError) as caught:
        article_of("/one")
    assert caught.value.host == "bit.ly"


def test_the_robots_of_a_shortener_are_obeyed(site, article_of):
    site.add("/robots.txt", (200, {}, b"User-agent: *\nDisallow: /\n"))
    with pytest.raises(SkipVideo, match="robots"):
        article_of("/one")
    assert site.paths() == ["/robots.txt"]


def test_an_article_site_never_leads_through_a_shortener(site, article_of):
    leads_to(site, "/one", f"https://{HOST}/wikihow/Fold")
    site.add("/wikihow/Fold", (301, {"Location": "https://is.gd/x"}, b""))
    with pytest.raises(FailVideo, match="not_allowed"):
        article_of("/one")
