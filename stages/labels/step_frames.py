"""The `step_frames` table: which frames show the pictures of the article's steps.

This is how WikiHow Summaries (TL;DW, ECCV 2022) got its ground truth: an article's pictures are cut from its video, so
whoever finds them there knows which frames its author took for the steps. `placing` says how they are found.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.manifests.errors import FailVideo, SkipVideo, UsageError
from vsumdata.stages.encoders.recipes import PictureEncoder
from vsumdata.stages.features import step_text
from vsumdata.stages.frames import encode_frames, picture_encoder
from vsumdata.stages.labels.placing import cosines, fit, place, stretch
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.pictures.stills import read_still
from vsumdata.stages.stage import Context, Function, Row, make_folder
from vsumdata.stages.web.cache import Page
from vsumdata.stages.web.fetch import Fetcher, Limits
from vsumdata.stages.web.sites import PICTURE_SITES

IMAGE, CLIP = "image", "clip"
# wikiHow's clips last some seconds. What goes on behind that is another film.
MAX_CLIP_FRAMES = 60


@dataclass(frozen=True)
class Picture:
    """A fetched picture: `feature` is float16 [n, D], one for each frame; `file` None unless it is kept."""

    kind: str
    url: str
    feature: np.ndarray
    file: bytes | None


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Load the encoder of the frames, or ResNet-50; return the row function of `step_frames`.

    The row's `media` key is the video's local file, where its frames are to be encoded once more.

    The function raises `SkipVideo` (no_article, no_frames, no_pictures), and of what `Fetcher.get_picture` raises all
    that is not about one picture. Raises UsageError if the weights cannot be loaded.
    """
    encoder = picture_encoder(options, context)
    if encoder.dim != options["picture_dim"]:
        raise UsageError(
            f"{options['clip_model']} gives {encoder.dim} numbers per picture, not {options['picture_dim']}"
        )
    limits = Limits(size_bytes=round(options["max_picture_mb"] * 1e6))
    fetcher = Fetcher(context, sites=(*PICTURE_SITES, *options["hosts"]), limits=limits)
    wanted = Wanted(
        size=encoder.size,
        # The rate of the video's frames, with which a clip's are compared one by one.
        fps=float(options["fps"]),
        resize=encoder.resize,
        interpolation=encoder.interpolation,
        threads=context.threads,
        idle_s=context.idle_s,
    )
    read = reader(encoder, wanted, context)

    def get(url: str) -> Picture:
        page = fetcher.get_picture(url)
        kind, feature = read(page)
        return Picture(kind, url, feature, page.body if options["keep_pictures"] else None)

    def features_of(path: str, num_frames: int) -> np.ndarray:
        chosen = replace(wanted, sampling=options["sampling"], hwaccel=options["hwaccel"])
        with read_frames(path, chosen) as pictures:
            _, feature = encode_frames(pictures, encoder, context.came_on)
        # Another download of a video may end a moment earlier or later.
        return feature[np.minimum(np.arange(num_frames), len(feature) - 1)]

    def make(row: Row) -> Row:
        article, frames = row["articles"], row["frames"]
        if article is None:
            raise SkipVideo("no_article")
        if frames is None:
            raise SkipVideo("no_frames")
        # The index of a step must be that in `features`, which leaves out those without text.
        steps = [step for step in article["step"] or () if step_text(step)]
        if not any(addresses(step) for step in steps):
            raise SkipVideo("no_pictures", "its article names none")
        found, missed = gather(steps, options["max_pictures"], get)
        reasons = ", ".join(f"{number} {reason}" for reason, number in missed.most_common())
        detail = f"{missed.total()} addresses gave no picture: {reasons}" if missed else ""
        if not found:
            raise SkipVideo("no_pictures", detail)
        # By another network than made `frames`: there is a file then.
        if "media" in row:
            frames = {**frames, "frame_feature": features_of(row["media"], len(frames["frame_time_s"]))}
        placed = matched(found, frames, options["min_confidence"], options["margin"])
        # A choice of nothing is no label: who trained on it would learn that nothing is important.
        if not np.any(placed["gt_summary"]):
            raise SkipVideo("no_pictures", f"none of its {len(found)} pictures is seen in the video")
        payload = {
            **placed,
            "picture_file": [picture.file for _, picture in found] if options["keep_pictures"] else None,
            "picture_license": article["license"],
            "picture_model": f"{options['clip_model']} {options['clip_weights']}",
        }
        return payload | ({"detail": detail} if detail else {})

    return make


