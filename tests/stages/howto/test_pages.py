"""Article pages as they are found: titles, fractions, sections, and pages that are damaged."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stages.howto.howto_kit import EHOW, HOW_TO, PLAIN, WIKIHOW, linked_data

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.howto.parser import Article, parse_article

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
        ("the 5<sup>th</sup>/6th cup", "the 5th/6th cup"),
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


def ehow(*blocks: str) -> str:
    wrapped = (f'<div class="mod step"><div class="stepContent">{block}</div></div>' for block in blocks)
    return '<link rel="canonical" href="https://www.ehow.com/how_1_tea.html">' + "".join(wrapped)


@pytest.mark.parametrize(
    "needs",
    [
        "<ul><li>Tea</li></ul>",
        "<p>Things You'll Need</p><ul><li>Tea</li></ul>",
        "<strong>Materials:</strong><ul><li>Tea</li></ul>",
        "<h4>For the Pot</h4><ul><li>Tea</li></ul>",
        "<h3>Things You'll Need for a Pot of Tea</h3><ul><li>Tea</li></ul>",
        "<h4>Tools</h4><ul><li>Pot</li></ul><h4>Ingredients</h4><ul><li>Tea<ul><li>green</li></ul></li></ul>",
    ],
)
def test_what_one_needs_is_no_step(needs):
    page = ehow(f'<div class="content">{needs}</div>', '<div class="content"><p>Pour.</p></div>')
    assert [step.text for step in parse_article(page, "").steps] == ["Pour."]


@pytest.mark.parametrize(
    "first",
    [
        "<p>You will need it.</p><ul><li>Tea</li></ul>",
        "<p>Mix together:</p><ul><li>Tea</li></ul>",
        "<h3>Step 1</h3><ul><li>Mix.</li></ul>",
        "<p>Things You'll Need</p>",
    ],
)
def test_a_first_step_is_not_taken_for_what_one_needs(first):
    page = ehow(f'<div class="content">{first}</div>', '<div class="content"><p>Pour.</p></div>')
    assert len(parse_article(page, "").steps) == 2


def test_blocks_within_blocks_are_read_once():
    lead = '<div class="content lead"><div class="content">Tea is good.</div></div>'
    article = parse_article(ehow(lead, '<div class="content"><div class="content">Boil.</div> Wait.</div>'), "")
    assert (article.intro, [step.text for step in article.steps]) == ("Tea is good.", ["Boil. Wait."])
    unclosed = ehow('<div class="content">Boil.', '<div class="content">Pour.').replace("</div>", "")
    assert [step.text for step in parse_article(unclosed, "").steps] == ["Boil.", "Pour."]


@pytest.mark.parametrize(
    "page",
    [
        '<h2>Steps</h2><div id="steps">{0}<h3>Pan</h3>{1}</div><h2>Tips</h2>{2}',
        '<div><h2>Steps</h2><div class="section_text">{0}<h3>Pan</h3>{1}</div></div><div><h2>Tips</h2>{2}</div>',
        "<ul><li><div><h2>Steps</h2></div>{0}<div><h3>Pan</h3></div>{1}<h2>Tips</h2>{2}</li></ul>",
    ],
)
def test_plain_lists_however_they_are_wrapped(page):
    lists = ("<ol><li><b>Boil.</b><ol><li>Wait.</li></ol></li></ol>", "<ol><li>Fry.</li></ol>", "<ol><li>x</li></ol>")
    steps = parse_article(page.format(*lists), URL).steps
    assert [(step.section, step.text) for step in steps] == [("", "Boil. Wait."), ("Pan", "Fry.")]


@pytest.mark.parametrize("around", ['<div class="sample">{}</div>', '<div id="sd_container"><div>{}</div></div>'])
def test_samples_are_no_steps_wherever_they_stand(around):
    steps = parse_article(around.format(numbered("A template.")) + numbered("two"), URL).steps
    assert [step.text for step in steps] == ["Do it. two"]


FOLD = {"@type": "http://schema.org/HowTo", "name": "Fold", "step": [{"@type": "HowToStep", "text": "Fold."}]}
LISTED = {"@type": "ListItem", "position": 1, "item": {"@type": "https://schema.org/HowToStep", "text": "Fold."}}
SECTION = {"@type": "https://schema.org/HowToSection", "name": "One", "itemListElement": [LISTED]}


@pytest.mark.parametrize(
    "page",
    [
        linked_data(json.dumps(FOLD)),
        linked_data(json.dumps({"@type": "WebPage", "mainEntity": FOLD})),
        linked_data(json.dumps({"@type": "HowTo", "steps": ["Fold."]})),
        linked_data(json.dumps({"@type": "HowTo", "step": [LISTED]})),
        linked_data(json.dumps({"@type": "HowTo", "step": [SECTION]})),
        linked_data(json.dumps(FOLD)).replace("+json", "+JSON; charset=utf-8"),
        linked_data(f"<![CDATA[{json.dumps(FOLD)}]]>"),
        linked_data(f"\n//<![CDATA[\n{json.dumps(FOLD)}\n//]]>\n"),
        linked_data(f"/*<![CDATA[*/ {json.dumps(FOLD)} /*]]>*/"),
        linked_data(json.dumps({"@type": "HowTo", "step": "<p><b>F</b>old.</p>"})),
    ],
)
def test_ways_to_write_json_ld(page):
    assert [step.text for step in parse_article(f"<html>{page}", URL).steps] == ["Fold."]


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
        linked_data(json.dumps({"@type": "HowTo", "step": "<" + "a" * 1_000_000})),
        "<!DOCTYPE html [" + "".join(f'<!ENTITY a{i + 1} "&a{i};&a{i};">' for i in range(60)) + "]><p>&a60;",
    ],
    ids=range(17),
)
def test_no_page_takes_for_ever(page):
    """Some of these pages once took minutes. A test that takes that long is noticed."""
    check(page)
