"""frame-cm and step-cm against their definitions, and when there is no row for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.benchmark.bench_kit import value, write_root

from vsumdata.datasets import synthetic
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store
from vsumdata.train.benchmark import crossmodal
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.benchmark.crossmodal import (
    CrossModalOptions,
    frame_cm,
    lacks,
    means,
    segments,
    step_cm,
    steps,
    unit,
)
from vsumdata.train.data.clip import text_tower

PLAIN = CrossModalOptions()
RNG = np.random.default_rng(5)


def video(feature: np.ndarray, sentences: int = 3, **more: Any) -> Video:
    values: dict[str, Any] = {
        "video_id": "v",
        "frame_time_s": np.arange(len(feature), dtype=np.float32),
        "frame_feature": feature.astype(np.float32),
        "sentence": [{"start_s": 0.0, "end_s": 1.0, "text": str(i)} for i in range(sentences)],
        "sentence_feature": RNG.standard_normal((sentences, feature.shape[1])).astype(np.float32),
    }
    return Video(**(values | more))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_frame_cm_is_the_mean_cosine_with_all_sentences() -> None:
    given = video(RNG.standard_normal((9, 6)))
    text = np.asarray(given.sentence_feature)
    (trial,) = frame_cm(given, text, PLAIN)
    wanted = [[cosine(frame, sentence) for sentence in text] for frame in given.frame_feature]
    np.testing.assert_allclose(trial.frame_score, np.mean(wanted, axis=1), rtol=1e-5)
    assert trial.sentence_score is not None
    np.testing.assert_allclose(trial.sentence_score, np.mean(wanted, axis=0), rtol=1e-5)
    (held,) = frame_cm(given, text, replace_options(propagate=True))
    pieces = np.split(np.mean(wanted, axis=1), [4, 8])
    np.testing.assert_allclose(held.frame_score, np.repeat([p.mean() for p in pieces], [4, 4, 1]), rtol=1e-5)


def replace_options(**change: object) -> CrossModalOptions:
    return CrossModalOptions.model_validate(PLAIN.model_dump() | change)


def test_segments_follow_the_time_and_not_the_number_of_frames() -> None:
    time_s = np.array([0, 0.5, 3.9, 4.0, 4.1, 17.0, 17.0, 20.0], np.float32)
    np.testing.assert_array_equal(segments(time_s, 4.0), [0, 0, 0, 1, 1, 2, 2, 3])
    feature = np.arange(8.0)[:, None]
    np.testing.assert_allclose(means(feature, segments(time_s, 4.0))[:, 0], [1, 3.5, 5.5, 7])


def directions(*degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize(
    ("degrees", "change", "wanted"),
    [
        ((0, 1, 60, 61, 1), {}, [0, 0, 1, 1, 2]),  # the last step has one segment and is kept
        ((0, 30, 60), {}, [0, 0, 0]),  # neighbours are compared, not a segment with its whole step
        ((0, 30, 60), {"merge": 1.0}, [0, 1, 2]),  # nothing exceeds the largest itself
        ((0, 80, 0), {}, [0, 1, 2]),  # the largest similarity is of segments 0 and 2, which do not touch
        ((0, 80, 0), {"maximum": "row-mean", "merge": 0.1}, [0, 0, 0]),
        ((7,), {}, [0]),
    ],
)
def test_segments_are_merged_where_they_look_like_the_one_before(degrees, change, wanted) -> None:
    given = video(np.repeat(directions(*degrees), 4, axis=0))
    feature, place = steps(given, replace_options(**change))
    np.testing.assert_array_equal(place, np.repeat(wanted, 4))
    for number, row in enumerate(feature):  # the mean of segments, and the segments are left as they were
        its = directions(*degrees)[np.array(wanted) == number]
        np.testing.assert_allclose(row, its.mean(axis=0), atol=1e-6)


def test_step_cm_holds_the_mean_cosine_of_a_step_over_its_frames() -> None:
    given = video(np.repeat(directions(0, 1, 60, 61), 4, axis=0))
    text = np.asarray(given.sentence_feature)
    (trial,) = step_cm(given, text, PLAIN)
    feature, _ = steps(given, PLAIN)
    wanted = [np.mean([cosine(step, sentence) for sentence in text]) for step in feature]
    np.testing.assert_allclose(trial.frame_score, np.repeat(wanted, 8), rtol=1e-6)


def test_task_relevance_counts_every_step_of_the_task_once() -> None:
    """TL;DW's code keeps sums in its bank, so that long steps weigh more; the mean over steps is meant."""
    long = video(np.repeat(directions(0, 0, 0, 90), 4, axis=0), video_id="long", task="How to Tie a Tie")
    short = video(np.repeat(directions(45), 4, axis=0), video_id="short", task="tie a tie")
    other = video(np.repeat(directions(-90), 4, axis=0), video_id="other", task="boil eggs")
    alone = video(np.repeat(directions(-90), 4, axis=0), video_id="alone")
    options = replace_options(relevance=True)
    tasks = crossmodal.task_steps([long, short, other, alone], options)
    assert sorted(bank.count for bank in tasks.values()) == [1, 1, 3]
    (trial,) = step_cm(long, np.zeros((0, 2)), options, tasks)  # nothing is said: relevance alone, halved
    half = np.cos(np.pi / 4)
    np.testing.assert_allclose(trial.frame_score, np.repeat([(1 + 0 + half) / 6, (0 + 1 + half) / 6], [12, 4]))
    (trial,) = step_cm(alone, np.zeros((0, 2)), options, tasks)
    np.testing.assert_allclose(trial.frame_score, 0.5)


