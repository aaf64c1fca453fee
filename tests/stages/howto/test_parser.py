import gzip
import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.recordings import RECORDINGS
from tests.stages.howto.howto_kit import EHOW, HOW_TO, PLAIN, WIKIHOW, linked_data

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.howto.parser import canonical_url, parse_article


def recorded(name: str) -> Path:
    found = sorted(RECORDINGS.glob(name))
    if not found:
        pytest.skip(f"the recordings are not here: {name}")
    return found[0]


def test_wikihow_layout():
    article = parse_article(WIKIHOW, "/tmp/page.html")
    assert (article.title, article.site, article.intro) == ("How to Boil Eggs", "wikihow", "Eggs are good.")
    assert article.license == "CC BY-NC-SA 4.0"
    first, second = article.steps
    assert first.section == "On the Stove"
    assert first.headline == "Add 1⁄4 cup of salt."
    assert first.text == "Add 1⁄4 cup of salt. Stir. Sea salt, or rock salt."
    assert first.image_url == "https://www.wikihow.com/images/1.jpg"
    assert second.text == "Boil. 10\xa0min."
    assert second.image_url == "https://www.wikihow.com/images/2.jpg"
    assert second.clip_url == "https://www.wikihow.com/video/v/2%20b.mp4"


def test_plain_layout_of_2009_and_2011():
    article = parse_article(PLAIN, "https://www.wikihow.com/Deal-With-Party-Crashers")
    assert article.title == "How to Deal With Party Crashers"
    assert article.intro == "Party crashers are guests."
    assert [(step.section, step.headline, step.text) for step in article.steps] == [
        ("", "Keep calm.", "Keep calm. Breathe. Count."),
        ("", "", "Talk about it."),
        ("Asking Them to Leave", "", "Show the door. Gently."),
    ]


def test_ehow_layout_of_2015_and_2017():
    article = parse_article(EHOW, "/tmp/page.html")
    assert (article.title, article.site, article.license) == ("How to Make Tea", "ehow", None)
    assert article.intro == "Tea is good."
    assert [step.text for step in article.steps] == ["Boil water. Wait.", "Pour."]
    assert article.steps[0].image_url == "https://cdn.ehow.com/1.jpg"


def test_json_ld_is_the_last_resort():
    page = "<html><body>" + linked_data("{broken", '{"@graph": [{"no": "type"}]}', json.dumps([HOW_TO]))
    article = parse_article(page, "https://www.ehow.com/13712189/how-to-fold")
    assert (article.title, article.site, article.intro) == ("How to Fold", "ehow", "It is easy.")
    assert [(step.section, step.headline, step.text) for step in article.steps] == [
        ("First part", "Fold it.", "Fold it. Twice."),
        ("First part", "", "Press & hold."),
        ("", "", "Done."),
    ]
    assert len(parse_article(WIKIHOW + linked_data(json.dumps(HOW_TO)), "").steps) == 2


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://sample.invalid/wikihow/Fold", "wikihow"),
        ("https://sample.invalid/ehow/how_1_fold.html", "ehow"),
        ("https://m.wikihow.com/Fold", "wikihow"),
        ("https://notwikihow.com/Fold", "other"),
    ],
)
def test_site_by_the_address(url: str, site: str):
    page = "<html>" + linked_data(json.dumps(HOW_TO))
    assert parse_article(page, url).site == site


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("", "no_steps"),
        ("no tags at all", "no_steps"),
        ("<html><body><ol><li>a list</li></ol></body></html>", "no_steps"),
        ("<h2>Tips</h2><ol><li>a list</li></ol>", "no_steps"),
        (linked_data('{"@type": "HowTo", "step": []}'), "no_steps"),
        pytest.param(linked_data("[" * 100_000), "no_steps", id="deep-json"),
        pytest.param("<div>" * 20_000, "too_large", id="deep"),
        pytest.param("<a>x</a>" * 100_000, "too_large", id="wide"),
    ],
)
def test_what_is_no_how_to_page(page: str, reason: str):
    with pytest.raises(FailVideo) as caught:
        parse_article(page, "https://www.wikihow.com/X")
    assert caught.value.reason == reason


def test_canonical_url():
    assert canonical_url(WIKIHOW) == "https://www.wikihow.com/Boil-Eggs"
    assert canonical_url(EHOW) == "https://www.ehow.com/how_1_tea.html"
    assert canonical_url("<p>none") is None
    assert canonical_url("") is None


tags = st.sampled_from(
    """<h2>Steps</h2> <ol> <li> </ol> <b class=whb> </b> <div class='step'> </div> <p> <br> <ul> </script> <!--
    <div class='section steps'> <ol class='steps_list_2'> <div class='mod step'> <div class='stepContent'>
    <div class='content'> <img src='//[x'> <video data-src=a> <link rel=canonical href='https://[a'> <![CDATA[
    <meta property='og:url' content='http://x'> <?xml x?> <script type='application/ld+json'> <!DOCTYPE""".replace(
        "> ", ">\n"
    ).split("\n")
)


def reason_or_steps(page: str, url: str):
    try:
        return parse_article(page, url).steps
    except FailVideo as error:
        return error.reason


