"""The `frames` table: a video's frames at a fixed rate, their CLIP features, and its shots.

Shots are found in the features (KTS), or by TransNetV2 in every picture of the video, which is decoded again for it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders import recipes
from vsumdata.stages.encoders.clip import ClipEncoder
from vsumdata.stages.encoders.colours import ColourEncoder
from vsumdata.stages.encoders.googlenet import RESNET, GoogLeNetEncoder, ResNetEncoder
from vsumdata.stages.encoders.recipes import PictureEncoder
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.pictures.scenes import scenes, shots_of_frames
from vsumdata.stages.pictures.shots import shots
from vsumdata.stages.stage import Context, Function, Row

if TYPE_CHECKING:
    from vsumdata.stages.encoders.transnet import ShotEnds

# Chunks that may wait for the model. Two let decoding continue while the model computes; more would only hold memory.
AHEAD = 2


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Load CLIP, or what else `features.clip` names, and TransNetV2 if asked for; return the row function of `frames`.

    The row's `media` key is the video's local file.
    Raises UsageError if the weights cannot be loaded or the feature's size is not the declared one.
    """
    encoder = picture_encoder(options, context)
    if encoder.dim != options["frame_dim"]:
        raise UsageError(f"{options['clip_model']} gives {encoder.dim} numbers per frame, not {options['frame_dim']}")
    wanted = Wanted(
        size=encoder.size,
        fps=float(options["fps"]),
        sampling=options["sampling"],
        hwaccel=options["hwaccel"],
        resize=encoder.resize,
        interpolation=encoder.interpolation,
        threads=context.threads,
        idle_s=context.idle_s,
    )

    shot_ends = _shot_ends(options, context)

    def describe(row: Row) -> Row:
        with read_frames(row["media"], wanted) as reader:
            time_s, feature = encode_frames(reader, encoder, context.came_on)
        if shot_ends is None:
            (start, stop), by = shots(feature), ""
        else:
            start, stop = _learnt_shots(row["media"], shot_ends, wanted, time_s, context.came_on)
            by = f"; shots by TransNetV2 {options['shots_weights']}"
        width, height = reader.stream.shown_size
        payload = {
            "frame_time_s": time_s,
            "frame_feature": feature,
            "shot_start": start,
            "shot_stop": stop,
            "width": width,
            "height": height,
            "clip_model": options["clip_model"],
            "clip_weights": options["clip_weights"],
            "sampling": options["sampling"],
            "decoder": f"{reader.decoder}, {encoder.preprocessing}{by}",
            "device": encoder.made_on,
        }
        return payload | {"detail": reader.note} if reader.note else payload

    return describe


def picture_encoder(options: Mapping[str, Any], context: Context) -> PictureEncoder:
    """The encoder that `features.clip` names: CLIP by any name of open_clip, or one of `recipes.PICTURES`.

    Raises UsageError if its weights cannot be loaded.
    """
    model, weights, location = options["clip_model"], options["clip_weights"], options.get("clip_location")
    if model == recipes.COLOURS:
        return ColourEncoder()
    if model in (recipes.GOOGLENET, RESNET):
        network = ResNetEncoder if model == RESNET else GoogLeNetEncoder
        return network(weights, device=context.device, threads=context.threads, location=location)
    return ClipEncoder(
        model,
        weights,
        device=context.device,
        threads=context.threads,
        precision=options["precision"],
        location=location,
    )


def _shot_ends(options: Mapping[str, Any], context: Context) -> ShotEnds | None:
    """TransNetV2 where `features.shots` names its weights."""
    if "shots_weights" not in options:
        return None
    from vsumdata.stages.encoders.transnet import ShotEnds

    return ShotEnds(
        options["shots_weights"], context.device, threads=context.threads, location=options.get("shots_location")
    )


def _learnt_shots(
    path: str, shot_ends: ShotEnds, wanted: Wanted, frame_time_s: np.ndarray, came_on: Callable[[], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return start and stop of the video's shots, in frames: int32 [C] each. Decodes all of its pictures."""
    from vsumdata.stages.encoders.transnet import HEIGHT, WIDTH

    time_s: list[float] = []

    def pictures() -> Iterator[np.ndarray]:
        for when_s, picture in reader:
            time_s.append(when_s)
            yield picture

    # Key frames alone hold no change: the network was trained on consecutive pictures.
    with read_frames(path, replace(wanted, every=(WIDTH, HEIGHT), sampling="exact")) as reader:
        probability = shot_ends.probabilities(pictures(), came_on)
    return shots_of_frames(scenes(probability), np.array(time_s), frame_time_s)


def encode_frames(
    reader: Iterable[tuple[float, np.ndarray]], encoder: PictureEncoder, came_on: Callable[[], None] = lambda: None
) -> tuple[np.ndarray, np.ndarray]:
    """Return frame times float32 [T] and features float16 [T, D]. A frame that serves several k is encoded once."""
    time_s: list[float] = []
    place: list[int] = []  # k -> row among the distinct frames
    distinct: list[np.ndarray] = []
    num_distinct, last = 0, None
    # Chunks as large as the model's batch, because smaller ones use a fraction of a GPU. `closing` ends the decoding
    # thread when the model raises.
    with contextlib.closing(ahead(_chunks(reader, encoder.batch))) as chunks:
        for chunk in chunks:
            came_on()
            fresh = []  # never empty: a chunk begins with a new frame
            for when_s, frame in chunk:
                # By identity: the reader gives the same array object for each k that a frame serves.
                if frame is not last:
                    fresh.append(frame)
                    num_distinct, last = num_distinct + 1, frame
                time_s.append(when_s)
                place.append(num_distinct - 1)
            distinct.append(encoder.encode(np.stack(fresh)))
    return np.array(time_s, np.float32), np.concatenate(distinct)[place]


def _chunks(frames: Iterable[tuple[float, np.ndarray]], num_distinct: int) -> Iterator[list[tuple[float, np.ndarray]]]:
    """Yield pieces of `num_distinct` different frames. A frame that serves several k counts once."""
    chunk: list[tuple[float, np.ndarray]] = []
    count, last = 0, None
    for item in frames:
        if item[1] is not last:
            if count == num_distinct:
                yield chunk
                chunk, count = [], 0
            count, last = count + 1, item[1]
        chunk.append(item)
    if chunk:
        yield chunk


def ahead(items: Iterator[Any]) -> Generator[Any, None, None]:
    """Yield the same items; a thread makes up to `AHEAD` of them in advance."""
    end = object()
    # One thread only: a generator cannot be advanced by two at once.
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, items, end) for _ in range(AHEAD))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(pool.submit(next, items, end))
                yield item
        finally:
            # Else leaving the pool would wait for chunks that nobody reads.
            for future in waiting:
                future.cancel()
