"""The pages of `report` and `view` in headless Chromium."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.browser import chromium, watched
from tests.pipeline.reports.page.page_kit import ATTACK, HOSTILE, KEPT, UNPOPULAR, feature_row, made_up
from tests.pipeline.reports.test_status import Listed

from vsumdata.pipeline.reports.page import page as pages

playwright = pytest.importorskip("playwright.sync_api")
__all__ = ["chromium"]
PROGRAM = [sys.executable, "-c", "from vsumdata.pipeline.commands.main import main; main()"]


@pytest.fixture
def root(tmp_path: Path) -> Listed:
    return made_up(tmp_path)


@pytest.fixture
def address(root: Listed, tmp_path: Path) -> str:
    return pages.report(root.store.root, tmp_path / "report.html").as_uri()


def shown_rows(page) -> list[str]:
    return page.eval_on_selector_all(
        "#list tbody tr:not([hidden])", "rows => rows.map(r => r.cells[0].innerText.split('\\n')[0])"
    )


def test_the_table_searches_filters_and_sorts(chromium, address: str) -> None:
    page = chromium.new_page()
    said = watched(page)
    page.goto(address)
    assert page.locator("#found").inner_text() == "6 of 6"
    page.fill("#find", "PLANE workshop")
    assert shown_rows(page) == ["Fold a plane"]
    page.fill("#find", "")
    page.select_option("#which", "out")
    assert len(shown_rows(page)) == 3
    page.select_option("#which", "")
    views = page.locator("#list thead th", has_text="views")
    views.locator("button").click()
    assert views.get_attribute("aria-sort") == "descending"
    assert shown_rows(page)[0] == ATTACK, "numbers begin with the largest"
    # By the keyboard, as well.
    views.locator("button").press("Enter")
    assert views.get_attribute("aria-sort") == "ascending"
    assert shown_rows(page)[0] == "Nobody saw it"
    assert shown_rows(page)[-1] == UNPOPULAR.replace("00002", "00005"), "what is not known comes last"
    title = page.locator("#list thead th", has_text="title")
    title.locator("button").click()
    assert views.get_attribute("aria-sort") is None
    assert said == []


def test_a_videos_clock(chromium, address: str) -> None:
    page = chromium.new_page()
    said = watched(page)
    page.goto(address)
    page.locator("#list a", has_text="Fold a plane").click()
    video = page.locator(f"[id='v-{KEPT}']")
    # A link of the table opens the video's part.
    page.locator(f"[id='v-{KEPT}'][open]").wait_for()
    tracks = video.locator(".tracks")
    box = tracks.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 10)
    preview = video.locator(".preview")
    # 16 s of 40: no sentence is spoken after 15.5 s; the third of four pictures is nearest.
    assert preview.inner_text().strip() == "0:16"
    pictures = video.locator(".strip img")
    assert preview.locator("img").get_attribute("src") == pictures.nth(1).get_attribute("src")
    video.locator(".said-list a").nth(3).click()
    assert tracks.get_attribute("aria-valuetext") == "0:06"
    assert page.url.startswith("file:"), "a click moves the clock and leaves the page where it is"
    assert "fold it 3" in preview.inner_text()
    tracks.press("ArrowRight")
    assert tracks.get_attribute("aria-valuetext") == "0:07"
    tracks.press("End")
    assert tracks.get_attribute("aria-valuenow") == "40"
    assert said == []


def test_titles_and_texts_do_nothing(chromium, address: str) -> None:
    page = chromium.new_page()
    page.goto(f"{address}#v-{HOSTILE}")
    assert page.locator(f"[id='v-{HOSTILE}'] h3").inner_text() == ATTACK
    assert "broken" not in page.title()
    assert page.locator("a[href^='javascript']").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only_and_texts_are_readable(chromium, address: str, scheme: str) -> None:
    page = chromium.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page.goto(f"{address}#v-{KEPT}")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    colours = page.evaluate(
        "[...document.querySelectorAll('body, .said, td, figcaption, a')].map(e => [getComputedStyle(e).color,"
        " getComputedStyle(e.closest('figure') ?? document.body).backgroundColor])"
    )
    assert min(contrast(*pair) for pair in colours) >= 4.5, "WCAG 2, level AA"


def test_it_is_readable_without_javascript(chromium, address: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert not page.locator("#filters").is_visible(), "what would do nothing is not there"
    assert page.locator("#list tbody tr").count() == 6
    page.locator(f"[id='v-{KEPT}'] summary").click()
    assert page.locator(f"[id='v-{KEPT}'] .said-list li").first.is_visible()
    context.close()


def test_view_follows_the_root_and_shows_a_video(chromium, root: Listed) -> None:
    command = [*PROGRAM, "view", "--root", root.store.root]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        try:
            address = served.stderr.readline().split()[-1]
            page = chromium.new_page()
            said = watched(page)
            page.goto(address)
            page.locator("#list a", has_text="Fold a plane").click()
            page.locator(".said-list a").nth(2).click()
            assert page.locator(".tracks").get_attribute("aria-valuetext") == "0:04"
            page.go_back()
            (task,) = root.plan("features", root.of(KEPT), again=("done",)).tasks
            fewer = feature_row("Fold a plane", 20, "fold it")
            fewer |= {name: fewer[name][:3] for name in ("sentence", "sentence_feature")}
            root.commit(task, "features", **fewer)
            # The page has loaded itself again.
            sentences = page.locator("#list tbody tr", has_text="Fold a plane").locator("td").nth(4)
            playwright.expect(sentences).to_have_text("3", timeout=20_000)
            assert said == []
        finally:
            served.terminate()


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, `rgb(…)`, by WCAG 2."""

    def light(colour: str) -> float:
        parts = [float(part) / 255 for part in colour.strip("rgba()").split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)
