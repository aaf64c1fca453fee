"""UMT is what its equations say, with and without sound and query; no score depends on padding or batch mates."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.train.models.sound_kit import Spec, batch_of, learnt, stretched, video
from torch import Tensor

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.umt import UMT, UMTOptions, official_name

SIZES = Spec(frame=11, audio=7, query=5)
KINDS = {
    "frames": Spec(frame=11),
    "sound": Spec(frame=11, audio=7),
    "query": Spec(frame=11, query=5),
    "sound and query": SIZES,
}
Weights = dict[str, np.ndarray]


def build(kind: str = "sound and query", **options: Any) -> UMT:
    """A small model in float64: the rounding of float32 depends on the padded size."""
    torch.manual_seed(3)
    sizes = KINDS[kind]
    chosen = {"hidden": 12, "heads": 3, "ffn_ratio": 2, "tokens": 3, "fusion_layers": 2, "position_rows": 40, **options}
    model = UMT(UMTOptions(**chosen), sizes.frame, None, sizes.audio or None, sizes.query or None)
    # Biases and norms begin at 0 and 1, where a forgotten one would not show.
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model.double().eval()


def layer_norm(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return np.asarray(centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"])


def linear(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    return np.asarray(x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0))


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, weights: Weights, name: str, heads: int) -> np.ndarray:
    q, k, v = (linear(x, weights, f"{name}.{part}") for x, part in zip((q, k, v), "qkv", strict=True))
    size = q.shape[1] // heads
    mixed = []
    for at in range(0, q.shape[1], size):
        head = slice(at, at + size)
        energy = np.exp(q[:, head] @ k[:, head].T / math.sqrt(size))
        mixed.append(energy / energy.sum(1, keepdims=True) @ v[:, head])
    return linear(np.concatenate(mixed, 1), weights, f"{name}.m")


def feed_forward(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    return linear(np.maximum(linear(x, weights, f"{name}.mapping.0"), 0), weights, f"{name}.mapping.3")


def restated(model: UMT, frames: np.ndarray, sound: np.ndarray | None, words: np.ndarray | None) -> np.ndarray:
    """The logits [T] of one video by UMT's equations, from its weights under their official names."""
    weights = {official_name(name): value.numpy() for name, value in model.state_dict().items()}
    heads, num_frames = model.options.heads, len(frames)

    def rows(name: str) -> np.ndarray:
        return np.asarray(weights[name][0, :num_frames])

    def att(q: np.ndarray, k: np.ndarray, v: np.ndarray, name: str) -> np.ndarray:
        return attention(q, k, v, weights, name, heads)

    def alone(x: np.ndarray, name: str) -> np.ndarray:
        x = linear(x, weights, f"{name}.mapping.linear")
        v = layer_norm(x, weights, f"{name}.encoder.norm1")
        at = v + rows(f"{name}.pos_enc.pe")
        x = x + att(at, at, v, f"{name}.encoder.att")
        return x + feed_forward(layer_norm(x, weights, f"{name}.encoder.norm2"), weights, f"{name}.encoder.ffn")

    r = alone(frames, "video_enc")
    if sound is not None:
        a, b, z, p = r, alone(sound, "audio_enc"), weights["cross_enc.encoder.token"], rows("cross_enc.pos_enc.pe")
        for layer in range(model.options.fusion_layers):
            of = f"cross_enc.encoder.encoder.{layer}"
            an, bn, zn = (layer_norm(x, weights, f"{of}.norm{n}") for n, x in enumerate((a, b, z), 1))
            z = z + att(zn, an + p, an, f"{of}.att1") + att(zn, bn + p, bn, f"{of}.att2")
            shared = layer_norm(z, weights, f"{of}.norm4")
            a = a + att(an + p, shared, shared, f"{of}.att3")
            b = b + att(bn + p, shared, shared, f"{of}.att4")
            a = a + feed_forward(layer_norm(a, weights, f"{of}.norm5"), weights, f"{of}.ffn1")
            b = b + feed_forward(layer_norm(b, weights, f"{of}.norm6"), weights, f"{of}.ffn2")
        r = layer_norm(a + b, weights, "cross_enc.norm")
    q = r
    if words is not None:
        m = layer_norm(linear(words, weights, "query_gen.mapping.linear"), weights, "query_gen.mapping.norm")
        q = att(r, m, m, "query_gen.encoder")
    at, key = rows("query_dec.q_pos_enc.pe"), r + rows("query_dec.k_pos_enc.pe")
    of = "query_dec.decoder.0"
    v = layer_norm(q, weights, f"{of}.norm1")
    q = q + att(v + at, v + at, v, f"{of}.att1")
    q = q + att(layer_norm(q, weights, f"{of}.norm2") + at, key, r, f"{of}.att2")
    q = q + feed_forward(layer_norm(q, weights, f"{of}.norm3"), weights, f"{of}.ffn")
    return linear(layer_norm(q, weights, "query_dec.norm"), weights, "pred_head.0.saliency_pred.linear")[:, 0]


