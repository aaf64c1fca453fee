"""The cost of crawling beside the extraction itself, on a made-up channel that answers without delay.

    python tests/bench/crawl.py [--videos N] [--json]

This machine serves a channel of N videos as https://sample.invalid/@big. Measured are `vsumdata run --stage videos` on
Ray (rate, memory, processor time, the first thousand videos against the last), and the same worker in one process
without Ray, minus the time within yt-dlp's extraction and its requests. A tenth of the videos has too few views,
another tenth has no heatmap.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from functools import wraps
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from machine import OFFLINE_MODELS, PROGRAM, ProcessTree, report, timed
from rich.console import Console
from rich.table import Table

from vsumdata.datasets.sample.site import CONTENT_TYPES, HOST, PAGE_SIZE, Answer, SampleSite, json_answer
from vsumdata.manifests.manifest import load
from vsumdata.manifests.store import Store
from vsumdata.pipeline.engine.run import Run
from vsumdata.pipeline.state.listing import list_records
from vsumdata.pipeline.state.plan import Task, fingerprint
from vsumdata.pipeline.workers import worker

# Cues of a caption track, some 5 kB.
CUES = 60
# The first thousand videos are compared with the last: the cost of a video must not grow with the list.
PART = 1000
# Videos that are enough to measure one process.
ONE_PROCESS = 1000
# No pause between requests: waiting is not what is measured.
SETTINGS = f"""name: big
sources: [{{channel: "https://{HOST}/@big"}}]
crawl: {{seconds_between_requests: 0}}
{OFFLINE_MODELS}"""


class BigSite(SampleSite):
    """The sample's site with one more channel, whose pages are made on request."""

    def __init__(self, num_videos: int) -> None:
        super().__init__()
        self.num_videos = num_videos
        times = [f"00:{at // 60:02}:{at % 60:02}" for at in range(CUES)]
        cues = [f"{at}.000 --> {at}.900\nAt {at} go on with the next part of it, with some care.\n" for at in times]
        self.captions = ("WEBVTT\n\n" + "\n".join(cues)).encode()
        self.heatmap = [{"start_time": 0.6 * at, "end_time": 0.6 * (at + 1), "value": at / 99} for at in range(100)]

    def answer(self, target: str, headers: Message) -> Answer:
        path, _, query = target.partition("?")
        if path == "/api/channels/big":
            page = int(query.rpartition("page=")[2] or 0)
            numbers = range(page * PAGE_SIZE, min((page + 1) * PAGE_SIZE, self.num_videos))
            return json_answer({"id": "UCbig", "name": "Big", "entries": [self.listed(number) for number in numbers]})
        if path.startswith("/api/videos/big"):
            return json_answer(self.video(int(path[-8:])))
        if path.startswith("/captions/big"):
            return Answer(HTTPStatus.OK, self.captions, {"Content-Type": CONTENT_TYPES[".vtt"]})
        return super().answer(target, headers)

    def listed(self, number: int) -> dict[str, Any]:
        views = 40_000 if number % 10 == 0 else 90_000
        return {"id": f"big{number:08}", "title": f"How to do thing {number}", "duration": 60, "view_count": views}

    def video(self, number: int) -> dict[str, Any]:
        listed = self.listed(number)
        track = {"url": f"https://{HOST}/captions/{listed['id']}.en.vtt", "ext": "vtt"}
        return {
            **listed,
            "description": f"How thing {number} is done. " * 20 + f"https://{HOST}/wikihow/Thing-{number}",
            "channel": "Big",
            "channel_id": "UCbig",
            "upload_date": "20240220",
            "language": "en",
            "live_status": "not_live",
            "media_type": "video",
            "availability": "public",
            "heatmap": None if number % 10 == 1 else self.heatmap,
            "subtitles": {"en": [track]},
            "format": {"width": 320, "height": 240},
        }


