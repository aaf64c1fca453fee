"""Decide which videos train, validate and test.

Our own data is split by a hash of the task's name, so one task is never in two parts. Benchmarks have published splits:
`published_splits.json` holds the test videos of each fold, and its source. Each fold gets a validation set from its
training videos, so that nothing must be chosen on the test videos.

Of the published splits of TVSum and SumMe, only those of CSTA and the two `msva-…` test every video once. Those of
PGL-SUM (same as CA-SUM), VASNet (same as MSVA's "early work") and DSNet are five random draws: they test some videos
several times and a third of the videos never. PoR's 50 draws, and any other split, are read from their file.

The split `umt` has a fold for each domain, which trains on videos of its domain alone, as UMT does: the mean over folds
is then its mean over domains. Videos of it that are not there are left out, as in UMT's code.

In a pool of data sets the split is of the first one. What is trained on of the others, one of `SETTINGS` says, or a
split file's own training lists (DSNet's `tvsum_aug.yml`). Their videos are named `<data set>/<video id>`.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vsumdata.datasets import published_splits
from vsumdata.datasets.benchmarks.forms.downloads import check as check_download
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

# Titles of pages and videos carry these around the task: `How to Boil Eggs - wikiHow`.
SITE = re.compile(r"\s+[-|–—:]\s+(the\s+)?(wikihow|ehow)(\.com)?\s*$")
HOW_TO = re.compile(r"^(wikihow\s+to|ehow\s+to|how\s+do\s+you|how\s+do\s+i|how\s+to)\s+")
NOT_A_WORD = re.compile(r"[^\w']+")

# CSTA's folds test every video exactly once.
DEFAULT_SOURCE = "csta"
SAME_AS = {"ca-sum": "pgl-sum", "msva-early": "vasnet"}
# Data sets that published splits name, in whatever form (`TVSum`, `eccv16_dataset_ovp_google_pool5.h5`).
KNOWN = ("tvsum", "summe", "ovp", "youtube")
# What a pool's other data sets are for. canonical: nothing that needs labels. augmented: they join the training videos
# of each fold. transfer: they are all training videos, and the split data set is tested whole.
SETTINGS = ("canonical", "augmented", "transfer")
# Each task, which is a video with several queries, is tested once; the validation videos are another task.
ONE_OUT = "leave-one-out"
# As in CHAN's config.json (train_videos, test_video) and UniVTG's main/train_qfvs.py, which choose on the test video.
DEFAULTS = {"qfvs": ONE_OUT}
FILES = (".json", ".yml", ".yaml", ".txt")
NUM_FOLDS = 5
NESTED_SHARE = 0.2  # of a fold's training videos, for validation


@dataclass(frozen=True)
class Fold:
    """The video ids of one fold. `label` names the split, and says so if the fold is chosen on its test videos.

    `name` is that of its domain, where each fold is of one.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    label: str = ""
    name: str = ""

    @property
    def legacy(self) -> bool:
        """Whether the fold validates on its test videos."""
        return bool(self.val) and self.val == self.test


def normalise(task: str) -> str:
    """The task in lower case without punctuation, a leading "How to" and the site's name; may be empty.

    Applying it twice changes nothing more. A change of its rules would split data sets that exist differently.
    """
    # Folding the case can undo the first normalisation (as of `ǰ`), hence a second one.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", task).casefold())
    text = SITE.sub("", text.strip())
    text = NOT_A_WORD.sub(" ", text).replace("_", " ")
    text = " ".join(text.split())
    # A title can stack these ("How to how do you …"). After one pass only, a second call would change the result.
    while (shorter := HOW_TO.sub("", text)) != text:
        text = shorter
    return text


