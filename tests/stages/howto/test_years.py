"""wikiHow's pages of 2012 to 2014, in several languages, and its domains."""

from __future__ import annotations

import re

import pytest
from tests.recordings import RECORDINGS

from vsumdata.stages.howto.links import find_article_url
from vsumdata.stages.howto.parser import Article, Step, parse_article, site_of


def item(number: int, bold: str, rest: str = "", before: str = "") -> str:
    step = f'<div class="step_num">{number}</div>{before}<b class="whb">{bold}</b>{rest}'
    return f'<li>{step}<div class="clearall"></div></li>'


def section(name: str, *items: str, key: str = "steps_1") -> str:
    return (
        f'<div class="section steps  sticky "><h3><div class="altblock"></div><span class="mw-headline">{name}</span>'
        f'</h3><div id="{key}" class="section_text"><ol class="steps_list_2">{"".join(items)}</ol></div></div>'
    )


def page(*sections: str, toc: str = "", host: str = "www.wikihow.com") -> str:
    return (
        f'<html><head><link rel="canonical" href="http://{host}/Fold-Paper"></head><body><div id="bodycontents">'
        f'<div id="intro" class="section sticky"><h1 class="firstHeading">How to Fold Paper</h1>{toc}'
        f'<p>Paper is thin.</p></div>{"".join(sections)}<div class="section tips sticky"><h2><span '
        'class="mw-headline">Tips</span></h2><div id="tips"><ul><li>Wait.</li></ul></div></div></div></body></html>'
    )


def test_a_step_without_its_own_block() -> None:
    image = '<div class="mwimg"><a href="/x"><img src="http://pad1.whstatic.com/1.jpg"></a><div>By me</div></div>'
    first = item(1, "Take a sheet.", ' Any<sup class="reference">[1]</sup> will do.<ul><li>Or two.</li></ul>', image)
    clip = '<div class="whvid_cont"><video data-src="/7/7a/x.mp4" data-poster="/p.jpg"></video>No video.</div>'
    found = parse_article(page(section("By Hand", first, item(2, "Fold <a>it</a>.", before=clip))), "")
    assert found == Article(
        "How to Fold Paper",
        "wikihow",
        "Paper is thin.",
        "CC BY-NC-SA 3.0",
        [
            Step("By Hand", "Take a sheet.", "Take a sheet. Any will do. Or two.", "http://pad1.whstatic.com/1.jpg"),
            Step("By Hand", "Fold it.", "Fold it.", "http://www.wikihow.com/p.jpg".replace("http:", "https:"),
                 "https://www.wikihow.com/video/7/7a/x.mp4"),
        ],
    )  # fmt: skip


def test_anchors_and_numbers_beside_a_later_step_block_change_nothing() -> None:
    """As since 2015."""
    beside = '<div class="step_num">1</div><a name="step_1_1" class="stepanchor"></a>'
    step = f'<li>{beside}<div class="step"><b class="whb">Cut.</b> Now.</div></li>'
    assert [found[1:3] for found in parse_article(page(section("A", step)), "").steps] == [("Cut.", "Cut. Now.")]


@pytest.mark.parametrize(
    ("bold", "rest", "headline"),
    [
        ("Fold it", ". Then wait.", "Fold it."),
        ("Fold it", "! Then wait.", "Fold it!"),
        ("Fold it.", " Then wait.", "Fold it."),
        ("Fold it", " and wait.", "Fold it"),
        ("折る", "。待つ。", "折る。"),
    ],
)
def test_the_mark_behind_the_bold_words_ends_the_headline(bold: str, rest: str, headline: str) -> None:
    (step,) = parse_article(page(section("A", item(1, bold, rest))), "").steps
    assert (step.headline, step.text) == (headline, f"{bold}{rest}")


@pytest.mark.parametrize("toc", ['<p id="method_toc">{}</p>', '<div id="method_toc"><p>{}</p></div>'])
@pytest.mark.parametrize("said", ["<span>Two Methods:</span><a>By Hand</a>", "<span>Dos métodos:</span><a>A mano</a>"])
def test_the_list_of_methods_is_no_introduction(toc: str, said: str) -> None:
    found = parse_article(page(section("By Hand", item(1, "Fold.")), toc=toc.format(said)), "")
    assert found.intro == "Paper is thin."


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("Method 1 of 2: By Hand", "Method 2 of 2: By Machine", ["By Hand", "By Machine"]),
        ("Part One: By Hand", "Part Two: By Machine", ["By Hand", "By Machine"]),
        ("Método 1 de 2: A mano", "Método 2 de 2: A máquina", ["A mano", "A máquina"]),
        ("Méthode 1 sur 2\xa0: À la main", "Méthode 2 sur 2\xa0: Par machine", ["À la main", "Par machine"]),
        ("方法1/2：手", "方法2/2：機械", ["手", "機械"]),
        ("By Hand", "By Machine", ["By Hand", "By Machine"]),
        ("Days 1 to 7: Rest", "Days 8 to 14: Run", ["Days 1 to 7: Rest", "Days 8 to 14: Run"]),
        ("Method 1 of 2:", "Method 2 of 2:", ["Method 1 of 2:", "Method 2 of 2:"]),
    ],
)
def test_sections_lose_the_count_that_the_site_puts_before_their_names(
    first: str, second: str, names: list[str]
) -> None:
    steps = [item(1, "One."), item(2, "Two.")]
    found = parse_article(page(section(first, *steps), section(second, item(1, "Three."))), "")
    assert [(step.section, step.text) for step in found.steps] == [
        (names[0], "One."),
        (names[0], "Two."),
        (names[1], "Three."),
    ]


