"""One video under a protocol: the numbers, the degenerate cases and what they are called, the errors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from vsumdata.datasets.benchmarks import tvsum
from vsumdata.datasets.keyshots import best_frames, summary_from_scores
from vsumdata.datasets.protocol import PROTOCOLS, Protocol, protocol
from vsumdata.datasets.video import Video
from vsumdata.train.scoring.baselines import human, uniform
from vsumdata.train.scoring.evaluate import UnusableScoresError, Words, evaluate, lacks, needs
from vsumdata.train.scoring.metrics_highlights import clips_in_time, top_clips_ap

PICKS = np.arange(0, 300, 15)


def a_video(**changes: Any) -> Video:
    """Three users, 20 picks of 300 frames, ten shots of 30 frames."""
    rng = np.random.default_rng(5)
    first = np.arange(0, 300, 30)
    summaries = np.repeat(rng.permuted(np.tile([1, 1] + [0] * 8, (3, 1)), axis=1), 30, 1)
    fields: dict[str, Any] = {
        "video_id": "a",
        "frame_time_s": PICKS / 30,
        "frame_feature": np.zeros((20, 0), np.float32),
        "user_score": rng.integers(1, 6, (3, 20)),
        "user_summary": summaries,
        "change_points": np.stack([first, first + 29], 1),
        "picks": PICKS,
        "n_frames": 300,
    }
    return Video(**(fields | changes))


SCORES = np.random.default_rng(9).random(20)
RANKS = Protocol(name="ranks", metrics=("tau",), rank="per-user")
F1 = Protocol(name="f1", metrics=("f1",))


def test_tvsum_is_per_user() -> None:
    video = a_video()
    result = evaluate(SCORES, video, protocol("tvsum"))
    assert list(result.values) == ["f1", "tau", "rho"]
    assert result.notes == ()
    users = np.asarray(video.user_score)
    assert result.values["tau"] == pytest.approx(np.mean([stats.kendalltau(SCORES, u).statistic for u in users]))
    assert result.values["rho"] == pytest.approx(np.mean([stats.spearmanr(SCORES, u).statistic for u in users]))
    summary = summary_from_scores(SCORES, video, protocol("tvsum"))
    assert 0 < summary.sum() <= 45
    common = [2 * (summary & (u > 0)).sum() / (summary.sum() + u.sum()) for u in np.asarray(video.user_summary)]
    assert result.values["f1"] == pytest.approx(np.mean(common))


def test_summe_is_the_best_user_and_the_mean_summary() -> None:
    video, rules = a_video(), protocol("summe")
    result = evaluate(SCORES, video, rules)
    summary = summary_from_scores(SCORES, video, rules)
    users = np.asarray(video.user_summary)
    assert result.values["tau"] == pytest.approx(stats.kendalltau(summary, users.mean(0)).statistic)
    assert result.values["f1"] == pytest.approx(max(2 * (summary & u).sum() / (summary.sum() + u.sum()) for u in users))


def test_the_same_scores_under_two_protocols_are_two_numbers() -> None:
    video = a_video()
    noisy = np.asarray(video.user_score).mean(0) + 0.1 * SCORES
    against_mean = Protocol(name="mean", metrics=("tau",), rank="scores-vs-mean")
    per_user = evaluate(noisy, video, protocol("tvsum")).values["tau"]
    assert evaluate(noisy, video, against_mean).values["tau"] > per_user + 0.2


def test_a_summary_may_be_given() -> None:
    video = a_video()
    own = np.asarray(video.user_summary)[0]
    result = evaluate(np.zeros(20), video, protocol("summe"), summary=own)
    assert result.values["f1"] == 1
    assert result.values["tau"] > 0
    assert result.notes == ()


def test_constant_scores_count_as_no_correlation() -> None:
    flat = np.full(20, 0.5)
    for name in ("tvsum", "summe", "videoxum"):
        video = a_video()
        if name == "videoxum":
            summaries = np.asarray(video.user_summary)[:, :20]
            video = replace(video, user_summary=summaries, n_frames=20, change_points=None)
        result = evaluate(flat, video, protocol(name))
        assert (result.values["tau"], result.values["rho"]) == (0, 0)
        assert result.notes[0] == "constant_scores"
    assert math.isnan(evaluate(flat, a_video(), protocol("ca-sum")).values["tau"])
    assert evaluate(flat, a_video(), protocol("csta-summe")).values["tau"] != 0  # the knapsack still chooses shots


def test_a_user_without_order_counts_zero_and_is_told() -> None:
    users = np.array([[3] * 20, list(range(20))])
    result = evaluate(np.arange(20.0), a_video(user_score=users, user_summary=None), RANKS)
    assert result.values["tau"] == pytest.approx(0.5)
    assert result.notes == ("constant_reference",)


def test_empty_references_and_summaries() -> None:
    users = np.asarray(a_video().user_summary).copy()
    users[0] = 0
    video = a_video(user_summary=users)
    result = evaluate(SCORES, video, protocol("tvsum"))
    assert result.notes == ("empty_reference",)
    assert result.values["f1"] == pytest.approx(2 / 3 * evaluate_without_first(users))
    assert math.isnan(evaluate(SCORES, video, protocol("pgl-sum")).values["f1"])
    nothing = evaluate(SCORES, a_video(), protocol("tvsum"), summary=np.zeros(300))
    assert (nothing.values["f1"], nothing.notes) == (0, ("empty_summary",))


def evaluate_without_first(users: np.ndarray) -> float:
    return evaluate(SCORES, a_video(user_summary=users[1:], user_score=None), F1).values["f1"]


def how_to(labels: list[int], **changes: Any) -> Video:
    total = len(labels)
    return Video(
        video_id="w",
        frame_time_s=np.arange(total, dtype=np.float32),
        frame_feature=np.zeros((total, 0), np.float32),
        gt_summary=np.array(labels),
        gt_score=np.linspace(0, 1, total),
        **changes,
    )


def test_wikihow_takes_the_best_55_percent() -> None:
    video = how_to([1] * 10 + [0] * 9)
    scores = np.arange(19.0)[::-1]
    result = evaluate(scores, video, protocol("wikihow-summaries"))
    assert result.values["f1"] == 1  # int(.55 · 19) = 10
    assert result.values["tau"] == -1


def test_wikihow_segments_are_held_to_the_frames_that_were_labelled() -> None:
    labels = np.repeat([1, 1, 0, 0, 1, 0], [32, 32, 32, 32, 32, 8])
    video = Video(
        video_id="v",
        frame_time_s=np.arange(6.0),
        frame_feature=np.zeros((6, 0), np.float32),
        gt_score=np.array([1, 1, 0, 0, 1, 0.0]),
        user_summary=labels[None].astype(np.int8),
        picks=np.arange(0, 168, 32),
        n_frames=168,
    )
    found = evaluate(np.array([1, 1, 0, 0, 1, 0.0]), video, protocol("wikihow-summaries"))
    assert found.values["f1"] == 1
    assert found.values["tau"] == pytest.approx(1)


def test_a_wikihow_video_without_labels_is_dropped_or_perfect() -> None:
    video = how_to([0] * 10)
    dropped = evaluate(np.arange(10.0), video, protocol("wikihow-summaries"))
    assert "f1" not in dropped.values
    assert dropped.notes == ("empty_reference", "dropped")
    assert evaluate(np.arange(10.0), video, protocol("wikihow-summaries-released")).values["f1"] == 1


def test_mr_hisum() -> None:
    video = how_to([1] * 5 + [0] * 35, change_points=np.array([[0, 5], [5, 20], [20, 40]]), n_frames=40)
    result = evaluate(np.linspace(1, 0, 40), video, protocol("mrhisum"))
    assert result.values["f1"] == 1
    # Eight clips; the four relevant ones come last: precision 1/5, 2/6, 3/7, 4/8.
    assert result.values["map50"] == pytest.approx((1 / 5 + 2 / 6 + 3 / 7 + 4 / 8) / 4)
    assert result.values["map15"] == pytest.approx(1 / 8)
    few = how_to([1] * 30, change_points=np.array([[0, 3], [3, 30]]), n_frames=30)
    assert evaluate(np.arange(30.0), few, protocol("mrhisum")).notes == ("no_positives",)


def test_highlights() -> None:
    result = evaluate(np.array([4.0, 3, 2, 1]), how_to([1, 0, 1, 0]), protocol("umt-youtube-highlights"))
    assert result.values == {"ap_trapezoidal": pytest.approx(0.7917, abs=5e-5)}
    none = evaluate(np.arange(4.0), how_to([0] * 4), protocol("umt-youtube-highlights"))
    assert (none.values["ap_trapezoidal"], none.notes) == (0, ("no_positives",))


def test_umt_ranks_clips_of_two_seconds_not_picks() -> None:
    """Five picks of half a second would be one stretch of 2.5 s; UMT's five best clips are of 2 s each."""
    users = np.random.default_rng(1).integers(1, 6, (4, 30))
    every_half_second = np.repeat(users, 4, axis=1)
    score = np.random.default_rng(2).random(120)
    video = a_video(
        frame_time_s=np.arange(120) / 2,
        frame_feature=np.zeros((120, 0), np.float32),
        picks=np.arange(120) * 15,
        n_frames=1800,
        duration_s=60.9,
        user_score=every_half_second,
        user_summary=None,
        change_points=None,
    )
    rules = protocol("umt-tvsum")
    clips = score.reshape(30, 4).mean(1)
    expected = top_clips_ap(clips, users, top=5).mean()
    assert evaluate(score, video, rules).values["ap_top5"] == pytest.approx(expected)
    # A data set that brings its own clips is measured on those.
    own = replace(
        video,
        frame_time_s=np.arange(30.0),
        frame_feature=np.zeros((30, 0), np.float32),
        picks=None,
        user_score=users,
    )
    assert evaluate(clips, own, rules).values["ap_top5"] == pytest.approx(expected)
    short = replace(
        video,
        frame_time_s=np.zeros(1),
        frame_feature=np.zeros((1, 0), np.float32),
        picks=np.zeros(1, int),
        user_score=users[:, :1],
        duration_s=1.5,
    )
    assert evaluate(score[:1], short, rules).values["ap_top5"] == 0


