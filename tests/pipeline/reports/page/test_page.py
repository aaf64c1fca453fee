"""The page of a root: what it counts, what it shows, and that nothing from outside acts in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.reports.page.page_kit import ATTACK, BARE, HOSTILE, KEPT, feature_row, made_up
from tests.pipeline.reports.test_status import IDS, Listed

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store
from vsumdata.pipeline.reports.page import drawing, page
from vsumdata.pipeline.reports.page.facts import facts, resampled
from vsumdata.pipeline.reports.page.shown import link_at, web_address


@pytest.fixture
def root(tmp_path: Path) -> Listed:
    return made_up(tmp_path)


def soup(root: Listed, folder: Path, **options) -> BeautifulSoup:
    return BeautifulSoup(page.report(root.store.root, folder / "report.html", **options).read_text(), "lxml")


def test_the_funnel_loses_each_video_once_with_its_reason(root: Listed) -> None:
    steps = {step.name: (step.number, dict(step.lost)) for step in facts(root.store).funnel}
    assert steps == {
        "listed": (6, {}),
        "fetched": (4, {"private": 1, "not read yet": 1}),
        "kept": (3, {"low_views": 1}),
        "text": (2, {"pending": 1}),
        "frames": (2, {"unreadable": 1}),
        "features": (2, {"pending": 1}),
    }


def test_a_video_in_figures(root: Listed) -> None:
    found = {each.video_id: each for each in facts(root.store).videos}
    video = found[KEPT]
    assert (video.num_sentences, video.num_steps, video.num_shots, video.num_words) == (8, 1, 10, 24)
    assert video.words_per_s == pytest.approx(24 / 40)
    # Of the triangle around frame 20, 17 frames reach .15.
    assert video.important == pytest.approx(17 / 40)
    assert video.peak == pytest.approx(0.5, abs=0.03)
    assert (video.text_kind, video.caption_quality, video.article_license) == ("manual", "clean", "CC BY-NC-SA")
    assert found[BARE].num_sentences is None


def test_the_page_shows_each_video_on_one_clock(root: Listed, tmp_path: Path) -> None:
    found = soup(root, tmp_path)
    video = found.find(id=f"v-{KEPT}")
    assert len(video.select(".strip img")) == 4
    assert video.select_one("path.replay")["d"].startswith("M0 100L0.0 100.0")
    # One shot of four frames is 10 % of the video; the second would be 20 %.
    assert len(re.findall("M", str(video.select_one("path.chosen")["d"]))) == 1
    assert len(re.findall("M", str(video.select_one("path.shot")["d"]))) == 10
    said = video.select(".said-list li")
    assert [item["data-from"] for item in said][:3] == ["0.0", "2.0", "4.0"]
    assert said[1].a["href"] == "https://www.youtube.com/watch?v=abc&t=2s"
    (step,) = video.select(".steps li")
    assert step.get_text(" ", strip=True) == "0:00 Do fold it. Then wait."
    rows = found.select("#list tbody tr")
    assert len(rows) == 6
    assert [row.select_one("td:last-of-type").get_text() for row in rows][:3] == [
        "complete",
        "complete",
        "kept, no features",
    ]
    assert len(found.select("#list tbody a")) == 2, "the table links to the videos that have a part of the page"


def test_the_page_loads_nothing_and_runs_one_script(root: Listed, tmp_path: Path) -> None:
    text = page.report(root.store.root, tmp_path / "report.html").read_text()
    found = BeautifulSoup(text, "lxml")
    assert len(found.find_all("script")) == 1
    assert not found.find_all(["iframe", "object", "link", "base", "form"], attrs={"src": True})
    assert ATTACK in found.find(id=f"v-{HOSTILE}").get_text(), "the title is shown as it is"
    for tag in found.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on")], tag
        for name in ("src", "href", "poster"):
            assert re.match(
                r"(#|data:,$|data:image/webp;base64,|https://www\.youtube\.com/)", str(tag.get(name, "#"))
            ), tag
    policy = found.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2]


def test_fewer_videos_and_none(root: Listed, tmp_path: Path) -> None:
    one = soup(root, tmp_path, videos=1)
    assert [each["id"] for each in one.select("details.video")] == [f"v-{HOSTILE}"], "the most viewed"
    assert "--videos all" in one.find(id="each").get_text()
    assert not soup(root, tmp_path, videos=0).select("details.video")


def test_a_root_without_rows_or_pictures(tmp_path: Path) -> None:
    found = soup(Listed(tmp_path), tmp_path)
    assert "0 of 6 listed videos are kept" in found.get_text()
    assert "No video has features yet" in found.get_text()
    assert "nothing to count" in found.get_text()


def test_a_video_of_ten_hours_is_cut_and_says_so(tmp_path: Path) -> None:
    root = made_up(tmp_path)
    number = 36_000
    row = feature_row("Long", 20, "word") | {
        "frame_time_s": list(range(number)), "frame_feature": [[1, 0, 0, 0]] * number, "duration_s": float(number),
        "replay_score": [0.5] * number, "shot_start": list(range(0, number, 10)),
        "shot_stop": list(range(10, number + 1, 10)),
        "sentence": [{"start_s": at * 7.0, "end_s": at * 7.0 + 6, "text": "so " * 40} for at in range(5_000)],
        "sentence_feature": [[1.0, 0, 0]] * 5_000,
    }  # fmt: skip
    (task,) = root.plan("features", root.of(KEPT), again=("done",)).tasks
    root.commit(task, "features", **row)
    (task,) = root.plan("thumbnails", root.of(KEPT), again=("done",)).tasks
    root.commit(task, "thumbnails", thumbnail=[{"time_s": at * 3e3, "webp": os.urandom(9_000)} for at in range(12)])
    path = page.report(root.store.root, tmp_path / "report.html")
    video = BeautifulSoup(path.read_text(), "lxml").find(id=f"v-{KEPT}")
    assert "more sentences" in video.get_text()
    assert len(str(video)) < 50_000, "200 of them stay below 10 MB"
    assert len(video.select(".strip img")) == 2


def test_no_root_no_place_no_permission(root: Listed, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no vsumdata root"):
        page.report(tmp_path / "nothing", tmp_path / "report.html")
    with pytest.raises(UsageError, match="is a folder; give a file"):
        page.report(root.store.root, tmp_path)
    with pytest.raises(UsageError, match=r"gone/report.html: No such file"):
        page.report(root.store.root, tmp_path / "gone" / "report.html")


def test_a_page_that_fails_half_way_leaves_the_old_one(root: Listed, tmp_path: Path, monkeypatch) -> None:
    path = page.report(root.store.root, tmp_path / "report.html")
    before = path.read_text()

    def broken(*parts: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drawing, "band", broken)
    with pytest.raises(KeyboardInterrupt):
        page.report(root.store.root, path)
    assert path.read_text() == before
    assert not list(tmp_path.glob("*.part"))


def test_the_sample_as_a_page(finished: Path, tmp_path: Path) -> None:
    found = facts(Store(finished))
    assert [step.number for step in found.funnel] == [13, 11, 9, 8, 8, 8]
    assert found.counts("text_kind") == {"manual": 2, "automatic": 2, "asr": 3, "none": 1}
    text = page.report(finished, tmp_path / "report.html").read_text()
    assert "neither the table <code>thumbnails</code> nor the media file is here" in text


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300), st.integers(1, 60))
def test_a_curve_keeps_its_range_and_its_mean_where_it_divides(values: list[float], number: int) -> None:
    found = resampled(np.array(values), number)
    assert found.shape == (number,)
    assert found.min() >= min(values) - 1e-9
    assert found.max() <= max(values) + 1e-9
    if len(values) % number == 0:
        assert found.mean() == pytest.approx(np.mean(values), abs=1e-9)


@given(st.lists(st.floats(0, 1e7) | st.integers(0, 10**6), max_size=50), st.booleans())
def test_every_value_is_in_a_bar(values: list[float], is_log: bool) -> None:
    drawn = drawing.histogram(values, lambda value: f"{value:.0f}", is_log=is_log)
    counted = [int(text.replace(",", "")) for text in re.findall(r": ([\d,]+)</title>", drawn)]
    assert sum(counted) == len(values)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.youtube.com/watch?v=a&t=3s", "https://www.youtube.com/watch?v=a&t=12s"),
        ("https://youtu.be/a", "https://youtu.be/a?t=12s"),
        ("https://example.org/film", ""),
        ("file:///tmp/a.mp4", ""),
        ("JavaScript:alert(1)", ""),
        ("https://[broken", ""),
        (None, ""),
    ],
)
def test_addresses_of_a_moment(url: str | None, expected: str) -> None:
    assert link_at(url, 12.7) == expected


def test_only_addresses_of_the_web_are_linked() -> None:
    assert [web_address(url) for url in ("data:text/html,x", " javascript:x", "HTTPS://a.b", "//a.b")] == [
        "", "", "HTTPS://a.b", "",
    ]  # fmt: skip


def test_ids_of_all_kinds_are_anchors() -> None:
    assert len(set(IDS)) == 6
    anchor = page.environment().filters["anchor"]
    assert anchor('a "b"/<ü>') == "v-a%20%22b%22%2F%3C%C3%BC%3E"
