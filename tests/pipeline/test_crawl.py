"""The crawl under the faults of the real world, through the whole program."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from tests.pipeline.crawl_kit import API_VIDEO, MadeUpSite, crawl, outcomes, refuse, rows, video_id, write_manifest
from tests.pipeline.sample_kit import here, vsumdata
from tests.stages.youtube.youtube_kit import firefox_profile

from vsumdata.datasets.sample.site import Answer, json_answer

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def site() -> Iterator[MadeUpSite]:
    with MadeUpSite(num_videos=24) as made_up:
        yield made_up


def test_an_interrupted_listing_goes_on_where_it_stopped(site: MadeUpSite, tmp_path: Path) -> None:
    manifest, root = write_manifest(tmp_path), tmp_path / "root"
    site.fault = lambda target, _: refuse(HTTPStatus.BAD_GATEWAY) if target.endswith("page=4") else None
    code, shown = crawl(site, manifest, root)
    assert code == 1
    assert "cannot be listed now" in shown
    assert "run again later" in shown
    site.fault, site.asked = lambda *_: None, []
    code, shown = crawl(site, manifest, root)
    assert code == 0, shown
    assert site.pages_asked()[0] in (3, 4)
    assert set(outcomes(root)) == {video_id(number) for number in range(24)}
    assert not list((root / "listings").glob("*.pages"))


def test_an_empty_listing_does_not_take_the_place_of_a_good_one(site: MadeUpSite, tmp_path: Path) -> None:
    manifest, root = write_manifest(tmp_path), tmp_path / "root"
    crawl(site, manifest, root)
    (listing,) = (root / "listings").glob("*.json")
    listing.write_text(json.dumps(json.loads(listing.read_text()) | {"listed_at": 0}))
    site.num_videos = 0
    code, shown = crawl(site, manifest, root)
    assert (code, "the listing of the last run serves" in shown) == (0, True), shown
    assert "24" in here("status", "--root", str(root)).stdout
    assert len(json.loads(listing.read_text())["records"]) == 24


def test_nothing_but_retries_is_no_success(site: MadeUpSite, tmp_path: Path) -> None:
    site.fault = lambda target, _: refuse(HTTPStatus.BAD_GATEWAY) if "videos" in target else None
    code, shown = crawl(site, write_manifest(tmp_path), tmp_path / "root", "--limit", "2")
    assert code == 1
    assert "2 retry" in shown


def test_429_pauses_for_as_long_as_the_host_says_and_blames_nobody(site: MadeUpSite, tmp_path: Path) -> None:
    manifest, root = write_manifest(tmp_path), tmp_path / "root"
    walls = [time.time()]

    def wall(target: str, _: object) -> Answer | None:
        if target == f"/api/videos/{video_id(5)}" and len(walls) < 3:
            walls.append(time.time())
            return refuse(HTTPStatus.TOO_MANY_REQUESTS, Retry_After="3")
        return None

    site.fault = wall
    code, shown = crawl(site, manifest, root)
    assert code == 0, shown
    assert walls[2] - walls[1] > 3
    assert "sample.invalid asked to slow down" in shown
    assert "cookiefile" in shown
    assert set(outcomes(root).values()) == {("done", "")}
    assert {row["version"] for row in rows(root)} == {1}


def test_a_bot_wall_holds_everybody_and_the_next_run_waits_and_says_so(site: MadeUpSite, tmp_path: Path) -> None:
    manifest, root = write_manifest(tmp_path), tmp_path / "root"
    root.mkdir()
    until = time.time() + 6
    state = {"sample.invalid": {"open_until": until, "pause_s": 60.0, "why": "Sign in to confirm you’re not a bot"}}
    (root / "pace.json").write_text(json.dumps(state), encoding="utf-8")
    begun = []
    site.fault = lambda target, _: begun.append(time.time())  # type: ignore[func-returns-value]
    code, shown = crawl(site, manifest, root)
    assert code == 0, shown
    assert begun[0] >= until
    assert "Sign in to confirm you’re not a bot" in shown


def test_a_run_stops_when_heatmaps_stop_coming_and_loses_no_video(tmp_path: Path) -> None:
    with MadeUpSite(num_videos=120) as site:
        site.has_heatmap = lambda number: number < 40
        manifest, root = write_manifest(tmp_path), tmp_path / "root"
        code, shown = crawl(site, manifest, root)
        said = shown
        assert code == 1
        assert "of the last 50 videos" in said
        assert "stop_without_heatmaps" in said
        found = outcomes(root)
        assert {found[video_id(number)] for number in range(30)} == {("done", "")}
        assert ("retry", "heatmap_not_fetched") in found.values()
        assert not [v for v, outcome in found.items() if outcome == ("done", "") and int(v) >= 40]
        site.has_heatmap = lambda number: True
        code, shown = crawl(site, manifest, root)
        assert code == 0, shown
        assert outcomes(root) == {video_id(number): ("done", "") for number in range(120)}


@pytest.mark.parametrize("words", ["The page needs to be reloaded.", "words that nobody has seen"])
def test_a_run_stops_when_videos_in_a_row_meet_trouble_and_blames_none(tmp_path: Path, words: str) -> None:
    with MadeUpSite(num_videos=60) as site:
        site.fault = lambda target, _: (
            json_answer({"unavailable": words})
            if (found := API_VIDEO.fullmatch(target)) and int(found[1]) >= 10
            else None
        )
        manifest, root = write_manifest(tmp_path), tmp_path / "root"
        code, shown = crawl(site, manifest, root)
        assert code == 1
        assert "20 videos in a row met trouble" in shown
        assert words in shown.replace("\n", " ")
        assert "stop_when_alike" in shown
        found = {row["video_id"]: (row["outcome"], row["tries"]) for row in rows(root)}
        assert [found[video_id(number)] for number in range(10)] == [("done", 0)] * 10
        assert set(found.values()) == {("done", 0), ("retry", 0)}
        site.fault = lambda *_: None
        code, shown = crawl(site, manifest, root)
        assert code == 0, shown
        assert outcomes(root) == {video_id(number): ("done", "") for number in range(60)}


def test_an_id_that_does_not_exist_is_removed_among_others(site: MadeUpSite, tmp_path: Path) -> None:
    gone = {"unavailable": "Failed to extract any player response"}
    site.fault = lambda target, _: json_answer(gone) if target == f"/api/videos/{video_id(9)}" else None
    code, shown = crawl(site, write_manifest(tmp_path), tmp_path / "root")
    assert code == 0, shown
    found = outcomes(tmp_path / "root")
    assert found.pop(video_id(9)) == ("skipped", "removed")
    assert set(found.values()) == {("done", "")}


def test_a_client_that_is_not_let_in_ends_the_run_in_one_line(site: MadeUpSite, tmp_path: Path) -> None:
    words = "This video is restricted. Please check the Google Workspace administrator"
    site.fault = lambda target, _: json_answer({"unavailable": words}) if "videos" in target else None
    code, shown = crawl(site, write_manifest(tmp_path), tmp_path / "root", run=vsumdata)
    assert code == 2
    assert "Restricted Mode on: use another network" in shown
    assert "Traceback" not in shown
    assert set(outcomes(tmp_path / "root").values()) == {("retry", "unavailable")}


def test_secrets_reach_no_file_and_no_terminal(site: MadeUpSite, tmp_path: Path) -> None:
    secret, root = "s3cret-Pa55word", tmp_path / "root"
    options = {
        "username": "somebody@example.org",
        "password": secret,
        "http_headers": {"Authorization": f"Bearer {secret}-2"},
        "extractor_args": {"youtube": {"po_token": [f"web.gvs+{secret}-3"]}},
    }
    manifest = write_manifest(tmp_path, yt_dlp=options)
    # A site that repeats what it was sent.
    site.fault = lambda target, headers: (
        json_answer({"unavailable": f"This video is private: {headers['Authorization']} somebody@example.org"})
        if "videos" in target
        else None
    )
    _, shown = crawl(site, manifest, root, "--debug", run=vsumdata)
    status = here("status", "--root", str(root), "--json").stdout
    assert {outcome for outcome, _ in outcomes(root).values()} == {"skipped"}
    assert "(hidden)" in str(rows(root)[0]["detail"])
    everything = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    for text in (shown.encode(), status.encode(), *everything):
        assert secret.encode() not in text
        assert b"somebody@example.org" not in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cookies": "c.txt"}, "did you mean `cookiefile`"),
        ({"cookiefile": "none.txt"}, "none.txt does not exist"),
        ({"ignoreerrors": True}, "is set by vsumdata itself"),
        ({"playlist_items": "1-3"}, "would drop videos without a word"),
        ({"extractor_args": {"youtube": {"player_skip": ["initial_data"]}}}, "there are no heatmaps"),
    ],
)
def test_options_of_yt_dlp_are_checked_before_any_work(
    options: dict[str, object], says: str, site: MadeUpSite, tmp_path: Path
) -> None:
    code, shown = crawl(site, write_manifest(tmp_path, yt_dlp=options), tmp_path / "root")
    assert code == 2
    assert says in shown
    assert not site.asked


def test_the_browsers_cookies_are_sent_if_the_command_line_says_so(site: MadeUpSite, tmp_path: Path) -> None:
    sent: list[str | None] = []
    site.fault = lambda target, headers: sent.append(headers["Cookie"]) if "videos" in target else None  # type: ignore[func-returns-value]
    profile = firefox_profile(tmp_path / "profile")
    flag = ("--cookies-from-browser", f"firefox:{profile}")
    code, shown = crawl(site, write_manifest(tmp_path), tmp_path / "root", "--limit", "2", *flag)
    assert code == 0, shown
    assert sent
    assert all(cookie == "SID=s3cret" for cookie in sent)
    everything = [path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file()]
    assert not [text for text in everything if b"s3cret" in text]