def logits(model: UMT, batch: Batch) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(batch).frame_logit
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_those_of_the_equations(kind: str) -> None:
    model, videos = build(kind), [video(n, KINDS[kind], seed) for seed, n in enumerate((9, 14, 1))]
    for row, each in zip(logits(model, batch_of(*videos)).numpy(), videos, strict=True):
        expected = restated(model, each.frame_feature, each.audio_feature, each.query_feature)
        np.testing.assert_allclose(row[: len(expected)], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_is_scored_as_if_it_were_alone(kind: str) -> None:
    model, videos = build(kind), [video(n, KINDS[kind], seed) for seed, n in enumerate((9, 14, 1, 6))]
    together = stretched(batch_of(*videos), 5)
    for row, each in zip(logits(model, together), videos, strict=True):
        alone = logits(model, batch_of(each))[0]
        assert alone.isfinite().all()
        torch.testing.assert_close(row[: len(alone)], alone, rtol=0, atol=1e-11)


def test_only_the_official_decoder_reads_padding() -> None:
    short, long = (batch_of(*(video(n, SIZES, n) for n in lengths)) for lengths in ((9,), (9, 20)))
    for decoder, is_same in (("ours", True), ("umt", False)):
        model = build(decoder_mask=decoder)
        alone, beside = logits(model, short)[0], logits(model, long)[0, :9]
        assert torch.allclose(alone, beside, rtol=0, atol=1e-11) == is_same


def test_a_video_without_sound_is_silent_and_one_without_a_query_asks_with_its_frames() -> None:
    model, whole = build(), [video(9, SIZES, 0), video(12, SIZES, 1)]
    deaf = replace(whole[1], audio_feature=None)
    silent = replace(deaf, audio_feature=np.zeros((12, SIZES.audio), np.float32))
    torch.testing.assert_close(logits(model, batch_of(whole[0], deaf)), logits(model, batch_of(whole[0], silent)))
    torch.testing.assert_close(logits(model, batch_of(deaf)), logits(model, batch_of(silent)))
    assert not torch.allclose(logits(model, batch_of(deaf)), logits(model, batch_of(whole[1])))
    plain = replace(whole[1], query_feature=None)
    beside, alone = logits(model, batch_of(whole[0], plain))[1], logits(model, batch_of(plain))[0]
    torch.testing.assert_close(beside, alone, rtol=0, atol=1e-11)
    np.testing.assert_allclose(alone, restated(model, plain.frame_feature, plain.audio_feature, None), atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns_and_padding_gives_no_gradient(kind: str) -> None:
    model, batch = build(kind), batch_of(video(19, KINDS[kind], 0), video(10, KINDS[kind], 1))
    inputs = [each for each in (batch.frame_feature, batch.audio_feature) if each is not None]
    for each in inputs:
        each.requires_grad_()
    model(batch).frame_logit[batch.frame_mask].square().sum().backward()
    still = {name for name, weight in model.named_parameters() if not weight.grad.abs().max() > 1e-9}
    # The same number for all keys changes no softmax.
    assert still == {name for name in dict(model.named_parameters()) if name.endswith("key.bias")}
    for each in inputs:
        assert each.grad is not None
        assert (each.grad.abs().amax(-1) > 0).equal(batch.frame_mask)


def test_nothing_is_nan_where_a_video_has_no_query_or_no_content() -> None:
    model = build().train()
    empty = replace(video(4, SIZES, 0), frame_feature=np.zeros((4, 11), np.float32), query_feature=None)
    batch = batch_of(empty, video(9, SIZES, 1))
    model(batch).frame_logit[batch.frame_mask].square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_a_video_that_is_too_long_is_refused_with_the_remedy() -> None:
    model = build("frames", position_rows=12)
    assert logits(model, batch_of(video(12, KINDS["frames"], 0))).shape == (1, 12)
    with pytest.raises(UsageError, match=r"v1: 13 frames do not fit .* --set model\.position_rows=13"):
        model(batch_of(video(12, KINDS["frames"], 0), replace(video(13, KINDS["frames"], 1), video_id="v1")))


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="hidden=12 is not a multiple of heads=5"):
        UMTOptions(hidden=12, heads=5)


@pytest.mark.parametrize(("kind", "parameters"), [("frames", 6_208_513), ("sound and query", 12_585_985)])
def test_the_official_size_has_the_official_number_of_weights(kind: str, parameters: int) -> None:
    sizes = {"audio_dim": 2048, "query_dim": 512} if kind == "sound and query" else {}
    assert sum(weight.numel() for weight in UMT(UMTOptions(), 2048, None, **sizes).parameters()) == parameters


@pytest.mark.parametrize("kind", KINDS)
def test_official_weights_make_the_round_trip(kind: str) -> None:
    one, other = build(kind), build(kind)
    official = {official_name(name): value.clone() for name, value in one.state_dict().items()}
    assert len(official) == len(one.state_dict())
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    other.load_official(official)
    batch = batch_of(video(9, KINDS[kind], 0))
    assert logits(other, batch).equal(logits(one, batch))
    official["video_enc.encoder.ffn.mapping.3.bias"] = torch.zeros(5)
    official["more"] = official.pop("query_dec.norm.bias")
    with pytest.raises(
        ValueError, match=r"this UMT: missing query_dec.norm.bias; unexpected more; video_enc.* is \[5\], expected"
    ):
        other.load_official(official)
    assert logits(other, batch).equal(logits(one, batch))


def test_a_model_without_sound_takes_no_weights_of_one_with_sound() -> None:
    official = {official_name(name): value for name, value in build("sound").state_dict().items()}
    with pytest.raises(ValueError, match=r"unexpected audio_enc\.mapping"):
        build("frames").load_official(official)


def test_it_finds_what_is_planted_and_more_of_it_with_sound() -> None:
    """The best guess has a tau of .70; without sound half of the importance cannot be seen."""
    options = ["model.hidden=16", "model.heads=2", "model.dropout_input=0", "model.position_rows=100"]
    heard, deaf = (learnt("umt", options, is_deaf=is_deaf) for is_deaf in (False, True))
    assert deaf > 0.1
    assert heard > deaf + 0.12
