"""Instruct-V2Xum (V2Xum-LLM, arXiv 2404.12353): 30,000 videos; summaries in sentences that name frames.

Where: the link in hanghuacs/V2Xum-LLM's README on GitHub. The videos (of InternVid) must be fetched, so there are no
features; `vsumdata.datasets.join` adds ours. `vsumdata export --format instruct-v2xum` writes our own in this layout.

Layout, from a published record and hanghuacs/V2Xum-LLM@6b7c06d: a list of records {id (of YouTube), meta: {duration,
sampled_frames, token: {"<f0>": seconds, …}}, conversations: [{from: "human" | "gpt", value}], vsum_onehot
[sampled_frames]}. An answer holds sentences, each with its frames: `[<f0>]A man cuts. [<f1>]He eats.` How the files are
called is not known to us: a file of a folder is of the split (train, val, test) that its name says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import numbers, read_records, split_files
from vsumdata.datasets.benchmarks.forms.eccv16 import make_video
from vsumdata.datasets.benchmarks.videoxum import duration, one_hot
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Summary, Video
from vsumdata.manifests.errors import UsageError

NAME = "instruct-v2xum"
PROTOCOL = protocol(NAME)
WHERE = "the link in hanghuacs/V2Xum-LLM's README on GitHub"
KEYS = ("id", "meta", "conversations", "vsum_onehot")
OF_META = ("duration", "sampled_frames", "token")
YOUTUBE_ID = re.compile(r"[\w-]{11}")
# `[<f0>]` or `[<f0>, <f1>]`.
FRAMES = re.compile(r"\[\s*(<f\d+>(?:\s*,\s*<f\d+>)*)\s*\]")
TOKEN = re.compile(r"<f\d+>")
MARKS = ".!?"


def load(path: str | Path) -> list[Video]:
    """The videos of the files in the folder `path`, train first, or of one file.

    A video may have several records, one for each task: they are one video. `gt_summary` is `vsum_onehot`, and
    `summary` has each sentence with the seconds of its frames. Raises UsageError for a missing or wrong file.
    """
    found: dict[str, Video] = {}
    for file, split in split_files(Path(path), "*.json", WHERE).items():
        records: dict[str, list[dict[str, Any]]] = {}
        for record in read_records(file, KEYS, "Instruct-V2Xum", WHERE):
            records.setdefault(record["id"], []).append(record)
        if twice := next((name for name in records if name in found), None):
            raise UsageError(f"{file}: {twice} is in two splits; get it from {WHERE}")
        found |= {name: _video(file, name, its, split) for name, its in records.items()}
    return list(found.values())


def _video(path: Path, name: str, records: Sequence[Mapping[str, Any]], split: str | None) -> Video:
    meta = records[0]["meta"]
    lacking = [key for key in OF_META if key not in meta] if isinstance(meta, dict) else list(OF_META)
    if lacking:
        raise UsageError(f"{path}: {name}: meta has no {', '.join(lacking)}: this is not Instruct-V2Xum's annotation")
    if any(record["meta"] != meta or record["vsum_onehot"] != records[0]["vsum_onehot"] for record in records):
        raise UsageError(f"{path}: {name} has records that differ in meta or vsum_onehot")
    chosen = one_hot(path, name, records[0]["vsum_onehot"], meta["sampled_frames"], (None,))
    duration_s = duration(path, name, meta["duration"])
    token = _tokens(path, name, meta["token"], max(duration_s, meta["sampled_frames"]))
    answers = [answer for record in records for answer in _answers(path, name, record["conversations"])]
    if unknown := next((each for answer in answers for each in TOKEN.findall(answer) if each not in token), None):
        raise UsageError(f"{path}: {name}: an answer names {unknown}, whose time meta.token lacks")
    summary = next(filter(None, (sentences(answer, token) for answer in answers)), None)
    # Where no answer shows both, that of text alone still is the reference.
    text = next((answer.strip() for answer in answers if not FRAMES.search(answer) and answer.strip()), None)
    return make_video(
        path,
        video_id=name,
        frame_time_s=np.arange(len(chosen), dtype=np.float32),
        frame_feature=np.zeros((len(chosen), 0), np.float32),
        duration_s=duration_s,
        gt_summary=chosen.astype(np.uint8),
        summary=summary,
        summary_text=" ".join(str(each["text"]) for each in summary) if summary else text,
        url=f"https://www.youtube.com/watch?v={name}" if YOUTUBE_ID.fullmatch(name) else None,
        split=split,
    )


def _tokens(path: Path, name: str, value: Any, last_s: float) -> dict[str, float]:
    """The seconds of each token. Raises UsageError for a time outside the video."""
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {name}: meta.token is not a JSON object, token -> seconds")
    found = {token: float(numbers(path, name, f"meta.token {token}", time_s, ())) for token, time_s in value.items()}
    if outside := next((token for token, time_s in found.items() if not 0 <= time_s <= last_s), None):
        raise UsageError(f"{path}: {name}: {outside} is at {found[outside]:g} s, outside the video's {last_s:g} s")
    return found


def _answers(path: Path, name: str, value: Any) -> list[str]:
    turns = value if isinstance(value, list) else []
    values = [turn.get("value") for turn in turns if isinstance(turn, dict) and turn.get("from") == "gpt"]
    answers = [value for value in values if isinstance(value, str)]
    if not answers or len(answers) < len(values):
        raise UsageError(f"{path}: {name}: conversations has no answer of gpt, or one that is no text")
    return answers


def sentences(answer: str, token: Mapping[str, float]) -> Summary | None:
    """The sentences of an answer with the seconds of their frames, in time order; None without sentences or frames.

    A sentence's frames stand before it, or after it (`A man cuts [<f0>, <f1>].`), throughout the answer.
    """
    # Texts and lists in turns: text, list, text, …, text.
    first, *rest = FRAMES.split(answer)
    lists = [[token[each] for each in TOKEN.findall(part)] for part in rest[::2]]
    texts = rest[1::2]
    if first.strip():
        texts = _before_lists(first, texts)
    found = []
    before: list[float] = []
    for text, times in zip(texts, lists, strict=True):
        before += times
        # Two lists in a row are of one sentence.
        if (text := " ".join(text.split())).strip(MARKS):
            found.append({"text": text, "time_s": sorted(set(before))})
            before = []
    return tuple(sorted(found, key=lambda sentence: sentence["time_s"][0])) or None


def _before_lists(first: str, after: Sequence[str]) -> list[str]:
    """The text before each list, given `first` and the texts after the lists. The last sentence also has the rest."""
    # A list stands before its sentence's mark: `A man cuts [<f0>]. He eats [<f1>].`
    texts, body = [], first.rstrip()
    for text in (text.lstrip() for text in after):
        mark = text[:1] if text[:1] in MARKS else ""
        texts.append(body + mark)
        body = text[len(mark) :].rstrip()
    return [*texts[:-1], f"{texts[-1]} {body}"] if texts else []
