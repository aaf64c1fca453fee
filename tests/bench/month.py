"""A month of crawling in some forty minutes: three channels, and all that a site does to a crawler meanwhile.

    python tests/bench/month.py [--videos N] [--speed F] [--pace S] [--every H] [--days D] [--json]

A made-up site lists three channels of N videos each. `vsumdata run --stage crawl` is called again and again, `--every`
hours after the last call has ended, until nothing is pending or the month is over; its clock runs F times faster
(VSUMDATA_CLOCK_SPEED), as the site's does. As the crawl proceeds the site has its faults, each once a certain share of
the videos was asked for: bursts of 5xx of some minutes, storms of 429 with and without Retry-After, a bot wall of
hours, and a day on which no page has a heatmap. Some videos are private, removed, little seen or without a heatmap for
good, and some articles are gone.

At the end all that can be had must be there, no video may be marked `failed` or `skipped` for what the site did, and
the site must have been asked for each video 1.1 times or less in the mean; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any

from machine import OFFLINE_MODELS, PROGRAM, ProcessTree, report, this_machine
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.pipeline.crawl_kit import API_VIDEO, MadeUpSite, refuse, video_id

from vsumdata.datasets.sample.site import CONTENT_TYPES, HOST, PAGE_SIZE, Answer, json_answer
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state.plan import HEATMAP

SPEED = "VSUMDATA_CLOCK_SPEED"
CHANNELS = ("ann", "ben", "cem")
MANIFEST = f"""name: month
sources: [{", ".join(f'{{channel: "https://{HOST}/@{name}"}}' for name in CHANNELS)}]
{OFFLINE_MODELS}"""
MOST_VISITS = 1.1
# A video's number modulo KINDS tells what is true of it. All others are good, and have an article.
KINDS = 20
LOW_VIEWS, NO_HEATMAP, PRIVATE, REMOVED, NO_ARTICLE, ARTICLE_GONE = range(6)
UNAVAILABLE = {PRIVATE: "This video is private", REMOVED: "This video has been removed by the uploader"}
WALL = "Sign in to confirm you’re not a bot. This helps protect our community"
STEPS = "".join(f'<li><div class="step"><b class="whb">Do part {n}.</b> Take care.</div></li>' for n in range(1, 6))
ARTICLE = f'<h1>A thing</h1><div class="section steps"><ol class="steps_list_2">{STEPS}</ol></div>'.encode()
MARKS = [{"start_time": at, "end_time": at + 1, "value": at / 99} for at in range(100)]


@dataclass
class Fault:
    """What the site does for `hours` once `share` of the videos was asked for; `answer` is None for a true answer."""

    name: str
    share: float
    hours: float
    answer: Callable[[str], Answer | None]
    begun_h: float | None = None


def busy(target: str) -> Answer | None:
    return refuse(HTTPStatus.SERVICE_UNAVAILABLE) if target.startswith(("/api/", "/wikihow/")) else None


def storm(target: str) -> Answer | None:
    return refuse(HTTPStatus.TOO_MANY_REQUESTS, Retry_After="900") if target.startswith("/api/") else None


def silent_storm(target: str) -> Answer | None:
    return refuse(HTTPStatus.TOO_MANY_REQUESTS) if target.startswith(("/api/", "/wikihow/")) else None


def wall(target: str) -> Answer | None:
    return json_answer({"unavailable": WALL}, HTTPStatus.NOT_FOUND) if target.startswith("/api/") else None


def faults() -> list[Fault]:
    bursts = [Fault("5xx", share / 100, 0.05, busy) for share in range(3, 100, 7)]
    storms = [Fault("429", share, 0.4, storm) for share in (0.15, 0.75)] + [
        Fault("429 silent", 0.45, 0.4, silent_storm)
    ]
    # Its answers are true but for the heatmaps: see `MonthSite.video`.
    return [*bursts, *storms, Fault("wall", 0.3, 5, wall), Fault("no heatmaps", 0.6, 24, lambda target: None)]


class MonthSite(MadeUpSite):
    """The three channels. Its hours pass on the fast clock, from the first run on."""

    def __init__(self, num_videos: int, speed: float) -> None:
        super().__init__(num_videos)
        self.speed, self.faults, self.fault = speed, faults(), self.trouble
        self.begun_s: float | None = None
        self.lock = threading.Lock()
        self.visits: Counter[int] = Counter()
        self.answered: Counter[str] = Counter()

    @property
    def num_all(self) -> int:
        return len(CHANNELS) * self.num_videos

    def hours(self) -> float:
        now_s = time.monotonic()
        if self.begun_s is None:
            self.begun_s = now_s
        return (now_s - self.begun_s) * self.speed / 3600

    def active(self) -> list[Fault]:
        """The faults of this moment; what is due begins."""
        now_h, share = self.hours(), len(self.visits) / self.num_all
        for fault in self.faults:
            if fault.begun_h is None and share >= fault.share:
                fault.begun_h = now_h
        return [one for one in self.faults if one.begun_h is not None and now_h < one.begun_h + one.hours]

    def trouble(self, target: str, headers: Message) -> Answer | None:
        """The answer of a fault, or what MadeUpSite does not have."""
        found = API_VIDEO.fullmatch(target)
        with self.lock:
            if found:
                self.visits[int(found[1])] += 1
            spoiled = next(
                ((one.name, answer) for one in self.active() if (answer := one.answer(target)) is not None), None
            )
            self.answered[spoiled[0] if spoiled else "true"] += 1
        if spoiled:
            return spoiled[1]
        if found and (reason := UNAVAILABLE.get(int(found[1]) % KINDS)):
            return json_answer({"unavailable": reason}, HTTPStatus.NOT_FOUND)
        if target.startswith("/wikihow/Thing-"):
            is_gone = int(target.rpartition("-")[2]) % KINDS == ARTICLE_GONE
            return None if is_gone else Answer(HTTPStatus.OK, ARTICLE, {"Content-Type": CONTENT_TYPES[".html"]})
        return None

    def numbers(self) -> Iterator[int]:
        """All videos. Those of a channel differ in the millions from those of another."""
        for channel in range(len(CHANNELS)):
            yield from range(channel * 1_000_000, channel * 1_000_000 + self.num_videos)

    def listing(self, name: str, page: int) -> Answer:
        first = CHANNELS.index(name) * 1_000_000
        numbers = range(page * PAGE_SIZE, min((page + 1) * PAGE_SIZE, self.num_videos))
        entries = [
            {"id": video_id(first + number), "title": f"Video {number}", "duration": 100, "view_count": None}
            for number in numbers
        ]
        return json_answer({"id": f"UC{name}", "name": name, "entries": entries})

    def video(self, number: int) -> dict[str, Any]:
        kind = number % KINDS
        with self.lock:
            vanished = any(one.name == "no heatmaps" for one in self.active())
        found = super().video(number) | {"heatmap": None if kind == NO_HEATMAP or vanished else MARKS}
        if kind == LOW_VIEWS:
            found["view_count"] = 40_000
        if kind != NO_ARTICLE:
            found["description"] = f"How it is done: https://{HOST}/wikihow/Thing-{number}"
        return found


def expected(number: int) -> dict[str, tuple[str, str]]:
    """Table -> (outcome, reason) of a video when all that can be had was had."""
    kind = number % KINDS
    if kind in UNAVAILABLE:
        return {"videos": ("skipped", "private" if kind == PRIVATE else "removed")}
    if kind in (LOW_VIEWS, NO_HEATMAP):
        return {"videos": ("done", "")}
    articles = {NO_ARTICLE: ("skipped", "no_article"), ARTICLE_GONE: ("skipped", "article_gone")}
    return {"videos": ("done", ""), "articles": articles.get(kind, ("done", ""))}


@dataclass
class Verdict:
    """A root against what is true: `missing` could be had and is not there, `condemned` is judged wrongly."""

    missing: list[str] = field(default_factory=list)
    condemned: list[str] = field(default_factory=list)

    def add(self, video: str, table: str, wanted: tuple[str, str], got: tuple[str, str]) -> None:
        if got == wanted:
            return
        judged = got[0] in ("failed", "skipped")
        (self.condemned if judged else self.missing).append(
            f"{table} {video}: {got[0]} {got[1]}, not {' '.join(wanted)}"
        )


def verdict(root: Path, site: MonthSite) -> Verdict:
    store, found = Store(root), Verdict()
    tables = store.tables()
    latest = {}
    for table in ("videos", "articles"):
        rows = (
            store.latest(table, tables[table]).select(["video_id", "outcome", "reason"]).to_pylist()
            if table in tables
            else []
        )
        latest[table] = {row["video_id"]: (row["outcome"], row["reason"]) for row in rows}
    held = store.latest("videos", tables["videos"], [HEATMAP])
    digests = zip(held["video_id"].to_pylist(), held[HEATMAP].to_pylist(), strict=True)
    with_heatmap = {video for video, digest in digests if digest}
    for number in site.numbers():
        video, wanted = video_id(number), expected(number)
        for table, outcome in wanted.items():
            found.add(video, table, outcome, latest[table].get(video, ("nothing", "")))
        # A row without the heatmap that the video has is dropped by `select` as `no_heatmap`, for good.
        is_done = latest["videos"].get(video, wanted["videos"])[0] == wanted["videos"][0] == "done"
        if is_done and number % KINDS != NO_HEATMAP and video not in with_heatmap:
            found.condemned.append(f"videos {video}: no heatmap")
    return found


def called(command: str, root: Path, manifest: Path, site: MonthSite) -> tuple[int, str]:
    arguments = {"run": ["--manifest", str(manifest), "--stage", "crawl"], "status": ["--json"]}[command]
    variables = {"VSUMDATA_TRANSPORT": f"{HOST}={site.address}", SPEED: str(site.speed)}
    done = subprocess.run(
        [*PROGRAM, command, *arguments, "--root", str(root)],
        env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout if command == "status" else done.stdout + done.stderr


def num_pending(root: Path, manifest: Path, site: MonthSite) -> int | None:
    """Videos that need work in `videos` or `articles`, now or later; None if the root tells nothing yet."""
    code, out = called("status", root, manifest, site)
    if code:
        return None
    tables = json.loads(out)["tables"]
    outcomes = [tables[table]["outcomes"] for table in ("videos", "articles")]
    return sum(found["pending"] + found["retry"] for found in outcomes)


def month(arguments: argparse.Namespace) -> tuple[dict[str, Any], Verdict]:
    codes: Counter[int] = Counter()
    with (
        tempfile.TemporaryDirectory() as name,
        MonthSite(arguments.videos, arguments.speed) as site,
        ProcessTree() as tree,
    ):
        root, manifest = Path(name) / "root", Path(name) / "month.yaml"
        manifest.write_text(f"{MANIFEST}crawl: {{seconds_between_requests: {arguments.pace}}}\n")
        begun_s = time.monotonic()
        while site.hours() < arguments.days * 24:
            code, out = called("run", root, manifest, site)
            codes[code] += 1
            pending = num_pending(root, manifest, site)
            print(
                f"{site.hours():7.1f} h: exit code {code}, {pending} pending; {out.strip().splitlines()[-1:]}",
                file=sys.stderr,
            )
            if pending == 0:
                break
            time.sleep(arguments.every * 3600 / arguments.speed)
        hours, wall_s = site.hours(), time.monotonic() - begun_s
        found = verdict(root, site)
        peaks = tree.peak_mb()
    figures = {
        "videos": site.num_all,
        "speed": arguments.speed,
        "hours": hours,
        "wall_s": wall_s,
        "least_hours": arguments.pace * site.num_all / 3600,
        "runs": codes.total(),
        "exit_codes": dict(codes),
        "answers": dict(site.answered.most_common()),
        "faults_begun": sum(one.begun_h is not None for one in site.faults),
        "faults": len(site.faults),
        "visits_per_video": site.visits.total() / site.num_all,
        "visits_most": max(site.visits.values(), default=0),
        "missing": len(found.missing),
        "condemned": len(found.condemned),
        **{f"{who}_peak_mb": peak_mb for who, peak_mb in peaks.items()},
    }
    return figures, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=5_000, metavar="N", help="videos of each channel")
    parser.add_argument("--speed", type=float, default=1_000, metavar="F", help="seconds of the month in one second")
    parser.add_argument("--pace", type=float, default=12, metavar="S", help="seconds of the month between two requests")
    parser.add_argument("--every", type=float, default=6, metavar="H", help="hours between two runs")
    parser.add_argument("--days", type=float, default=30, metavar="D")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    figures, found = month(arguments)
    if arguments.json:
        print(json.dumps(report("month", figures), indent=1))
    else:
        table = Table("", "", box=None, pad_edge=False, title=str(this_machine()))
        for what, value in figures.items():
            table.add_row(what, f"{value:.2f}" if isinstance(value, float) else str(value))
        Console().print(table)
        for line in (*found.condemned[:20], *found.missing[:20]):
            print(line)
    raise SystemExit(1 if found.missing or found.condemned or figures["visits_per_video"] > MOST_VISITS else 0)


if __name__ == "__main__":
    main()