def test_nothing_said_is_a_constant_score_and_a_blank_frame_is_no_nan() -> None:
    silent = video(RNG.standard_normal((5, 4)), sentences=0)
    for trial in (*frame_cm(silent, np.zeros((0, 4)), PLAIN), *step_cm(silent, np.zeros((0, 4)), PLAIN)):
        assert trial.sentence_score is None
        np.testing.assert_array_equal(trial.frame_score, np.zeros(5))
    blank = video(np.zeros((5, 4)))
    for method in (frame_cm, step_cm):
        (trial,) = method(blank, np.asarray(blank.sentence_feature), PLAIN)
        np.testing.assert_array_equal(trial.frame_score, np.zeros(5))
    np.testing.assert_array_equal(unit(np.zeros((2, 3))), np.zeros((2, 3)))


def test_other_spaces_are_a_reason_not_a_number() -> None:
    found = bench(Request(on="synthetic", data="videos=4,users=2,frames=30", seeds=1, methods=("frame-cm", "step-cm")))
    assert not {"frame-cm", "step-cm"} & set(found.methods)
    assert any(
        line.startswith("frame-cm, step-cm: no row: the frames' features (32 numbers) and the sentences' (24)")
        for line in found.remarks
    )
    given = video(RNG.standard_normal((5, 4)))
    assert lacks([given], None) is None
    assert lacks([replace(given, frame_feature=np.zeros((5, 0), np.float32))], None) is not None
    assert "sentences" in str(lacks([video(RNG.standard_normal((5, 4)), sentences=0)], None))


def test_features_of_one_size_have_a_row_and_what_is_taken_for_granted_is_said(tmp_path, monkeypatch) -> None:
    """A data set of its own features whose frames and sentences agree in size, as BLiSS with CLIP's texts would."""
    videos = synthetic.load("videos=6,users=2,frames=30")
    alike = [
        replace(
            v,
            sentence_feature=np.pad(np.asarray(v.sentence_feature), ((0, 0), (0, 8))),
            step_feature=None,
            global_feature=None,
        )
        for v in videos
    ]
    monkeypatch.setattr(synthetic, "load", lambda path: alike)
    request = Request(
        on="synthetic", data="videos=6,users=2,frames=30", seeds=1, methods=("frame-cm", "step-cm"),
        sets=("crossmodal.segment_s=8",),
    )  # fmt: skip
    found = bench(request)
    assert {value(found, name, "tau").n for name in ("frame-cm", "step-cm")} == {6}
    said = "frames' and sentences' features are of one size and taken as of one space, segment_s 8.0"
    assert [line for line in found.remarks if "cm: " in line] == [f"frame-cm: {said}", f"step-cm: {said}"]
    relevant = bench(replace(request, methods=("step-cm",), sets=("crossmodal.relevance=true",)))
    assert value(relevant, "step-cm", "tau").mean != value(found, "step-cm", "tau").mean


def test_wrong_settings_are_told() -> None:
    for override, says in (
        ("crossmodal.merge=2", "less than or equal to 1"),
        ("crossmodal.segments=2", "known are: segment_s"),
    ):
        with pytest.raises(UsageError, match=says):
            bench(Request(on="synthetic", methods=("step-cm",), sets=(override,)))


def with_clip(root: Path, weights: str) -> Path:
    """`root` says which CLIP made its frames."""
    store = Store(root)
    settings = {
        "name": "x",
        "sources": [{"files": "x.jsonl"}],
        "features": {"clip": {"model": "ViT-S-32-alt", "weights": weights}},
    }
    manifest = {"name": "x", "file": "x.yaml", "folder": str(root), "settings": settings}
    store.write_json("dataset.json", store.dataset() | {"manifest": manifest})
    return root


def test_a_root_of_random_clip_features_has_no_row_and_says_so(tmp_path) -> None:
    root = with_clip(write_root(tmp_path / "root", "test"), "seed:0")
    found = bench(Request(on="shards", data=str(root), seeds=1, methods=("frame-cm",)))
    assert any("frame-cm: no row: CLIP's weights are random (seed:0)" in line for line in found.remarks)
    unknown = write_root(tmp_path / "unknown", "test")
    found = bench(Request(on="shards", data=str(unknown), seeds=1, methods=("step-cm",)))
    assert any("does not say which CLIP made its frames" in line for line in found.remarks)


def test_a_roots_sentences_are_read_by_the_text_tower_of_its_clip(tmp_path) -> None:
    import open_clip
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(3)
        whole = open_clip.create_model("ViT-S-32-alt").eval()
    torch.save(whole.state_dict(), tmp_path / "clip.pt")
    root = with_clip(write_root(tmp_path / "root", "test"), str(tmp_path / "clip.pt"))
    encode = text_tower(str(root))
    texts = ["cut the paper", "fold it " * 60]
    with torch.inference_mode():
        wanted = whole.encode_text(open_clip.get_tokenizer("ViT-S-32-alt")(texts), normalize=True).numpy()
    np.testing.assert_allclose(encode(texts), wanted, atol=1e-5)

    rng = np.random.default_rng(1)
    (given,) = synthetic.load("videos=1,users=2,frames=20")
    given = replace(given, frame_feature=rng.standard_normal((len(given.frame_time_s), wanted.shape[1])))
    method = crossmodal.baselines(["frame-cm"], [given], encode, PLAIN)["frame-cm"]
    (trial,) = method(given, synthetic.PROTOCOL, 0)
    text = encode([str(sentence["text"]) for sentence in given.sentence])
    np.testing.assert_allclose(trial.frame_score, crossmodal.similarity(given.frame_feature, text))