def on_ray(folder: Path, address: str, num_videos: int) -> tuple[dict[str, float], ProcessTree]:
    """Run the program from nothing, and check its result."""
    root = folder / f"root-{num_videos}"
    with ProcessTree() as tree:
        cost = timed(
            [*PROGRAM, "run", "--manifest", str(folder / "big.yaml"), "--stage", "videos", "--root", str(root)],
            VSUMDATA_TRANSPORT=f"{HOST}={address}",
        )
    store = Store(root)
    latest = store.latest("videos", store.tables()["videos"], ["seconds"])
    assert len(latest) == num_videos
    outcomes = store.dataset()["tables"]["videos"]["outcomes"]
    tenths = [len(range(first, num_videos, 10)) for first in (0, 1)]
    assert (outcomes["done"], outcomes["skipped"]) == (num_videos - sum(tenths), sum(tenths)), cost.out
    # Commit times leave out the start of Ray and the listing, which a rate over the whole run would hold.
    committed_s = np.sort(latest["committed_at"].to_numpy().astype("datetime64[us]").astype(np.float64)) / 1e6
    part = min(PART, num_videos // 2)
    rate = (num_videos - 1) / (committed_s[-1] - committed_s[0])
    return {
        "wall_s": cost.wall_s,
        "videos_per_s": rate,
        "first_part_ms": (committed_s[part - 1] - committed_s[0]) / (part - 1) * 1000,
        "last_part_ms": (committed_s[-1] - committed_s[-part]) / (part - 1) * 1000,
        "row_function_ms": float(np.mean(latest["seconds"].to_numpy())) * 1000,
    }, tree


@dataclass
class Spent:
    """Seconds of the clock and of this process's processor time. Other load on the machine leaves the second alone."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @classmethod
    def now(cls) -> Spent:
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)

    def per_video(self, what: str, num: int) -> dict[str, float]:
        return {f"{what}_ms": self.wall_s / num * 1000, f"{what}_cpu_ms": self.cpu_s / num * 1000}


@dataclass
class Clock:
    """Add up the time within some functions; nested calls count once."""

    spent: Spent = field(default_factory=Spent)
    depth: int = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            begun, self.depth = Spent.now(), self.depth + 1
            try:
                return function(*args, **kwargs)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.spent += Spent.now() - begun

        return wrapped


def replay_clock() -> Clock:
    """Make a clock that runs within yt-dlp's extraction and its requests, but not in our own code."""
    import yt_dlp

    clock = Clock()
    for name in ("extract_info", "process_ie_result", "urlopen"):
        setattr(yt_dlp.YoutubeDL, name, clock.around(getattr(yt_dlp.YoutubeDL, name)))
    return clock


@contextlib.contextmanager
def opened(folder: Path, address: str) -> Iterator[Run]:
    """Open a run that is ready to list and to plan, without Ray."""
    run = Run(load(str(folder / "big.yaml")), Store(folder / "one"), ["videos"], Console(quiet=True))
    run.transport = {HOST: address}
    run.prepare(dry_run=False)
    yield run


def do(run: Run, folder: Path, tasks: list[Task]) -> None:
    """Do these tasks as a worker does, block by block."""
    stage = run.stages["videos"]
    job = worker.Job(
        stage=stage,
        context=run.context(folder),
        fingerprint=fingerprint(run.stages, "videos"),
        inputs={},
        gpus=0.0,
        max_attempts=5,
    )
    done = worker.StageWorker(job)
    for at in range(0, len(tasks), stage.batch):
        done(tasks[at : at + stage.batch])


def measure(folder: Path, address: str) -> dict[str, Any]:
    """Measure one process: milliseconds a video, and a profile of our own share (the profiler slows everything)."""
    with opened(folder, address) as run:
        replay, begun = replay_clock(), Spent.now()
        run.records = list_records(run.store, run.loaded, run.context(folder), run.say)
        listing, listing_replay = Spent.now() - begun, replay.spent
        tasks = run.plan("videos").tasks[: 2 * ONE_PROCESS]
        # The first videos pay for imports and the like.
        do(run, folder, tasks[:20])
        timed_tasks, profiled_tasks = tasks[20 : len(tasks) // 2], tasks[len(tasks) // 2 :]
        begun, before = Spent.now(), replay.spent
        do(run, folder, timed_tasks)
        total, replayed = Spent.now() - begun, replay.spent - before
        profile = cProfile.Profile()
        profile.runcall(do, run, folder, profiled_tasks)
    return {
        **(listing - listing_replay).per_video("listing", len(run.records)),
        **replayed.per_video("replay", len(timed_tasks)),
        **(total - replayed).per_video("bookkeeping", len(timed_tasks)),
        "profile_ms": longest(profile, len(profiled_tasks)),
    }


def longest(profile: cProfile.Profile, num: int, top: int = 25) -> dict[str, float]:
    """Map each of our functions, and yt-dlp's outermost, to its milliseconds a video with all that it calls."""
    found: dict[str, float] = {}
    stats: Any = pstats.Stats(profile)
    for (file, line, name), (*_, cumulative_s, _) in stats.stats.items():
        ours = "/vsumdata/" in file or any(f"/{part}/" in file for part in ("pipeline", "stages", "manifests"))
        if "site-packages" in file:
            ours = file.endswith("YoutubeDL.py") and name in {
                "__init__",
                "extract_info",
                "process_ie_result",
                "urlopen",
            }
        if ours:
            found[f"{Path(file).stem}:{line}({name})"] = round(cumulative_s / num * 1000, 3)
    return dict(sorted(found.items(), key=lambda item: -item[1])[:top])


def figures(num_videos: int) -> dict[str, Any]:
    few = min(200, num_videos // 2)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as sites:
        folder = Path(name)
        (folder / "big.yaml").write_text(SETTINGS)
        big, small = (sites.enter_context(BigSite(num)) for num in (num_videos, few))
        # A small run first: its processor time is the start-up, which is taken off the large run's.
        _, start = on_ray(folder, small.address, few)
        figures, tree = on_ray(folder, big.address, num_videos)
        cpu_s, start_s = tree.cpu_s(), start.cpu_s()
        figures |= {f"{who}_cpu_ms": (cpu_s[who] - start_s[who]) / (num_videos - few) * 1000 for who in cpu_s}
        figures |= {f"{who}_peak_mb": peak_mb for who, peak_mb in tree.peak_mb().items()}
        # In a process of its own: the clocks patch yt-dlp, and the site's threads here would count as its time.
        one = json.loads(timed([sys.executable, __file__, "--measure", name, "--address", big.address]).out)
    profile = one.pop("profile_ms")
    figures |= {f"one_process_{what}": value for what, value in one.items()}
    return {what: round(value, 2) for what, value in figures.items()} | {"profile_ms": profile}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=10_000, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.address)))
        return
    found = figures(arguments.videos)
    if arguments.json:
        print(json.dumps(report("crawl", {"videos": arguments.videos, **found}), indent=1))
        return
    table = Table(f"{arguments.videos} listed videos", "", box=None, pad_edge=False)
    for what, value in (found | found.pop("profile_ms")).items():
        table.add_row(what, f"{value:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
