"""The page in a real browser: it skips through the original, and plays the film where the original is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.train.summarize.film_kit import CAPTIONS, command, film, without_hub
from tests.train.summarize.pages.browser_kit import Tab, program, tab

pytestmark = [
    pytest.mark.skipif(program() is None, reason="no Chromium on this machine; `apt-get install chromium` brings one"),
    pytest.mark.slow,
]
HEATMAP = [{"start_time": s, "end_time": s + 7, "value": v} for s, v in ((0, 1.0), (7, 0.1), (14, 0.9), (21, 0.0))]
STATE = """(() => { const p = document.getElementById('player');
  return {file: decodeURIComponent(p.currentSrc.split('/').pop()), at: p.currentTime, paused: p.paused,
    error: p.error && p.error.code, told: document.getElementById('told').textContent,
    cues: [...p.textTracks[0].cues].map((cue) => [cue.startTime, cue.endTime, cue.getCueAsHTML().textContent])}; })()"""
LOADED = "document.getElementById('player').readyState >= 2"


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


def visit(folder: Path, script: Callable[[Tab], Awaitable[None]]) -> None:
    async def run() -> None:
        async with tab(folder / "profile") as opened:
            await script(opened)
            assert opened.problems == []

    asyncio.run(run())


def test_the_summary_alone_is_played_of_the_original(summary: Path, tmp_path: Path) -> None:
    async def script(page: Tab) -> None:
        await page.open(summary)
        await page.until(LOADED)
        state = await page.ask(STATE)
        if state["file"] == "summary.mp4" or state["error"]:
            pytest.skip("this Chromium plays no H.264")
        assert state["file"] == "a film #1.mp4"
        assert "only the chosen shots are played" in state["told"]
        assert [cue[2] for cue in state["cues"]] == ["Take a red pan.", "Mix oil & salt."]
        assert (await page.ask("document.title")).startswith("Summary: <script>")
        # From shortly before the end of the first chosen scene into the second.
        await page.ask("document.getElementById('player').currentTime = 5.2; document.getElementById('only').click()")
        await page.until("document.getElementById('player').currentTime >= 13")
        await page.ask("window.seen = document.getElementById('player').currentTime")
        assert (await page.ask(STATE))["at"] < 15
        assert await page.ask("document.querySelectorAll('.card.is-now').length") == 1
        # After the last one it stops, long before the original's end.
        await page.ask("document.getElementById('player').currentTime = 18.5")
        await page.until("document.getElementById('player').paused")
        assert 18.9 <= (await page.ask(STATE))["at"] < 20
        # Played again, it begins anew; the whole video runs through.
        await page.ask("document.getElementById('only').click()")
        await page.until("document.getElementById('player').currentTime < 5")
        await page.ask("document.getElementById('whole').click(); document.getElementById('player').currentTime = 6.5")
        await page.until("document.getElementById('player').currentTime > 7.2")
        state = await page.ask(STATE)
        assert state["at"] < 12
        assert state["told"] == "The whole original."
        assert await page.ask("document.getElementById('whole').getAttribute('aria-pressed')") == "true"

    visit(tmp_path, script)


def test_without_the_original_the_film_is_played(summary: Path, tmp_path: Path) -> None:
    (tmp_path / "a film #1.mp4").unlink()

    async def script(page: Tab) -> None:
        await page.open(summary)
        await page.until("document.getElementById('told').textContent.includes('The original is not there')")
        await page.until("document.getElementById('player').currentSrc.endsWith('summary.mp4')")
        state = await page.ask(STATE)
        # On the film's clock: the second sentence is spoken in a scene that the film lacks.
        assert state["cues"] == [[1, 4, "Take a red pan."]]
        assert await page.ask("document.getElementById('whole').disabled") is True
        await page.ask("document.getElementById('only').click()")
        if not (await page.ask(STATE))["error"]:
            await page.until("document.getElementById('player').currentTime > 0.3")
            assert (await page.ask(STATE))["file"] == "summary.mp4"

    visit(tmp_path, script)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_schemes(summary: Path, tmp_path: Path, scheme: str) -> None:
    async def script(page: Tab) -> None:
        await page.open(summary, width=390, scheme=scheme)
        assert await page.ask("document.documentElement.scrollWidth") <= 390
        colours = "getComputedStyle(document.body)"
        ground, text = await page.ask(f"[{colours}.backgroundColor, {colours}.color]")
        light, dark = "rgb(252, 252, 251)", "rgb(22, 24, 26)"
        assert ground == (light if scheme == "light" else dark)
        assert text != ground
        small = "[...document.querySelectorAll('button')].filter((b) => b.getBoundingClientRect().height < 44).length"
        assert await page.ask(small) == 0

    visit(tmp_path, script)


def test_without_scripts_the_film_and_the_lists_are_there(summary: Path, tmp_path: Path) -> None:
    async def script(page: Tab) -> None:
        await page.send("Emulation.setScriptExecutionDisabled", value=True)
        await page.open(summary)
        assert await page.ask("getComputedStyle(document.querySelector('.needs-script')).display") == "none"
        assert await page.ask("document.getElementById('player').currentSrc.endsWith('summary.mp4')")
        assert await page.ask("document.querySelectorAll('a.card[href*=\"#t=\"]').length") == 2

    visit(tmp_path, script)
