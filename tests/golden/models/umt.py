"""UMT against the official packs: with and without sound and query, forward, loss and one training step.

Letters: B videos, T frames, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from tests.golden.models.attention import batch_of, watched
from tests.golden.models.pack import Ours, Pack, gradients, step_lengths
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vsumdata.datasets.video import Batch
from vsumdata.train.losses.supervised import cross_entropy
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.models.umt import UMT, UMTOptions, official_name

Case = Mapping[str, Any]
# Of wider intermediate arrays the packs store every 16th column.
MOST_COLUMNS, COLUMN_STEP = 128, 16
# The official defaults (nncore 0.3.6).
DEFAULTS = {"heads": 8, "ratio": 4, "num_layers": 1, "num_tokens": 4, "max_len": 5000}
# What a part of the constructor may state beside; another entry is another model.
STATED = {"type", "dims", "p", "norm_cfg", "pos_cfg", "enc_cfg", "dec_cfg", "last_norm"}


def model_of(pack: Pack, dtype: torch.dtype) -> UMT:
    built = pack["constructor"]
    parts = {name: part for name, part in built.items() if isinstance(part, Mapping)}
    single = [given(part, "num_layers") for name, part in parts.items() if name != "cross_enc"]
    if set(single) != {1}:
        raise ValueError(f"num_layers {single} outside cross_enc is not implemented")
    fusion, hidden = parts.get("cross_enc", {}), built["video_enc"]["dims"][-1]
    options = UMTOptions(
        hidden=hidden,
        heads=only(part for name, part in stated(parts, "heads") if name != "pred_head"),
        ffn_ratio=only(part for name, part in stated(parts, "ratio") if name.endswith(("_enc", "_dec"))),
        tokens=given(fusion, "num_tokens"),
        fusion_layers=given(fusion, "num_layers"),
        position_rows=only(part for name, part in stated(parts, "max_len") if name.endswith(("_enc", "_dec"))),
        # The step packs were made with every dropout at 0.
        dropout=0,
        dropout_input=0,
        dropout_query=0,
        decoder_mask="umt",
    )
    audio, query = built.get("audio_enc"), built["query_gen"].get("dims")
    model = UMT(options, built["video_enc"]["dims"][0], None, audio and audio["dims"][0], query and query[0])
    model.to(dtype).load_official(pack.weights(dtype))
    return model.train(pack.is_step)


def given(part: Mapping[str, Any], name: str) -> Any:
    """What a part of the constructor, or one of its configurations, says, else the official default."""
    configurations = [part[each] for each in ("pos_cfg", "enc_cfg", "dec_cfg") if each in part]
    unknown = {key for each in (part, *configurations) for key in each} - STATED - set(DEFAULTS)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} is not implemented")
    return next((each[name] for each in configurations if name in each), DEFAULTS[name])


def stated(parts: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    for part, entries in parts.items():
        # Without text the query generator has no layers.
        if part != "query_gen" or "enc_cfg" in entries:
            yield part, given(entries, name)


def only(values: Iterator[Any]) -> Any:
    found = set(values)
    if len(found) != 1:
        raise ValueError(f"parts that differ ({found}) are not implemented")
    return found.pop()


def numbered(inputs: Mapping[str, Tensor], name: str, number: int) -> list[Tensor]:
    return [inputs[f"{name}{n}"] for n in range(number)]


def case_of(pack: Pack, case: Case, dtype: torch.dtype) -> tuple[Batch, Tensor]:
    """Our batch, with the mask that the official code reads off the labels, and the padded labels [B,T]."""
    inputs, number = pack.inputs(case, dtype), len(case["T"])
    if "saliency" in case:
        labels: Sequence[Tensor] = [torch.tensor(each, dtype=dtype) for each in case["saliency"]]
    else:
        labels = numbered(inputs, "saliency", number)
    label = pad_sequence(list(labels), batch_first=True, padding_value=-1.0)
    video = numbered(inputs, "video", number)
    # `collate` makes float32, so the features are put in afterwards.
    batch = replace(
        batch_of([each.float() for each in video], dtype),
        frame_feature=pad_sequence(video, batch_first=True),
        frame_mask=label >= 0,
    )
    if "audio0" in inputs:
        batch = replace(batch, audio_feature=pad_sequence(numbered(inputs, "audio", number), batch_first=True))
    if "query0" in inputs:
        words = numbered(inputs, "query", number)
        mask = pad_sequence([torch.ones(len(each), dtype=torch.bool) for each in words], batch_first=True)
        batch = replace(batch, query_feature=pad_sequence(words, batch_first=True), query_mask=mask)
    return batch, label


def umt(pack: Pack, case: Case, dtype: torch.dtype) -> Iterator[Ours]:
    model, (batch, label) = model_of(pack, dtype), case_of(pack, case, dtype)
    if pack.is_step:
        yield from step(pack, model, batch, label)
        return
    with torch.no_grad():
        yield from middle(model, batch)
        yield from results(model(batch), batch, label)


def results(scores: Scores, batch: Batch, label: Tensor) -> Iterator[Ours]:
    # Padding is compared too: the official decoder reads it, so all of it must be the same.
    yield Ours("out_logit", scores.frame_logit)
    yield Ours("out_saliency", scores.frame_logit.sigmoid() * batch.frame_mask)
    yield Ours("out_loss", cross_entropy(scores.frame_logit, label, batch.frame_mask, over="umt"))


def middle(model: UMT, batch: Batch) -> Iterator[Ours]:
    modules = {"video_enc": model.video, "query_dec": model.decoder}
    if model.audio is not None and model.fusion is not None:
        modules |= {"audio_enc": model.audio, "cross_enc": model.fusion, "layer": model.fusion.layers[-1]}
    if model.query is not None:
        modules["query"] = model.query
    with watched(*modules.values()) as calls:
        model(batch)
    gave = {name: out for name, (_, out) in zip(modules, calls, strict=True)}
    if "layer" in gave:
        (gave["cross_a"], gave["cross_b"]), _ = gave.pop("layer")
    some = slice(None, None, COLUMN_STEP if model.options.hidden > MOST_COLUMNS else 1)
    for name, array in gave.items():
        yield Ours(f"mid_{name}", array[..., some])


def step(pack: Pack, model: UMT, batch: Batch, label: Tensor) -> Iterator[Ours]:
    scores, extra = model(batch), pack["extra"]
    yield from results(scores, batch, label)
    cross_entropy(scores.frame_logit, label, batch.frame_mask, over="umt").backward()
    named = {official_name(name): weight for name, weight in model.named_parameters()}
    yield from gradients(named, extra["param_names"], rows=label.shape[1])
    adam = torch.optim.Adam(
        named.values(), extra["lr"], betas=extra["betas"], eps=extra["eps"], weight_decay=extra["weight_decay"]
    )
    yield Ours("out_adam_delta_norm", step_lengths(named, extra["param_names"], adam))


CHECKS = {"models.UMT": umt}