def test_clips_in_seconds_need_the_videos_length() -> None:
    """Without it picks are taken as of 30 frames a second, and clips of another rate are not of two seconds."""
    rules = protocol("umt-tvsum")
    assert lacks("ap_top5", a_video(), rules) == (
        "a: clips of 2 s need the video's length (duration_s), which its annotations lack"
    )
    assert lacks("ap_top5", a_video(duration_s=10.0), rules) is None
    assert lacks("ap_top5", a_video(picks=None, n_frames=None, change_points=None), rules) is None


def test_a_clip_ends_before_the_last_frame_is_shown() -> None:
    """TVSum's video_48: 3,896 frames in 130.008 s, whose last one is shown at 129.97 s. UMT has 64 clips of it."""
    picks = np.arange(0, 3896, 15)
    time_s = picks * (130.008 / 3896)
    video = a_video(
        picks=picks, n_frames=3896, duration_s=130.008, frame_time_s=time_s,
        frame_feature=np.zeros((len(picks), 0), np.float32), user_score=np.ones((2, len(picks))),
        user_summary=None, change_points=None,
    )  # fmt: skip
    assert clips_in_time(time_s, np.asarray(video.user_score), video, 2.0)[0].shape == (64,)


def test_shots_that_most_judges_chose() -> None:
    """CoSum: of the five best shots, and of 15; where all or most shots are relevant they stay so."""
    rules, video = protocol("cosum"), how_to([0, 1, 1, 0, 1, 1, 1])
    assert evaluate(np.arange(7.0)[::-1], video, rules).values == {
        "ap_top5": pytest.approx((0 + 1 / 2 + 1 / 2 + 2 / 3 + 2 / 4 + 3 / 5) / 2 / 3),
        "ap_top15": pytest.approx((0 + 1 / 2 + 1 / 2 + 2 / 3 + 2 / 4 + 3 / 5 + 3 / 5 + 4 / 6 + 4 / 6 + 5 / 7) / 2 / 5),
    }
    assert evaluate(np.arange(7.0), how_to([1] * 7), rules).values == {"ap_top5": 1, "ap_top15": 1}
    none = evaluate(np.arange(7.0), how_to([0] * 7), rules)
    assert (none.values, none.notes) == ({"ap_top5": 0, "ap_top15": 0}, ("no_positives",))
    assert "cosum needs gt_summary" in str(lacks("ap_top5", a_video(), rules))


