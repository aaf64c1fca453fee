"""Article pages as they are found: titles, fractions, sections, and pages that are damaged."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.test_article_parser import EHOW, HOW_TO, PLAIN, WIKIHOW, linked_data

from vsumdata.pipeline.errors import FailVideo
from vsumdata.stages.article_parser import Article, parse_article

URL = "https://www.wikihow.com/Boil-Eggs"
STEP = '<li><div class="step"><b class="whb">{}</b> {}</div></li>'


def numbered(*steps: str, name: str = "") -> str:
    heading = f'<h3><span class="mw-headline">{name}</span></h3>' if name else ""
    items = "".join(STEP.format("Do it.", step) for step in steps)
    return f'<div class="section steps">{heading}<div><ol class="steps_list_2">{items}</ol></div></div>'


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<span class="frac nowrap"><sup>1</sup>⁄<sub>4</sub></span> cup', "1⁄4 cup"),
        ('1&nbsp;<span class="frac"><sup>1</sup>⁄<sub>2</sub></span> cups', "1\xa01⁄2 cups"),
        ('1<span class="frac nowrap"><sup>1</sup>⁄<sub>2</sub></span> cups', "1\xa01⁄2 cups"),
        ("2 <sup>3</sup>&frasl;<sub>4</sub> cups", "2 3⁄4 cups"),
        ("<b>12</b><sup>1</sup>/<sub>2</sub>-inch", "12\xa01/2-inch"),
        ("½ or 1½ or 1/2 cup", "½ or 1½ or 1/2 cup"),
        ("10<sup>2</sup> cm<sup>2</sup>, H<sub>2</sub>O", "102 cm2, H2O"),
        ('Salt.<sup class="reference" id="_ref-1"><a>[1]</a></sup>', "Salt."),
    ],
)
def test_fractions_and_mixed_numbers(html, text):
    [step] = parse_article(numbered(html), URL).steps
    assert step.text == f"Do it. {text}"


@pytest.mark.parametrize(
    "head",
    [
        "<title>How to Boil Eggs: 12 Steps (with Pictures) - wikiHow</title>",
        "<title>How to Boil Eggs (with Pictures) - wikiHow Life</title>",
        "<title>How to Boil Eggs | eHow.com</title>",
        "<title>How  to Boil\n Eggs: 7 Steps - wikiHow</title>",
        '<meta property="og:title" content="How to Boil Eggs – wikiHow">',
        "<title>3 Ways to Boil Eggs - wikiHow</title><h1><a>How to Boil Eggs</a></h1>",
    ],
)
def test_titles_lose_what_the_site_adds(head):
    assert parse_article(f"<head>{head}</head>{numbered('x')}", "").title == "How to Boil Eggs"


def test_a_title_keeps_what_belongs_to_it():
    title = "How to Play Halo: Reach - A Guide (for Parents)"
    assert parse_article(f"<title>{title}</title>{numbered('x')}", "").title == title


def test_methods_name_their_steps_and_are_not_mixed():
    page = numbered("one", "two", name="On the Stove") + numbered("three", name="In the Oven")
    found = [(step.section, step.text) for step in parse_article(page, URL).steps]
    assert found == [
        ("On the Stove", "Do it. one"),
        ("On the Stove", "Do it. two"),
        ("In the Oven", "Do it. three"),
    ]
    nested = page.replace("</ol></div></div>", "</ol>")  # cut off by a proxy, say
    assert [(step.section, step.text) for step in parse_article(nested, URL).steps] == found


def test_json_ld_in_a_graph_with_lists_of_types_strings_and_clips():
    clip = {"@type": "VideoObject", "contentUrl": "https://cdn.example/1 a.mp4"}
    step = {"@type": ["HowToStep", "Thing"], "name": "Cut.", "text": "Cut. Thin.", "image": ["/1.jpg"], "video": clip}
    graph = {"@graph": [{"@type": "WebPage"}, {"@type": ["Thing", "HowTo"], "name": "Cook", "step": [step, "Fry."]}]}
    article = parse_article(linked_data(json.dumps(graph)), URL)
    first, second = article.steps
    assert (first.headline, first.text, second.text) == ("Cut.", "Cut. Thin.", "Fry.")
    assert first.image_url == "https://www.wikihow.com/1.jpg"
    assert first.clip_url == "https://cdn.example/1%20a.mp4"
    recipe = {"@type": "Recipe", "name": "Soup", "recipeInstructions": "Boil the water."}
    assert [step.text for step in parse_article(linked_data(json.dumps(recipe)), URL).steps] == ["Boil the water."]


# ---- damaged and hostile pages -----------------------------------------------------------------------------

PAGES = [WIKIHOW, PLAIN, EHOW, "<html>" + linked_data(json.dumps(HOW_TO)), numbered("a", "b", name="c")]


def check(page: str, url: str = URL) -> Article | None:
    try:
        article = parse_article(page, url)
    except FailVideo as error:
        assert error.reason in ("no_steps", "too_large")
        return None
    assert article.steps
    assert all(step.text.startswith(step.headline) or step.headline in step.text for step in article.steps)
    for step in article.steps:
        assert all(address is None or address.startswith("http") for address in (step.image_url, step.clip_url))
    return article


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PAGES), st.data())
def test_pages_cut_and_mangled_give_steps_or_a_reason(page, data):
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(page)))
        stop = data.draw(st.integers(start, min(len(page), start + 200)))
        page = page[:start] + data.draw(st.text(max_size=5) | st.just(page[start:stop] * 2) | st.just("")) + page[stop:]
    check(page)
    check(page[: data.draw(st.integers(0, len(page)))], data.draw(st.text(max_size=10)))


ITEM = '<div class="section steps"><ol class="steps_list_2"><li><div class="step"><b class="whb">x</b>'
BLOCK = '<div class="mod step"><div class="stepContent"><div class="content">x'


@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 100_000,
        "<b><b>" * 10_000,
        "<p><b>" * 10_000,
        "<b><i><p></b></i>" * 5_000,
        ITEM * 7_000,
        ITEM * 20 + "<b>y</b>" * 4_000,
        BLOCK * 9_000,
        BLOCK * 30 + '<div class="content">y</div>' * 4_000,
        "<h2>Steps</h2>" + "<ol><li>x" * 10_000,
        "<h2>Steps</h2><ol>" + "<li>x" * 8_000,
        "<title>a" + "\xa0" * 1_000_000 + "b</title>" + numbered("x"),
        "<meta property='og:title' content='a" + " " * 1_000_000 + "b'>" + numbered("x"),
        "<h2>Steps</h2><ol><li " + "a=1 " * 200_000 + ">x",
        linked_data('[{"@graph":' * 5_000),
        linked_data(json.dumps({"@type": "HowTo", "step": [[[["a"] * 100] * 100] * 5]})),
        "<!DOCTYPE html [" + "".join(f'<!ENTITY a{i + 1} "&a{i};&a{i};">' for i in range(60)) + "]><p>&a60;",
    ],
    ids=range(16),
)
def test_no_page_takes_for_ever(page):
    """A page that took more than seconds here would be seen: some of these once took minutes."""
    check(page)
