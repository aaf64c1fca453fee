"""TripleSumm is what its equations say, with any of its modalities; no score depends on padding or batch mates."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import erf
from tests.train.models.sound_kit import Spec, batch_of, learnt, stretched, video
from torch import Tensor

from vsumdata.datasets.video import Batch, Video
from vsumdata.train.models.triplesumm import (
    MODALITIES,
    POSITIONS,
    TripleSumm,
    TripleSummOptions,
    WindowedAttention,
    official_name,
    sinusoids,
)

SIZES = Spec(frame=11, audio=7, text=5)
KINDS = {
    "frames": Spec(frame=11),
    "text": Spec(frame=11, text=5),
    "sound": Spec(frame=11, audio=7),
    "text and sound": SIZES,
}
Weights = dict[str, np.ndarray]


def build(kind: str = "text and sound", **options: Any) -> TripleSumm:
    """A small model in float64: the rounding of float32 depends on the padded size."""
    torch.manual_seed(3)
    sizes = KINDS[kind]
    chosen = {"hidden": 12, "heads": 3, "head_hidden": 10, "windows": (3, 7, 5, 0), **options}
    model = TripleSumm(TripleSummOptions(**chosen), sizes.frame, sizes.text or None, sizes.audio or None)
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


def softmax(x: np.ndarray) -> np.ndarray:
    energy = np.exp(x - x.max())
    return np.asarray(energy / energy.sum())


def feed_forward(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    gate, value = linear(x, weights, f"{name}.w1"), linear(x, weights, f"{name}.w2")
    return linear(gate / (1 + np.exp(-gate)) * value, weights, f"{name}.w3")


def seen(frame: int, num_frames: int, window: int, *, repeats: bool) -> list[int]:
    """The frames that a frame sees; with `repeats` the first and the last one count for those beyond the ends."""
    if not window:
        return list(range(num_frames))
    near = range(frame - window // 2, frame + window // 2 + 1)
    return [min(max(at, 0), num_frames - 1) for at in near if repeats or 0 <= at < num_frames]


def along_time(x: np.ndarray, window: int, heads: int, weights: Weights, name: str, *, repeats: bool) -> np.ndarray:
    query, key, value = np.split(linear(x, weights, f"{name}.qkv_proj"), 3, axis=1)
    size, mixed = x.shape[1] // heads, np.zeros_like(x)
    for at in range(len(x)):
        near = seen(at, len(x), window, repeats=repeats)
        for head in (slice(n, n + size) for n in range(0, x.shape[1], size)):
            mixed[at, head] = softmax(key[near, head] @ query[at, head] / math.sqrt(size)) @ value[near, head]
    return linear(mixed, weights, f"{name}.out_proj")


def fuse(asking: np.ndarray, told: np.ndarray, heads: int, weights: Weights, name: str) -> np.ndarray:
    query, key, value = (
        linear(x, weights, f"{name}.{part}_proj") for x, part in ((asking, "q"), (told, "k"), (told, "v"))
    )
    size, mixed = query.shape[1] // heads, np.zeros_like(query)
    for at in range(len(query)):
        for head in (slice(n, n + size) for n in range(0, query.shape[1], size)):
            mixed[at, head] = softmax(key[at, :, head] @ query[at, head] / math.sqrt(size)) @ value[at, :, head]
    return linear(mixed, weights, f"{name}.out_proj")


def text_per_frame(each: Video) -> np.ndarray:
    """The feature of the sentence over each frame, by a loop."""
    assert each.sentence_feature is not None
    found = np.zeros((len(each.frame_time_s), each.sentence_feature.shape[1]))
    for at, second in enumerate(each.frame_time_s):
        for sentence, feature in zip(each.sentence, each.sentence_feature, strict=True):
            if sentence["start_s"] <= second < sentence["end_s"]:
                found[at] = feature
    return found


def features_of(each: Video) -> dict[str, np.ndarray]:
    given = {"visual": each.frame_feature, "audio": each.audio_feature}
    given |= {} if each.sentence_feature is None else {"text": text_per_frame(each)}
    return {name: np.asarray(feature, np.float64) for name in MODALITIES if (feature := given.get(name)) is not None}


def restated(model: TripleSumm, features: dict[str, np.ndarray], *, repeats: bool = False) -> np.ndarray:
    """The logits [T] of one video by TripleSumm's equations, from its weights under their official names."""
    weights = {official_name(name): value.numpy() for name, value in model.state_dict().items()}
    options, kind = model.options, weights["modality_embedding.embedding.weight"]
    num_frames = len(features["visual"])
    table = sinusoids(num_frames, options.hidden).double().numpy()
    x = {name: layer_norm(linear(f, weights, f"{name}_proj"), weights, f"{name}_ln") for name, f in features.items()}
    x["fusion"] = np.stack(list(x.values())).mean(0)
    x = {name: stream + table + kind[MODALITIES.get(name, 0)] for name, stream in x.items()}
    each = len(options.windows) // options.layers
    for layer in range(options.layers):
        for n in range(layer * each, (layer + 1) * each):
            of = f"temporal_block.{n}.wsa_layer"
            for name in x:
                normed = layer_norm(x[name], weights, f"{of}.norm1")
                window, heads = options.windows[n], options.heads
                x[name] = x[name] + along_time(normed, window, heads, weights, f"{of}.wsa", repeats=repeats)
                x[name] = x[name] + feed_forward(layer_norm(x[name], weights, f"{of}.norm2"), weights, f"{of}.ffn")
        told = np.stack([x[name] for name in features], 1)
        for n in range(layer * options.fusion_blocks, (layer + 1) * options.fusion_blocks):
            of, f = f"modality_block.{n}.cma_layer", x["fusion"]
            asking, context = layer_norm(f, weights, f"{of}.norm_q"), layer_norm(told, weights, f"{of}.norm_c")
            f = f + fuse(asking, context, options.heads, weights, f"{of}.cma")
            x["fusion"] = f + feed_forward(layer_norm(f, weights, f"{of}.norm2"), weights, f"{of}.ffn")
    hidden = linear(x["fusion"], weights, "head.0")
    hidden = layer_norm(hidden * (1 + erf(hidden / math.sqrt(2))) / 2, weights, "head.3")
    return linear(hidden, weights, "head.4")[:, 0]


