"""The stage `articles`: links in descriptions, local pages, given steps, the web, and short links."""

import os
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.web.web_kit import HOST, HTML, Site, endless, serving

from vsumdata.datasets.sample.site import SampleSite
from vsumdata.manifests.errors import FailVideo, SkipVideo, ThrottledError
from vsumdata.manifests.tables import PARSER_VERSION, payload
from vsumdata.stages.articles import load, unpacked
from vsumdata.stages.howto.links import find_article_url
from vsumdata.stages.howto.parser import parse_article
from vsumdata.stages.stage import Context
from vsumdata.stages.web.cache import decode_html

PAGE = """<html><head><link rel="canonical" href="http://www.wikihow.com/Boil-Eggs"></head><body>
<h1>How to Boil Eggs</h1><div class="section steps"><ol class="steps_list_2"><li><div class="step">
<b class="whb">Add <sup>1</sup>⁄<sub>4</sub> cup of salt.</b> Stir.</div></li></ol></div></body></html>"""


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Read http://m.wikihow.com/Boil-Eggs?utm_source=yt#x now", "https://www.wikihow.com/Boil-Eggs"),
        ("(https://wikihow.com/Boil-Eggs).", "https://www.wikihow.com/Boil-Eggs"),
        ("see www.wikihow.com/Boil-Eggs, please", "https://www.wikihow.com/Boil-Eggs"),
        ("https://www.wikihow.com/Cope-(for-Parents)!", "https://www.wikihow.com/Cope-(for-Parents)"),
        ("https://es.wikihow.com/hervir-huevos", "https://es.wikihow.com/hervir-huevos"),
        ("https://www.wikihow.com/Play-Halo:-Reach", "https://www.wikihow.com/Play-Halo:-Reach"),
        (
            "https://www.wikihow.com/Main-Page https://www.wikihow.com/Category:Food http://wikihow.com "
            "https://www.wikihow.com/User:Me https://www.wikihow.com/video/x https://www.wikihow.com/Boil-Eggs",
            "https://www.wikihow.com/Boil-Eggs",
        ),
        (
            "http://www.ehow.com/video_4_x.html http://www.ehow.com/how_2042752_build-terrarium.html?ref=1",
            "https://www.ehow.com/how_2042752_build-terrarium.html",
        ),
        ("https://www.ehow.com/13712189/how-to-fold", "https://www.ehow.com/13712189/how-to-fold"),
        (
            "https://www.youtube.com/redirect?event=x&q=https%3A%2F%2Fwww.wikihow.com%2FBoil-Eggs",
            "https://www.wikihow.com/Boil-Eggs",
        ),
        ("https://bit.ly/abc https://www.youtube.com/wikihow", None),
        ("Subscribe: https://bit.ly/abc\n\nFull article: https://bit.ly/Def?x=1.", "https://bit.ly/Def"),
        ("Read more on wikiHow:\nbit.ly/Def\nhttps://tinyurl.com/x", "https://bit.ly/Def"),
        ("Article: https://bit.ly/Def http://www.wikihow.com/Boil-Eggs", "https://www.wikihow.com/Boil-Eggs"),
        ("Article: https://bit.ly/ https://notbit.ly/x https://bit.ly.evil.example/x", None),
        ("http://www.ehow.com/how-does_5003219_x.html", "https://www.ehow.com/how-does_5003219_x.html"),
        ("Steps: bit.ly/x", "https://bit.ly/x"),
        ("Read full: https://bit.ly/x", "https://bit.ly/x"),
        ("Learn more: https://bit.ly/x", "https://bit.ly/x"),
        ("Get it https://t.co/x wikiHow", "https://t.co/x"),
        ("Helpful knives https://bit.ly/a carefully", None),
        ("Full video: https://bit.ly/a\n\nSubscribe https://bit.ly/b | Article: https://bit.ly/x", "https://bit.ly/x"),
        ("Shop https://bit.ly/a or Guide: https://bit.ly/x", "https://bit.ly/x"),
        ("见 https://www.wikihow.com/Boil-Eggs。谢谢", "https://www.wikihow.com/Boil-Eggs"),
        ("（https://www.wikihow.com/Boil-Eggs）：", "https://www.wikihow.com/Boil-Eggs"),
        ("https://www.wikihow.com/Boil-Eggs…", "https://www.wikihow.com/Boil-Eggs"),
        ("https://zh.wikihow.com/煮蛋（简单）", "https://zh.wikihow.com/煮蛋（简单）"),
        ("https://notwikihow.com/Boil-Eggs https://wikihow.com.evil.example/Boil-Eggs", None),
        ("https://www.wikihow.com:8080/Boil-Eggs https://[/Boil-Eggs", None),
        ("https://sample.invalid/wikihow/Fold https://sample.invalid/api/x", None),
        ("", None),
    ],
)
def test_find_article_url(description: str, expected: str | None):
    assert find_article_url(description) == expected


