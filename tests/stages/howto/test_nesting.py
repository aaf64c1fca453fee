"""Tags that nobody closed: such a page is read as browsers read it, and costs no more work than another."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from tests.recordings import RECORDINGS
from tests.stages.howto.howto_kit import EHOW, PLAIN, WIKIHOW

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.howto.nesting import TooDeepError, closed
from vsumdata.stages.howto.parser import MAX_CHARACTERS, MAX_DEPTH, MAX_TAGS, depth_of, parse_article


@pytest.mark.parametrize(
    ("page", "written"),
    [
        ("<ul><li>a<li>b</ul>c", "<ul><li>a</li><li>b</li></ul>c"),
        ("<ol><li><div>a</li><li>b</li></ol>", "<ol><li><div>a</div></li><li>b</li></ol>"),
        ("<ol><li><div>a<li>b</ol>", "<ol><li><div>a</div></li><li>b</li></ol>"),
        ("<ol><li>a<ul><li>b</ol>c", "<ol><li>a<ul><li>b</li></ul></li></ol>c"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</ul>", "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"),
        ("<p>a<p>b<div>c</div>", "<p>a</p><p>b</p><div>c</div>"),
        ("<p>a<span>b<ul><li>c</ul>", "<p>a<span>b</span></p><ul><li>c</li></ul>"),
        ("<dl><dt>a<dd><div>b<dt>c</dl>", "<dl><dt>a</dt><dd><div>b</div></dd><dt>c</dt></dl>"),
        ("<table><tr><td>a<tr><td>b</table>c", "<table><tr><td>a</td></tr><tr><td>b</td></tr></table>c"),
        ("<tr><td>a<th><p>b<tr>c", "<tr><td>a</td><th><p>b</p></th></tr><tr>c"),
        ("<table><tr><td><ul><li>a</table>b", "<table><tr><td><ul><li>a</li></ul></td></tr></table>b"),
        ("<div><table><tr><td>a</div>b</table></div>", "<div><table><tr><td>ab</td></tr></table></div>"),
        ("<h2>a<h3>b</h2>c", "<h2>a</h2><h3>b</h3>c"),
        ("<b>a<p>b</b>c</p>d", "<b>a<p>bc</p>d"),
        ("<a href=1>a<a href=2>b</a>", "<a href=1>a</a><a href=2>b</a>"),
        ("</li></div>a", "a"),
        ("<body><div>a</body></html>b</div>", "<body><div>ab</div>"),
        ("a<br>b<img src='>'>c<hr/>d", "a<br>b<img src='>'>c<hr/>d"),
        ("<script>'<li>'</script><li title='a>b'>x</li>", "<script>'<li>'</script><li title='a>b'>x</li>"),
        ("<!-- <ul><li> --><ul><!-- </ul> --><li>a</ul>", "<!-- <ul><li> --><ul><!-- </ul> --><li>a</li></ul>"),
        ("<title><li></title><textarea></li></textarea>", "<title><li></title><textarea></li></textarea>"),
        ("1 < 2 <3 <a", "1 < 2 <3 <a"),
    ],
)  # fmt: skip
def test_end_tags_are_written_where_a_browser_ends_the_element(page: str, written: str) -> None:
    assert closed(page, MAX_DEPTH) == written


@pytest.mark.parametrize("page", [WIKIHOW, PLAIN, EHOW])
def test_a_sound_page_says_the_same(page: str) -> None:
    """Sound but for the end of the document."""
    assert parse_article(closed(page, MAX_DEPTH), "") == parse_article(page, "")


STEPS = WIKIHOW[WIKIHOW.index('<div class="section steps"><h3>') : WIKIHOW.index("<a href")]
# One comment each, that lxml nests the next one in.
COMMENTS = [
    '<ol>{}</ol>|<li class="comment"><div class="body"><p>No.</p><ul><li><div><p>Yes.</p></li></ul></li>',
    "<ol>{}</ol>|<li><div>Text<li>",
    "<ul>{}</ul>|<li><div><span>Text</li>",
    "<div>{}</div>|<article><div><p>Text</article>",
    "<dl>{}</dl>|<dt>Who<dd><div>Text",
    "<table>{}</table>|<tr><td><table><tr><td>Text</table>",
    "<section>{}</section>|<blockquote><div><table><tr><td>Text</blockquote></table></div></blockquote>",
    "<div>{}</div>|<a href=x>Text",
]


@pytest.mark.parametrize("comments", COMMENTS)
@pytest.mark.parametrize("place", ["before", "after", "between"])
def test_comments_that_nobody_closed_do_not_hide_the_steps(comments: str, place: str) -> None:
    around, one = comments.split("|")
    listed = around.format(one * 150)
    body = {"before": listed + STEPS, "after": STEPS + listed, "between": STEPS + listed + STEPS}[place]
    steps = parse_article(f"<html><body><h1>Boil</h1>{body}</body></html>", "https://www.wikihow.com/Boil").steps
    expected = parse_article(WIKIHOW, "").steps
    assert steps == expected * (2 if place == "between" else 1)


def test_some_of_them_are_deep_for_lxml() -> None:
    """Else the test above would show nothing."""
    deep = [
        depth_of(BeautifulSoup(around.format(one * 150), "lxml")) for around, one in (c.split("|") for c in COMMENTS)
    ]
    assert sum(depth > MAX_DEPTH for depth in deep) >= 3, deep


@pytest.mark.recorded
def test_the_field_case() -> None:
    path = RECORDINGS / "field_cases" / "deep_lists" / "comments.html"
    if not path.exists():
        pytest.skip("the recordings are not here: comments.html")
    assert [step.headline for step in parse_article(path.read_text(), "").steps] == ["Take the rope.", "Pull."]


# Work


class Work:
    """How often functions were called, of Python and of C: the same on every machine, however busy."""

    calls = 0

    def count(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls += event in ("call", "c_call")


@contextmanager
def counted() -> Iterator[Work]:
    work, before = Work(), sys.getprofile()
    sys.setprofile(work.count)
    try:
        yield work
    finally:
        sys.setprofile(before)


def refused(page: str) -> int:
    """The calls that it took to refuse a page as too large."""
    with counted() as work, pytest.raises(FailVideo, match="too_large"):
        parse_article(page, "https://www.wikihow.com/X")
    return work.calls


def test_a_page_nested_100_000_deep_and_one_of_50_mb_are_refused_unread() -> None:
    for page in ("<div>" * 100_000, "<li><div>" * 60_000, "<b>" + "x" * 50_000_000, "<p>x" * 12_500_000):
        assert refused(page) < 1000


def test_work_grows_with_the_page_and_not_with_its_depth() -> None:
    deepest = "<ul><li>" * (MAX_TAGS // 2)
    per_tag = refused(deepest) / MAX_TAGS
    # lxml's reading, with a dozen calls for each tag, comes first; ours ends at the limit.
    assert per_tag < 60
    for comments in COMMENTS:
        around, one = comments.split("|")
        small, large = (STEPS + around.format(one * times) for times in (150, 600))
        with counted() as some:
            parse_article(small, "")
        with counted() as more:
            parse_article(large, "")
        assert more.calls < 5 * some.calls, comments


def test_the_limits_are_those_of_what_is_fetched() -> None:
    assert 50_000_000 > MAX_CHARACTERS >= 10_000_000
    assert MAX_TAGS < 100_000


END = re.compile(r"</[a-z][^<>]*>", re.IGNORECASE)
tags = st.sampled_from(
    "<ul> <ol> <li> </li> </ul> </ol> <div> </div> <p> </p> <b> </b> <a> </a> <table> <tr> <td> </td> </table> <dl> "
    "<dt> <dd> <h2> </h3> <br> <script> </script> <!-- --> <option> <body> </body> < > </ <x <button> </button>".split()
)


@given(st.lists(tags | st.text(max_size=3), max_size=60).map("".join))
def test_what_was_closed_is_closed(page: str) -> None:
    once = closed(page, 1000)
    assert closed(once, 1000) == once
    # Nothing but end tags was written or left out.
    assert END.sub("", once) == END.sub("", page)


@given(st.integers(1, 30), st.integers(1, 60))
def test_the_limit_is_the_depth(limit: int, depth: int) -> None:
    page = "<div>" * depth + "</div>" * depth
    if depth <= limit:
        assert closed(page, limit) == page
        return
    with pytest.raises(TooDeepError):
        closed(page, limit)
