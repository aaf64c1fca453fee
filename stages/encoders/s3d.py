"""S3D-G of MIL-NCE (Miech et al., CVPR 2020, arXiv 1912.06430): segments of a video and sentences in one space.

Facts: antoine77340/S3D_HowTo100M@b8cd0bb s3dg.py, and what TL;DW feeds it,
medhini/Instructional-Video-Summarization@0b06055 feature_extraction/. Vectors are compared by their dot product and
have no unit norm.

Letters: N segments, T pictures of a segment, H and W their height and width, M sentences.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.clip import batched
from vsumdata.stages.encoders.googlenet import read_tensors
from vsumdata.stages.encoders.hub import content_hash, local_folder, local_path

if TYPE_CHECKING:
    from vsumdata.stages.encoders.s3d_network import S3D

log = logging.getLogger(__name__)

SEED = re.compile(r"seed:(\d+)")
SETTING = "labels.segment_features.weights"
WEIGHTS, DICTIONARY = "s3d_howto100m.pth", "s3d_dict.npy"
REMEDY = f"give the folder of MIL-NCE's {WEIGHTS} and {DICTIONARY} with --set {SETTING}=FOLDER"
DIM = 512
# TL;DW's segments: 4 s of a video at 8 pictures a second.
SIZE, FPS, WINDOW = 224, 8.0, 32
SEGMENT_S = WINDOW / FPS
MOST_WORDS = 16
BATCH = {"cpu": 1, "cuda": 16}
SENTENCES_AT_ONCE = 256


class S3DEncoder:
    """S3D with the weights at `location`, as `resolve` found them, or `seed:N` (random, without words).

    It computes in float32 on every device. Raises UsageError if weights or dictionary cannot be loaded or do not fit.
    """

    def __init__(self, weights: str, device: str = "cpu", threads: int = 1, location: str | None = None) -> None:
        import torch

        torch.set_num_threads(max(1, threads))
        self.device = device
        self.batch = BATCH["cuda" if device.startswith("cuda") else "cpu"]
        network, self._number = _loaded(weights, location or weights)
        self._network = network.to(device)

    @property
    def made_on(self) -> str:
        """The device and the library, as the table records them."""
        import torch

        name = f" {torch.cuda.get_device_name(self.device)}" if self.device.startswith("cuda") else ""
        return f"{self.device}{name} fp32, torch {torch.__version__}"

    def encode(self, windows: Iterable[np.ndarray], came_on: Callable[[], None] = lambda: None) -> np.ndarray:
        """Embed the segments [T,H,W,3] of a video as `segments` cuts them: float32 [N, 512].

        At most a batch of segments is in memory. If the GPU is full, it halves the batch.
        """
        found = [np.zeros((0, DIM), np.float32)]
        windows = iter(windows)
        while waiting := list(islice(windows, self.batch)):
            feature, self.batch = batched(self._forward, np.stack(waiting), self.batch)
            found.append(feature)
            came_on()
        return np.concatenate(found)

    def mean_of(self, texts: Iterable[str]) -> np.ndarray | None:
        """The mean embedding of the sentences that have a word of the dictionary, float32 [512]; None without one.

        Of each sentence the first 16 known words count. The public code counts sentences without one, too, all as the
        same vector.
        """
        import torch

        rows = (row for text in texts if (row := self._number.of(text)).any())
        total, num = np.zeros(DIM), 0
        while waiting := list(islice(rows, SENTENCES_AT_ONCE)):
            with torch.inference_mode():
                found = self._network.text_module(torch.from_numpy(np.stack(waiting)).to(self.device))
            total += found.double().sum(0).cpu().numpy()
            num += len(waiting)
        return (total / num).astype(np.float32) if num else None

    def _forward(self, windows: np.ndarray) -> np.ndarray:
        """Embed uint8 [N,T,H,W,3] as float32 [N, 512]."""
        import torch

        with torch.inference_mode():
            x_NTHWC = torch.from_numpy(windows).to(self.device)  # noqa: N806
            found: np.ndarray = self._network(x_NTHWC.movedim(-1, 1).float() / 255).cpu().numpy()
            return found


def segments(pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield uint8 [T,H,W,3] of 32 pictures each. Where the last segment is short, the video's last pictures come again.

    The public code also adds a segment where none is short, and fails on a video of fewer than 16 pictures.
    """
    before: list[np.ndarray] = []
    held: list[np.ndarray] = []
    for picture in pictures:
        held.append(picture)
        if len(held) == WINDOW:
            yield np.stack(held)
            before, held = held, []
    if held:
        missing = WINDOW - len(held)
        yield np.stack([*held, *islice(cycle((before + held)[-missing:]), missing)])


