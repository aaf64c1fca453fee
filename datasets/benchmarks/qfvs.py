"""QFVS (Sharghi et al., CVPR 2017): four egocentric videos of 3 to 5 hours, each summarised for 45 pairs of concepts.

Where: the annotations are `data/origin_data` of ckczzj/CHAN@fd74d9f (an earlier commit of that repository; also at the
project page https://www.aidean-sharghi.com/cvpr2017), the official tags `evaluation_code/Tags.mat`. The features are
linked from that repository's README.md. Licence: none stated, for research. The videos are UT Egocentric's.

| file below `origin_data` | content |
|---|---|
| Dense_per_shot_tags/Dictionary.txt | 48 concepts, each in quotes on a line |
| Dense_per_shot_tags/P01/P01.txt | the concepts of each shot on a line, with commas |
| Query-Focused_Summaries/Oracle_Summaries/P01/A_B_oracle.txt | the oracle summary for A and B, a shot a line |
| Query-Focused_Summaries/User_Summaries/P01/A_B_user1.txt | a user's summary, likewise; three users |
| Global_Summaries/P01/oracle.txt, user1.txt … | summaries without a query |

A shot lasts 5 s, and the files count shots from 1. Here a shot is a frame. The oracle is what agrees best with the
three users (Global_Summaries/ReadMe.txt); it is the reference of the official evaluation.

The tags' last lines of P01 to P03 have no end, and Tags.mat, which the official code reads, lacks the last concept of
each. Where the folder holds Tags.mat it decides; it may differ from the text in the last shot alone.

Features (CHAN's dataset/preprocess.py; UniVTG@32659ac main/dataset_qfvs.py) are `V1_<kind>.h5` or `P01_<kind>.h5`:
`features [segments, shots, D]` with `seg_len [segments]`, the rest of each segment being padding, or `feature [T,D]`.
The embeddings of the concepts are `query_dictionary.pkl` (CHAN: GloVe, [300] a concept) or `txt_clip/*.pkl` (UniVTG:
CLIP, [words, D]).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import check, open_hdf5, read_mat5, read_pickled_dict
from vsumdata.datasets.benchmarks.forms.eccv16 import check_finite, make_video
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "qfvs"
PROTOCOL = protocol(NAME)
WHERE = "ckczzj/CHAN on GitHub (data/origin_data of commit fd74d9f)"
WHERE_FEATURES = "the link in ckczzj/CHAN's README on GitHub"
VIDEOS = ("P01", "P02", "P03", "P04")
NUM_QUERIES = 45
NUM_CONCEPTS = 48
SHOT_S = 5.0
TAGS, QUERIES, GLOBAL = "Dense_per_shot_tags", "Query-Focused_Summaries", "Global_Summaries"
FOLDERS = (".", "origin_data", "data/origin_data", "metadata/origin_data")
# CHAN's configuration. With several kinds of features this one is taken.
FIRST_KIND = "resnet_avg"
FEATURES = re.compile(r"(?:V|P0)([1-4])_(.+)\.h5")
# Relative. UniVTG's code says that P04 has features of more shots than were tagged, not of how many.
MOST_MORE = 0.05
# The concepts that the embeddings have under another name.
RENAMED = {"Cupglass": "Glass", "Musicalinstrument": "Instrument", "Petsanimal": "Animal"}


@dataclass(frozen=True, eq=False)
class _Tagged:
    """One of the four videos: what its shots show, bool [T,48], and their features [T,D]."""

    name: str
    concept: np.ndarray
    feature: np.ndarray


def load(path: str | Path) -> list[Video]:
    """The 180 videos of `path`, each one of the four with a query; or, of its folder `Global_Summaries`, four without.

    `path` is `origin_data`, or a folder that holds it (or its `data`) and perhaps, anywhere below, Tags.mat, features
    and the concepts' embeddings. Without features D is 0. `gt_summary` is the oracle; `user_summary` and `user_score`
    are the three users' choices. `task` is the video's name, so that no video is in two parts of a fold. Raises
    UsageError.
    """
    return _load(path, has_features=True)


def ceilings(path: str | Path) -> dict[str, dict[str, np.ndarray]]:
    """The oracle's choices as scores, by video id: the most that 2 % of the shots can reach under protocol `qfvs`."""
    videos = _load(path, has_features=False)
    return {"oracle": {each.video_id: np.asarray(each.gt_summary, np.float64) for each in videos}}


def _load(path: str | Path, *, has_features: bool) -> list[Video]:
    root, more = _find(Path(path))
    concepts = _concepts(root / TAGS / "Dictionary.txt")
    tagged = _tagged(root, more, concepts, has_features)
    if Path(path).name == GLOBAL:
        return [_video(video, "", root / GLOBAL / video.name, root / GLOBAL / video.name) for video in tagged]
    embedded = _embeddings(more, concepts) if has_features else None
    return [video for each in tagged for video in _queries(root / QUERIES, each, concepts, embedded)]