@pytest.mark.recorded
def test_umt_has_our_labels_at_the_middle_of_its_clips(recordings: Path) -> None:
    files = (recordings / "benchmarks" / "TVSum" / "umt").glob("*.jsonl")
    theirs = {row["vid"]: np.array(row["label"]).T for path in files for row in map(json.loads, path.open())}
    for video in tvsum.load(recordings / "benchmarks" / "TVSum" / "ydata-tvsum50.mat"):
        score = np.zeros(len(video.frame_time_s))
        _, users = clips_in_time(score, np.asarray(video.user_score), video, 2.0)
        np.testing.assert_array_equal(users, theirs[str(video.url)[-11:]])


def test_bliss_chooses_as_many_as_the_reference() -> None:
    frames = np.eye(4, dtype=np.float32)
    sentences = [
        {"start_s": i, "end_s": i + 1, "text": text} for i, text in enumerate(["cut the wood", "hello", "glue"])
    ]
    video = Video(
        video_id="b",
        frame_time_s=np.arange(4, dtype=np.float32),
        frame_feature=frames,
        gt_summary=np.array([0, 1, 0, 1]),
        summary_feature=frames[[1, 3]],
        sentence=sentences,
        sentence_label=np.array([1, 0, 1]),
        summary_text="cut the wood\nglue",
    )
    rules = protocol("bliss")
    result = evaluate(np.array([0.1, 0.9, 0.2, 0.8]), video, rules, sentence_score=np.array([2.0, 0, 1]))
    assert result.values == {"rouge1": 1, "rouge2": 1, "rougeL": 1, "cosine": pytest.approx(1)}
    wrong = evaluate(np.array([0.9, 0.1, 0.8, 0.2]), video, rules, sentence_score=np.array([0, 2.0, 0]))
    assert wrong.values["cosine"] == 0
    assert 0 < wrong.values["rouge1"] < 1
    with pytest.raises(UnusableScoresError, match="sentence_score"):
        evaluate(np.arange(4.0), video, rules)


