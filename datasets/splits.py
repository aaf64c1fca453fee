"""Which videos train, validate and test.

Our own data: by a hash of the task's name, so that one task never crosses. Benchmarks: the splits that were published
(`published_splits.json` has the test videos of each fold and where they are from), each with a validation set cut out
of the training videos, so that nothing needs to be chosen on the test videos.

Of the published splits of TVSum and SumMe only those of CSTA and the two `msva-…` test every video once. Those of
PGL-SUM (the same as CA-SUM's), VASNet (as MSVA's "early work") and DSNet are five random draws, which test some videos
several times and a third of them never. PoR's 50 draws, and any other, are read from their file.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.downloads import check as check_download
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError

SITE = re.compile(r"\s+[-|–—:]\s+(the\s+)?(wikihow|ehow)(\.com)?\s*$")
HOW_TO = re.compile(r"^(wikihow\s+to|ehow\s+to|how\s+do\s+you|how\s+do\s+i|how\s+to)\s+")
NOT_A_WORD = re.compile(r"[^\w']+")

PUBLISHED = Path(__file__).with_name("published_splits.json")
DEFAULT_SOURCE = "csta"
SAME_AS = {"ca-sum": "pgl-sum", "msva-early": "vasnet"}
NUM_FOLDS = 5
NESTED_SHARE = 0.2  # of a fold's training videos, for validation


@dataclass(frozen=True)
class Fold:
    """Ids of the videos of one fold; `label` says which split it is, and if choosing on the test videos is meant."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    label: str = ""

    @property
    def legacy(self) -> bool:
        return bool(self.val) and self.val == self.test


def normalise(task: str) -> str:
    """The task without case, punctuation, a leading "How to" and the site's name; may be empty.

    Applying it twice changes nothing.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", task).casefold())
    text = SITE.sub("", text.strip())
    text = NOT_A_WORD.sub(" ", text).replace("_", " ")
    text = " ".join(text.split())
    while (shorter := HOW_TO.sub("", text)) != text:
        text = shorter
    return text


def split_of(task: str, shares: Mapping[str, float]) -> str:
    """The split of `task`; `shares` (split -> share, any positive total) are cut in their order.

    Tasks that differ only by what `normalise` removes share a split. The answer depends on nothing else:
    it is the same on every machine and for every data set.
    """
    total = sum(shares.values())
    if not shares or total <= 0 or min(shares.values()) < 0:
        raise ValueError(f"shares are {dict(shares)}; they must be positive numbers")
    digest = hashlib.blake2b(normalise(task).encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64 * total
    edge = 0.0
    used = [name for name, share in shares.items() if share > 0]
    for name in used:
        edge += shares[name]
        if position < edge:
            return name
    return used[-1]  # the shares' sum may fall short of `total` by rounding


def sources(data_set: str) -> list[str]:
    """The names of the published splits of `data_set`, the default first; none for most data sets."""
    return sorted(_published().get(data_set, {}), key=lambda source: (source != DEFAULT_SOURCE, source))


def folds(
    name: str,
    video_ids: Sequence[str],
    *,
    seed: int = 0,
    legacy: bool = False,
    groups: Mapping[str, str] | None = None,
) -> list[Fold]:
    """The folds of a data set.

    `name` is the data set, or `<data set>/<source>`: one of `sources`, or the path of a file in the form of PGL-SUM
    (.json), DSNet (.yml) or CSTA (.txt). A data set without published splits is cut into five parts by `seed`,
    which also draws the validation videos; videos of one group (`groups`: video_id -> its task) stay together in both.
    `legacy` validates on the test videos, as five official code bases do; it is for comparison only, and the label
    says so. Raises UsageError where the split is not known, or names videos that are not among `video_ids`.
    """
    data_set, _, source = name.partition("/")
    groups = groups or {}
    label, tests = _tests(data_set, source, video_ids, groups, seed)
    unknown = [video_id for test in tests for video_id in test if video_id not in set(video_ids)]
    if unknown:
        raise UsageError(f"the split {label} tests {unknown[0]}, which is not among the {len(video_ids)} videos")
    found = []
    for number, test in enumerate(tests, 1):
        rest = [video_id for video_id in video_ids if video_id not in set(test)]
        title = f"{label}, fold {number} of {len(tests)}"
        if legacy:
            found.append(Fold(tuple(rest), tuple(test), tuple(test), f"{title}, legacy: validated on the test videos"))
            continue
        val = set(_draw(rest, groups, NESTED_SHARE, (seed, number)))
        found.append(
            Fold(tuple(v for v in rest if v not in val), tuple(v for v in rest if v in val), tuple(test), title)
        )
    return found


def given(videos: Sequence[Video], label: str = "as published") -> Fold:
    """The one fold that the videos' own `split` (train, val, test) makes; UsageError where it has no test video."""
    parts = {part: tuple(v.video_id for v in videos if v.split == part) for part in ("train", "val", "test")}
    if not parts["test"]:
        raise UsageError("none of the videos is of the split `test`")
    return Fold(**parts, label=label)