def _find(path: Path) -> tuple[Path, Path]:
    """The folder `origin_data`, and the folder that may hold Tags.mat, features and embeddings."""
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {WHERE}")
    if not path.is_dir():
        check(path, WHERE)
        raise UsageError(f"{path} is a file; name the folder that holds {TAGS}")
    top = path.parent if path.name == GLOBAL else path
    root = next((top / name for name in FOLDERS if (top / name / TAGS).is_dir()), None)
    if root is None:
        raise UsageError(f"{path} holds no {TAGS}: another data set's folder, or a part; get it from {WHERE}")
    # Whoever names one kind of summaries wants the features as well: in CHAN's `data` they lie beside `origin_data`.
    return root, root.parent if path.name == GLOBAL and root.name == "origin_data" else top


def _lines(path: Path) -> list[str]:
    check(path, WHERE)
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text; get it from {WHERE}") from error


def _concepts(path: Path) -> tuple[str, ...]:
    found = tuple(line.strip().strip("'") for line in _lines(path) if line.strip())
    if len(set(found)) != NUM_CONCEPTS or len(found) != NUM_CONCEPTS:
        raise UsageError(f"{path} has {len(set(found))} concepts; expected {NUM_CONCEPTS}: a part; get it from {WHERE}")
    return found


def _tagged(root: Path, more: Path, concepts: tuple[str, ...], has_features: bool) -> list[_Tagged]:
    files = {name: root / TAGS / name / f"{name}.txt" for name in VIDEOS}
    tags = {name: _tags(file, concepts) for name, file in files.items()}
    if official := next(iter(sorted(more.rglob("Tags.mat"))), None):
        tags = _official(official, tags)
    features = _features(more) if has_features else None
    found = []
    for name, concept in tags.items():
        feature = _read_features(features[name], len(concept)) if features else np.zeros((len(concept), 0), np.float32)
        found.append(_Tagged(name, concept, feature))
    return found


def _tags(path: Path, concepts: tuple[str, ...]) -> np.ndarray:
    """Which concepts each shot shows, bool [T,48]."""
    place = {concept: at for at, concept in enumerate(concepts)}
    lines = _lines(path)
    found = np.zeros((len(lines), len(concepts)), bool)
    for row, (number, line) in zip(found, enumerate(lines, 1), strict=True):
        # A shot may show none of the concepts.
        for word in filter(None, (word.strip() for word in line.split(","))):
            if word not in place:
                raise UsageError(f"{path}, line {number}: {word[:40]!r} is none of the {NUM_CONCEPTS} concepts")
            row[place[word]] = True
    return found


