"""The objectives of language models: likelihood of answers (stage 2), and of texts beside their frames (stage 1)."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vsumdata.datasets.video import Batch, Summary, Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.language import texts
from vsumdata.train.language.answers import Answer, Sentence, settle
from vsumdata.train.language.frame_indexes import labels_of_indexes, nearest_index
from vsumdata.train.language.model import V2Xum
from vsumdata.train.language.prompts import Task
from vsumdata.train.language.texts import Encode, Pairs, Rule

# Where a text may be cut: behind a mark, before a blank.
MARKED = re.compile(r"(?<=[.!?])\s+")


class InstructOptions(BaseModel):
    """Which tasks are trained how often, and what the answers are made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # The loss is a sum over answers, so micro-batches add up to their batch.
    adds_up: ClassVar[bool] = True

    stage: Literal["instruct", "align"] = Field(
        "instruct",
        description="`instruct`: answers to the three instructions; `align`: a text beside the frames that show it, to "
        "train the adapter first",
    )
    video_steps: int = Field(1, ge=0, description="steps of each cycle that ask for the frames of a summary")
    text_steps: int = Field(1, ge=0, description="steps of each cycle that ask for a text")
    both_steps: int = Field(1, ge=0, description="steps of each cycle that ask for a text that refers to frames")
    answers: Rule = Field(
        "auto",
        description="what texts are made of. `given`: the data's own summaries; `steps`: the article's steps where "
        "they are spoken of; `sentences`: the spoken sentences of the summary's frames; `auto`: the first of these "
        "that a video has; `none`: no texts",
    )
    pairs: Pairs = Field(
        "auto",
        description="texts of the stage `align`, with their frames. `captions`: of single frames (table "
        "`frame_captions`) or pictures; `steps`: of the article; `sentences`: spoken; `auto`: the first of these that "
        "a video has",
    )
    about_picture: bool = Field(
        True,
        description="of spoken pairs, use the half of each video that is nearest to its frames by the text tower of "
        "the CLIP that made them",
    )
    pairs_per_video: int = Field(4, ge=1, description="texts of each video in a step of the stage `align`, at random")
    answer_tokens: int = Field(
        2048,
        ge=8,
        description="most tokens of a text to learn, its indexes among them; a longer one ends with the last sentence "
        "that fits. The language model's own limit holds, too",
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> InstructOptions:
        if not self.cycle:
            raise ValueError("video_steps, text_steps and both_steps are all 0: nothing would be asked for")
        return self

    @property
    def needs_targets(self) -> bool:
        """Whether labels are learnt from: texts beside their frames need none."""
        return self.stage == "instruct"

    @property
    def reads_summaries(self) -> bool:
        """Whether a video's own summary in words is learnt."""
        return self.stage == "instruct" and self.answers in ("auto", "given")

    @property
    def reads_captions(self) -> bool:
        """Whether the captions of frames are wanted, which are long."""
        return self.stage == "align" and self.pairs in ("auto", "captions")

    @property
    def compares(self) -> bool:
        """Whether spoken sentences are compared with the pictures."""
        return self.stage == "align" and self.about_picture and self.pairs in ("auto", "sentences")

    @property
    def cycle(self) -> tuple[Task, ...]:
        """The task of each step, over and over."""
        often: dict[Task, int] = {"v": self.video_steps, "t": self.text_steps, "b": self.both_steps}
        return tuple(task for task, num in often.items() for _ in range(num))


class Instruct(nn.Module):
    """The mean negative log-likelihood of the answers' tokens; nothing else of a prompt is learnt.

    Each step asks for one task, so that all prompts are equally long. A video without a text is asked for its frames
    instead. `weight` is the number of tokens.
    """

    Options: ClassVar[type[InstructOptions]] = InstructOptions

    def __init__(self, options: InstructOptions) -> None:
        super().__init__()
        self.options = options

    @staticmethod
    def words(options: InstructOptions, video: Video, encode: Encode | None = None) -> Summary | None:
        """The texts of a video with targets, which its batch then holds. `encode` embeds texts as frames are."""
        if options.stage == "align":
            return texts.pairs_of(video, options.pairs, encode)
        return texts.summary_of(video, options.answers)

    @staticmethod
    def remarks(options: InstructOptions, videos: Sequence[Video], model: V2Xum) -> list[str]:
        """Notes on videos without a text, or with a long one. Raises UsageError if none has one in stage `align`."""
        return [*Instruct.without_text(options, videos), *Instruct.too_long(options, videos, model)]

    @staticmethod
    def without_text(options: InstructOptions, videos: Sequence[Video]) -> list[str]:
        without = sum(not video.summary for video in videos)
        if options.stage == "align" and without == len(videos):
            raise UsageError(
                f"objective.stage=align: none of {len(videos)} training videos has texts of {options.pairs}"
            )
        if not without or options.answers == "none" or options.cycle.count("v") == len(options.cycle):
            return []
        what = "left out" if options.stage == "align" else "asked for frames alone"
        of = options.pairs if options.stage == "align" else options.answers
        return [f"{without} of {len(videos)} training videos have no text ({of}): {what}"]

    @staticmethod
    def too_long(options: InstructOptions, videos: Sequence[Video], model: V2Xum) -> list[str]:
        cut = lost = 0
        for video in videos:
            wanted, kept = lengths(options, video, model)
            lost += wanted > 0 and not kept
            cut += 0 < kept < wanted
        of, limit = f"of {len(videos)} training videos", f"objective.answer_tokens={options.answer_tokens}"
        notes = []
        if cut:
            notes.append(f"the texts of {cut} {of} are longer than {limit}, or than the model reads: cut at a sentence")
        if lost:
            instead = "left out" if options.stage == "align" else "asked for frames alone"
            notes.append(f"no sentence of {lost} {of} fits {limit}: {instead}")
        return notes

    def forward(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        assert isinstance(model, V2Xum)
        if self.options.stage == "align":
            losses = [self._aligned(model, batch)]
        else:
            losses = self._answered(model, batch, self.options.cycle[step % len(self.options.cycle)])
        weight = sum(num for _, num in losses)
        if not weight:
            return {"loss": torch.zeros((), requires_grad=True), "weight": torch.zeros(())}
        total = torch.stack([loss for loss, _ in losses]).sum()
        return {"loss": total / weight, "weight": torch.tensor(float(weight))}

    def _answered(self, model: V2Xum, batch: Batch, task: Task) -> list[tuple[Tensor, int]]:
        asked: dict[Task, list[tuple[int, list[int]]]] = {}
        for row in range(len(batch.video_id)):
            words = text_answer(model, batch, row) if task != "v" else ()
            if ids := shortened(model, words, task, most_tokens(model, self.options))[1]:
                asked.setdefault(task, []).append((row, ids))
            elif frames := frame_answer(model, batch, row):
                asked.setdefault("v", []).append((row, model.ids_of(frames, "v")))
        found = []
        for its, rows in asked.items():
            part = batch.rows([row for row, _ in rows])
            found.append(model.nll(model.prompt(part, its), [ids for _, ids in rows]))
        return found

    def _aligned(self, model: V2Xum, batch: Batch) -> tuple[Tensor, int]:
        feature, ids = [], []
        for row, words in enumerate(batch.summary):
            # torch's generator, which the loop seeds at every step.
            for at in torch.randperm(len(words or ()))[: self.options.pairs_per_video].tolist():
                assert words is not None
                text = shortened_text(model, str(words[at]["text"]), most_tokens(model, self.options))
                if not text:
                    continue
                frames = frames_at(batch, row, words[at]["time_s"])
                feature.append(batch.frame_feature[row, torch.from_numpy(frames)].mean(0))
                ids.append([*model.encode(text), model.ends[0]])
        if not ids:
            return torch.zeros((), requires_grad=True), 0
        return model.nll(model.pair_prompt(torch.stack(feature)), ids)


def most_tokens(model: V2Xum, options: InstructOptions) -> int:
    """The most tokens of a text that is learnt, its end among them."""
    return min(options.answer_tokens, model.room)


def shortened(model: V2Xum, answer: Answer, task: Task, most: int) -> tuple[Answer, list[int]]:
    """The first sentences of a text, as many as fit into `most` tokens, and their ids; empty if none fits.

    So is a text that refers to frames if none of them has one. The first sentence may itself be cut, at a mark.
    """

    def ids_of(some: Answer) -> list[int]:
        # For a text that refers to frames, some sentence must have one.
        is_said = bool(some) and (task == "t" or any(each.frames for each in some))
        return model.ids_of(some, task) if is_said else []

    ids = ids_of(answer)
    if len(ids) <= most:
        return answer, ids
    num = fitting(len(answer), lambda num: len(ids_of(answer[:num])) <= most)
    kept = answer[:num]
    if not ids_of(kept):
        first = next(each for each in answer if task == "t" or each.frames)
        parts = MARKED.split(first.text)

        def some(num: int) -> Answer:
            return (Sentence(" ".join(parts[:num]), first.frames),)

        num = fitting(len(parts), lambda num: len(ids_of(some(num))) <= most)
        kept = some(num) if num else ()
    return kept, ids_of(kept)


def shortened_text(model: V2Xum, text: str, most: int) -> str:
    """The first sentences of a text that fit into `most` tokens with their end; empty if none does."""
    if len(model.encode(text)) < most:
        return text
    parts = MARKED.split(text)
    return " ".join(parts[: fitting(len(parts), lambda num: len(model.encode(" ".join(parts[:num]))) < most)])


def fitting(number: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 0 to `number` that fits, where more is longer."""
    return bisect.bisect_left(range(1, number + 1), True, key=lambda num: not fits(num))


def lengths(options: InstructOptions, video: Video, model: V2Xum) -> tuple[int, int]:
    """The number of letters of a video's texts, and of those that are learnt, for the task that keeps fewest."""
    most = most_tokens(model, options)
    if options.stage == "align":
        texts_of = [str(each["text"]) for each in video.summary or ()]
        return sum(map(len, texts_of)), sum(len(shortened_text(model, text, most)) for text in texts_of)
    found = [(0, 0)]
    if video.summary:
        wanted = text_answer(model, collate([video]), 0)
        for task in set(options.cycle) - {"v"}:
            if task == "t" or any(each.frames for each in wanted):
                kept = shortened(model, wanted, task, most)[0]
                found.append((letters(wanted), letters(kept)))
    return min(found, key=lambda pair: pair[1] - pair[0])


def letters(answer: Answer) -> int:
    return sum(len(each.text) for each in answer)


def text_answer(model: V2Xum, batch: Batch, row: int) -> Answer:
    """What a batch's video says of itself, its frames as indexes; empty if it has no text."""
    words = batch.summary[row] if batch.summary else None
    near = nearest_index(num_frames(batch, row), model.codec.frames)
    return settle(
        Sentence(str(each["text"]), tuple(dict.fromkeys(near[frames_at(batch, row, each["time_s"])].tolist())))
        for each in words or ()
    )


def frame_answer(model: V2Xum, batch: Batch, row: int) -> Answer:
    """The summary's frames as indexes, the most important one if there is none; empty without a target."""
    if batch.gt_summary is None or batch.summary_mask is None or not batch.summary_mask[row].any():
        return ()
    num = num_frames(batch, row)
    chosen = np.flatnonzero(labels_of_indexes(batch.gt_summary[row, :num].cpu().numpy(), model.codec.frames))
    if not len(chosen) and batch.gt_score is not None:
        score = labels_of_indexes(batch.gt_score[row, :num].cpu().numpy(), model.codec.frames)
        chosen = np.array([score.argmax()])
    return (Sentence("", tuple(chosen.tolist())),) if len(chosen) else ()


def frames_at(batch: Batch, row: int, time_s: Sequence[float]) -> np.ndarray:
    """The frame nearest to each time."""
    times = batch.frame_time_s[row, : num_frames(batch, row)].cpu().numpy()
    right = np.searchsorted(times, np.asarray(time_s, np.float64)).clip(1, max(1, len(times) - 1))
    if len(times) < 2:
        return np.zeros(len(time_s), np.int64)
    nearer_left = np.asarray(time_s) - times[right - 1] <= times[right] - np.asarray(time_s)
    return right - nearer_left


def num_frames(batch: Batch, row: int) -> int:
    return int(batch.frame_mask[row].sum())