def _published() -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return found


def _tests(
    data_set: str, source: str, video_ids: Sequence[str], groups: Mapping[str, str], seed: int
) -> tuple[str, list[list[str]]]:
    """What the split is called, and the test videos of each fold."""
    known = sources(data_set)
    if not source and not known:
        return f"{data_set}/{NUM_FOLDS} parts, seed {seed}", _parts(video_ids, groups, seed)
    source = SAME_AS.get(source, source or DEFAULT_SOURCE)
    if source in known:
        numbers: list[list[int]] = _published()[data_set][source]["test"]
        return f"{data_set}/{source}", [[f"video_{number}" for number in test] for test in numbers]
    if Path(source).suffix in {".json", ".yml", ".yaml", ".txt"}:
        return f"{data_set}/{Path(source).name}", read(Path(source))
    raise UsageError(
        f"no split {source!r} of {data_set} is known; known: {', '.join(known) or 'none'}, or a file's path"
    )


def read(path: Path) -> list[list[str]]:
    """The test videos of each fold in a published file: .json (PGL-SUM, VASNet, MSVA, PoR), .yml (DSNet), .txt (CSTA).

    Raises UsageError, also where a fold tests a video that it trains on.
    """
    import yaml

    check_download(path, "its project's repository")
    text = path.read_text(encoding="utf-8")
    parse = json.loads if path.suffix == ".json" else yaml.safe_load  # PoR's JSON has tabs, which YAML forbids
    try:
        if path.suffix == ".txt":  # data set/split/train,…/test,…
            pairs = [
                tuple(part.split(",") for part in line.split("/")[2:4]) for line in text.splitlines() if line.strip()
            ]
        else:
            pairs = [(fold["train_keys"], fold["test_keys"]) for fold in parse(text)]
        # With the file's part: augmented and transfer splits train on other data sets, whose videos have the same keys.
        found = [([v.strip() for v in train], [v.strip() for v in test]) for train, test in pairs]
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} has not the form of a published split (train_keys, test_keys): {str(error).splitlines()[0]}"
        ) from error
    for number, (train, test) in enumerate(found, 1):
        if set(train) & set(test) or not test:
            raise UsageError(f"{path}: fold {number} has no test videos, or trains on one")
    return [[_key(v) for v in test] for _, test in found]


def _key(name: str) -> str:
    """`video_7` of `../datasets/eccv16_dataset_tvsum_google_pool5.h5/video_7`."""
    return name.rpartition("/")[2]


def _parts(video_ids: Sequence[str], groups: Mapping[str, str], seed: int) -> list[list[str]]:
    """Up to five parts of whole groups, as equal as whole groups go."""
    members = _members(video_ids, groups)
    if len(members) < 2:
        raise UsageError(
            f"{len(video_ids)} videos of {len(members)} groups cannot be split: videos of one task stay together, "
            "and it takes two such groups"
        )
    parts: list[list[str]] = [[] for _ in range(min(NUM_FOLDS, len(members)))]
    for at in np.random.default_rng(seed).permutation(len(members)):
        min(parts, key=len).extend(members[at])
    return parts


def _draw(video_ids: Sequence[str], groups: Mapping[str, str], share: float, seed: Sequence[int]) -> list[str]:
    """Whole groups at random until they are `share` of the videos; never all."""
    members = _members(video_ids, groups)
    drawn: list[str] = []
    for at in np.random.default_rng(seed).permutation(len(members))[:-1]:
        if len(drawn) >= share * len(video_ids):
            break
        drawn.extend(members[at])
    return drawn


def _members(video_ids: Sequence[str], groups: Mapping[str, str]) -> list[list[str]]:
    found: dict[tuple[bool, str], list[str]] = {}
    for video_id in video_ids:
        group = normalise(groups.get(video_id, ""))
        found.setdefault((bool(group), group or video_id), []).append(video_id)
    return list(found.values())