@pytest.mark.parametrize("word", ["Pasos", "Étapes", "Vorgehensweise", "步骤", "Xyz"])
def test_the_class_of_a_list_tells_in_every_language(word: str) -> None:
    """Also without `div.section`, as in 2012, where the heading is an `h2` of its own and methods share one block."""
    text = (
        '<html><body><div id="article"><div class="article_inner editable"><h1>Fold</h1><p>Paper is thin.</p></div>'
        f'<h2 class="section_head" id="x_head"><a class="edit" href="/i">Edit</a><span>{word}</span></h2><div id="x">'
        '<h3><a class="edit" href="/i">Edit</a><span>Method One: By Hand</span></h3>'
        f'<ol class="steps_list_2">{item(1, "One")}{item(2, "Two")}</ol><h3><span>Method Two: By Machine</span></h3>'
        f'<ol class="steps_list_2">{item(1, "Three")}</ol></div><h2><span>Tips</span></h2><ol><li>None.</li></ol></div>'
    )
    found = parse_article(text, "http://es.wikihow.com/Doblar")
    assert [step[:3] for step in found.steps] == [
        ("By Hand", "One", "One"),
        ("By Hand", "Two", "Two"),
        ("By Machine", "Three", "Three"),
    ]
    assert found.intro == ("" if word == "Xyz" else "Paper is thin.")


def test_samples_of_2014_are_no_steps() -> None:
    sample = section("Sample", item(1, "A letter.")).replace('class="section steps', 'class="section steps sample')
    assert [step.text for step in parse_article(page(section("A", item(1, "One.")), sample), "").steps] == ["One."]


METHODS = ["By Hand", "By Hand", "By Machine"]


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("name", "sections", "texts"),
    [
        ("w2012_newlayout", ["By Hand"] * 2, ["Take the rope. Hold it with both hands.", "Cross the ends."]),
        ("w2014_es", METHODS, ["Take the rope. Hold it.", "Cross the ends.", "Press the key."]),
        ("w2014_methods", METHODS, ["Take the rope. Hold it.", "Cross the ends.", "Press the key."]),
    ],
)
def test_the_field_cases(name: str, sections: list[str], texts: list[str]) -> None:
    path = RECORDINGS / "field_cases" / "wikihow_2012_2014" / f"{name}.html"
    if not path.exists():
        pytest.skip(f"the recordings are not here: {path.name}")
    found = parse_article(path.read_text(encoding="utf-8"), "")
    assert [step.section for step in found.steps] == sections
    assert [step.text for step in found.steps] == texts
    assert found.steps[0].headline == "Take the rope."
    assert found.intro.startswith("A knot holds things.")


# wikiHow's domains

DOMAINS = """www.wikihow.life www.wikihow.tech www.wikihow.pet www.wikihow.mom www.wikihow.fitness www.wikihow.health
www.wikihow.legal www.wikihow-fun.com www.wikihow.it www.wikihow.vn www.wikihow.cz www.wikihow.com.tr www.wikihow.jp
es.wikihow.com""".split()


@pytest.mark.parametrize("host", DOMAINS)
def test_an_article_on_any_domain_of_wikihow_is_found(host: str) -> None:
    url = f"https://{host}/Fold-Paper"
    bare, mobile = host.removeprefix("www."), re.sub(r"^www\.|(?<=^es)\.", "", host)
    mobile = f"es.m.{bare.removeprefix('es.')}" if host.startswith("es.") else f"m.{bare}"
    for text in (url, f"http://{host}/Fold-Paper?a=1", f"see {host}/Fold-Paper.", f"https://{mobile}/Fold-Paper"):
        assert find_article_url(text) == url, text
    assert find_article_url(f"https://{host}/Category:Food https://{host}/") is None
    found = parse_article(page(section("A", item(1, "Fold.")), host=host), "/saved.html")
    assert (found.site, found.license) == ("wikihow", "CC BY-NC-SA 3.0")


def test_a_page_without_a_title_is_called_by_its_address() -> None:
    body = '<ol class="steps_list_2">' + item(1, "Fold.") + "</ol>"
    for url, title in (
        ("https://www.wikihow.life/Fold-Paper", "How to Fold Paper"),
        ("https://www.wikihow.it/Piegare-la-Carta", "Piegare la Carta"),
        ("https://es.wikihow.com/doblar-papel", "doblar papel"),
        ("https://other.example/Fold-Paper", ""),
    ):
        assert parse_article(body, url).title == title


@pytest.mark.parametrize(
    "host",
    [
        *("wikihow.com.evil.example", "www.wikihow.life.evil.example", "evilwikihow.com", "evil-wikihow.life"),
        *("wikihow.com.tr.evil.example", "wikihow-fun.com.evil.example", "wikihow.evil", "wikihow.co", "wikihow.tr"),
        *("www.wikihow.com@evil.example", "wikıhow.com", "wikihow.com.au", "fun.com", "com.tr", "wikihowlife"),
    ],
)
def test_look_alikes_are_no_articles(host: str) -> None:
    assert find_article_url(f"https://{host}/Fold-Paper {host}/Fold-Paper") is None
    assert site_of(f"https://{host}/Fold-Paper") is None


@pytest.mark.parametrize("path", ["Categoria:Cibo", "Especial:Buscar", "Thể-Loại:X", "Pagina-principale", "Kategori:X"])
def test_other_pages_of_other_languages_are_no_articles(path: str) -> None:
    assert find_article_url(f"https://www.wikihow.it/{path}") is None
