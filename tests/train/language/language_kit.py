"""Planted videos and tiny language models for the tests of V2Xum-LLM."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from tests.train.language.tokenizer_kit import family

from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.train.data.origin import Origin
from vsumdata.train.data.training import Data
from vsumdata.train.language.model import V2Xum, V2XumOptions
from vsumdata.train.loop.job import fit_fold
from vsumdata.train.loop.runs import Trained
from vsumdata.train.settings import Settings, settings_of

DIM = 8
TINY = ("model.frames=10", "model.text_tokens=20", "model.sentence_tokens=8", "model.samples=2")
CHAT = (
    "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def planted(num: int, frames: int = 16, seed: int = 0, turned: int = 0, words: bool = False) -> list[Video]:
    """Videos of shots of 2 to 4 frames; a frame belongs to the summary where its shot's height exceeds 0.7.

    The height shows in one of the feature's components, all of which are turned by `turned`. With `words` each video
    has one sentence for each shot, which names its height.
    """
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(100 + turned).normal(size=(DIM, DIM)))[0]
    found = []
    for at in range(num):
        length = rng.integers(2, 5, frames)
        height = np.repeat(rng.normal(size=frames), length)[:frames]
        feature = rng.normal(size=(frames, DIM)) * 0.1
        feature[:, 0] += height
        cuts = [0, *(np.flatnonzero(np.diff(height)) + 1).tolist(), frames]
        spans = list(itertools.pairwise(cuts)) if words else []
        sentence = [
            {"start_s": float(a), "end_s": float(b), "text": "A high one." if height[a] > 0.7 else "A low one."}
            for a, b in spans
        ]
        found.append(
            Video(
                video_id=f"planted{seed}-{at}",
                frame_time_s=np.arange(frames, dtype=np.float32),
                frame_feature=(feature @ turn).astype(np.float32),
                gt_score=(1 / (1 + np.exp(-height))).astype(np.float32),
                gt_summary=(height > 0.7).astype(np.uint8),
                sentence=sentence,
            )
        )
    return found


def tiny(*sets: str) -> Settings:
    return settings_of("v2xum", "tiny", [*TINY, "epochs=1", "batch_size=4", *sets])


def fitted(out: Path, settings: Settings, train: list[Video], **more: Any) -> Trained:
    data = Data(train=train, val=(), protocol=protocol("scores-vs-mean"), origin=Origin())
    return fit_fold(settings, data, out, **more)


def model(**options: Any) -> V2Xum:
    usual = {"llm": "seed:0", "tuning": "full", "frames": 10, "text_tokens": 20, "sentence_tokens": 8, "samples": 2}
    return V2Xum(V2XumOptions(**(usual | {"template": "plain"} | options)), DIM).eval()


def save_llm(folder: Path, kind: str, tokens: str = "per-digit", chat: bool = False) -> Path:
    """A language model of random weights in the layout that its family is published in; its tokenizer beside it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    its = family(tokens)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    more = {"vocab_size": its.tokenizer.get_vocab_size(), "max_position_embeddings": 2048, "num_key_value_heads": 1}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **more, **ids)).save_pretrained(folder)
    words = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    saved = PreTrainedTokenizerFast(tokenizer_object=its.tokenizer, **words)
    saved.chat_template = CHAT if chat else None
    saved.save_pretrained(folder)
    return folder
