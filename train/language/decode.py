"""Decode answers under a grammar: all rows of a batch at once, with a cache of what was read.

The prompt is read once for all answers of a video. transformers' `generate` would read it once for each sample, which
at 560 positions of prompt and 60 of answer is most of the work, and would obey the model's own settings of generation:
some models ship a penalty of repetition, which breaks lists of digits.

Letters: B videos, P positions of a prompt, H hidden size, R answers of each video, V tokens of the vocabulary, M
indexes, W digits of an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vsumdata.manifests.errors import Diverged
from vsumdata.train.language.grammar import Grammar, Walk

# Allowed sets of at most so many tokens (digits, brackets, ends) are gathered; larger ones are masked.
FEW = 32
# The cache of one chunk of answers may take so much memory.
CACHE_BYTES = 4 * 1024**3
# None: the likeliest token; else a token is drawn by this generator.
Noise = np.random.Generator | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """One answer: its ids without the end, its indexes, and the logits of the ten digits at each digit [M,W,10]."""

    ids: list[int]
    indexes: list[int]
    digit_logit: np.ndarray


@torch.no_grad()
def write(lm: nn.Module, prompt: Tensor, grammar: Grammar, noise: Sequence[Sequence[Noise]]) -> list[list[Written]]:
    """Write R answers to each prompt [B,P,H]; `noise` says of each, [B][R], how it is drawn."""
    num_answers = len(noise[0])
    size = max(1, int(CACHE_BYTES / (num_answers * prompt.shape[1] * bytes_per_position(lm))))
    found: list[list[Written]] = []
    for first in range(0, len(prompt), size):
        walks = written(
            lm, prompt[first : first + size], grammar, [each for row in noise[first : first + size] for each in row]
        )
        found += [walks[at : at + num_answers] for at in range(0, len(walks), num_answers)]
    return found


def written(lm: nn.Module, prompt: Tensor, grammar: Grammar, noise: Sequence[Noise]) -> list[Written]:
    """Write the answers of one chunk: those of the first prompt, then those of the second and so on."""
    num_answers = len(noise) // len(prompt)
    read = lm(inputs_embeds=prompt, use_cache=True, logits_to_keep=1)
    # No grammar helps weights that the last step of a training has overflowed.
    if read.logits.isnan().any():
        raise Diverged("the language model's output is no number; lower optimizer.lr and train again")
    cache, logits = read.past_key_values, read.logits[:, -1].repeat_interleave(num_answers, 0)
    if num_answers > 1:
        cache.batch_repeat_interleave(num_answers)
    walks = [grammar.start() for _ in noise]
    ids: list[list[int]] = [[] for _ in noise]
    digits: list[list[np.ndarray]] = [[] for _ in noise]
    masks: dict[int, Tensor] = {}
    digit = torch.tensor(grammar.codec.digit, device=logits.device)
    while True:
        logits = logits.float()
        at_digits = logits[:, digit].double().cpu().numpy()
        token = chosen(logits, walks, noise, masks)
        for row, walk in enumerate(walks):
            if walk.finished:
                continue
            if walk.at_digit:
                digits[row].append(at_digits[row])
            walk.advance(token[row])
            if not walk.finished:
                ids[row].append(token[row])
        if all(walk.finished for walk in walks):
            break
        step = torch.tensor(token, device=logits.device)[:, None]
        logits = lm(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    width = grammar.codec.width
    return [
        Written(ids=its, indexes=list(walk.indexes), digit_logit=np.array(logit).reshape(-1, width, 10))
        for its, walk, logit in zip(ids, walks, digits, strict=True)
    ]


def chosen(logits: Tensor, walks: Sequence[Walk], noise: Sequence[Noise], masks: dict[int, Tensor]) -> list[int]:
    """The next token of each row, from logits [rows,V]: the best of those allowed, or one drawn from them."""
    allowed = [walk.allowed() for walk in walks]
    few = [row for row, ids in enumerate(allowed) if len(ids) <= FEW]
    many = [row for row, ids in enumerate(allowed) if len(ids) > FEW]
    token = [0] * len(walks)
    if few:
        place = np.zeros((len(few), FEW), np.int64)
        # Adding Gumbel's noise and taking the best is drawing by the softmax.
        extra = np.full((len(few), FEW), -np.inf)
        for at, row in enumerate(few):
            ids, source = allowed[row], noise[row]
            place[at, : len(ids)] = ids
            extra[at, : len(ids)] = 0 if source is None else source.gumbel(size=len(ids))
        where = torch.from_numpy(place).to(logits.device)
        value = logits[few].gather(1, where).double() + torch.from_numpy(extra).to(logits.device)
        for row, best in zip(few, where.gather(1, value.argmax(1, keepdim=True))[:, 0].tolist(), strict=True):
            token[row] = best
    if many:
        value = logits[many] + torch.stack([mask_of(allowed[row], logits, masks) for row in many])
        for at, row in enumerate(many):
            if (source := noise[row]) is not None:
                value[at, torch.from_numpy(allowed[row])] += torch.from_numpy(source.gumbel(size=len(allowed[row]))).to(
                    value
                )
        for row, best in zip(many, value.argmax(1).tolist(), strict=True):
            token[row] = best
    return token


def mask_of(ids: np.ndarray, logits: Tensor, masks: dict[int, Tensor]) -> Tensor:
    """0 at the allowed ids and minus infinity elsewhere [V]."""
    # A grammar keeps its large sets and hands out the same arrays again.
    if id(ids) not in masks:
        mask = torch.full(logits.shape[1:], -torch.inf, device=logits.device)
        mask[torch.from_numpy(ids).to(logits.device)] = 0
        masks[id(ids)] = mask
    return masks[id(ids)]


def bytes_per_position(lm: nn.Module) -> int:
    """Memory of the cache for one position of one row."""
    config: Any = lm.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * next(lm.parameters()).element_size())