def test_find_article_url_on_further_hosts():
    text = "https://sample.invalid/api/x https://sample.invalid/ehow/how_1_fold.html?utm_source=a"
    assert find_article_url(text, ["sample.invalid"]) == "https://sample.invalid/ehow/how_1_fold.html"


@given(st.lists(st.sampled_from(["https://", "wikihow.com/", "www.", "[", ":", "@", "%", "X", " "]) | st.text()))
def test_find_article_url_never_raises(pieces: list[str]):
    found = find_article_url("".join(pieces), ["sample.invalid"])
    assert found is None or found.startswith("https://")


# ---- the stage ---------------------------------------------------------------------------------------------


@pytest.fixture
def article_of(tmp_path):
    return load({}, Context(root=str(tmp_path / "root"), scratch=str(tmp_path)))


def check_columns(row: dict) -> None:
    schema = payload("articles", {})
    assert set(row) - {"detail"} == set(schema.names)
    pa.Table.from_pylist([{name: row[name] for name in schema.names}], schema=schema).validate(full=True)


def test_local_file(article_of, tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(PAGE.encode())
    row = article_of({"video_id": "a", "source": {"article": str(path)}, "videos": {"article_url": None}})
    check_columns(row)
    assert (row["url"], row["site"]) == ("https://www.wikihow.com/Boil-Eggs", "wikihow")
    assert parse_article(decode_html(unpacked(row["html"])), row["url"]) == parse_article(PAGE, row["url"])


def test_local_file_in_another_encoding(article_of, tmp_path):
    path = tmp_path / "page.html"
    page = PAGE.replace("<head>", '<head><meta charset="iso-8859-1">').replace("⁄", "/").replace("Eggs", "Äggs")
    path.write_bytes(page.encode("iso-8859-1"))
    assert article_of({"video_id": "a", "source": {"article": str(path)}})["title"] == "How to Boil Äggs"


def test_local_files_that_cannot_be_used(article_of, tmp_path):
    with pytest.raises(SkipVideo, match="article_gone"):
        article_of({"video_id": "a", "source": {"article": str(tmp_path / "none.html")}})
    with pytest.raises(FailVideo, match="unreadable"):
        article_of({"video_id": "a", "source": {"article": str(tmp_path)}})
    (tmp_path / "a.bin").write_bytes(os.urandom(2000))
    with pytest.raises(FailVideo, match="no_steps"):
        article_of({"video_id": "a", "source": {"article": str(tmp_path / "a.bin")}})
    with (tmp_path / "big.html").open("wb") as file:
        file.truncate(20_000_000)
    with pytest.raises(FailVideo, match="too_large"):
        article_of({"video_id": "a", "source": {"article": str(tmp_path / "big.html")}})


def test_given_steps(article_of):
    given_steps = [
        {"text": "Mix.", "img": "https://a/1.jpg", "vid": "/1/1a/Mix Step 1.mp4"},
        {"text": " "},
        {"headline": "Bake.", "text": "Half an hour."},
        "Eat.",
        None,
    ]
    source = {"steps": given_steps, "article_url": "https://www.wikihow.com/Bake", "title": "Bake"}
    row = article_of({"video_id": "a", "source": source, "videos": None})
    check_columns(row)
    assert [(step["headline"], step["text"]) for step in row["step"]] == [
        ("Mix.", "Mix."),
        ("Bake.", "Bake. Half an hour."),
        ("Eat.", "Eat."),
    ]
    assert row["step"][0]["image_url"] == "https://a/1.jpg"
    assert row["step"][0]["clip_url"] == "https://www.wikihow.com/video/1/1a/Mix%20Step%201.mp4"
    assert (row["title"], row["site"], row["license"]) == ("Bake", "wikihow", "CC BY-NC-SA 3.0")
    assert row["detail"] == "2 of 5 given steps have no text"
    with pytest.raises(FailVideo, match="no_steps"):
        article_of({"video_id": "a", "source": {"steps": [{"text": ""}]}})
    with pytest.raises(FailVideo, match="no_steps"):
        article_of({"video_id": "a", "source": {"steps": [], "article_url": "https://www.wikihow.com/Bake"}})


def test_no_article(article_of):
    with pytest.raises(SkipVideo, match="no_article"):
        article_of({"video_id": "a", "source": {}, "videos": {"article_url": None}})


def test_article_from_the_web(tmp_path):
    with SampleSite() as site:
        context = Context(root=str(tmp_path), scratch=str(tmp_path), transport={"sample.invalid": site.address})
        url = "https://sample.invalid/wikihow/Make-Pancakes"
        row = load({}, context)({"video_id": "a", "source": {}, "videos": {"article_url": url}})
    check_columns(row)
    assert row["url"] == url
    assert row["site"] == "wikihow"
    assert len(row["step"]) >= 3
    assert row["retrieved_at"].tzinfo is not None


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-5"])
def test_the_stored_page_gives_the_same_article_again(tmp_path, charset):
    page = PAGE.replace("⁄", "/").replace("Stir.", "Перемешайте.").encode(charset)
    with serving() as site:
        site.add("/wikihow/Boil-Eggs", (200, {"Content-Type": f"text/html; charset={charset}"}, page))
        source = {"article_url": f"https://{HOST}/wikihow/Boil-Eggs"}
        row = load({}, site.context(tmp_path))({"video_id": "a", "source": source, "videos": None})
    schema = payload("articles", {})
    table = pa.Table.from_pylist([{name: row[name] for name in schema.names}], schema=schema)
    pq.write_table(table, tmp_path / "part.parquet")
    [stored] = pq.read_table(tmp_path / "part.parquet").to_pylist()
    again = parse_article(decode_html(unpacked(stored["html"])), stored["url"])
    assert [step._asdict() for step in again.steps] == stored["step"]
    assert "Перемешайте." in again.steps[0].text


# ---- short links: only asked where they lead, and only to end at an article ---------------------------------


FOLD_PAGE = b"<h1>How to Fold</h1><h2>Steps</h2><ol><li><b>Fold.</b> Twice.</li></ol>"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture
def article_behind(site, tmp_path):
    hosts = dict.fromkeys((HOST, "bit.ly", "t.co"), site.address)
    function = load({}, Context(root=str(tmp_path), scratch=str(tmp_path), transport=hosts))
    return lambda path: function({"video_id": "a", "source": {}, "videos": {"article_url": f"https://bit.ly{path}"}})


def leads_to(site: Site, path: str, target: str) -> None:
    site.add(path, (301, {"Location": target}, endless))  # whose body is never read


def test_a_short_link_leads_to_its_article(site, article_behind):
    leads_to(site, "/one", "http://t.co/two")
    leads_to(site, "/two", f"http://{HOST}/wikihow/Fold?utm_source=bitly")
    site.add("/wikihow/Fold", (200, HTML, FOLD_PAGE))
    row = article_behind("/one")
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
def test_a_short_link_to_anything_else_is_no_article(site, article_behind, target):
    leads_to(site, "/one", target)
    with pytest.raises(SkipVideo, match="no_article"):
        article_behind("/one")
    assert {headers["Host"] for _, headers in site.asked} == {"bit.ly"}


def test_a_short_link_that_shows_a_page_is_no_article(site, article_behind):
    site.add("/one", (200, HTML, FOLD_PAGE))
    with pytest.raises(SkipVideo, match="no_article"):
        article_behind("/one")


def test_a_shortener_may_ask_to_slow_down_and_to_stay_away(site, article_behind):
    site.add("/one", (429, {"Retry-After": "60"}, b""))
    with pytest.raises(ThrottledError) as caught:
        article_behind("/one")
    assert caught.value.host == "bit.ly"


def test_the_robots_of_a_shortener_are_obeyed(site, article_behind):
    site.add("/robots.txt", (200, {}, b"User-agent: *\nDisallow: /\n"))
    with pytest.raises(SkipVideo, match="robots"):
        article_behind("/one")
    assert site.paths() == ["/robots.txt"]


def test_an_article_site_never_leads_through_a_shortener(site, article_behind):
    leads_to(site, "/one", f"https://{HOST}/wikihow/Fold")
    site.add("/wikihow/Fold", (301, {"Location": "https://is.gd/x"}, b""))
    with pytest.raises(FailVideo, match="not_allowed"):
        article_behind("/one")


def test_a_path_that_no_file_can_have_is_a_missing_page(tmp_path):
    read = load({}, Context(root=str(tmp_path), scratch=str(tmp_path)))
    with pytest.raises(SkipVideo, match="article_gone"):
        read({"source": {"article": "a\0b.html"}, "videos": {}})


def test_an_address_with_half_of_a_character_is_none(tmp_path):
    """Published lists are JSON, which can spell a lone surrogate; no address has one."""
    steps = [{"text": "Boil.", "img": "/a\udfff.jpg", "vid": "/7/7a/\udfff x.mp4"}, {"text": "Eat.", "img": "/b.jpg"}]
    found = load({}, Context(root=str(tmp_path), scratch=str(tmp_path)))({"source": {"steps": steps}, "videos": {}})
    assert [(step["image_url"], step["clip_url"]) for step in found["step"]] == [
        (None, None),
        ("https://www.wikihow.com/b.jpg", None),
    ]


# ---- a page that an older parser has read ------------------------------------------------------------------

OLD_PAGE = """<html><head><link rel="canonical" href="http://www.wikihow.com/Fold"></head><body><h1>How to Fold</h1>
<div id="intro"><p id="method_toc">Two Methods:</p><p>Thin.</p></div><div class="section steps"><ol
class="steps_list_2"><li><div class="step_num">1</div><b class="whb">Fold.</b> Twice.</li></ol></div></body></html>"""


def test_a_newer_parser_reads_the_kept_page_and_asks_nobody(site, tmp_path):
    url = f"https://{HOST}/wikihow/Fold"
    site.add("/wikihow/Fold", (200, HTML, OLD_PAGE.encode()))
    function = load({}, Context(root=str(tmp_path), scratch=str(tmp_path), transport={HOST: site.address}))
    task = {"video_id": "a", "source": {}, "videos": {"article_url": url}}
    first = function(task)
    asked = len(site.asked)
    assert asked > 0
    # As the version before left it in the table.
    stored = {**first, "step": [], "intro": "Two Methods: Thin.", "parser_version": PARSER_VERSION - 1}
    again = load({}, Context(root=str(tmp_path / "other"), scratch=str(tmp_path), transport={HOST: site.address}))
    row = again({**task, "kept": stored})
    assert row == first
    assert (row["intro"], row["parser_version"], [step["text"] for step in row["step"]]) == (
        "Thin.",
        PARSER_VERSION,
        ["Fold. Twice."],
    )
    assert len(site.asked) == asked
    # The description links to another article by now: that one is fetched.
    again({**task, "kept": {**stored, "url": f"https://{HOST}/wikihow/Cut"}})
    assert len(site.asked) > asked


@pytest.mark.parametrize("host", ["www.wikihow.life", "www.wikihow-fun.com", "m.wikihow.com.tr", "www.wikihow.cz"])
def test_wikihows_other_domains_are_fetched_each_by_its_own_rules(site, tmp_path, host):
    """The host of the address is the one whose robots.txt and pace count."""
    paced: list[str] = []
    hosts = {host: site.address}
    site.add("/Fold", (200, HTML, re.sub("<link[^>]*>", "", OLD_PAGE).encode()))
    function = load({}, Context(root=str(tmp_path), scratch=str(tmp_path), transport=hosts, pace=paced.append))
    row = function({"video_id": "a", "source": {"article_url": f"https://{host}/Fold"}, "videos": {}})
    assert (row["site"], row["license"], row["url"]) == ("wikihow", "CC BY-NC-SA 3.0", f"https://{host}/Fold")
    assert set(paced) == {host}
    site.add("/robots.txt", (200, {}, b"User-agent: *\nDisallow: /\n"))
    fresh = load({}, Context(root=str(tmp_path / "b"), scratch=str(tmp_path), transport=hosts))
    with pytest.raises(SkipVideo, match="robots"):
        fresh({"video_id": "a", "source": {"article_url": f"https://{host}/Fold"}, "videos": {}})