@settings(max_examples=300)
@given(st.lists(tags | st.text(max_size=8), max_size=30).map("".join), st.text(max_size=20))
def test_arbitrary_pages_raise_nothing_but_fail_video(page: str, url: str):
    found = reason_or_steps(page, url)
    assert found in ("no_steps", "too_large") or all(step.text for step in found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["@type", "@graph", "step", "itemListElement", "text", "name", "image", "url"]),
            inner | st.sampled_from(["HowTo", "HowToStep", "HowToSection", "Recipe"]),
        )
    ),
)


@given(json_values)
def test_arbitrary_json_ld_raises_nothing_but_fail_video(value):
    page = linked_data(json.dumps({"@type": "HowTo", "step": value}), json.dumps(value))
    found = reason_or_steps(page, "")
    assert found == "no_steps" or all(step.text for step in found)


# ---- recordings --------------------------------------------------------------------------------------------

PAGES = [
    ("*Cook_Lamb*", 15, "Cook-Lamb-Steaks"),
    ("*Grill_Flank*", 15, "Grill-Flank-Steak"),
    ("*Ube_Halaya*", 17, "Make-Ube-Halaya"),
    ("*Verify_Your_YouTube*", 10, "Verify-Your-YouTube-Account"),
    ("*Homeschooling*", 17, "Cope-with-the-Stress-of-Homeschooling-(for-Parents)"),
    ("*Rolling_Blackouts*", 6, "Know-when-Your-Power-Will-Go-Out-in-California-Rolling-Blackouts"),
]


@pytest.mark.recorded
@pytest.mark.parametrize(("name", "num_steps", "slug"), PAGES)
def test_recorded_wikihow_pages(name: str, num_steps: int, slug: str):
    page = recorded(f"wikihow_pages/{name}").read_text(encoding="utf-8")
    article = parse_article(page, "/somewhere/page.html")
    assert canonical_url(page) == f"https://www.wikihow.com/{slug}"
    assert len(article.steps) == num_steps
    assert article.title == "How to " + slug.replace("-(for-Parents)", " (for Parents)").replace("-", " ")
    assert (article.site, article.license) == ("wikihow", "CC BY-NC-SA 3.0")
    assert len(article.intro) > 100
    for step in article.steps:
        assert step.section
        assert step.text.startswith(step.headline)
        assert "[1]" not in step.text
        assert "WH." not in step.text


@pytest.mark.recorded
@pytest.mark.parametrize(("name", "slug"), [(PAGES[0][0], PAGES[0][2]), (PAGES[1][0], PAGES[1][2])])
def test_recorded_headlines_and_media_are_those_of_the_summaries_list(name: str, slug: str):
    with gzip.open(recorded("wikihow_summaries.jsonl.gz"), "rt", encoding="utf-8") as file:
        listed = next(record for record in map(json.loads, file) if record["slug"] == slug)
    steps = parse_article(recorded(f"wikihow_pages/{name}").read_text(encoding="utf-8"), "").steps
    assert [step.headline for step in steps] == [step["text"] for step in listed["steps"]]
    root = "https://www.wikihow.com/video"  # `videoRoot` in the pages' own scripts
    clips = [unquote(step.clip_url) if step.clip_url else None for step in steps]
    assert clips == [there["vid"] and root + there["vid"] for there in listed["steps"]]
    assert all(there["img"] in (None, ours.image_url) for ours, there in zip(steps, listed["steps"], strict=True))


@pytest.mark.recorded
def test_recorded_fractions_stay_whole():
    page = recorded("wikihow_pages/*Grill_Flank*").read_text(encoding="utf-8")
    text = " ".join(step.text for step in parse_article(page, "").steps)
    assert text.count("1⁄4 inch") == 2
    assert " ⁄" not in text
    assert "⁄ " not in text


@pytest.mark.recorded
@pytest.mark.parametrize(("name", "num_steps", "sections"), [("2009*", 6, {""}), ("2011*", 12, {"", "A"})])
def test_recorded_pages_of_2009_and_2011(name: str, num_steps: int, sections: set[str]):
    page = recorded(f"wikihow_pages/{name}").read_text(encoding="utf-8")
    article = parse_article(page, "")
    assert len(article.steps) == num_steps
    assert article.site == "wikihow"
    assert {step.section[:1] for step in article.steps} == sections
    assert all("edit" not in step.section for step in article.steps)
    if name == "2009*":
        assert [step.headline for step in article.steps][:2] == ["Get an ignition source.", "Gather tinder"]


@pytest.mark.recorded
def test_recorded_ehow_page():
    article = parse_article(recorded("ehow_pages/*ehow-1*").read_text(encoding="utf-8"), "")
    assert (article.title, article.site, article.license) == ("How to Build a Terrarium", "ehow", None)
    assert article.intro.startswith("Glass cloche terrariums")
    assert len(article.steps) == 10
    assert article.steps[0].text.startswith("Measure the circumference")
    assert article.steps[1].text == "Insert your plant into the hole."
    assert article.steps[-1].headline == "Finished Terrarium"


def test_an_entity_of_thousands_of_digits_in_json_ld_is_no_character():
    steps = json.dumps({"@type": "HowTo", "step": [f"Stir &#{'9' * 5000}; &amp; wait."]})
    article = parse_article(f'<script type="application/ld+json">{steps}</script>', "https://x.example/a")
    assert [step.text for step in article.steps] == ["Stir \ufffd & wait."]