def split_of(task: str, shares: Mapping[str, float]) -> str:
    """The split of `task`. `shares`: split -> share, with any positive total; their order counts.

    Tasks that differ only in what `normalise` removes share a split. The answer depends on nothing but task and
    shares: it is the same on every machine and in every data set. Raises ValueError for shares that are negative or
    all 0.
    """
    total = sum(shares.values())
    if not shares or total <= 0 or min(shares.values()) < 0:
        raise ValueError(f"shares are {dict(shares)}; they must be positive numbers")
    # Not Python's `hash`: it differs from process to process.
    digest = hashlib.blake2b(normalise(task).encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64 * total
    edge = 0.0
    used = [name for name, share in shares.items() if share > 0]
    for name in used:
        edge += shares[name]
        if position < edge:
            return name
    # Rounding: the sum of the shares, taken one by one, may end just below `total`.
    return used[-1]


def sources(data_set: str) -> list[str]:
    """The names of the published splits of `data_set`, the default first. Most data sets have none."""
    return sorted(
        published_splits.everything().get(data_set, {}), key=lambda source: (source != DEFAULT_SOURCE, source)
    )


@dataclass(frozen=True)
class _Cut:
    """The test videos of a fold, whether the other videos of the data set train, and which videos of others do.

    `train` are those of its own that train, where not all others do. `name` is that of the fold's domain.
    """

    test: Sequence[str]
    own: bool = True
    others: Sequence[str] = ()
    train: Sequence[str] | None = None
    name: str = ""


def folds(
    name: str,
    video_ids: Sequence[str],
    *,
    seed: int = 0,
    legacy: bool = False,
    groups: Mapping[str, str] | None = None,
    others: Mapping[str, Sequence[str]] | None = None,
) -> list[Fold]:
    """The folds of a data set.

    `name` is the data set, or `<data set>/<source>`. The source is one of `sources`, or the path of a file in the
    format of PGL-SUM (.json), DSNet (.yml) or CSTA (.txt), or `ONE_OUT`, which tests one task in each fold. A data set
    without published splits is cut into five parts by `seed`, if `DEFAULTS` does not have it. The seed also draws the
    validation videos. Videos of one group (`groups`: video_id -> task) stay together in all of these. `legacy`
    validates on the test videos, as five official code bases do: it is for comparison only, and the label says so.

    `others`: data set -> the names of its videos (`ovp/video_1`), which may be trained on as well. One of `SETTINGS`,
    alone or after the source (`pgl-sum/transfer`), says how; the default is the file's own lists, else augmented.
    Raises UsageError if the split is unknown or names videos that are not among `video_ids` and `others`.
    """
    data_set, _, source = name.partition("/")
    groups, others = groups or {}, others or {}
    source, setting = setting_of(source)
    label, cuts = _cuts(data_set, source, video_ids, groups, seed, others)
    label, cuts = _pooled(label, cuts, setting, video_ids, others)
    unknown = [video_id for cut in cuts for video_id in cut.test if video_id not in set(video_ids)]
    if unknown:
        raise UsageError(f"the split {label} tests {unknown[0]}, which is not among the {len(video_ids)} videos")
    found = []
    for number, cut in enumerate(cuts, 1):
        test = tuple(cut.test)
        own = cut.train if cut.train is not None else video_ids
        rest = [video_id for video_id in own if video_id not in set(test)] if cut.own else []
        title = f"{label}, fold {number} of {len(cuts)}" + (f" ({cut.name})" if cut.name else "")
        if legacy:
            title += ", legacy: validated on the test videos"
            found.append(Fold((*rest, *cut.others), test, test, title, cut.name))
            continue
        # Of the data set that is tested, where it trains at all: the protocol is its own.
        val = set(_draw(rest or cut.others, groups, NESTED_SHARE, (seed, number)))
        there = (*rest, *cut.others)
        train, chosen = tuple(v for v in there if v not in val), tuple(v for v in there if v in val)
        found.append(Fold(train, chosen, test, title, cut.name))
    return found


def setting_of(source: str) -> tuple[str, str]:
    """The source of a split and the setting after it; "" for one that is not given."""
    before, _, last = source.rpartition("/")
    return (before, last) if last in SETTINGS else (source, "")


def _pooled(
    label: str, cuts: list[_Cut], setting: str, video_ids: Sequence[str], others: Mapping[str, Sequence[str]]
) -> tuple[str, list[_Cut]]:
    """`label` and `cuts` with what `setting` adds of the other data sets."""
    by_file = any(cut.others for cut in cuts)
    if setting and by_file:
        raise UsageError(f"--split {setting}: the training lists of {label} say what is trained on; leave it out")
    if setting in ("augmented", "transfer") and not others:
        raise UsageError(f"--split {setting} trains on other data sets too; give them: --data NAME:PATH+NAME:PATH")
    # A file's lists are kept, also where they name no other data set.
    if not others or by_file or (not setting and label.endswith(FILES)):
        return label, cuts
    more = [video_id for its in others.values() for video_id in its]
    if setting == "transfer":
        return f"{label}, transfer", [_Cut(video_ids, False, more)]
    if setting == "canonical":
        return f"{label}, canonical", cuts
    return f"{label}, augmented", [replace(cut, others=more) for cut in cuts]


def given(videos: Sequence[Video], label: str = "as published") -> Fold:
    """The one fold that the videos' own `split` (train, val, test) makes. Raises UsageError without test videos."""
    parts = {part: tuple(v.video_id for v in videos if v.split == part) for part in ("train", "val", "test")}
    if not parts["test"]:
        raise UsageError("none of the videos is in the split `test`")
    return Fold(parts["train"], parts["val"], parts["test"], label)


def _cuts(
    data_set: str,
    source: str,
    video_ids: Sequence[str],
    groups: Mapping[str, str],
    seed: int,
    others: Mapping[str, Sequence[str]],
) -> tuple[str, list[_Cut]]:
    """The label of the split, and its folds."""
    known = sources(data_set)
    source = source or DEFAULTS.get(data_set, "")
    if source == ONE_OUT:
        return f"{data_set}/{ONE_OUT}", [_Cut(its) for its in _some_members(video_ids, groups)]
    if not source and not known:
        return f"{data_set}/{NUM_FOLDS} parts, seed {seed}", [_Cut(its) for its in _parts(video_ids, groups, seed)]
    source = SAME_AS.get(source, source or known[0])
    if source in known and "folds" in published_splits.everything()[data_set][source]:
        return _by_domain(data_set, source, video_ids)
    if source in known:
        numbers: list[list[int]] = published_splits.everything()[data_set][source]["test"]
        return f"{data_set}/{source}", [_Cut([f"video_{number}" for number in test]) for test in numbers]
    if Path(source).suffix in FILES:
        return f"{data_set}/{Path(source).name}", _of_file(Path(source), data_set, video_ids, others)
    raise UsageError(
        f"no split {source!r} of {data_set} is known; known: {', '.join((*known, ONE_OUT, *SETTINGS))}, or the path of "
        "a file"
    )


def _by_domain(data_set: str, source: str, video_ids: Sequence[str]) -> tuple[str, list[_Cut]]:
    """The folds of a published split by domain, without videos that are not there, and without empty domains."""
    there, cuts, lacking = set(video_ids), [], []
    for name, its in published_splits.by_domain(data_set, source).items():
        test = [video_id for video_id in its["test"] if video_id in there]
        # Without a list of its own, a domain trains on all others.
        train = [video_id for video_id in its["train"] if video_id in there] if "train" in its else None
        if test and (train is None or train):
            cuts.append(_Cut(test, train=train, name=name))
        else:
            lacking.append(name)
    if not cuts:
        raise UsageError(
            f"the split {data_set}/{source} names none of the {len(video_ids)} videos to test, or none to train on; "
            "give the folder that has all parts of the data set"
        )
    # The mean over fewer domains is another number.
    return f"{data_set}/{source}" + (f" without {' and '.join(lacking)}" if lacking else ""), cuts


def read(path: Path) -> list[list[str]]:
    """The test videos of each fold in a published file: .json (PGL-SUM, VASNet, MSVA, PoR), .yml (DSNet), .txt (CSTA).

    Raises UsageError for another format, and for a fold that tests a video that it trains on.
    """
    return [[_key(v) for v in test] for _, test in _read(path)]


def _read(path: Path) -> list[tuple[list[str], list[str]]]:
    """The training and test videos of each fold, each name with what stands before it in the file."""
    import yaml

    check_download(path, "its project's repository")
    text = path.read_text(encoding="utf-8-sig")
    # YAML reads most JSON, but not PoR's: it is indented by tabs.
    parse = json.loads if path.suffix == ".json" else yaml.safe_load
    try:
        # CSTA's lines are `data set/split/train,…/test,…`.
        if path.suffix == ".txt":
            pairs = []
            for line in filter(str.strip, text.splitlines()):
                of, _, *parts = line.split("/")
                pairs.append(tuple([f"{of}/{v.strip()}" for v in part.split(",")] for part in parts[:2]))
        else:
            pairs = [(fold["train_keys"], fold["test_keys"]) for fold in parse(text)]
        # The keys keep their file's name until they are compared: augmented and transfer splits train on other data
        # sets, whose `video_1` is another video.
        found = [([v.strip() for v in train], [v.strip() for v in test]) for train, test in pairs]
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} is not in the format of a published split (train_keys, test_keys): {str(error).splitlines()[0]}"
        ) from error
    for number, (train, test) in enumerate(found, 1):
        if set(train) & set(test) or not test:
            raise UsageError(f"{path}: fold {number} has no test videos, or trains on one")
    return found


