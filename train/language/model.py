"""V2Xum-LLM (arXiv 2404.12353): one decoder writes a video's summary as frame indexes, as text, or as both.

Frames and the indexes that announce them stand in turns in the prompt; the instruction tells the task. Any causal
language model of transformers serves. Frame features pass an adapter into the model's embedding space.

Letters: B videos, T frames of a video, N frames shown, F components of a frame's feature, H hidden size of the language
model, P positions of the prompt, L tokens of the longest answer.
"""

from __future__ import annotations

import functools
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.video import Batch, Summary, Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.language import answers, decode, frame_indexes, load
from vsumdata.train.language.answers import Answer, Form
from vsumdata.train.language.decode import Written
from vsumdata.train.language.frame_indexes import scores_of_frames, shown_frames, summary_of_frames
from vsumdata.train.language.grammar import Grammar, Vocabulary, make_vocabulary
from vsumdata.train.language.index_codec import make_codec
from vsumdata.train.language.load import Tuning
from vsumdata.train.language.prompts import INSTRUCTIONS, Layout, Task, Template, interleave, prompt_text
from vsumdata.train.models.summarizer import Scores

Importance = Literal["samples", "emitted", "grid"]
# A score of 0 or 1 as a logit: the interface of all models asks for logits.
HIGHEST_LOGIT = 15.0


class V2XumOptions(BaseModel):
    """The language model, what of it is trained, how frames are shown and how answers become scores."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    llm: str = Field(
        "Qwen/Qwen2.5-0.5B-Instruct",
        description="the language model: a hub name, a local folder, `package:NAME/PATH`, or `seed:N`, a small one of "
        "random weights for trials",
    )
    frames: int = Field(100, ge=10, le=1000, description="number of frames that the model is shown")
    adapter: Literal["linear", "mlp"] = Field(
        "linear",
        description="what maps a frame's feature to the model: `linear`, or `mlp` with GELU in between",
    )
    features: Literal["standard", "centred", "raw"] = Field(
        "standard",
        description="features as the adapter sees them. `standard`: minus the mean, over the deviation of each "
        "component; `centred`: minus the mean, over the mean norm; `raw`: as they come",
    )
    temporal: bool = Field(True, description="whether its index announces each frame")
    tuning: Tuning = Field(
        "lora",
        description="what is trained of the language model. `lora`: matrices of low rank beside its own; `full`: all "
        "weights; `adapter`: none of it",
    )
    train_adapter: bool = Field(True, description="whether the adapter is trained; if not, give an aligned --init")
    lora_rank: int = Field(64, ge=1, description="rank of LoRA's matrices")
    lora_alpha: int = Field(128, ge=1, description="LoRA's scale, times its rank")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="dropout before LoRA's matrices")
    form: Form = Field(
        "list",
        description="where a text refers to frames. `list`: `sentence [07, 08].`; `lead`: `[07]sentence.`",
    )
    template: Template = Field(
        "auto", description="the prompt's form. `auto`: the tokenizer's own for chats, where it has one, else `vicuna`"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="precision of the frozen weights. `auto`: bfloat16 on a GPU that has it, else float32"
    )
    checkpoint: bool = Field(
        False, description="compute activations again in the backward pass: less memory, more time"
    )
    importance: Importance = Field(
        "samples",
        description="scores of frames. `samples`: the share of sampled answers that hold a frame; `emitted`: 1 for "
        "those of the answer; `grid`: the paper's, from the digits' chances",
    )
    samples: int = Field(8, ge=1, description="number of answers that `samples` draws")
    text_tokens: int = Field(400, ge=1, description="most tokens of text in an answer")
    sentence_tokens: int = Field(60, ge=1, description="most tokens of a sentence")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A task's prompt: its layout, what stands before an answer, and the token that ends one."""

    layout: Layout
    lead: str
    end: int


