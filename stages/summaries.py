"""The `summaries` table: a video's summary in sentences, each with the frames that show it.

`llm` chooses from the captions of `frame_captions`, drops repeats and has the rest rewritten (Instruct-V2Xum). `steps`
aligns the article's steps with what is said, `sentences` takes what is said in the most replayed moments; both need no
model but the embeddings of `features`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vsumdata.manifests.errors import SkipVideo
from vsumdata.stages.curation import prompts
from vsumdata.stages.curation.alignment import align
from vsumdata.stages.curation.chat import Keeper, open_chat
from vsumdata.stages.curation.question import Question
from vsumdata.stages.curation.shown import frames_shown
from vsumdata.stages.frame_captions import refuse_length
from vsumdata.stages.stage import Context, Function, Row

TABLE = "summaries"
LLM, STEPS, SENTENCES = "llm", "steps", "sentences"
# A selection in windows keeps more than is wanted in the end, for the last one to choose from.
WINDOW_SHARE = 3
TRIES = 2
WORD = re.compile(r"\w+|[^\w\s]")
Distinct = Callable[[Sequence[str]], list[int]]


class Made(NamedTuple):
    """A summary by frames: each sentence with the numbers of its frames."""

    sentences: list[tuple[str, list[int]]]
    num_candidates: int
    num_frames: int
    note: str = ""


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Return the row function of `summaries`; for the method `llm`, open the writer and BERTScore's encoder.

    The function raises SkipVideo (too_short, too_long, no_frames, no_captions, no_article, no_heatmap, no_summary), and
    what `Chat.ask` raises. Raises UsageError if a local model cannot be loaded.
    """
    method: Callable[[Row], Made]
    if options["method"] == LLM:
        chat, distinct = open_chat(options, context, TABLE, sees=False), open_scorer(options, context)

        def method(row: Row) -> Made:
            return by_llm(row, options, chat, distinct)
    else:
        own = by_steps if options["method"] == STEPS else by_sentences

        def method(row: Row) -> Made:
            return own(row, options)

    def summarize(row: Row) -> Row:
        duration_s = row["videos"]["duration_s"]
        refuse_length(duration_s, options)
        return payload(method(row), duration_s, options)

    return summarize


def open_scorer(options: Mapping[str, Any], context: Context) -> Distinct:
    """Load BERTScore; return the function that says which captions remain without their repeats."""
    from vsumdata.stages.encoders.bert_score import BertScore

    scorer = BertScore(options["scorer_location"], options["scorer_layer"], context.device)
    return functools.partial(scorer.distinct, max_similarity=options["max_similarity"])


def payload(made: Made, duration_s: float | None, options: Mapping[str, Any]) -> Row:
    """Check a summary and make its row. Raises SkipVideo `no_summary`."""
    num_kept = len({k for _, frames in made.sentences for k in frames})
    if num_kept < 2:
        raise SkipVideo("no_summary", with_note(f"{num_kept} frames in it; there must be 2", made.note))
    if num_kept > options["max_ratio"] * made.num_frames:
        what = f"{num_kept} of {made.num_frames} frames in it; summaries.max_ratio is {options['max_ratio']:g}"
        raise SkipVideo("no_summary", with_note(what, made.note))
    fps = options["fps"]
    found = {
        "summary": [{"text": text, "time_s": [k / fps for k in frames]} for text, frames in made.sentences],
        "method": options["method"],
        "model": options["model"],
        "num_candidates": made.num_candidates,
        "num_kept": num_kept,
        "num_frames": made.num_frames,
        "num_tokens": sum(len(WORD.findall(text)) for text, _ in made.sentences),
        "duration_s": duration_s,
    }
    return found | ({"detail": made.note} if made.note else {})


def with_note(what: str, note: str) -> str:
    return f"{what}; {note}" if note else what


# By a language model


def by_llm(row: Row, options: Mapping[str, Any], chat: Keeper, distinct: Distinct) -> Made:
    """Choose captions, drop repeats, have the rest rewritten. Raises SkipVideo, and what `Chat.ask` raises."""
    if row["frame_captions"] is None:
        raise SkipVideo("no_captions", "frame_captions has none of this video")
    rows = row["frame_captions"]["caption"]
    captions = {k: each["text"] for k, each in enumerate(rows) if each["text"] and not each["copied"]}
    if len(captions) < 4:
        raise SkipVideo("no_summary", f"only {len(captions)} different captions")
    talk = Talk(row["video_id"], chat)
    chosen, num_unknown = select(captions, options["share"], options["window"], talk)
    texts = [captions[k] for k in chosen]
    kept = {chosen[at]: texts[at] for at in distinct(texts)}
    notes = [f"{num_unknown} numbers that were not offered were dropped"] if num_unknown else []
    if repeats := len(chosen) - len(kept):
        notes.append(f"{repeats} repeats dropped")
    try:
        sentences = talk.answer(
            prompts.rewriting_question(kept), lambda answer: prompts.read_rewriting(answer, list(kept))
        )
    except prompts.BadAnswer as error:
        sentences = [prompts.Sentence([k], text) for k, text in kept.items()]
        notes.append(f"not rewritten: {error}")
    return Made([(each.text, each.frames) for each in sentences], len(captions), len(rows), "; ".join(notes))


