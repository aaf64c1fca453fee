"""A small finished root, written by hand: licences of all kinds, texts that are marks elsewhere, paths of a machine."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.manifests import rows
from vsumdata.manifests.manifest import Loaded, Manifest
from vsumdata.manifests.store import Store
from vsumdata.pipeline.recipe import recipe
from vsumdata.pipeline.state.dataset import stored_manifest
from vsumdata.pipeline.state.plan import fingerprint, payload_schema, table_schema
from vsumdata.stages.encoders.models import known_models, model_keys

NOW = datetime.datetime(2026, 11, 29, 12, 30, tzinfo=datetime.UTC)
YOUTUBES_CC_BY = "Creative Commons Attribution license (reuse allowed)"
WIKIHOW, EHOW = "https://www.wikihow.com/Boil-Eggs", "https://www.ehow.com/how_1_boil-eggs.html"
FRAME_DIM, TEXT_DIM = 4, 3
STRANGE = 'Eggs | <script>alert("1")</script> *“déjà vu”* `x` 🥚\n# no heading'
# id, split, licence of the video, (address, site, licence, steps) of its article, how its sentences were made
VIDEOS: list[dict[str, Any]] = [
    {"id": "aaaaaaaaaaa", "split": "train", "article": (WIKIHOW, "wikihow", "CC BY-NC-SA 3.0", 2), "kind": "manual"},
    {"id": "bbbbbbbbbbb", "split": "train", "license": YOUTUBES_CC_BY, "article": (EHOW, "ehow", None, 1)},
    {"id": "ccccccccccc", "split": "val", "kind": "asr", "title": STRANGE, "replay": False},
    {"id": "ddddddddddd", "split": "test", "license": "CC BY-ND 4.0", "kind": "none", "sentences": 0},
    {"id": "my-own-clip", "split": "test", "license": "CC0", "own": "/home/somebody/films/my-own-clip.mp4"},
]


def make_root(folder: Path, videos: Iterable[dict[str, Any]] = VIDEOS, **settings: Any) -> Store:
    """Write the root `folder`/root of these videos, and the list beside it that its manifest names."""
    videos = list(videos)
    folder.mkdir(parents=True, exist_ok=True)
    listed = [{"video_id": video["id"]} for video in videos if "own" not in video]
    (folder / "ids.jsonl").write_text("".join(json.dumps(line) + "\n" for line in listed))
    manifest = Manifest.model_validate(
        {"name": "eggs", "sources": [{"ids": "ids.jsonl"}], "features": {"text": {"model": "/models/sbert-é"}}}
        | settings
    )
    dims = {"asr": None, "clip": FRAME_DIM, "text": TEXT_DIM}
    known = {
        key: {"name": name, "location": f"/models/{name}", "identity": f"{name} 1", "dim": dims.get(name)}
        for name, key in model_keys(manifest).items()
    }
    stages = recipe(manifest, known_models(manifest, known))
    store = Store(folder / "root")
    made = {table: fingerprint(stages, table) for table in ("videos", "articles", "transcripts", "frames", "features")}
    for video in videos:
        for table, values in tables_of(video).items():
            stage = stages[table]
            payload: dict[str, Any] = dict.fromkeys(payload_schema(stage).names) | values
            head = {
                "video_id": video["id"],
                "outcome": "done",
                "reason": "",
                "detail": "",
                "version": 1,
                "tries": 0,
                "committed_at": NOW,
                "seconds": 0.5,
                "retry_after": None,
                "upstream": dict.fromkeys(stage.reads or ("source",), "0"),
            }
            row = {**head, **payload, "digest": dict.fromkeys(payload, "0")}
            store.write(table, made[table], rows.to_table(table_schema(stage), [row]))
    store.write_json("models.json", known)
    entry = {"outcomes": {"done": len(videos)}, "reasons": {}}
    store.write_json(
        "dataset.json",
        {
            "manifest": stored_manifest(Loaded(manifest=manifest, folder=folder, file=str(folder / "eggs.yaml"))),
            "versions": {"vsumdata": "0.1.0"},
            "tables": {table: {"fingerprint": at, **entry} for table, at in made.items()},
        },
    )
    return store


def tables_of(video: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of one video, by table."""
    frames, number = video.get("frames", 5), video.get("sentences", 2)
    rng = np.random.default_rng(frames)
    title, own = video.get("title", "How to Boil Eggs"), video.get("own")
    url = f"file://{own}" if own else f"https://www.youtube.com/watch?v={video['id']}"
    address, site, licence, steps = video.get("article", (None, None, None, 0))
    sentence = [{"start_s": float(at), "end_s": at + 1.0, "text": f"Say {at}, née Zoë."} for at in range(number)]
    step = [{"section": None, "headline": f"Step {at}", "text": f"Step {at}: boil."} for at in range(steps)]
    description = f"{title}: write to zoe@example.org"
    times = {"frame_time_s": np.arange(frames, dtype=np.float32)}
    shots = {"shot_start": np.array([0, 2], np.int32), "shot_stop": np.array([2, frames], np.int32)}
    feature = {"frame_feature": rng.random((frames, FRAME_DIM)).astype(np.float16)}
    facts = {
        "title": title,
        "source": f"{'files' if own else 'ids'}:/home/somebody/lists/ids.jsonl",
        "url": url,
        "license": video.get("license"),
        "description": description,
        "duration_s": frames + 0.4,
    }
    found = {
        "videos": {
            **facts, "channel": "Zoë's Kitchen", "channel_id": "UCzoe", "view_count": 60_000, "language": "en-US",
            "fetched": True, "retrieved_at": NOW, "live_status": "not_live", "media_type": "video",
            "heatmap": [{"start_s": 0.0, "end_s": 1.0, "value": 1.0}],
        },
        "transcripts": {"kind": video.get("kind", "automatic"), "language": "en", "sentence": sentence},
        "frames": {**times, **shots, **feature},
        "features": {
            **facts, **times, **shots, **feature,
            "article_url": address,
            "task": url if own else title,
            "split": video["split"],
            "replay_score": rng.random(frames, dtype=np.float32) if video.get("replay", True) else None,
            "sentence": sentence,
            "sentence_feature": (np.arange(number * TEXT_DIM).reshape(number, TEXT_DIM) + 1).astype(np.float16),
            "step": step,
            "step_feature": np.ones((steps, TEXT_DIM), np.float16),
            "description_feature": np.ones(TEXT_DIM, np.float16),
            "global_text": "\n".join(f"{each['text']}" for each in step) or description,
            "global_feature": np.ones(TEXT_DIM, np.float16),
        },
    }  # fmt: skip
    if address:
        linked = [{**each, "image_url": None, "clip_url": None} for each in step]
        found["articles"] = {
            "url": address, "site": site, "license": licence, "step": linked, "retrieved_at": NOW, "parser_version": 1,
        }  # fmt: skip
    return found
