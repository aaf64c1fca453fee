"""What a precision of CLIP costs and saves on videos: frames a second, cosine of features, ranks of trained scores.

    python tests/bench/stages/precision.py [--precision int8] [--clip MODEL] [--weights TAG] [--run RUN] [FILE …]

Rates of the model alone (float32, `auto`, the precision), in turn on the same frames and cores: medians by the clock
and by the processor's time. Cosines are with float32, of all frames at one a second. τ compares the scores that a
trained run gives the same video by either's features: RUN, or a HierSum trained here on float32's, on every other
video, to find importance planted in them. Without files the recordings are used, or the sample's films.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from machine import report
from tests.recordings import RECORDINGS

from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.sample.site import ASSETS
from vsumdata.datasets.video import Video
from vsumdata.stages.encoders import int8
from vsumdata.stages.encoders.clip import ClipEncoder
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.train.data.origin import Origin
from vsumdata.train.data.training import Data
from vsumdata.train.loop import runs
from vsumdata.train.loop.job import fit_fold
from vsumdata.train.loop.predict import predict
from vsumdata.train.loop.runs import Trained
from vsumdata.train.scoring.metrics import kendall_tau
from vsumdata.train.settings import settings_of

SENTENCE_S = 5
MOST = 64  # frames of a measurement of the rate


def decoded(files: list[Path], encoder: ClipEncoder, threads: int) -> list[np.ndarray]:
    wanted = Wanted(size=encoder.size, threads=threads, resize=encoder.resize, interpolation=encoder.interpolation)
    found = []
    for path in files:
        with read_frames(str(path), wanted) as reader:
            found.append(np.stack([picture for _, picture in reader]))
    return found


def rates(encoders: dict[str, ClipEncoder], frames: np.ndarray, repeat: int) -> dict[str, float]:
    clock: dict[str, list[float]] = {name: [] for name in encoders}
    processor: dict[str, list[float]] = {name: [] for name in encoders}
    # In turn, so that other load on the machine slows all of them alike.
    for _ in range(repeat):
        for name, encoder in encoders.items():
            begun, begun_cpu = time.perf_counter(), time.process_time()
            encoder.encode(frames)
            processor[name].append(time.process_time() - begun_cpu)
            clock[name].append(time.perf_counter() - begun)
    found = {f"{name}_per_s": len(frames) / statistics.median(values) for name, values in clock.items()}
    return found | {f"{name}_per_cpu_s": len(frames) / statistics.median(values) for name, values in processor.items()}


def videos(files: list[Path], features: list[np.ndarray]) -> list[Video]:
    """With importance planted in the features: a fixed direction of their space, smoothed, as ranks within a video."""
    direction = np.random.default_rng(0).normal(size=features[0].shape[1])
    found = []
    for path, feature in zip(files, features, strict=True):
        along = (feature.astype(np.float64) - feature.mean(0, dtype=np.float64)) @ direction
        smooth = np.convolve(along, np.ones(3) / 3, "same")
        rank = smooth.argsort().argsort() / max(1, len(smooth) - 1)
        # HierSum reads sentences too: the same whatever the precision, and nothing to learn from.
        said = [{"start_s": at, "end_s": at + SENTENCE_S, "text": "…"} for at in range(0, len(feature), SENTENCE_S)]
        found.append(
            Video(
                video_id=path.stem,
                frame_time_s=np.arange(len(feature), dtype=np.float32),
                frame_feature=feature,
                duration_s=float(len(feature)),
                # Half of the frames reach HierSum's threshold, 0.15.
                replay_score=(rank**3).astype(np.float32),
                sentence=said,
                sentence_feature=np.ones((len(said), 8), np.float32),
            )
        )
    return found


def trained(known: list[Video], out: Path) -> Trained:
    settings = settings_of("hiersum", "default", ["epochs=30", "labels=replay", "batch_size=3"])
    data = Data(train=known[::2], val=(), protocol=PROTOCOLS["mrhisum"], origin=Origin(data_set="planted"))
    return fit_fold(settings, data, out)


def measure(files: list[Path], arguments: argparse.Namespace) -> dict[str, float]:
    threads = arguments.threads
    encoders = {
        name: ClipEncoder(arguments.clip, arguments.weights, threads=threads, precision=name)
        for name in dict.fromkeys(("fp32", "auto", arguments.precision))
    }
    pictures = decoded(files, encoders["fp32"], threads)
    every = np.concatenate(pictures)
    found = rates(encoders, every[:: max(1, len(every) // MOST)][:MOST], arguments.repeat)
    features = {name: [encoder.encode(p) for p in pictures] for name, encoder in encoders.items()}
    found["frames"] = len(every)
    with tempfile.TemporaryDirectory() as folder:
        known = videos(files, features["fp32"])
        run = runs.load(arguments.run) if arguments.run else trained(known, Path(folder) / "run")
        full = [each.frame_score for each in predict(run, known)]
        for name in list(encoders)[1:]:
            cosine = cosines(features["fp32"], features[name])
            score = [each.frame_score for each in predict(run, videos(files, features[name]))]
            taus = [float(kendall_tau(x, y[None])[0]) for x, y in zip(full, score, strict=True)]
            found |= {f"{name}_cosine_least": cosine.min(), f"{name}_cosine_mean": cosine.mean()}
            found |= {f"{name}_tau_least": min(taus), f"{name}_tau_mean": statistics.mean(taus)}
    return found


def cosines(ours: list[np.ndarray], theirs: list[np.ndarray]) -> np.ndarray:
    a, b = (np.concatenate(some).astype(np.float64) for some in (ours, theirs))
    found: np.ndarray = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--precision", default="int8", choices=("int8", "bf16", "fp16"))
    parser.add_argument("--clip", default="ViT-B-32", metavar="MODEL")
    parser.add_argument("--weights", default="seed:0", metavar="TAG")
    parser.add_argument("--run", type=Path, help="a trained run, made with the features of this CLIP")
    parser.add_argument("--repeat", type=int, default=5, metavar="N")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    sample = [ASSETS / "media" / f"{name}.mp4" for name in int8.VIDEOS]
    files = arguments.files or sorted((RECORDINGS / "media").glob("*.mp4")) or sample
    figures = measure(files, arguments)
    if arguments.json:
        print(json.dumps(report("precision", figures), indent=1))
    else:
        print(*(f"{name:20} {value:10.5f}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
