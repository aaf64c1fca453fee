"""JSON-LD as sites write it: what wraps it, how its keys are spelt, and steps that say the same thing twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.howto.howto_kit import linked_data

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.howto.jsonld import LinkedStep, once
from vsumdata.stages.howto.parser import parse_article

FOLD: dict[str, Any] = {
    "@type": "HowTo",
    "name": "Fold",
    "step": [{"@type": "HowToStep", "name": "Fold.", "text": "Fold. Twice."}],
}
WRITTEN = json.dumps(FOLD)
STEP = [("", "Fold.", "Fold. Twice.")]


def steps(*blocks: Any) -> list[tuple[str, str, str]]:
    """(section, headline, text) of the steps in a page with these blocks."""
    texts = [block if isinstance(block, str) else json.dumps(block) for block in blocks]
    return [step[:3] for step in parse_article(f"<html>{linked_data(*texts)}", "https://x.example/a").steps]


@pytest.mark.parametrize(
    "block",
    [
        f"{WRITTEN};",
        f"  {WRITTEN} ;\n",
        f"\ufeff{WRITTEN}",
        f"<!--\n{WRITTEN}\n-->",
        f"<!-- // --><![CDATA[\n{WRITTEN}\n// ]]>",
        f"//<![CDATA[\n{WRITTEN};\n//]]>",
        f"/* <![CDATA[ */{WRITTEN}/* ]]> */",
        f"<![CDATA[{WRITTEN}",
        f"/* how-to */ {WRITTEN}",
        f"[{WRITTEN},]",
        WRITTEN.replace("}]", "},\n ]").replace('."}', '.",}'),
        f'{{"@type": "WebSite"}}\n{WRITTEN}',
        f'{{"@type": "WebSite"}},{WRITTEN}',
        WRITTEN.replace('"', "&quot;"),
        WRITTEN.replace("{", '{\n// "old": 1,\n', 1).replace("[", "[ /* the steps */ ", 1),
        WRITTEN.replace("Fold. Twice", "Fold.\n\tTwice"),
    ],
)
def test_what_stands_around_the_json(block: str) -> None:
    assert steps(block) == STEP


@pytest.mark.parametrize(
    "block",
    [
        WRITTEN.replace('"@type"', '"@TYPE"').replace('"text"', '"Text"').replace('"name"', '"NAME"'),
        WRITTEN.replace("HowTo", "HOWTO"),
        WRITTEN.replace("HowTo", "howto").replace('"step"', '"Step"'),
        WRITTEN.replace('"HowTo', '"schema:HowTo').replace('"text"', '"schema:text"'),
        WRITTEN.replace('"HowTo', '"HTTP://Schema.org/HowTo').replace('"step"', '"http://schema.org/step"'),
        WRITTEN.replace('"text"', '"description"'),
        {"@graph": FOLD},
        {"@graph": [{"@type": "WebPage", "mainEntityOfPage": [FOLD]}]},
        {"@type": "WebPage", "hasPart": FOLD},
        {**FOLD, "step": FOLD["step"][0]},
        {**FOLD, "step": {"@type": "ItemList", "itemListElement": FOLD["step"]}},
        {**FOLD, "step": {"@type": "HowToSection", "itemListElement": FOLD["step"][0]}},
        {**FOLD, "step": {"@type": "HowToSection", "steps": FOLD["step"]}},
        {**FOLD, "step": [{"@type": "ListItem", "item": FOLD["step"][0]}]},
        {**FOLD, "step": [{"name": {"@value": "Fold."}, "text": [{"@value": "Fold."}, "Twice."]}]},
        {"@graph": [{**FOLD, "step": [{"@id": "#1"}]}, {**FOLD["step"][0], "@id": "#1"}]},
    ],
)
def test_ways_to_spell_it(block: Any) -> None:
    assert steps(block) == STEP


def test_the_first_block_with_steps_counts() -> None:
    assert steps("{", {"@type": "HowTo", "step": []}, FOLD, {**FOLD, "step": ["Other."]}) == STEP


@pytest.mark.parametrize(
    ("given_steps", "texts"),
    [
        ("Fold it. Twice.", ["Fold it. Twice."]),
        ("1. Fold it.\n2. Press it.\n\n", ["Fold it.", "Press it."]),
        ("<ol><li>Fold it.</li><li>Press <b>it</b>.</li></ol>", ["Fold it.", "Press it."]),
        ("1.5 cups<br>2.Press", ["1.5 cups", "Press"]),
        (["Fold it.\nTwice.", "Press it."], ["Fold it. Twice.", "Press it."]),
        ([["Fold it."], {"text": "Press it."}], ["Fold it.", "Press it."]),
    ],
)
def test_texts_in_place_of_objects(given_steps: Any, texts: list[str]) -> None:
    assert steps({"@type": "HowTo", "step": given_steps}) == [("", "", text) for text in texts]
    assert steps({"@type": "Recipe", "recipeInstructions": given_steps}) == [("", "", text) for text in texts]
    section = {"@type": "HowToSection", "name": "A", "itemListElement": given_steps}
    assert steps({"@type": "HowTo", "step": [section]}) == [("A", "", text) for text in texts]


# What name and text say twice


@pytest.mark.parametrize(
    ("name", "text", "headline", "whole"),
    [
        ("Heat it.", "Heat it. Wait.", "Heat it.", None),
        ("Heat it", "Heat it.", "Heat it", None),
        ("heat", "Heat the pan.", "Heat", None),
        ("Mash.", "Mash the berries.", "Mash", None),
        ("Make the sauce", "Make the sauce: stir.", "Make the sauce", None),
        ("Heat the oil in a...", "Heat the oil in a pan.", "", None),
        ("Heat the oil in a …", "Heat the oil in a pan.", "", None),
        ("Heat the oil. Add...", "Heat the oil.  Add salt.", "", "Heat the oil. Add salt."),
        ("Heat the oil in a pa...", "Heat the oil in a pan.", "", None),
        ("Heat the oil in a pa", "Heat the oil in a pan.", "", None),
        ("Heat “the” oil -", "Heat the oil, then wait.", "Heat the oil", None),
        ("Cook &amp; stir", "Cook & stir for long.", "Cook & stir", None),
        ("Heat\xa0the oil", "Heat the oil now.", "Heat the oil", None),
        ("Pour in buttermilk.", "Pour in the buttermilk and stir.", "", None),
        ("加热油…", "加热油，然后等待。", "", None),
        ("Cafe\u0301 first", "Caf\xe9 first, then tea.", "Café first", None),
        ("Heat the oil in a pan.", "Heat the oil", "", "Heat the oil in a pan."),
        ("Knead", "Keep the dough in the mixer.", "Knead", "Knead Keep the dough in the mixer."),
        ("Make the dough", "Mix water and flour.", "Make the dough", "Make the dough Mix water and flour."),
        ("Only a name", "", "Only a name", "Only a name"),
        ("", "Only a text", "", None),
    ],
)
def test_name_and_text_are_not_both_said(name: str, text: str, headline: str, whole: str | None) -> None:
    block = {"@type": "HowTo", "step": [{"@type": "HowToStep", "name": name, "text": text}]}
    assert steps(block) == [("", headline, whole or text.replace("&amp;", "&"))]


words = st.sampled_from("heat the oil in a pan add salt Heat 中文 café … . , ! 1 ½".split())


@given(st.lists(words, max_size=8).map(" ".join), st.lists(words, max_size=12).map(" ".join))
def test_a_headline_is_always_a_part_of_the_step(name: str, text: str) -> None:
    headline, whole = once(name, text)
    assert headline in whole
    assert text in whole or whole == name
    assert len(whole) <= len(name) + len(text) + 1


@given(st.lists(st.sampled_from("heat the oil in a pan add some salt".split()), min_size=3, max_size=12), st.data())
def test_a_name_that_was_cut_anywhere_is_not_said_again(said: list[str], data: st.DataObject) -> None:
    text = " ".join(said).capitalize() + "."
    at = data.draw(st.integers(1, len(text) - 1))
    for dots in ("...", "…", " ...", ""):
        assert once(text[:at].strip() + dots, text)[1] == text


@pytest.mark.parametrize("form", ["Step {}", "stap {}", "Étape {} :", "{}.", "#{}", "step{}", "Шаг {}", "第{}步", "{}"])
def test_numbers_are_no_headlines(form: str) -> None:
    listed = [{"@type": "HowToStep", "name": form.format(n), "text": f"Do {n}."} for n in (1, 2)]
    assert steps({"@type": "HowTo", "step": listed}) == [("", "", "Do 1."), ("", "", "Do 2.")]


def test_a_headline_with_a_number_stays() -> None:
    listed = [{"name": "Bake 20", "text": "Wait."}, {"name": "Cool 5", "text": "Wait again."}]
    assert [step[1] for step in steps({"@type": "HowTo", "step": listed})] == ["Bake 20", "Cool 5"]
    assert steps({"@type": "HowTo", "step": [{"name": "Step 1"}]}) == [("", "Step 1", "Step 1")]


def test_nothing_said_is_no_step() -> None:
    assert isinstance(LinkedStep("", "", ""), tuple)
    with pytest.raises(FailVideo, match="no_steps"):
        steps({"@type": "HowTo", "step": [{"@type": "HowToStep", "url": "#1"}, "", {"name": " "}]})


# Objects that name each other


def test_steps_that_name_each_other_end() -> None:
    ring = [{"@id": f"#{n}", "@type": "HowToSection", "itemListElement": [{"@id": "#0"}] * 30} for n in range(30)]
    page = {"@graph": [{"@type": "HowTo", "step": [{"@id": "#0"}]}, *ring]}
    with pytest.raises(FailVideo, match="no_steps"):
        steps(page)