class Talk:
    """Questions about one video, each asked again once if its answer is none."""

    def __init__(self, video_id: str, chat: Keeper) -> None:
        self.video_id, self.chat = video_id, chat

    def answer(self, question: Question, read: Callable[[str], Any]) -> Any:
        """Return what `read` makes of the answer. Raises the BadAnswer of the last try."""
        for left in reversed(range(TRIES)):
            [answer] = self.chat.answers(self.video_id, [question])
            try:
                return read(answer)
            except prompts.BadAnswer as error:
                if not left:
                    raise
                question = prompts.again(question, answer, str(error))
        raise AssertionError("there is at least one try")


def select(captions: Mapping[int, str], share: float, window: int, talk: Talk) -> tuple[list[int], int]:
    """Return the numbers of the captions that tell the video, and how many numbers were made up.

    More captions than `window` are first thinned out in windows. Raises SkipVideo `no_summary`.
    """
    target, num_unknown, left = max(2, round(share * len(captions))), 0, list(captions)
    while True:
        num_windows = -(-len(left) // window)
        pieces = [piece.tolist() for piece in np.array_split(left, num_windows)]
        kept: list[int] = []
        for piece in pieces:
            wanted = target if num_windows == 1 else round(WINDOW_SHARE * share * len(piece))
            question = prompts.selection_question({k: captions[k] for k in piece}, max(2, min(wanted, len(piece) // 2)))
            read = functools.partial(prompts.read_selection, offered=piece)
            try:
                found = talk.answer(question, read)
            except prompts.BadAnswer as error:
                raise SkipVideo("no_summary", f"the selection failed twice: {error}") from error
            kept += found.kept
            num_unknown += found.num_unknown
        if num_windows == 1:
            return kept, num_unknown
        left = kept


# Without one


def by_steps(row: Row, options: Mapping[str, Any]) -> Made:
    """The article's steps that are spoken of: the headline, and the replayed frames of the time they take."""
    video = joined(row)
    if not len(video["step"]):
        raise SkipVideo("no_article")
    similarity = np.asarray(video["step_feature"], np.float32) @ np.asarray(video["sentence_feature"], np.float32).T
    found, frames = [], Frames(video, options)
    for step, run in zip(video["step"], align(similarity), strict=True):
        if run is None:
            continue
        first, stop = run
        own = frames.within(video["sentence"][first]["start_s"], video["sentence"][stop - 1]["end_s"])
        if own:
            found.append((one_line(step["headline"] or step["text"]), own))
    return Made(found, len(video["step"]), frames.number)


def by_sentences(row: Row, options: Mapping[str, Any]) -> Made:
    """What is said in replayed moments: at most so many sentences, those with the highest mean replay score."""
    video = joined(row)
    frames = Frames(video, options)
    spoken: list[tuple[int, list[int]]] = []
    means = [frames.mean_replay(each["start_s"], each["end_s"]) for each in video["sentence"]]
    for at in sorted((at for at, mean in enumerate(means) if mean is not None), key=lambda at: -(means[at] or 0.0)):
        sentence = video["sentence"][at]
        # A sentence of a moment may have no frame that another one has not.
        if len(spoken) < options["most_sentences"] and (own := frames.within(sentence["start_s"], sentence["end_s"])):
            spoken.append((at, own))
    found = [(one_line(video["sentence"][at]["text"]), own) for at, own in sorted(spoken)]
    return Made(found, len(video["sentence"]), frames.number)


def joined(row: Row) -> Row:
    """The row of `features`, if a summary can be made of it. Raises SkipVideo."""
    found: Row | None = row["features"]
    if found is None:
        raise SkipVideo("no_frames")
    if found["replay_score"] is None:
        raise SkipVideo("no_heatmap")
    if not len(found["sentence"]):
        raise SkipVideo("no_summary", "nothing is said in it")
    return found


def one_line(text: str) -> str:
    return " ".join(text.split())


class Frames:
    """The frames of a video that a summary may take, each once."""

    def __init__(self, video: Row, options: Mapping[str, Any]) -> None:
        self.replay = np.nan_to_num(np.asarray(video["replay_score"], np.float32))
        self.number, self.fps, self.least = len(self.replay), options["fps"], options["min_replay"]
        self.taken: set[int] = set()

    def span(self, start_s: float, end_s: float) -> np.ndarray:
        return frames_shown(start_s, end_s, self.number, self.fps)

    def mean_replay(self, start_s: float, end_s: float) -> float | None:
        """The mean replay score of a time; None if no frame of it has the least one."""
        score = self.replay[self.span(start_s, end_s)]
        return float(score.mean()) if score.max() >= self.least else None

    def within(self, start_s: float, end_s: float) -> list[int]:
        """Take the replayed frames of a time, at least the most replayed one, of those that are left."""
        free = np.array([k for k in self.span(start_s, end_s) if int(k) not in self.taken], np.int64)
        if not len(free):
            return []
        own = free[self.replay[free] >= self.least]
        found: list[int] = (own if len(own) else free[[int(self.replay[free].argmax())]]).tolist()
        self.taken.update(found)
        return found
