"""What the language model reads before it answers: `before | block of frames | after`.

The block announces each frame by its index: `[07]` and the visual token of frame 7. All prompts of a task are equally
long, so none is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vsumdata.manifests.errors import UsageError
from vsumdata.train.language.index_codec import IndexCodec

Task = Literal["v", "t", "b"]
Template = Literal["auto", "vicuna", "chat", "plain"]
VIDEO = "<video>"
# The released code's, word for word.
INSTRUCTIONS: dict[Task, str] = {
    "v": "Please generate a VIDEO summarization for this video.",
    "t": "Please generate a TEXT summarization for this video.",
    "b": "Please generate BOTH video and text summarization for this video.",
}
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """The text around the block. `lead` stands before an answer; `end`, where a chat has one, ends it."""

    before: str
    after: str
    lead: str
    end: str | None = None


def prompt_text(template: Template, instruction: str, tokenizer: Any = None) -> PromptText:
    """The prompt of one instruction. `tokenizer` (Hugging Face) brings the template of `chat` and decides `auto`.

    Raises UsageError where the tokenizer has no chat template, or one that shows the video not exactly once.
    """
    has_chat = getattr(tokenizer, "chat_template", None) is not None
    if template == "chat" and not has_chat:
        raise UsageError("this model has no chat template; set model.template=vicuna")
    if template == "chat" or (template == "auto" and has_chat):
        return _chat(instruction, tokenizer)
    if template == "plain":
        before, after = split_at_video(f"USER: {VIDEO}\n{instruction} ASSISTANT: ")
        return PromptText(before=before, after=after, lead="")
    before, after = split_at_video(f"{SYSTEM} USER: {VIDEO}\n{instruction} ASSISTANT:")
    return PromptText(before=before, after=after, lead=" ")


def _chat(instruction: str, tokenizer: Any) -> PromptText:
    turns = [{"role": "user", "content": f"{VIDEO}\n{instruction}"}]
    # Qwen3 thinks aloud unless it is told not to; other templates ignore the word.
    options = {"tokenize": False, "enable_thinking": False}
    before, after = split_at_video(tokenizer.apply_chat_template(turns, add_generation_prompt=True, **options))
    answered = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": "ANSWER"}], **options)
    return PromptText(before=before, after=after, lead="", end=answered.rpartition("ANSWER")[2] or None)


def split_at_video(text: str) -> tuple[str, str]:
    """What stands before and after the one `<video>` of a template. Raises UsageError for none and for several."""
    found = text.count(VIDEO)
    if found != 1:
        raise UsageError(f"the template shows {VIDEO} {found} times; it must be once: set model.template=vicuna")
    before, _, after = text.partition(VIDEO)
    return before, after


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What stands at each position of a prompt: a token's id, or a frame.

    `frame` has the index of the frame whose visual token stands there, -1 elsewhere. `token` is 0 at visual tokens.
    """

    token: np.ndarray  # int64 [P]
    frame: np.ndarray  # int64 [P]


def interleave(before: Sequence[int], codec: IndexCodec, after: Sequence[int], *, temporal: bool = True) -> Layout:
    """Lay out a prompt of `codec.frames` frames; without `temporal` the frames are not announced."""
    token, frame = list(before), [-1] * len(before)
    for index in range(codec.frames):
        announced = codec.prompt(index) if temporal else ()
        token += [*announced, 0]
        frame += [-1] * len(announced) + [index]
    return Layout(
        token=np.array([*token, *after], np.int64),
        frame=np.array([*frame, *([-1] * len(after))], np.int64),
    )


def supervised(num_prompt: int, num_answer: int) -> np.ndarray:
    """Where the loss is taken, bool: the answer's tokens, its end among them, and nothing of the prompt."""
    return np.arange(num_prompt + num_answer) >= num_prompt