def addresses(step: Mapping[str, Any]) -> list[str]:
    """Where the step's picture may be had: its clip, else its image, which is often a still of the clip."""
    named = (step.get("clip_url"), step.get("image_url"))
    # Pages up to 2015 name http addresses, and only https is fetched.
    return [re.sub(r"^http://", "https://", address) for address in named if address]


Found = list[tuple[int, Picture]]  # with the step, an index into `features.step`; in the order of steps


def gather(steps: Sequence[Mapping[str, Any]], most: int, get: Callable[[str], Picture]) -> tuple[Found, Counter[str]]:
    """Get the pictures of the first `most` steps that name one; return them, and why others could not be had."""
    found: Found = []
    missed: Counter[str] = Counter()
    # Several steps may share a picture.
    known: dict[str, Picture] = {}
    for index, step in islice(((index, step) for index, step in enumerate(steps) if addresses(step)), most):
        for url in addresses(step):
            try:
                known[url] = known.get(url) or get(url)
            # This picture's fault alone. A host that does not answer, or asks to slow down, is the row's.
            except (SkipVideo, FailVideo) as error:
                missed[error.reason] += 1
                continue
            found.append((index, known[url]))
            break
    return found, missed


def reader(encoder: PictureEncoder, wanted: Wanted, context: Context) -> Callable[[Page], tuple[str, np.ndarray]]:
    """Return what makes kind and features [n, D] of a file. It raises FailVideo or SkipVideo for no picture."""

    def clip(body: bytes) -> Iterator[np.ndarray]:
        make_folder(Path(context.scratch))
        with tempfile.NamedTemporaryFile(dir=context.scratch, prefix="clip-") as file:
            file.write(body)
            file.flush()
            with read_frames(file.name, wanted) as frames:
                for _, frame in islice(frames, MAX_CLIP_FRAMES):
                    yield frame

    def read(page: Page) -> tuple[str, np.ndarray]:
        is_clip = page.content_type.lower().startswith("video/")
        still = (encoder.size, encoder.resize, encoder.interpolation)
        shown = list(clip(page.body)) if is_clip else [read_still(page.body, *still)]
        feature = encoder.encode(np.stack(shown))
        context.came_on()
        return CLIP if is_clip else IMAGE, feature

    return read


def matched(pictures: Found, frames: Mapping[str, Any], least: float, margin: float) -> Row:
    """Find the pictures among the frames; return the columns that say where.

    A picture whose fit is below `least` is not in the video. Where stretches overlap, a frame shows what fits it best,
    and `gt_confidence` is that fit.
    """
    frame = np.asarray(frames["frame_feature"], np.float16)
    shots = (np.asarray(frames["shot_start"]), np.asarray(frames["shot_stop"]))
    cosine = [cosines(picture.feature, frame) for _, picture in pictures]
    fits = [fit(found) for found in cosine]
    places = place(fits, least)
    gt_step, confidence = np.full(len(frame), -1, np.int32), np.zeros(len(frame), np.float32)
    for (step, picture), found, begin in zip(pictures, fits, places, strict=True):
        if begin is None:
            continue
        length = min(len(picture.feature), len(frame))
        here = slice(*stretch(begin, length, found, margin, shots))
        # A clip fits as a whole.
        fitting = np.clip(found[here] if length == 1 else np.full(length, found[begin]), 0, 1)
        is_better = fitting > confidence[here]
        gt_step[here][is_better] = step
        confidence[here][is_better] = fitting[is_better]
    # Of a picture that is not shown, how near it comes: `min_confidence` can be chosen by it.
    nearest = [int(np.argmax(found)) if begin is None else begin for found, begin in zip(cosine, places, strict=True)]
    return {
        "gt_summary": (gt_step >= 0).astype(np.int8),
        "gt_step": gt_step,
        "gt_confidence": confidence,
        "picture": [
            {
                "step": step,
                "kind": picture.kind,
                "url": picture.url,
                "time_s": None if begin is None else float(frames["frame_time_s"][begin]),
                "cosine": float(found[at]),
            }
            for (step, picture), found, begin, at in zip(pictures, cosine, places, nearest, strict=True)
        ],
        "picture_feature": np.stack([one_of(picture.feature) for _, picture in pictures]),
    }


def one_of(feature: np.ndarray) -> np.ndarray:
    """The mean of a picture's features with unit norm, float16 [D]."""
    mean = feature.astype(np.float32).mean(axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float16)