def _of_file(path: Path, data_set: str, video_ids: Sequence[str], others: Mapping[str, Sequence[str]]) -> list[_Cut]:
    """The folds of a file that divides just these videos. Raises UsageError if it divides others.

    SumMe's video_1 to video_25 are names of TVSum as well, so that every name is known proves nothing.
    """
    found = []
    for number, (train, test) in enumerate(_read(path), 1):
        where = f"{path}: fold {number}"
        # Only a name with another name before it says which data set it is of.
        foreign = sorted({of for v in test if (of := _data_set_of(v)) and of != data_set})
        if foreign and data_set in KNOWN:
            first = ", or name it first in --data" if others else ""
            raise UsageError(f"{where} tests videos of {', '.join(foreign)}; expected {data_set}'s{first}")
        tested = {v.rpartition("/")[0] for v in test}
        # `tvsum/video_1` is named as by its data set, `video_1` is of the file that is tested.
        own = [v for v in train if v.rpartition("/")[0] in tested or _data_set_of(v) == data_set]
        more = _of_others(where, data_set, [v for v in train if v not in set(own)], others)
        named = {_key(v) for v in (*own, *test)}
        if unknown := [v for v in map(_key, (*test, *own)) if v not in set(video_ids)]:
            raise UsageError(
                f"{where} names {unknown[0]}, which is not among the {len(video_ids)} videos of "
                f"{data_set}: another data set's split"
            )
        if len(named) < len(set(video_ids)):
            missing = next(v for v in video_ids if v not in named)
            raise UsageError(
                f"{where} divides {len(named)} videos; expected all {len(video_ids)} of {data_set} (it "
                f"has no {missing}): another data set's split, or a part of one"
            )
        found.append(_Cut([_key(v) for v in test], bool(own), more))
    return found