def logits(model: TripleSumm, batch: Batch) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(batch).frame_logit
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_those_of_the_equations(kind: str) -> None:
    # 37 frames are three blocks of attention; 1 and 2 are fewer than half a window.
    model, videos = build(kind), [video(n, KINDS[kind], seed) for seed, n in enumerate((9, 37, 2, 1))]
    for row, each in zip(logits(model, batch_of(*videos)).numpy(), videos, strict=True):
        expected = restated(model, features_of(each))
        np.testing.assert_allclose(row[: len(expected)], expected, rtol=0, atol=1e-10)


def test_without_a_mask_the_ends_are_repeated_as_in_the_official_code() -> None:
    model, features = build(), features_of(video(21, SIZES))
    given = {name: torch.from_numpy(each)[None] for name, each in features.items()}
    with torch.no_grad():
        bare = model.head(model.fused(given, None))[0, :, 0]
        masked = model.head(model.fused(given, torch.ones(1, 21, dtype=torch.bool)))[0, :, 0]
    np.testing.assert_allclose(bare, restated(model, features, repeats=True), rtol=0, atol=1e-10)
    np.testing.assert_allclose(masked, restated(model, features), rtol=0, atol=1e-10)
    assert not torch.allclose(bare, masked)


@pytest.mark.parametrize("window", [1, 3, 15, 45])
@pytest.mark.parametrize("num_frames", [1, 16, 17, 100])
def test_blocks_give_what_a_mask_over_all_pairs_gives(window: int, num_frames: int) -> None:
    torch.manual_seed(0)
    layer = WindowedAttention(TripleSummOptions(hidden=12, heads=3, dropout=0), window).double()
    x = torch.randn(2, num_frames, 12, dtype=torch.float64)
    mask = torch.arange(num_frames) < torch.tensor([[num_frames], [max(1, num_frames - 20)]])
    query, key, value = layer.qkv(x).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
    at = torch.arange(num_frames)
    is_open = (at - at[:, None]).abs() <= window // 2
    weight = (query @ key.transpose(-1, -2) / 2).masked_fill(~(is_open & mask[:, None, None]), -1e9).softmax(-1)
    expected = layer.out((weight @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, mask)[mask], expected[mask], rtol=0, atol=1e-12)


