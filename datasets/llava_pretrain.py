"""LLaVA-Pretrain (LCS-558K, arXiv 2304.08485): 558,128 pictures of LAION, CC and SBU, each with a caption by BLIP.

Where: liuhaotian/LLaVA-Pretrain on the Hugging Face hub. Nothing is measured on it: `vsumdata train v2xum --preset
align` learns from its pairs, as VTimeLLM's first stage does, whose projector V2Xum-LLM begins with.

Layout: `blip_laion_cc_sbu_558k.json`, a list of {id, image, conversations: [{from: "human", value: "… <image>"}, {from:
"gpt", value: caption}]}, and the pictures of `images.zip` under the paths `image` (00453/004539375.jpg), in the same
folder or in `images`. In their place may be features as VTimeLLM publishes them (huangb23/VTimeLLM@11d98b6
vtimellm/train/dataset.py): `ID.npy`, CLIP's vector [F] or [1,F], in the folder `stage1`, in `features`, or beside the
JSON file. They are brought to unit norm, as our frames are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol, overload

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import read_npy, read_records
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

log = logging.getLogger(__name__)
NAME = "llava-pretrain"
WHERE = "liuhaotian/LLaVA-Pretrain on the Hugging Face hub"
FILE = "blip_laion_cc_sbu_558k.json"
KEYS = ("id", "image", "conversations")
PICTURES, FEATURES = ("", "images"), ("stage1", "features", "")


class Encoder(Protocol):
    """CLIP's image tower: how its pictures are made, and what makes features of uint8 [n, size, size, 3]."""

    size: int
    resize: str
    interpolation: str
    batch: int
    dim: int

    def encode(self, frames: np.ndarray) -> np.ndarray: ...


class Pair(NamedTuple):
    """A picture, or its features, with its text."""

    video_id: str
    path: Path
    text: str


@dataclass(frozen=True, eq=False)
class Pairs(Sequence[Video]):
    """The pairs as videos of one frame, read when they are asked for. Their text is `caption`.

    With `encoder` pictures are read and encoded, else their features are read. A picture that cannot be read is a frame
    of zeros without a text, so nothing is learnt from it; a line in the log names it.
    """

    pairs: Sequence[Pair]
    encoder: Encoder | None = None
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> number of records

    @property
    def video_ids(self) -> list[str]:
        return [pair.video_id for pair in self.pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, at: int) -> Video: ...
    @overload
    def __getitem__(self, at: slice) -> Pairs: ...
    def __getitem__(self, at: int | slice) -> Video | Pairs:
        if isinstance(at, slice):
            return Pairs(self.pairs[at], self.encoder)
        return self.read_at([at])[0]

    def read_at(self, places: Sequence[int]) -> list[Video]:
        """The videos at some places: an encoder is faster with many pictures at a time."""
        chosen, found = [self.pairs[at] for at in places], []
        step = self.encoder.batch if self.encoder else len(chosen)
        for first in range(0, len(chosen), max(1, step)):
            some = chosen[first : first + step]
            for pair, feature in zip(some, self.features(some), strict=True):
                has_text = bool(feature.any())
                found.append(
                    Video(
                        video_id=pair.video_id,
                        frame_time_s=np.zeros(1, np.float32),
                        frame_feature=feature[None],
                        caption=({"text": pair.text, "time_s": [0.0]},) if has_text else None,
                    )
                )
        return found

    def features(self, some: Sequence[Pair]) -> list[np.ndarray]:
        """The feature of each picture [F], zeros for one that cannot be read."""
        if self.encoder is None:
            return [read_feature(pair.path) for pair in some]
        pixels = [read_picture(pair.path, self.encoder) for pair in some]
        there = [each for each in pixels if each is not None]
        encoded = iter(self.encoder.encode(np.stack(there)) if there else ())
        nothing = np.zeros(self.encoder.dim, np.float16)
        return [nothing if each is None else next(encoded) for each in pixels]


