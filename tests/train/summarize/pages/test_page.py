"""summary.html as a parser sees it: what it shows, what it refers to, and titles that would like to be HTML."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from vsumdata.train.summarize.pages import page
from vsumdata.train.summarize.pages.page import Entry
from vsumdata.train.summarize.summary import Segment, Sentence, Shot, Summary, Written

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"' & {{ 7*7 }} 茶"


def made(**more: object) -> Summary:
    values: dict[str, object] = {
        "video_id": "talk",
        "title": "A talk",
        "source": "talk.mp4",
        "duration_s": 20.0,
        "fps": 1.0,
        "frame_time_s": [float(s) for s in range(20)],
        "frame_score": [0.0] * 5 + [1.0] * 5 + [0.25] * 10,
        "replay_score": None,
        "shots": [
            Shot(start_s=0, end_s=5, score=0, chosen=False),
            Shot(start_s=5, end_s=10, score=1, chosen=True),
            Shot(start_s=10, end_s=20, score=0.25, chosen=False),
        ],
        "segments": [Segment(start_s=5, end_s=10, at_s=0)],
        "summary_s": 5.0,
        "sentences": [
            Sentence(start_s=1, end_s=3, text="Hello.", score=0.1, chosen=False),
            Sentence(start_s=6, end_s=8, text="Stir it.", score=0.9, chosen=True),
        ],
        "sentence_scores_from": "frames",
        "budget": 0.25,
        "selection": "keyshots",
        "protocol": "shards",
        "method": "step-cm",
        "checkpoint": None,
        "text": "subtitles",
        "features": {"clip": "ViT-B-32 openai", "text": "S"},
        "files": ["summary.mp4", "summary.vtt", "summary.png", "summary.html"],
        "remarks": ["not by replay: no heatmap"],
    }
    return Summary.model_validate(values | more)


def parsed(summary: Summary, original: Path | None = None, home: Path = Path("/out")) -> BeautifulSoup:
    thumbnails = {5.0: np.full((90, 160, 3), 200, np.uint8)}
    return BeautifulSoup(page.summary_page(summary, thumbnails, original, home), "html.parser")


def test_what_the_page_shows_and_plays() -> None:
    found = parsed(made(), Path("/out/videos/a talk #1.mp4"))
    assert found.html["lang"] == "en"
    assert found.h1.get_text() == "A talk"
    assert "step-cm: 1 of 3 shots, 0:05 of 0:20 (25%)" in found.get_text()
    player = found.find("video")
    assert (player["src"], player["data-film"]) == ("summary.mp4", "summary.mp4")
    assert player["data-original"] == "videos/a%20talk%20%231.mp4"
    (card,) = found.select("a.card")
    assert card["href"] == "videos/a%20talk%20%231.mp4#t=5.00,10.00", "without a script the original opens there"
    assert [button.get_text() for button in found.find_all("button")] == [
        "Play the summary only",
        "Play the whole video",
    ]
    assert [li.get_text(" ", strip=True) for li in found.select("#said ~ ul li")] == ["0:06 Stir it."]
    data = json.loads(str(found.find("script", id="data").string))
    assert data["segments"] == [[5, 10, 0]]
    assert "not by replay: no heatmap" in found.get_text()
    held = base64.b64decode(str(card.img["src"]).partition(",")[2])
    assert Image.open(io.BytesIO(held)).size == (160, 90)


def test_the_curve_is_there_without_a_script() -> None:
    found = parsed(made(replay_score=[0.5] * 20))
    score, replay = (found.find("polyline", class_=name)["points"] for name in ("score", "replay"))
    points = [tuple(map(float, pair.split(","))) for pair in str(score).split()]
    assert (points[0], points[-1]) == ((0.0, 200.0), (1000.0, 150.0))
    assert (250.0, 0.0) in points
    assert {pair.split(",")[1] for pair in str(replay).split()} == {"100.0"}
    assert parsed(made(replay_score=made().frame_score)).find("polyline", class_="replay") is None, "one curve, not two"
    bar = found.find("rect", class_="chosen")
    assert (bar["x"], bar["width"]) == ("250.0", "250.0")
    assert [span.get_text() for span in found.select(".marks span")] == ["0:00", "0:05", "0:10", "0:15", "0:20"]


def test_nothing_comes_from_a_network() -> None:
    text = page.summary_page(made(), {}, Path("/out/talk.mp4"), "/out")
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", text)
    found = BeautifulSoup(text, "html.parser")
    assert found.find("link") is None
    assert all(script.get("src") is None for script in found.find_all("script"))
    for tag in found.find_all(src=True) + found.find_all(href=True):
        address = str(tag.get("src") or tag.get("href"))
        assert address.startswith("data:image/") or "://" not in address


def test_labels_for_those_who_do_not_see() -> None:
    found = parsed(made(replay_score=[0.5] * 20, written=[Written(text="It is stirred.", start_s=5.0, end_s=8.0)]))
    ids = [str(tag["id"]) for tag in found.find_all(id=True)]
    assert len(ids) == len(set(ids))
    for tag in found.select("[aria-labelledby]"):
        assert set(str(tag["aria-labelledby"]).split()) <= set(ids)
    assert found.find("svg")["role"] == "img"
    assert found.find(id="curve-title").get_text()
    assert found.find("video")["aria-label"]
    assert found.find(id="told")["role"] == "status"
    assert all(image.has_attr("alt") for image in found.find_all("img"))
    assert all(th["scope"] == "row" for th in found.find_all("th"))
    assert [tag.name for tag in found.find_all(re.compile("^h[1-6]$"))] == ["h1", *["h2"] * (len(found.find_all("h2")))]
    assert "It is stirred." in found.get_text()
    style = str(found.find("style").string)
    assert "prefers-color-scheme: dark" in style
    assert found.find("meta", attrs={"name": "viewport"}) is not None


def test_whatever_a_video_brings_is_text() -> None:
    plain = parsed(made(), Path("/out/talk.mp4"))
    evil = made(
        title=EVIL,
        method="uniform",
        remarks=[EVIL],
        features={"clip": EVIL, "text": EVIL},
        sentences=[Sentence(start_s=1, end_s=3, text=EVIL, score=0.1, chosen=True)],
        written=[Written(text=EVIL, start_s=None, end_s=None)],
    )
    found = parsed(evil, Path(f"/out/{EVIL.replace('/', '')}.mp4"))
    assert len(found.find_all("script")) == len(plain.find_all("script")) == 2
    assert all(str(image["src"]).startswith("data:") for image in found.find_all("img"))
    assert not found.find_all(onerror=True)
    assert found.h1.get_text() == found.title.get_text().removeprefix("Summary: ") == EVIL
    assert json.loads(str(found.find("script", id="data").string))["sentences"] == [[1.0, 3.0, EVIL]]
    assert unquote(str(found.find("video")["data-original"])) == f"{EVIL.replace('/', '')}.mp4"


@pytest.mark.parametrize(
    ("original", "home", "wanted"),
    [
        ("/videos/talk.mp4", "/videos/out", "../talk.mp4"),
        ("/videos/100%?.mp4", "/videos", "100%25%3F.mp4"),
        ("/videos/javascript:alert(1).mp4", "/videos", "javascript%3Aalert%281%29.mp4"),
        ("/videos/\udcff.mp4", "/videos", "%FF.mp4"),
    ],
)
def test_addresses_are_relative(original: str, home: str, wanted: str) -> None:
    assert page.relative(Path(original), home) == wanted


def test_without_media_or_scores_there_is_still_a_page() -> None:
    found = parsed(made(files=["summary.vtt", "summary.png", "summary.html"]))
    assert found.find("video") is None
    assert not found.find_all("button")
    assert "there is no film to play" in found.get_text()
    assert not found.select("a.card")[0].has_attr("href")
    empty = parsed(made(shots=[], segments=[], sentences=[], frame_score=[], frame_time_s=[], duration_s=0.0))
    assert "0 of 0 shots" in empty.get_text()


def test_a_long_video_has_a_short_curve() -> None:
    long = made(duration_s=36_000.0, frame_score=list(np.linspace(0, 1, 36_000)))
    points = str(parsed(long).find("polyline", class_="score")["points"]).split()
    assert len(points) <= 2 * page.MAX_POINTS
    assert "10:00:00" in parsed(long).get_text()


def test_the_index() -> None:
    entries = [
        Entry(name="a.mp4", title=EVIL, link="a%20b/summary.html", told="uniform: 1 of 2 shots"),
        Entry(name=EVIL, title=EVIL, error="it is encrypted"),
    ]
    found = BeautifulSoup(page.index_page(EVIL, entries, "1 of 2"), "html.parser")
    assert not found.find_all("script")
    assert [card["href"] for card in found.select("a.card")] == ["a%20b/summary.html"]
    assert "a.mp4" in found.select_one("a.card").get_text()
    assert found.select_one("#failed ~ ul li").get_text(" ", strip=True) == f"{EVIL} : it is encrypted"
    assert BeautifulSoup(page.index_page("x", entries[:1], ""), "html.parser").find(id="failed") is None