def test_windows_need_no_copy_of_the_keys_for_each_frame_of_theirs() -> None:
    """The official code keeps w times the keys. In blocks the largest tensors are the scores, 4r for each frame."""
    layer, num_frames = WindowedAttention(TripleSummOptions(), 45), 900
    sizes = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(torch.randn(1, num_frames, 128), torch.ones(1, num_frames, dtype=torch.bool))
    assert max(sizes) < 45 * num_frames * 128 * 4 / 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_is_scored_as_if_it_were_alone(kind: str) -> None:
    model, videos = build(kind), [video(n, KINDS[kind], seed) for seed, n in enumerate((9, 30, 1, 6))]
    together = stretched(batch_of(*videos), 5)
    for row, each in zip(logits(model, together), videos, strict=True):
        alone = logits(model, batch_of(each))[0]
        assert alone.isfinite().all()
        torch.testing.assert_close(row[: len(alone)], alone, rtol=0, atol=1e-11)


def test_text_and_sound_that_one_video_lacks_are_zeros() -> None:
    model, whole = build(), [video(9, SIZES, 0), video(14, SIZES, 1)]
    bare = replace(whole[1], audio_feature=None, sentence=(), sentence_feature=None)
    silent = {"visual": bare.frame_feature, "text": np.zeros((14, 5)), "audio": np.zeros((14, 7))}
    expected = restated(model, silent)
    np.testing.assert_allclose(logits(model, batch_of(whole[0], bare))[1], expected, atol=1e-10)
    np.testing.assert_allclose(logits(model, batch_of(bare))[0], expected, atol=1e-10)
    shorter = replace(whole[0], sentence=(), sentence_feature=None)
    np.testing.assert_allclose(
        logits(model, batch_of(shorter, bare))[0, :9],
        restated(model, features_of(whole[0]) | {"text": np.zeros((9, 5))}),
        atol=1e-10,
    )


def test_a_frame_has_the_last_of_the_sentences_that_are_spoken_over_it() -> None:
    model, each = build("text"), video(9, KINDS["text"])
    spans = [(0.0, 4.0), (2.0, 3.0), (2.0, 6.5)]
    said = [{"start_s": start, "end_s": end, "text": "words"} for start, end in spans]
    each = replace(each, sentence=said)
    assert each.sentence_feature is not None
    rows = model.text(batch_of(each))[0].numpy()
    expected = [0, 0, 2, 2, 2, 2, 2]
    np.testing.assert_array_equal(rows[:7], each.sentence_feature[expected])
    assert not rows[7:].any()