def _of_others(where: str, data_set: str, names: Sequence[str], others: Mapping[str, Sequence[str]]) -> list[str]:
    """The videos of a pool's other data sets that a training list names. Raises UsageError for one that is missing."""
    strange = sorted({v.rpartition("/")[0] or v for v in names if not _data_set_of(v)})
    if strange:
        raise UsageError(f"{where} trains on videos of {', '.join(strange)}, which no known data set's name is in")
    if missing := sorted({_data_set_of(v) for v in names} - set(others)):
        lacking = "".join(f"+{each}:PATH" for each in missing)
        raise UsageError(
            f"{where} trains on videos of {', '.join(missing)} too, which --data does not name; give them "
            f"(--data {data_set}:PATH{lacking}), or the canonical split"
        )
    found = [f"{_data_set_of(v)}/{_key(v)}" for v in names]
    known = {v for its in others.values() for v in its}
    if unknown := next((v for v in found if v not in known), None):
        its = unknown.partition("/")[0]
        raise UsageError(f"{where} trains on {unknown}, which is not among the {len(others[its])} videos of {its}")
    # A list may name a video twice; it is trained on once.
    return list(dict.fromkeys(found))


def _key(name: str) -> str:
    """`../datasets/eccv16_dataset_tvsum_google_pool5.h5/video_7` -> `video_7`."""
    return name.rpartition("/")[2]


def _data_set_of(name: str) -> str:
    """`../datasets/eccv16_dataset_tvsum_google_pool5.h5/video_7` -> `tvsum`; empty if nothing before the name says."""
    file = name.rpartition("/")[0].rpartition("/")[2].casefold()
    return next((known for known in KNOWN if known in file), "")


def _parts(video_ids: Sequence[str], groups: Mapping[str, str], seed: int) -> list[list[str]]:
    """Up to five parts of whole groups, as equal in size as whole groups allow."""
    members = _some_members(video_ids, groups)
    parts: list[list[str]] = [[] for _ in range(min(NUM_FOLDS, len(members)))]
    # Always to the smallest part: dealt in turn, a few large groups could land in one part.
    for at in np.random.default_rng(seed).permutation(len(members)):
        min(parts, key=len).extend(members[at])
    return parts


def _some_members(video_ids: Sequence[str], groups: Mapping[str, str]) -> list[list[str]]:
    """The videos of each group. Raises UsageError for a single group."""
    members = _members(video_ids, groups)
    if len(members) < 2:
        raise UsageError(
            f"{len(video_ids)} videos of {len(members)} groups cannot be split: videos of one task stay together, "
            "so at least two groups are needed"
        )
    return members


def _draw(video_ids: Sequence[str], groups: Mapping[str, str], share: float, seed: Sequence[int]) -> list[str]:
    """Random whole groups until they hold `share` of the videos; never all groups."""
    members = _members(video_ids, groups)
    drawn: list[str] = []
    # Without the last group: something must be left to train on.
    for at in np.random.default_rng(seed).permutation(len(members))[:-1]:
        if len(drawn) >= share * len(video_ids):
            break
        drawn.extend(members[at])
    return drawn


def _members(video_ids: Sequence[str], groups: Mapping[str, str]) -> list[list[str]]:
    """The videos of each group; a video without a group is one of its own."""
    # The flag keeps a video whose id reads like a task apart from the group of that task.
    found: dict[tuple[bool, str], list[str]] = {}
    for video_id in video_ids:
        group = normalise(groups.get(video_id, ""))
        found.setdefault((bool(group), group or video_id), []).append(video_id)
    return list(found.values())