@pytest.mark.parametrize("name", ["tvsum", "summe", "ca-sum", "msva"])
def test_scores_that_cannot_be_used(name: str) -> None:
    video, rules = a_video(), PROTOCOLS[name]
    for scores, reason in (
        (np.append(SCORES[:19], np.nan), "not_finite"),
        (np.append(SCORES[:19], np.inf), "not_finite"),
        (SCORES[:15], "wrong_length"),
        (np.append(SCORES, 0), "wrong_length"),
        (SCORES[None], "wrong_length"),
        (SCORES[:0], "wrong_length"),
    ):
        with pytest.raises(UnusableScoresError) as raised:
            evaluate(scores, video, rules)
        assert raised.value.reason == reason


def test_annotations_that_are_not_there_are_named() -> None:
    bare = a_video(user_score=None, user_summary=None, change_points=None)
    with pytest.raises(ValueError, match="a: keyshots need change_points"):
        evaluate(SCORES, bare, protocol("tvsum"))
    with pytest.raises(ValueError, match="a: protocol ranks needs user_score"):
        evaluate(SCORES, bare, RANKS)


def a_full_video() -> Video:
    """A video that has every reference of every metric, on one grid: 20 frames."""
    frames = np.eye(20, dtype=np.float32)
    summary = np.repeat([1, 0, 1, 0], 5)
    return a_video(
        frame_time_s=np.arange(20.0),
        frame_feature=frames,
        picks=np.arange(20),
        n_frames=20,
        duration_s=20.0,
        change_points=np.stack([np.arange(0, 20, 2), np.arange(1, 20, 2)], 1),
        user_summary=np.stack([summary, np.roll(summary, 3)]),
        user_score=np.stack([np.arange(20), np.arange(20)[::-1]]),
        gt_score=np.linspace(0, 1, 20),
        gt_summary=summary,
        summary_feature=frames[:3],
        sentence=[{"start_s": i, "end_s": i + 1, "text": f"word {i}"} for i in range(3)],
        sentence_label=np.array([1, 0, 1]),
        summary_text="word 0\nword 2",
        concept=np.eye(20)[:, :5] + np.eye(20)[:, 3:8],
        moment=np.array([[0.0, 2.0], [5.0, 9.0]]),
    )