def load(path: str | Path, encoder: Encoder | None = None) -> Pairs:
    """The pairs in the folder or JSON file `path` whose picture is there, or without `encoder` its feature.

    Raises UsageError for a missing or wrong file, or if no pair is left.
    """
    file = json_file(Path(path))
    suffix, folders = ("", PICTURES) if encoder else (".npy", FEATURES)
    found, left_out = [], {"picture" if encoder else "feature": 0, "caption": 0}
    for record in read_records(file, KEYS, "LLaVA-Pretrain", WHERE):
        inside = record["id"] + suffix if suffix else record["image"]
        its = place(file, record["id"], inside, folders)
        text = caption_of(file, record)
        if its is None:
            left_out["picture" if encoder else "feature"] += 1
        elif not text:
            left_out["caption"] += 1
        else:
            found.append(Pair(record["id"], its, text))
    if not found and encoder is None:
        raise UsageError(
            f"{file.parent} has no features of its pictures (ID.npy, in the folder stage1 or features); give "
            "--features ROOT, whose CLIP then encodes the pictures"
        )
    if not found:
        raise UsageError(f"{file.parent} has none of the pictures that {file.name} names; unpack images.zip there")
    return Pairs(found, encoder, {what: num for what, num in left_out.items() if num})


def json_file(path: Path) -> Path:
    """The annotation in a folder; a file is taken as it is. Raises UsageError if there is none, or several."""
    if not path.is_dir():
        return path
    if (path / FILE).exists():
        return path / FILE
    # The published folder also has blip_laion_cc_sbu_558k_meta.json.
    found = [each for each in sorted(path.glob("*.json")) if not each.stem.endswith("_meta")]
    if len(found) != 1:
        raise UsageError(f"{path} has {len(found)} JSON files and no {FILE}; name the file, or get it from {WHERE}")
    return found[0]


def place(file: Path, name: str, inside: Any, folders: Sequence[str]) -> Path | None:
    """Where a file of a record lies, None if it is nowhere. Raises UsageError for a path that leaves the folder."""
    if not isinstance(inside, str) or not inside:
        raise UsageError(f"{file}: {name}: image is {inside!r}; expected a path")
    if PurePosixPath(inside).is_absolute() or ".." in PurePosixPath(inside).parts:
        raise UsageError(f"{file}: {name}: {inside} is no path inside the folder")
    return next((its for folder in folders if (its := file.parent / folder / inside).is_file()), None)


def caption_of(file: Path, record: dict[str, Any]) -> str:
    """The first answer of a record on one line, empty if there is none. Raises UsageError for another layout."""
    turns = record["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise UsageError(f"{file}: {record['id']}: conversations is no list of turns")
    value = next((turn.get("value") for turn in turns if turn.get("from") == "gpt"), "")
    return " ".join(value.split()) if isinstance(value, str) else ""


def read_feature(path: Path) -> np.ndarray:
    """The feature in a file, of unit norm, float32 [F]. Raises UsageError if it is none."""
    found = read_npy(path, WHERE)
    feature = found[0] if found.ndim == 2 and len(found) == 1 else found
    if feature.ndim != 1 or not np.issubdtype(feature.dtype, np.floating) or not np.isfinite(feature).all():
        raise UsageError(f"{path} is {found.dtype} {list(found.shape)}; expected a picture's feature, [F] or [1, F]")
    # In float32: the square of a float16 component may overflow.
    feature = feature.astype(np.float32)
    return feature / max(float(np.linalg.norm(feature)), 1e-6)


def read_picture(path: Path, encoder: Encoder) -> np.ndarray | None:
    """A picture as the encoder takes it, uint8 [size, size, 3]; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return resized(opened.convert("RGB"), encoder)
    # What PIL raises for files that are cut off, no pictures, or of more pixels than anybody means.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        log.error("%s cannot be read and teaches nothing: %s", path, error)
        return None


def resized(picture: Any, encoder: Encoder) -> np.ndarray:
    """A picture resized as open_clip does it: `shortest` and the centre, `longest` and black margins, or `squash`."""
    from PIL import Image

    size, (width, height) = encoder.size, picture.size
    way = Image.Resampling.BILINEAR if encoder.interpolation == "bilinear" else Image.Resampling.BICUBIC
    if encoder.resize == "squash":
        return np.asarray(picture.resize((size, size), way))
    scale = size / (min if encoder.resize == "shortest" else max)(width, height)
    # Both are at least a pixel, and the side that decides is `size` exactly.
    whole = int if encoder.resize == "shortest" else round
    wide, high = (max(1, whole(side * scale + 1e-9)) for side in (width, height))
    picture = picture.resize((wide, high), way)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    # Beyond its borders `crop` fills with black.
    return np.asarray(picture.crop((left, top, left + size, top + size)))
