"""CPU time of S3D and of decoding for a minute of video, in the table `segment_features`.

    python tests/bench/stages/segments.py [--seconds N] [--json]

The clip is made up, 360 lines high; the weights are random. `network_cpu_s` is from the median segment.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import report

from vsumdata.stages.encoders.s3d import SEGMENT_S
from vsumdata.stages.labels import segment_features
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.stage import Context


def measure(seconds: int) -> dict[str, float]:
    times: list[float] = []
    threads = len(os.sched_getaffinity(0))
    context = Context(root=".", scratch=".", threads=threads, progress=lambda: times.append(time.process_time()))
    options = {"s3d_weights": "seed:0", "s3d_location": "seed:0", "hwaccel": "none"}
    see = segment_features.load(options, context)
    with tempfile.TemporaryDirectory() as folder:
        clip = f"{folder}/clip.mp4"
        source = ["-f", "lavfi", "-i", f"testsrc2=s=640x360:r=30:d={seconds}", "-c:v", "libx264", "-crf", "26"]
        subprocess.run([ffmpeg_program(), "-v", "error", *source, "-pix_fmt", "yuv420p", clip], check=True)
        before = decoding_cpu_s()
        see({"video_id": "clip", "media": clip, "transcripts": None})
        decoded = decoding_cpu_s() - before
    # The first segment also pays for what PyTorch sets up.
    segment_s = statistics.median(later - earlier for earlier, later in pairwise(times))
    return {
        "segments": len(times),
        "network_cpu_s_per_minute": round(60 / SEGMENT_S * segment_s, 1),
        "decoding_cpu_s_per_minute": round(60 / seconds * decoded, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def decoding_cpu_s() -> float:
    """What all ffmpeg processes that ended have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=40, metavar="N", help="length of the clip; at least 8")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.seconds)
    if arguments.json:
        print(json.dumps(report("segments", figures), indent=1))
    else:
        print(", ".join(f"{key} {value}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