class Words:
    """The numbers of words, from the dictionary's order. 0 stands for no word."""

    def __init__(self, words: Sequence[str]) -> None:
        self._number = {str(word): number for number, word in enumerate(words, 1)}

    def of(self, sentence: str) -> np.ndarray:
        """The first 16 known words of a sentence, int64 [16]."""
        known = (self._number.get(word) for word in re.findall(r"[\w']+", sentence.lower()))
        found = list(islice((number for number in known if number is not None), MOST_WORDS))
        return np.array(found + [0] * (MOST_WORDS - len(found)), np.int64)


def lacks_words(weights: str) -> str:
    """Why sentences cannot be compared with segments; "" where they can."""
    if SEED.fullmatch(weights):
        return f"S3D's weights are random ({weights}), so segments and sentences have nothing in common"
    return ""


def resolve(weights: str, folder: str | Path) -> tuple[str, str]:
    """The location and the identity of weights with their dictionary. Relative paths start at `folder`.

    `weights` is a folder of both files, the file of the weights beside its dictionary, or seed:N. Raises UsageError.
    """
    if SEED.fullmatch(weights):
        return weights, f"s3d {weights}"
    found = local_folder(weights, folder)
    if found is None or not isinstance(found.place, Path):
        raise UsageError(f"{SETTING}: {weights} is neither file nor folder; {REMEDY}, or for a trial seed:0")
    files = both(found.place)
    if missing := [file.name for file in files if not file.is_file()]:
        raise UsageError(f"{SETTING}: {weights} lacks {' and '.join(missing)}; {REMEDY}")
    # Not the folder's: what else lies in it makes no other features.
    return found.location, "s3d content " + " ".join(content_hash(file) for file in files)


def both(place: Path) -> tuple[Path, Path]:
    """The files of weights and of their dictionary, given either the folder or the first."""
    return (place / WEIGHTS, place / DICTIONARY) if place.is_dir() else (place, place.parent / DICTIONARY)


def _loaded(weights: str, location: str) -> tuple[S3D, Words]:
    """The network, and the numbers of its words. Raises UsageError."""
    from vsumdata.stages.encoders import s3d_network

    seed = SEED.fullmatch(weights)
    if seed is not None:
        log.warning("S3D with the random weights of %s: such features mean nothing", weights)
        return s3d_network.seeded(int(seed[1])), Words(())
    named = f"{SETTING}={weights}"
    file, dictionary = both(local_path(location))
    given = read_tensors(file, named, REMEDY)
    words = _words(dictionary, named)
    try:
        network = s3d_network.loaded(given)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise UsageError(f"{named} is not a state dict of MIL-NCE's S3D ({first}): {REMEDY}") from error
    if bad := [name for name, value in network.state_dict().items() if not value.isfinite().all()]:
        raise UsageError(f"{named}: {bad[0]} holds values that are not finite: {REMEDY}")
    num_rows = len(given[s3d_network.TABLE_OF_WORDS])
    # One too many: the public code numbers words from 1 and does not check that the last one has a row.
    if len(words) > num_rows:
        told = f"{dictionary.name} has {len(words)} words, the weights know {num_rows - 1}"
        raise UsageError(f"{named}: {told}: {REMEDY}")
    return network, Words(words[: num_rows - 1])


def _words(file: Path, named: str) -> Sequence[str]:
    """The words of a dictionary, an array of texts. Raises UsageError."""
    try:
        # An array of objects would be a pickle, which could run any code.
        words = np.load(file, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise UsageError(f"{named}: {file.name} cannot be read as a list of words ({said}): {REMEDY}") from error
    if not isinstance(words, np.ndarray) or words.ndim != 1 or words.dtype.kind != "U":
        raise UsageError(f"{named}: {file.name} is no list of words: {REMEDY}")
    found: list[str] = words.tolist()
    return found