def test_a_sentence_for_each_second_gives_its_own_feature_to_each_frame() -> None:
    model, each = build("text"), video(9, KINDS["text"])
    feature = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    said = [{"start_s": start, "end_s": end, "text": "words"} for start, end in pairwise(range(10))]
    each = replace(each, sentence=said, sentence_feature=feature)
    np.testing.assert_array_equal(model.text(batch_of(each))[0].numpy(), feature)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns_and_padding_gives_no_gradient(kind: str) -> None:
    model, batch = build(kind), batch_of(video(19, KINDS[kind], 0), video(10, KINDS[kind], 1))
    inputs = [each for each in (batch.frame_feature, batch.audio_feature) if each is not None]
    for each in inputs:
        each.requires_grad_()
    model(batch).frame_logit[batch.frame_mask].square().sum().backward()
    still = {name for name, weight in model.named_parameters() if not weight.grad.abs().max() > 1e-9}
    # Over a single modality every softmax is 1, whatever is asked.
    blocks = range(len(model.fusion)) if kind == "frames" else ()
    parts = ("attention.query.weight", "attention.key.weight", "norm_query.weight", "norm_query.bias")
    assert still == {f"fusion.{n}.{part}" for n in blocks for part in parts}
    for each in inputs:
        assert each.grad is not None
        assert (each.grad.abs().amax(-1) > 0).equal(batch.frame_mask)
    # The rows of streams that there are.
    rows = model.kind.grad.abs().amax(-1) > 0
    assert rows.nonzero().flatten().tolist() == [0, *(MODALITIES[name] for name in model.sizes)]


def test_nothing_is_nan_for_frames_without_content() -> None:
    model = build().train()
    empty = replace(video(4, SIZES, 0), frame_feature=np.zeros((4, 11), np.float32), audio_feature=None)
    batch = batch_of(empty, video(9, SIZES, 1))
    model(batch).frame_logit[batch.frame_mask].square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 10, "heads": 4}, "hidden=10 is not even, or not a multiple of heads=4"),
        ({"windows": (3, 5, 7)}, "3 windows cannot be divided among 2 layers"),
        ({"windows": (3, 4)}, "a window of 4 frames has no middle"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TripleSummOptions(**options)


@pytest.mark.parametrize(("frame_dim", "parameters"), [(768, 1_373_569), (1024, 1_406_337)])
def test_the_official_size_has_the_official_number_of_weights(frame_dim: int, parameters: int) -> None:
    model = TripleSumm(TripleSummOptions(), frame_dim, 768, 768)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


@pytest.mark.parametrize("kind", KINDS)
def test_official_weights_make_the_round_trip(kind: str) -> None:
    one, other = build(kind), build(kind)
    official = {official_name(name): value.clone() for name, value in one.state_dict().items()}
    assert len(official) == len(one.state_dict())
    official[POSITIONS] = sinusoids(50, 12)[None]
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    other.load_official(official)
    batch = batch_of(video(9, KINDS[kind], 0))
    assert logits(other, batch).equal(logits(one, batch))
    with pytest.raises(ValueError, match=r"temporal_pe.pe is not TripleSumm's table of sinusoids"):
        other.load_official(official | {POSITIONS: sinusoids(50, 12)[None].flip(1)})
    official["head.4.weight"] = torch.zeros(1, 9)
    official["more"] = official.pop("visual_ln.bias")
    with pytest.raises(
        ValueError, match=r"this TripleSumm: missing visual_ln.bias; unexpected more; head.4.weight is \[1, 9\], expec"
    ):
        other.load_official(official)
    assert logits(other, batch).equal(logits(one, batch))


def test_a_model_without_sound_takes_no_weights_of_one_with_sound() -> None:
    official = {official_name(name): value for name, value in build("text and sound").state_dict().items()}
    with pytest.raises(ValueError, match=r"unexpected audio_proj\.weight"):
        build("text").load_official(official)


def test_it_finds_what_is_planted_and_more_of_it_with_sound() -> None:
    """The best guess has a tau of .70; without sound half of the importance cannot be seen."""
    options = ["model.hidden=16", "model.heads=2", "model.head_hidden=16", "model.windows=[5,0]"]
    heard, deaf = (learnt("triplesumm", options, is_deaf=is_deaf) for is_deaf in (False, True))
    assert deaf > 0.1
    assert heard > deaf + 0.12