class V2Xum(nn.Module):
    """V2Xum-LLM. In eval mode, `forward` asks for the frames and scores them; `write` asks for a text as well.

    Raises UsageError for a language model that cannot be had, or whose tokenizer has no digits.
    """

    Options: ClassVar[type[V2XumOptions]] = V2XumOptions
    lm: Any  # of transformers, or wrapped by peft
    mean: Tensor
    scale: Tensor
    # A run that differs in these can begin with the weights of another: its tensors mean the same.
    FREE: ClassVar[tuple[str, ...]] = (
        *("llm", "tuning", "train_adapter", "lora_dropout", "template", "dtype", "checkpoint", "form"),
        *("importance", "samples", "text_tokens", "sentence_tokens", "frames"),
    )

    def __init__(
        self,
        options: V2XumOptions,
        frame_dim: int,
        text_dim: int | None = None,
        models: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        lock = (models or {}).get("llm", "")
        language = load.load(options.llm, options.dtype, trained=options.tuning == "full", lock=lock)
        self.tokenizer, self.ends = language.tokenizer, language.ends
        embedding: Any = language.model.get_input_embeddings()
        self.codec = make_codec(self.encode, self.decode, options.frames, options.llm)
        self.prompts = {task: self._prompt(task) for task in INSTRUCTIONS}
        # The tokens that a text may have behind the longest prompt.
        self.room = self._check_length(language.model.config)
        if options.checkpoint:
            language.model.activation_checkpointing_enable()
        self.lm = load.tuned(
            language.model,
            options.tuning,
            rank=options.lora_rank,
            alpha=options.lora_alpha,
            dropout=options.lora_dropout,
        )
        self.adapter = adapter_of(options.adapter, frame_dim, int(embedding.weight.shape[1]))
        self.adapter.requires_grad_(options.train_adapter)
        self.register_buffer("mean", torch.zeros(frame_dim))
        self.register_buffer("scale", torch.ones(frame_dim))
        self.notes = [note] if (note := load.say_random(options.llm)) else []

    @classmethod
    def models(cls, options: V2XumOptions, known: Mapping[str, str] | None = None) -> dict[str, str]:
        """The identity of the language model, which a checkpoint does not hold.

        Of a hub's model it is the revision that is `known` from before, if there is one.
        """
        return {"llm": load.identity(options.llm, (known or {}).get("llm", ""))}

    def borrowed(self) -> list[str]:
        """The tensors that a checkpoint leaves out: the language model's own, unless they are trained."""
        if self.options.tuning != "full":
            return [name for name in self.state_dict() if name.startswith("lm.") and "lora_" not in name]
        # The embeddings may stand at the output as well, and safetensors would refuse to write a tensor twice.
        shared = self.lm.get_input_embeddings().weight
        return [name for name, tensor in self.state_dict(keep_vars=True).items() if tensor is shared][1:]

    def may_differ(self, theirs: V2XumOptions) -> tuple[str, ...]:
        """The options in which a run may differ from the one with `theirs` that it begins with (--init)."""
        # Matrices that are not there yet have no rank. Which model `llm` is, the run's `models` say, wherever it lies.
        return self.FREE if theirs.tuning == "lora" else (*self.FREE, "lora_rank", "lora_alpha")

    @torch.no_grad()
    def observe(self, videos: Sequence[Video]) -> None:
        """Take mean and deviation of the features from some training videos.

        Called where no other run's weights are taken over: raises UsageError for an adapter that would stay random.
        """
        if not self.options.train_adapter:
            raise UsageError(
                "model.train_adapter=false: an adapter of random weights would stay; give --init with a run of the "
                "preset align, or train it"
            )
        # What tells frames of one video apart is small beside what they share: on planted features of mean cosine .80
        # a linear adapter came to F1 .50 as they come and to .62 standardised.
        if self.options.features == "raw":
            return
        # Video by video: all frames of long videos at once, in double precision, take gigabytes.
        num = sum(len(video.frame_feature) for video in videos)
        mean = np.sum([np.sum(video.frame_feature, 0, np.float64) for video in videos], 0) / num
        squared, norm = np.zeros_like(mean), 0.0
        for video in videos:
            rows = video.frame_feature - mean
            squared += np.square(rows).sum(0)
            norm += float(np.linalg.norm(rows, axis=1).sum())
        scale = np.sqrt(squared / num) if self.options.features == "standard" else np.full_like(mean, norm / num)
        self.mean.copy_(torch.from_numpy(mean))
        # A component that never changes tells nothing, and must not become infinite.
        self.scale.copy_(torch.from_numpy(np.where(scale > 1e-6, scale, 1.0)))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def _prompt(self, task: Task) -> Prompt:
        options, tokenizer = self.options, self.tokenizer
        text = prompt_text(options.template, INSTRUCTIONS[task], tokenizer)
        before = self.encode(text.before)
        # A chat's template may write it itself.
        if tokenizer.bos_token_id is not None and before[:1] != [tokenizer.bos_token_id]:
            before = [tokenizer.bos_token_id, *before]
        end = self.encode(text.end.strip())[:1] if text.end and text.end.strip() else []
        return Prompt(
            layout=interleave(before, self.codec, self.encode(text.after), temporal=options.temporal),
            lead=text.lead,
            end=end[0] if end else self.ends[0],
        )

    @property
    def positions(self) -> int:
        """The length of the longest prompt, in tokens, whatever the length of a video."""
        return max(len(prompt.layout.token) for prompt in self.prompts.values())

    def _check_length(self, config: object) -> int:
        """How many tokens fit behind the longest prompt.

        Raises UsageError if the prompt and the longest answer do not fit into the language model.
        """
        lists = self.options.frames * (self.codec.width + len(self.codec.separator))
        needed = self.positions + lists + self.options.text_tokens
        there = getattr(config, "max_position_embeddings", None)
        if there is not None and needed > there:
            raise UsageError(
                f"{self.options.frames} frames and an answer take up to {needed} positions, {self.options.llm} has "
                f"{there}; lower model.frames or model.text_tokens"
            )
        return sys.maxsize if there is None else there - self.positions

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """What each token of the language model may be used for in an answer."""
        ends = {*self.ends, *(prompt.end for prompt in self.prompts.values())}
        size = int(self.lm.get_output_embeddings().weight.shape[0])
        known = len(self.tokenizer)
        # Rows beyond the tokenizer's pad the matrix to a round size: no text has them.
        special = {*self.tokenizer.all_special_ids, *range(known, size)}
        return make_vocabulary(lambda token: self.decode([token]), size, special, ends)

    def prompt(self, batch: Batch, task: Task) -> Tensor:
        """The prompt of each video as embeddings [B,P,H]."""
        layout = self.prompts[task].layout
        device = batch.frame_feature.device
        base = self.lm.get_input_embeddings()(torch.from_numpy(layout.token).to(device))
        lengths = batch.frame_mask.sum(1).tolist()
        shown = np.stack([shown_frames(num_frames, self.options.frames) for num_frames in lengths])
        feature = batch.frame_feature.gather(
            1, torch.from_numpy(shown).to(device)[..., None].expand(-1, -1, batch.frame_feature.shape[2])
        )
        visual = self.adapter((feature - self.mean) / self.scale)
        place = torch.from_numpy(np.flatnonzero(layout.frame >= 0)).to(device)
        # Out of place, so that a language model without gradients still passes them to the adapter.
        return base.expand(len(lengths), -1, -1).index_copy(1, place, visual.to(base.dtype))

    def pair_prompt(self, feature: Tensor) -> Tensor:
        """The prompt of the stage `align`: each feature [n,F] as frame 0, and a new line, as embeddings [n,P,H]."""
        # Announced as in the prompts of videos, so that the adapter sees the same neighbours.
        announced = [*([self.tokenizer.bos_token_id] if self.tokenizer.bos_token_id is not None else ())]
        announced += self.codec.prompt(0) if self.options.temporal else ()
        embed, device = self.lm.get_input_embeddings(), feature.device
        before, after = (embed(torch.tensor(ids, device=device)) for ids in (announced, self.encode("\n")))
        visual = self.adapter((feature - self.mean) / self.scale)[:, None].to(before.dtype)
        num = len(feature)
        return torch.cat([before.expand(num, -1, -1), visual, after.expand(num, -1, -1)], 1)

    def nll(self, prompt: Tensor, written: Sequence[Sequence[int]]) -> tuple[Tensor, int]:
        """The summed negative log-likelihood of answers, given prompts [B,P,H], and the number of their tokens."""
        num, longest = len(written), max(map(len, written))
        token = torch.zeros(num, longest, dtype=torch.long)
        target = torch.full((num, longest), -100)
        for row, ids in enumerate(written):
            token[row, : len(ids)] = target[row, : len(ids)] = torch.tensor(ids)
        token, target = token.to(prompt.device), target.to(prompt.device)
        # Causal attention: what is padded on the right changes nothing on its left, so no mask is needed.
        embedded = torch.cat([prompt, self.lm.get_input_embeddings()(token[:, :-1]).to(prompt.dtype)], 1)
        logits = self.lm(inputs_embeds=embedded, use_cache=False, logits_to_keep=longest).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=-100, reduction="sum")
        return loss, sum(map(len, written))

    def ids_of(self, answer: Answer, task: Task) -> list[int]:
        """The ids of an answer, its end among them."""
        prompt = self.prompts[task]
        found = answers.pieces(answer, task, self.options.form)
        return [*answers.encode_pieces(found, self.codec, self.encode, prompt.lead), prompt.end]

    def grammar(self, task: Task) -> Grammar:
        """The rules that keep every answer of a task valid."""
        options = self.options
        return Grammar(
            codec=self.codec,
            vocabulary=self.vocabulary,
            task=task,
            form=options.form,
            text_tokens=options.text_tokens,
            sentence_tokens=options.sentence_tokens,
        )

    @torch.no_grad()
    def forward(self, batch: Batch) -> Scores:
        """Choose and score the frames of each video."""
        num = self.options.samples if self.options.importance == "samples" else 0
        # Each video has its own random numbers, so that its scores depend on no other video.
        noise = [[None, *(_noise(name, at) for at in range(num))] for name in batch.video_id]
        found = decode.write(self.lm, self.prompt(batch, "v"), self.grammar("v"), noise)
        logit, chosen = torch.zeros(batch.frame_mask.shape), torch.zeros(batch.frame_mask.shape, dtype=torch.bool)
        for row, (its, num_frames) in enumerate(zip(found, batch.frame_mask.sum(1).tolist(), strict=True)):
            score = torch.from_numpy(scores_of_frames(self.score(its), num_frames))
            logit[row, :num_frames] = torch.logit(score).clamp(-HIGHEST_LOGIT, HIGHEST_LOGIT)
            indexes = its[0].indexes
            chosen[row, :num_frames] = torch.from_numpy(summary_of_frames(indexes, self.options.frames, num_frames))
        device = batch.frame_mask.device
        return Scores(frame_logit=logit.to(device), frame_summary=chosen.to(device))

    def score(self, found: Sequence[Written]) -> np.ndarray:
        """The importance of each index [N], from the greedy answer and the samples behind it."""
        frames = self.options.frames
        if self.options.importance == "samples":
            return frame_indexes.samples([its.indexes for its in found[1:]], frames)
        if self.options.importance == "emitted":
            return frame_indexes.emitted(found[0].indexes, frames)
        return frame_indexes.grid(found[0].digit_logit, frames)

    @torch.no_grad()
    def write(self, batch: Batch, task: Literal["t", "b"]) -> tuple[Summary, ...]:
        """Write a text about each video; with `b` each sentence has the times of the frames that it tells of."""
        found = decode.write(self.lm, self.prompt(batch, task), self.grammar(task), [[None]] * len(batch.video_id))
        summaries = []
        for row, (its, num_frames) in enumerate(zip(found, batch.frame_mask.sum(1).tolist(), strict=True)):
            read = answers.read(its[0].ids, self.codec, self.decode).answer
            time_s = batch.frame_time_s[row].double().cpu().numpy()[shown_frames(num_frames, self.options.frames)]
            summaries.append(
                tuple({"text": one.text, "time_s": sorted(set(time_s[list(one.frames)].tolist()))} for one in read)
            )
        return tuple(summaries)


def _noise(video_id: str, number: int) -> np.random.Generator:
    # Python's own `hash` of a string differs in every process.
    return np.random.default_rng([number, zlib.crc32(video_id.encode())])


def adapter_of(kind: str, frame_dim: int, hidden: int) -> nn.Module:
    """The layers that map a frame's feature [F] into the language model's embedding space [H]."""
    if kind == "linear":
        return nn.Linear(frame_dim, hidden)
    return nn.Sequential(nn.Linear(frame_dim, hidden), nn.GELU(), nn.Linear(hidden, hidden))
