"""A made-up channel on the sample's site, whose answers a test may spoil; the real program crawls it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.pipeline.sample_kit import here

from vsumdata.datasets.sample.site import PAGE_SIZE, Answer, SampleSite, json_answer
from vsumdata.manifests.store import Store

Program = Callable[..., subprocess.CompletedProcess[str]]
Fault = Callable[[str, Message], Answer | None]
API_VIDEO = re.compile(r"/api/videos/(\d{11})")


def video_id(number: int) -> str:
    return f"{number:011d}"


class MadeUpSite(SampleSite):
    """`@big` lists `num_videos` videos; `fault` may answer a request in place of the site."""

    def __init__(self, num_videos: int) -> None:
        super().__init__()
        self.num_videos, self.asked = num_videos, list[str]()
        self.fault: Fault = lambda target, headers: None
        self.has_heatmap: Callable[[int], bool] = lambda number: True

    def answer(self, target: str, headers: Message) -> Answer:
        self.asked.append(target)
        spoiled = self.fault(target, headers)
        if spoiled is not None:
            return spoiled
        found = API_VIDEO.fullmatch(target)
        return json_answer(self.video(int(found[1]))) if found else super().answer(target, headers)

    def listing(self, name: str, page: int) -> Answer:
        if name != "big":
            return super().listing(name, page)
        numbers = range(page * PAGE_SIZE, min((page + 1) * PAGE_SIZE, self.num_videos))
        entries = [
            {"id": video_id(number), "title": f"Video {number}", "duration": 100, "view_count": None}
            for number in numbers
        ]
        return json_answer({"id": "UCmadeup", "name": "Made up", "entries": entries})

    def video(self, number: int) -> dict[str, Any]:
        marks = [{"start_time": i, "end_time": i + 1, "value": i / 99} for i in range(100)]
        return {
            "id": video_id(number),
            "title": f"Video {number}",
            "duration": 100,
            "view_count": 60_000,
            "heatmap": marks if self.has_heatmap(number) else None,
            "format": {"width": 320, "height": 240},
        }

    def pages_asked(self) -> list[int]:
        found = [re.fullmatch(r"/api/channels/big\?page=(\d+)", target) for target in self.asked]
        return [int(match[1]) for match in found if match]


def write_manifest(folder: Path, **crawl: Any) -> Path:
    """A manifest of `@big`, without pauses."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "big.yaml"
    settings = {"crawl": {"seconds_between_requests": 0} | crawl}
    sources = {"sources": [{"channel": "https://sample.invalid/@big"}]}
    path.write_text(json.dumps(sources | settings), encoding="utf-8")
    return path


def crawl(site: SampleSite, manifest: Path, root: Path, *more: str, run: Program = here) -> tuple[int, str]:
    """Exit code and what was shown of `run --stage videos`."""
    arguments = ["run", "--manifest", str(manifest), "--stage", "videos", "--root", str(root), *more]
    done = run(*arguments, site=site.address)
    return done.returncode, done.stdout + done.stderr


def outcomes(root: Path) -> dict[str, tuple[str, str]]:
    """Video -> (outcome, reason) in the `videos` table."""
    store = Store(root)
    latest = store.latest("videos", store.tables()["videos"])
    return {row["video_id"]: (row["outcome"], row["reason"]) for row in latest.to_pylist()}


def rows(root: Path) -> list[dict[str, Any]]:
    """The rows of the `videos` table, without payload."""
    store = Store(root)
    return store.latest("videos", store.tables()["videos"], ("detail",)).to_pylist()  # type: ignore[no-any-return]


def refuse(status: HTTPStatus, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, b"{}", {"Content-Type": "application/json", **named})
