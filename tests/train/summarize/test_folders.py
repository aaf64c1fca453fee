"""`summarize FOLDER`: a summary of each video, an index of all, and what may be amiss in a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from bs4 import BeautifulSoup
from tests.pipeline.media_kit import noise, spoken_sound
from tests.train.summarize.film_kit import command, film, without_hub

from vsumdata.stages import frames
from vsumdata.stages.stage import Function
from vsumdata.train.summarize import summarize
from vsumdata.train.summarize.folders import names_of, videos_of

ODD = "<b>100% #1? tea & 茶.mp4"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    """Three videos, one of them below, and four files that are none."""
    place = tmp_path / "videos"
    (place / "below").mkdir(parents=True)
    for name in ("a.mp4", ODD, "below/a.MP4"):
        (place / name).symlink_to(source)
    noise(place / "broken.mp4")
    (place / "empty.mkv").touch()
    (place / "notes.txt").write_text("no video")
    (place / ".hidden.mp4").symlink_to(source)
    return place


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    without_hub(monkeypatch, tmp_path)
    return lambda *words: command(monkeypatch, *words)


def index(output: Path) -> BeautifulSoup:
    return BeautifulSoup((output / "index.html").read_text(encoding="utf-8"), "html.parser")


def test_a_folder_with_broken_files_among_many(call, folder, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert call(folder, "-o", out, "--budget", "0.5") == 0
    said = capsys.readouterr()
    assert said.out.startswith("3 of 5 videos summarized: ")
    assert said.out.rstrip().endswith("2 failed, see there")
    lines = said.err.splitlines()
    assert len(lines) == 5
    assert any(line.startswith("3 of 5 broken.mp4: it cannot be read as a video") for line in lines)
    assert any("empty.mkv: it cannot be read as a video (the file is empty)" in line for line in lines)
    page = index(out)
    cards = page.select("a.card")
    assert len(cards) == 3
    for card in cards:
        assert (out / unquote(str(card["href"]))).is_file()
        assert str(card.img["src"]).startswith("data:image/jpeg;base64,")
        assert "uniform: " in card.get_text()
    assert {card.strong.get_text() for card in cards} == {"a", Path(ODD).stem}
    assert page.find("b") is None, "a file's name is no HTML"
    assert [li.strong.get_text() for li in page.select("#failed ~ ul li")] == ["broken.mp4", "empty.mkv"]
    assert sorted(path.name for path in (out / "below" / "a").iterdir()) == sorted(summarize.FILES)


def test_a_second_run_into_the_folder_itself_sees_no_film_of_the_first(call, folder, capsys) -> None:
    for _ in range(2):
        assert call(folder / "below", "-o", folder / "below" / "out") == 0
        assert "1 of 1 videos summarized" in capsys.readouterr().out
    assert call(folder / "below", "-o", folder / "elsewhere") == 0
    assert "1 of 1 videos summarized" in capsys.readouterr().out


def test_an_interruption_leaves_an_index_of_what_is_done(call, folder, tmp_path, monkeypatch, capsys) -> None:
    out, made, write = tmp_path / "out", list[object](), summarize.write

    def second_is_interrupted(*given: object) -> None:
        if made:
            raise KeyboardInterrupt
        made.append(given)
        write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(summarize, "write", second_is_interrupted)
    assert call(folder, "-o", out) == 130
    assert "1 of 5 videos summarized, 4 to come" in index(out).get_text()
    assert len(list(out.rglob("summary.json"))) == 1
    assert not list(out.rglob(".summary-*"))


@pytest.mark.parametrize("kind", ["no videos", "empty", "captions", "root", "sound alone", "output"])
def test_folders_that_cannot_be_summarized(call, tmp_path, capsys, kind) -> None:
    place, out = tmp_path / "place", tmp_path / "out"
    place.mkdir()
    more: list[object] = []
    said = {
        "no videos": "has no videos: none of its files is named as one (.3gp,",
        "empty": "has no videos",
        "captions": "--captions is for one video; in a folder, name each caption file as its video",
        "root": f"is a vsumdata root; give a video id of it with --root {place}",
        "sound alone": "0 of 1 videos summarized",
        "output": "is a file; give a folder",
    }[kind]
    if kind == "no videos":
        (place / "notes.txt").touch()
    if kind == "captions":
        more = ["--captions", "x.vtt"]
    if kind == "root":
        (place / "dataset.json").write_text("{}")
    if kind in ("sound alone", "output"):
        spoken_sound(tmp_path / "talk.m4a").rename(place / "talk.mp4")
    if kind == "output":
        out.touch()
    # Nothing succeeded is 1, and a wrong request 2.
    assert call(place, "-o", out, *more) == (1 if kind == "sound alone" else 2)
    told = capsys.readouterr()
    assert said in told.out + told.err
    assert told.err.count("\n") == 1
    if kind == "sound alone":
        assert "it has sound only" in told.err


def test_no_permission(call, folder, tmp_path, monkeypatch, capsys) -> None:
    """Root may read everything, so it takes another uid, which may not enter the folders above this one."""
    film(tmp_path / "closed.mp4").chmod(0)
    (folder / "below").chmod(0)
    film(tmp_path / "open.mp4")
    (tmp_path / "taken").mkdir(mode=0o555)
    (tmp_path / "free").mkdir()
    (tmp_path / "free").chmod(0o777)
    for place in (tmp_path, folder):
        place.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    became = os.geteuid() == 0
    found = []
    if became:
        os.seteuid(65534)
    try:
        for words in (("videos", "-o", "free"), ("closed.mp4", "-o", "free/out"), ("open.mp4", "-o", "taken/out")):
            found.append((call(*words), capsys.readouterr().err))
    finally:
        if became:
            os.seteuid(0)
        (folder / "below").chmod(0o755)
    assert [code for code, _ in found] == [2, 2, 2]
    assert "videos/below: Permission denied; the folder cannot be read" in found[0][1]
    assert "closed.mp4: no permission to read it" in found[1][1]
    assert "--output taken/out: no permission to write in" in found[2][1]
    assert all(error.count("\n") == 1 for _, error in found), found


def test_each_video_has_a_folder_of_its_own(tmp_path: Path) -> None:
    names = ("a.mp4", "A.mkv", "b.mp4", "c/a.mp4")
    (tmp_path / "c").mkdir()
    for name in names:
        (tmp_path / name).touch()
    found = videos_of(tmp_path, tmp_path / "out")
    assert dict(zip((path.name for path in found[:3]), names_of(found, tmp_path), strict=False)) == {
        "A.mkv": "A.mkv",
        "a.mp4": "a.mp4",
        "b.mp4": "b",
    }
    assert names_of(found, tmp_path)[3] == "c/a"


def test_models_load_once_for_all_videos(call, folder, tmp_path, monkeypatch) -> None:
    loads, load = list[object](), frames.load

    def counted(*given: Any) -> Function:
        loads.append(given)
        return load(*given)

    monkeypatch.setattr(frames, "load", counted)
    clip = ("--set", "features.clip.model=ViT-S-32-alt", "--set", "features.clip.weights=seed:0")
    assert call(folder, "-o", tmp_path / "out", *clip) == 0
    assert len(loads) == 1
    made = json.loads((tmp_path / "out" / "a" / "summary.json").read_text())
    assert made["features"]["clip"] == "ViT-S-32-alt seed:0"