def _official(path: Path, tags: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tags of Tags.mat: a struct for each video, with a row of 48 for each shot."""
    structs = read_mat5(path, ("Tags",), WHERE)["Tags"].ravel()
    if structs.dtype.names is None or "Bin_Vecs" not in structs.dtype.names or len(structs) != len(VIDEOS):
        raise UsageError(f"{path}: Tags is not a struct of Bin_Vecs for {len(VIDEOS)} videos; get it from {WHERE}")
    found = {}
    for (name, text), struct in zip(tags.items(), structs, strict=True):
        try:
            rows = np.array([np.ravel(shot) for shot in np.ravel(struct["Bin_Vecs"])], np.float64)
        # Rows of different lengths, or no numbers.
        except (ValueError, TypeError):
            rows = np.zeros(0)
        if rows.shape != text.shape:
            raise UsageError(
                f"{path}: {name} is {list(rows.shape)}, its text {list(text.shape)}: cut off, or another's"
            )
        found[name] = rows > 0
        if (found[name][:-1] != text[:-1]).any():
            shot = int((found[name] != text).any(1).argmax()) + 1
            raise UsageError(f"{path}: {name}, shot {shot} shows other concepts than its text: another version of one")
    return found


def _queries(
    folder: Path, video: _Tagged, concepts: tuple[str, ...], embedded: Mapping[str, np.ndarray] | None
) -> Iterator[Video]:
    """The videos of one video's queries, in the order of their names."""
    oracles = folder / "Oracle_Summaries" / video.name
    names = sorted(file.name.removesuffix("_oracle.txt") for file in oracles.glob("*_oracle.txt"))
    if len(names) != NUM_QUERIES:
        raise UsageError(f"{oracles} has {len(names)} queries; expected {NUM_QUERIES}: a part; get it from {WHERE}")
    for name in names:
        pair = name.split("_")
        if len(pair) != 2 or not set(pair) <= set(concepts):
            raise UsageError(f"{oracles}/{name}_oracle.txt is not named after two of the {NUM_CONCEPTS} concepts")
        words = None if embedded is None else np.concatenate([embedded[concept] for concept in pair])
        yield _video(video, name, oracles, folder / "User_Summaries" / video.name, words)


def _video(video: _Tagged, query: str, oracles: Path, users: Path, words: np.ndarray | None = None) -> Video:
    """`video` with the summaries for `query`, from the files `<query>_oracle.txt` and so on; without it, `global`."""
    before, total = f"{query}_" if query else "", len(video.concept)
    oracle = _summary(oracles / f"{before}oracle.txt", total)
    files = sorted(users.glob(f"{before}user[0-9]*.txt"))
    chosen = np.stack([_summary(file, total) for file in files]) if files else None
    return make_video(
        oracles,
        video_id=f"{video.name}_{query or 'global'}",
        title=video.name,
        task=video.name,
        query=query.replace("_", " & ") or None,
        query_feature=words,
        duration_s=total * SHOT_S,
        frame_time_s=(np.arange(total) * SHOT_S).astype(np.float32),
        frame_feature=video.feature,
        concept=video.concept,
        gt_summary=oracle.astype(np.uint8),
        user_summary=chosen,
        user_score=None if chosen is None else chosen.astype(np.float32),
    )


def _summary(path: Path, total: int) -> np.ndarray:
    """The chosen shots, bool [T]."""
    found = np.zeros(total, bool)
    for number, line in enumerate(_lines(path), 1):
        word = line.strip()
        if not word:
            continue
        if not (word.isascii() and word.isdecimal()) or not 1 <= int(word) <= total:
            raise UsageError(f"{path}, line {number}: {word[:40]!r} is none of the video's {total} shots, 1 to {total}")
        found[int(word) - 1] = True
    if not found.any():
        raise UsageError(f"{path} names no shot; get it from {WHERE}")
    return found


def _features(folder: Path) -> dict[str, Path] | None:
    """The file of features of each video, all of one kind; None if there are none."""
    kinds: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.rglob("*.h5")):
        if match := FEATURES.fullmatch(file.name):
            # CHAN keeps the same features twice, as `features/V1_C3D.h5` and `processed/V1_C3D.h5`.
            kinds.setdefault(match[2], {}).setdefault(f"P0{match[1]}", file)
    if not kinds:
        return None
    kind = FIRST_KIND if FIRST_KIND in kinds else min(kinds)
    if len(kinds) > 1 and kind != FIRST_KIND:
        raise UsageError(f"{folder} holds features of several kinds ({', '.join(sorted(kinds))}); leave one there")
    if missing := [name for name in VIDEOS if name not in kinds[kind]]:
        raise UsageError(f"{folder} holds features {kind} without {missing[0]}: a part; get them from {WHERE_FEATURES}")
    return kinds[kind]


def _read_features(path: Path, total: int) -> np.ndarray:
    """The features of the first `total` shots, float32 [T,D]."""
    with open_hdf5(path, WHERE_FEATURES) as file:
        key = next((key for key in ("features", "feature") if key in file), None)
        if key is None:
            raise UsageError(f"{path} has no features; it has {', '.join(sorted(file))}")
        values = np.asarray(file[key][()])
        lengths = np.asarray(file["seg_len"][()]) if "seg_len" in file else None
    check_finite(path, key, {"values": values})
    if values.ndim == 3:
        if lengths is None or lengths.shape != values.shape[:1] or (lengths > values.shape[1]).any():
            raise UsageError(f"{path}: seg_len does not fit {key}, {list(values.shape)}: a length for each segment")
        values = np.concatenate([segment[:num] for segment, num in zip(values, lengths.tolist(), strict=True)])
    if values.ndim != 2 or not total <= len(values) <= total * (1 + MOST_MORE):
        raise UsageError(f"{path}: {key} has {list(values.shape)} shots and sizes; {total} shots were tagged")
    return values[:total].astype(np.float32)


def _embeddings(folder: Path, concepts: tuple[str, ...]) -> dict[str, np.ndarray] | None:
    """The embedding of each concept, float32 [words, E]; None if there is no file of them."""
    files = [*sorted(folder.rglob("query_dictionary.pkl")), *sorted(folder.rglob("txt_clip/*.pkl"))]
    if not files:
        return None
    if len(files) > 1:
        raise UsageError(f"{files[0]} and {files[1]} both embed the concepts; leave one there")
    path, values = files[0], read_pickled_dict(files[0], WHERE_FEATURES)
    names = {concept: concept if concept in values else RENAMED.get(concept, concept) for concept in concepts}
    if missing := next((name for name in names.values() if name not in values), None):
        raise UsageError(f"{path} has no {missing}: not the embeddings of QFVS' concepts; get it from {WHERE_FEATURES}")
    found = {concept: np.atleast_2d(values[name]) for concept, name in names.items()}
    check_finite(path, "the concepts", found)
    if len({value.shape[1:] for value in found.values()}) > 1 or any(value.ndim != 2 for value in found.values()):
        raise UsageError(f"{path}: the embeddings are not [words, size] of one size")
    return {concept: value.astype(np.float32) for concept, value in found.items()}
