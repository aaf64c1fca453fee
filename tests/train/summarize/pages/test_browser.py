"""The page in a real browser: it skips through the original, and plays the film where the original is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.train.summarize.film_kit import CAPTIONS, command, film, without_hub

playwright = pytest.importorskip("playwright.sync_api")
from tests.browser import chromium, watched  # noqa: E402 - it imports playwright

pytestmark = pytest.mark.slow
__all__ = ["chromium"]
HEATMAP = [{"start_time": s, "end_time": s + 7, "value": v} for s, v in ((0, 1.0), (7, 0.1), (14, 0.9), (21, 0.0))]
CUES = """[...document.getElementById('player').textTracks[0].cues].map(
  (cue) => [cue.startTime, cue.endTime, cue.getCueAsHTML().textContent])"""
# How often the player was seen where nothing was chosen.
COUNTED = """() => { window.left_out = 0; document.getElementById('player').addEventListener('timeupdate', (event) => {
  if (event.target.currentTime > 7 && event.target.currentTime < 12.5) window.left_out += 1; }) }"""
LOADED = "document.getElementById('player').readyState >= 2 || document.getElementById('player').error"


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A film of which the first and the third scene are chosen (0 to 6 s and 13 to 19 s), and its summary below it."""
    without_hub(monkeypatch, tmp_path)
    video = film(tmp_path / "a film #1.mp4", sound=True)
    told = json.dumps({"title": "<script>document.title='bad'</script> Tea", "heatmap": HEATMAP})
    (tmp_path / "a film #1.info.json").write_text(told)
    (tmp_path / "a film #1.vtt").write_text(CAPTIONS)
    assert command(monkeypatch, video, "-o", tmp_path / "out", "--budget", "0.5") == 0
    return tmp_path / "out" / "summary.html"


def opened(page: Any, summary: Path) -> list[str]:
    """Open the page; return what its console says, and addresses that are no files of this machine."""
    said = watched(page)
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else said.append(asked.url))
    page.goto(summary.as_uri())
    page.wait_for_function(LOADED)
    return said


def at(page: Any) -> float:
    return float(page.evaluate("document.getElementById('player').currentTime"))


def seek(page: Any, time_s: float) -> None:
    page.evaluate("(time) => { document.getElementById('player').currentTime = time }", time_s)


def file(page: Any) -> str:
    return str(page.evaluate("decodeURIComponent(document.getElementById('player').currentSrc.split('/').pop())"))


def test_the_summary_alone_is_played_of_the_original(chromium, summary: Path) -> None:
    page = chromium.new_page()
    said = opened(page, summary)
    if page.evaluate("!document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.64001f\"')"):
        pytest.skip("this Chromium plays no H.264")
    assert file(page) == "a film #1.mp4"
    assert "only the chosen shots are played" in page.locator("#told").inner_text()
    assert [cue[2] for cue in page.evaluate(CUES)] == ["Take a red pan.", "Mix oil & salt."]
    assert page.title().startswith("Summary: <script>")
    # From shortly before the end of the first chosen scene into the second.
    seek(page, 5.2)
    page.click("#only")
    page.evaluate(COUNTED)
    page.wait_for_function("document.getElementById('player').currentTime >= 13.5")
    assert page.evaluate("window.left_out") == 0
    assert at(page) < 18
    page.wait_for_function("document.querySelectorAll('.card.is-now').length === 1")
    # After the last one it stops, long before the original's end.
    seek(page, 18.5)
    page.wait_for_function("document.getElementById('player').paused")
    assert 18.9 <= at(page) < 21
    # Played again, it begins anew; the whole video runs through what was not chosen.
    page.click("#only")
    page.wait_for_function("document.getElementById('player').currentTime < 5")
    page.click("#whole")
    seek(page, 6.5)
    page.wait_for_function("document.getElementById('player').currentTime > 7.2")
    assert at(page) < 12
    assert page.locator("#told").inner_text() == "The whole original."
    assert page.locator("#whole").get_attribute("aria-pressed") == "true"
    # A shot and the curve lead there.
    page.locator("a.card").nth(1).click()
    page.wait_for_function("document.getElementById('player').currentTime >= 13")
    box = page.locator("#curve").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 2 / 28, box["y"] + 20)
    page.wait_for_function("document.getElementById('player').currentTime < 6")
    assert said == []


def test_without_the_original_the_film_is_played(chromium, summary: Path) -> None:
    (summary.parents[1] / "a film #1.mp4").unlink()
    page = chromium.new_page()
    page.goto(summary.as_uri())
    page.wait_for_function("document.getElementById('told').textContent.includes('The original is not there')")
    assert file(page) == "summary.mp4"
    # On the film's clock: the second sentence is spoken in a scene that the film lacks.
    assert page.evaluate(CUES) == [[1, 4, "Take a red pan."]]
    assert page.locator("#whole").is_disabled()
    page.click("#only")
    page.wait_for_function(
        "document.getElementById('player').currentTime > 0.3 || document.getElementById('player').error"
    )
    assert file(page) == "summary.mp4"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_schemes(chromium, summary: Path, scheme: str) -> None:
    page = chromium.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme).new_page()
    assert opened(page, summary) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ground, text = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert ground == {"light": "rgb(252, 252, 251)", "dark": "rgb(22, 24, 26)"}[scheme]
    assert text != ground
    for button in page.locator("button").all():
        assert button.bounding_box()["height"] >= 44, "a finger needs room"


def test_without_scripts_the_film_and_the_lists_are_there(chromium, summary: Path) -> None:
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(summary.as_uri())
    assert not page.locator("#only").is_visible()
    assert page.locator("#player").get_attribute("src") == "summary.mp4"
    assert page.locator("a.card[href*='#t=']").count() == 2
    assert page.locator("#curve polyline").first.is_visible()