def without(video: Video, names: Iterable[str]) -> Video:
    missing: dict[str, Any] = dict.fromkeys(names)
    return replace(video, **missing)


PROPOSED = np.array([[0.0, 2.0, 0.9], [1.0, 3.0, 0.4]])
WORDS = Words(text="word 0 word 1 word 2", feature=np.eye(20)[2:4], reference_feature=np.eye(20)[:2])
# METEOR runs in Java, which may be missing: `test_corpora` has it.
CASES = [(name, metric) for name, rules in PROTOCOLS.items() for metric in rules.metrics if metric != "meteor"]


@pytest.mark.parametrize(("name", "metric"), CASES)
def test_a_missing_reference_is_never_replaced_by_another(name: str, metric: str) -> None:
    """Each metric of each preset: with all that it needs it has a value; without any one of them it has none."""
    video, rules = a_full_video(), replace(PROTOCOLS[name], metrics=(metric,))
    if rules.shots != "closed":
        video = replace(video, change_points=np.asarray(video.change_points) + np.array([0, 1]))
    predicted: dict[str, Any] = {"sentence_score": np.arange(3.0), "words": WORDS, "moments": PROPOSED}
    assert list(evaluate(SCORES, video, rules, **predicted).values) == [metric]
    wanted = needs(rules)[metric]
    assert wanted, "every metric is scored against something"
    for names in wanted:
        bare = without(video, names)
        why = lacks(metric, bare, rules)
        assert why is not None
        assert " or ".join(names) in why
        with pytest.raises(ValueError, match=why.partition(";")[0]):
            evaluate(SCORES, bare, rules, **predicted)
        for one in names:
            only = without(video, set(names) - {one})
            assert list(evaluate(SCORES, only, rules, **predicted).values) == [metric]


def test_a_metric_reads_nothing_but_what_its_needs_name() -> None:
    """Fields that are not among the needs are taken away all at once: the value stays the same."""
    video = a_full_video()
    references = {
        name for rules in PROTOCOLS.values() for each in needs(rules).values() for names in each for name in names
    }
    values: set[float] = set()
    for name, metric in CASES:
        video, rules = a_full_video(), replace(PROTOCOLS[name], metrics=(metric,))
        if rules.shots != "closed":
            video = replace(video, change_points=np.asarray(video.change_points) + np.array([0, 1]))
        kept = {names[0] for names in needs(rules)[metric]}
        bare = without(video, references - kept)
        whole, alone = (
            evaluate(SCORES, one, rules, sentence_score=np.arange(3.0), words=WORDS, moments=PROPOSED).values
            for one in (video, bare)
        )
        assert whole == pytest.approx(alone, nan_ok=True), (name, metric)
        values |= set(whole.values())
    assert len(values) > 9, "the values tell the metrics apart"


CONCEPT = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1]])


def of_shots(**changes: Any) -> Video:
    """Four shots of 5 s with three concepts; the oracle chooses the first and the last, two users others."""
    fields: dict[str, Any] = {
        "video_id": "shots",
        "frame_time_s": np.arange(4) * 5.0,
        "frame_feature": np.zeros((4, 0), np.float32),
        "concept": CONCEPT,
        "gt_summary": np.array([1, 0, 0, 1], np.uint8),
        "user_summary": np.array([[1, 0, 0, 1], [0, 1, 1, 0]], bool),
    }
    return Video(**(fields | changes))


