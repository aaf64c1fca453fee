"""The group `summaries`: which tables a run makes, what their fingerprints depend on, what a root says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.state.test_plan import GOOD, Root, manifest, models, records

from vsumdata.manifests import tables
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Loaded
from vsumdata.pipeline.engine.run import asked_endpoints, endpoint_of
from vsumdata.pipeline.recipe import parse_stages, recipe, wanted_tables
from vsumdata.pipeline.state import curated, dataset
from vsumdata.pipeline.state.plan import fingerprint, plan
from vsumdata.stages.curation import prompts
from vsumdata.stages.encoders.models import Model

SERVER = {"endpoint": "http://127.0.0.1:8000/v1", "model": "m"}
LLM: dict[str, Any] = {"method": "llm", "captioner": SERVER, "writer": SERVER}
SCORER = Model("roberta-large", "hub:roberta-large@1/x", "roberta-large@1")


def prints(settings: dict[str, Any], **changes: Any) -> tuple[str, str]:
    stages = recipe(manifest(summaries=settings, **changes), replace(models(), scorer=SCORER))
    return fingerprint(stages, "frame_captions"), fingerprint(stages, "summaries")


def test_the_group_is_asked_for() -> None:
    assert parse_stages("summaries") == ["frame_captions", "summaries"]
    assert "summaries" not in parse_stages("crawl,asr,features")


def test_captions_are_left_out_where_no_model_is_named() -> None:
    both = ["frame_captions", "summaries"]
    assert wanted_tables(both, manifest()) == ["summaries"]
    assert wanted_tables(both, manifest(summaries={"captioner": SERVER})) == both
    with pytest.raises(UsageError, match=r"summaries\.captioner\.endpoint"):
        wanted_tables(["frame_captions"], manifest())


def test_what_makes_other_rows_and_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    captions, summaries = prints(LLM)
    moved = SERVER | {"endpoint": "https://llm.example/v1", "key_variable": "KEY", "requests_at_once": 9}
    assert prints(LLM | {"captioner": moved, "writer": moved}) == (captions, summaries), "only the address is another"
    assert prints(LLM | {"captioner": SERVER | {"revision": "2"}})[0] != captions
    assert prints(LLM | {"captioner": SERVER | {"revision": "2"}})[1] != summaries, "summaries are made of captions"
    assert prints(LLM | {"writer": SERVER | {"model": "n"}})[0] == captions
    assert prints(LLM | {"writer": SERVER | {"model": "n"}})[1] != summaries
    assert prints(LLM | {"similarity": {"max": 0.9}})[1] != summaries
    steps = prints({})[1]
    assert prints({"share": 0.3})[1] == steps, "a setting of another method"
    assert prints({"min_replay": 0.3})[1] != steps
    monkeypatch.setattr(prompts, "VERSION", prompts.VERSION + 1)
    assert [now != before for now, before in zip(prints(LLM), (captions, summaries), strict=True)] == [True, True]
    assert prints({})[1] == steps, "nothing is asked"


def test_what_each_method_reads() -> None:
    made = {name: recipe(manifest(summaries=settings), models())["summaries"] for name, settings in
            {"steps": {}, "llm": LLM}.items()}  # fmt: skip
    assert set(made["steps"].reads) == {"videos", "features"}
    assert set(made["llm"].reads) == {"videos", "frame_captions"}
    assert made["llm"].gpus == 0, "an endpoint has its own"
    local = recipe(manifest(summaries={"captioner": {"local": "m"}}), replace(models(), captioner=SCORER))
    assert local["frame_captions"].gpus == -1
    unused = recipe(manifest(summaries={"writer": {"local": "m"}}), replace(models(), writer=SCORER))
    assert (unused["summaries"].gpus, unused["summaries"].memory_gb) == (0, 0), "the method steps asks no writer"


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = manifest(summaries=LLM | {"writer": SERVER | {"key_variable": "MY_KEY"}})
    found = asked_endpoints(asked, ["frame_captions", "summaries"])
    assert set(found) == {"frame_captions", "summaries"}
    with pytest.raises(
        UsageError, match=r"summaries\.writer\.key_variable: the environment variable MY_KEY is not set"
    ):
        endpoint_of(found["summaries"], "summaries")
    monkeypatch.setenv("MY_KEY", "sk-123\n")
    made = endpoint_of(found["summaries"], "summaries")
    assert (made.key, made.host) == ("sk-123", "127.0.0.1:8000")
    assert "sk-123" not in repr(made)
    unused = manifest(summaries={"writer": SERVER})
    assert asked_endpoints(unused, ["summaries"]) == {}, "the method steps asks nobody"


def test_a_root_without_summaries_does_not_miss_them(tmp_path: Path) -> None:
    root, listed = Root(tmp_path), records("a", "b")
    loaded = Loaded(manifest=manifest(), folder=tmp_path, file="x.yaml")
    root.settle("videos", listed, **GOOD)
    usual = dataset.summary(root.store, loaded, root.stages, listed)
    assert list(usual["tables"]) == ["videos", "articles", "transcripts", "frames", "features"]
    assert usual["summaries"] is None
    assert curated.line(usual["summaries"]) == ""
    asked = dataset.summary(root.store, loaded, root.stages, listed, wanted=["summaries"])
    assert list(asked["tables"])[5:] == ["summaries"]


def test_the_figures_stand_beside_the_papers(tmp_path: Path) -> None:
    root, listed = Root(tmp_path), records("a", "b", "c")
    for table in ("videos", "articles", "transcripts", "frames", "features"):
        root.settle(table, listed, **(GOOD if table == "videos" else {}))
    first, second, third = plan(root.store, root.stages, "summaries", listed, manifest()).tasks
    root.commit(first, "summaries", duration_s=100.0, num_frames=100, num_kept=10, num_tokens=30)
    root.commit(second, "summaries", duration_s=60.0, num_frames=60, num_kept=18, num_tokens=51)
    root.commit(third, "summaries", "skipped", reason="no_summary")
    loaded = Loaded(manifest=manifest(), folder=tmp_path, file="x.yaml")
    found = dataset.summary(root.store, loaded, root.stages, listed)["summaries"]
    means = {name: found[name] for name in ("videos", "duration_s", "tokens", "frames", "ratio")}
    assert means == {"videos": 2, "duration_s": 80.0, "tokens": 40.5, "frames": 14.0, "ratio": pytest.approx(0.2)}
    assert curated.line(found) == (
        "summaries: 2 videos, on average 80 s, 40 tokens, 14 frames, 20.00 % of the video "
        "(Instruct-V2Xum: 183 s, 239, 30, 16.39 %)"
    )


def test_the_reasons_are_known() -> None:
    assert {"no_summary", "no_captions", "refused"} <= tables.REASONS
