"""The prompt around the frames, and the frames between their indexes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.train.language.tokenizer_kit import family

from vsumdata.manifests.errors import UsageError
from vsumdata.train.language.prompts import INSTRUCTIONS, interleave, prompt_text, split_at_video, supervised


class Chat:
    """As much of a tokenizer as a chat template needs: rendered as Qwen's."""

    chat_template = "there is one"

    def __init__(self, twice: bool = False) -> None:
        self.twice = twice

    def apply_chat_template(self, turns, add_generation_prompt=False, **options) -> str:
        assert options == {"tokenize": False, "enable_thinking": False}
        text = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in turns)
        return text * (1 + self.twice) + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def test_templates() -> None:
    plain = prompt_text("plain", "x")
    assert (plain.before, plain.after, plain.lead) == ("USER: ", "\nx ASSISTANT: ", "")
    chat = prompt_text("auto", INSTRUCTIONS["v"], Chat())
    assert chat.before == "<|im_start|>user\n"
    assert chat.after == f"\n{INSTRUCTIONS['v']}<|im_end|>\n<|im_start|>assistant\n"
    assert chat.end == "<|im_end|>\n"
    assert prompt_text("auto", "x", object()) == prompt_text("vicuna", "x")
    assert prompt_text("vicuna", "x", Chat()).before.startswith("A chat between a curious user")


def test_a_template_shows_the_video_once() -> None:
    with pytest.raises(UsageError, match="2 times"):
        prompt_text("chat", "x", Chat(twice=True))
    with pytest.raises(UsageError, match="0 times"):
        split_at_video("no frames here")
    with pytest.raises(UsageError, match="no chat template"):
        prompt_text("chat", "x", object())


@pytest.mark.parametrize("temporal", [True, False])
def test_each_frame_stands_behind_its_index(temporal: bool) -> None:
    codec = family("gpt2").codec(12)
    layout = interleave([1, 2], codec, [3], temporal=temporal)
    places = np.flatnonzero(layout.frame >= 0)
    assert layout.frame[places].tolist() == list(range(12))
    assert len(layout.token) == 3 + 12 * (5 if temporal else 1)
    assert (layout.token[:2].tolist(), layout.token[-1]) == ([1, 2], 3)
    if temporal:
        assert layout.token[places[7] - 4 : places[7]].tolist() == list(codec.prompt(7))


def test_only_the_answer_is_supervised() -> None:
    assert supervised(3, 2).tolist() == [False, False, False, True, True]