def test_qfvs_pairs_the_shots_of_summary_and_oracle() -> None:
    rules = replace(protocol("qfvs"), budget=0.5)
    values = evaluate(np.array([0.1, 0.9, 0.8, 0.2]), of_shots(), rules).values
    # Shot 2 (concepts 1 and 2) and the first of the oracle share 1 of 2 concepts, or 1 of 3 with the last; shot 3 none.
    assert values == {"concept_f1": 0.25, "concept_precision": 0.25, "concept_recall": 0.25}
    assert list(evaluate(np.array([1, 0, 0, 1]), of_shots(), rules).values.values()) == [1, 1, 1]
    one = evaluate(np.array([1, 0, 0, 0]), of_shots(), protocol("qfvs"), summary=np.array([1, 0, 0, 0])).values
    assert (one["concept_precision"], one["concept_recall"]) == (1, 0.5)


def test_qfvs_without_choice_or_reference() -> None:
    rules = protocol("qfvs")
    found = evaluate(np.arange(4.0), of_shots(), rules)  # 2 % of four shots are none
    assert (list(found.values.values()), found.notes) == ([0, 0, 0], ("empty_summary",))
    found = evaluate(np.arange(4.0), of_shots(gt_summary=np.zeros(4)), replace(rules, budget=0.5))
    assert found.notes == ("empty_reference",)
    assert lacks("concept_f1", of_shots(gt_summary=None), rules) == "shots: protocol qfvs needs gt_summary"
    assert lacks("concept_f1", of_shots(concept=None), rules) == "shots: protocol qfvs needs concept"


def test_people_are_compared_with_the_oracle_where_that_is_the_reference() -> None:
    trials = list(human(of_shots(), protocol("qfvs"), 0))
    assert [trial.video.gt_summary is not None for trial in trials] == [True, True]
    values = [evaluate(each.frame_score, each.video, protocol("qfvs"), summary=each.summary).values for each in trials]
    assert [each["concept_f1"] for each in values] == [1, 0.25]
    assert all(trial.video.gt_summary is None for trial in human(of_shots(), protocol("tvsum"), 0))


def test_key_frames_of_scores_are_at_the_picks() -> None:
    users = np.zeros((2, 300), bool)
    users[0, [10, 250]] = users[1, [40, 200]] = True
    video, rules = a_video(user_summary=users, user_score=None), replace(protocol("vsumm"), match_frames=20)
    scores = np.zeros(20)
    scores[[1, 16]] = 1  # frames 15 and 240
    values = evaluate(scores, video, rules).values
    assert values == {"cus_a": 0.5, "cus_e": 0.5, "keyframe_f1": 0.5}
    given = np.zeros(300, bool)
    given[[10, 250, 40]] = True
    found = evaluate(np.zeros(20), video, rules, summary=given)
    assert found.values == {"cus_a": 0.75, "cus_e": 0.75, "keyframe_f1": pytest.approx(0.6)}
    assert found.notes == (), "a given summary is no constant score"
    assert lacks("cus_a", a_video(user_summary=None), rules) == "a: protocol vsumm needs user_summary"


def test_key_frames_without_any_user() -> None:
    users = np.zeros((2, 300), bool)
    found = evaluate(SCORES, a_video(user_summary=users, user_score=None), protocol("vsumm"))
    assert all(map(math.isnan, found.values.values()))
    assert "empty_reference" in found.notes


def test_uniform_key_frames_are_spread_and_as_many_as_the_users() -> None:
    users = np.zeros((2, 300), bool)
    users[:, [10, 100, 200]] = True
    users[0, 290] = True  # 3.5 on average
    video, rules = a_video(user_summary=users, user_score=None), protocol("vsumm")
    (trial,) = uniform(video, rules, 0)
    chosen = summary_from_scores(trial.frame_score, video, rules)
    assert np.flatnonzero(chosen).tolist() == [2, 7, 12, 17]
    with pytest.raises(ValueError, match="it has no user_summary"):
        summary_from_scores(SCORES, a_video(user_summary=None), rules)


def test_scores_of_any_type_are_ranked_alike() -> None:
    score = np.array([0, 1, 0, 1])
    for kind in (np.uint8, np.int8, np.float32, bool):
        assert best_frames(score.astype(kind), 2).tolist() == [False, True, False, True]
