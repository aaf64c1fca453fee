"""The planted importance is what the formula says, the features allow what the ceiling claims, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

from vsumdata.datasets import synthetic
from vsumdata.datasets.crossings import check
from vsumdata.datasets.splits import folds
from vsumdata.datasets.synthetic import PROTOCOL, SHARES, Planted, Spec
from vsumdata.datasets.video import SHAPES
from vsumdata.manifests.errors import UsageError
from vsumdata.train.scoring import metrics
from vsumdata.train.scoring.evaluate import evaluate

BARE = Spec(videos=300, users=0)


def shown(feature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a feature was before it was turned: the noisy part [n] and the key [n,K]."""
    dim = feature.shape[1]
    turn, _ = np.linalg.qr(np.random.default_rng([synthetic.ROTATIONS, dim]).standard_normal((dim, dim)))
    plain = feature.astype(np.float64) @ turn.T
    return plain[:, 0], plain[:, 1 : 1 + synthetic.KEY_DIM]


def step_of_frames(video: Any) -> np.ndarray:
    """The step of each frame, by the nearest key: [T]."""
    frame_key, step_key = shown(video.frame_feature)[1], shown(video.step_feature)[1]
    return np.linalg.norm(frame_key[:, None] - step_key[None], axis=2).argmin(axis=1)


def sentence_of_frames(video: Any) -> np.ndarray:
    return np.searchsorted(video.sentence_span[:, 1], video.frame_time_s, side="right")


def pooled(planted: list[Planted], guess: list[np.ndarray]) -> dict[str, float]:
    importance = np.concatenate([each.importance for each in planted])
    scores = np.concatenate(guess)
    tau, rho = metrics.kendall_tau(scores, importance), metrics.spearman_rho(scores, importance)
    return {"tau": float(tau[0]), "rho": float(rho[0])}


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0, 3.0])
def test_the_best_guess_is_as_good_as_the_closed_form_says(noise):
    spec = replace(BARE, noise=noise)
    planted = synthetic.plant(spec)
    found = pooled(planted, [each.bayes for each in planted])
    assert found == pytest.approx(synthetic.expected_rank(spec)["bayes"], abs=0.02)


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_the_best_guess_is_the_expected_importance(noise):
    """Where it says .2, the importance is .2 on average."""
    planted = synthetic.plant(replace(BARE, noise=noise))
    guess = np.concatenate([each.bayes for each in planted])
    importance = np.concatenate([each.importance for each in planted])
    tenth = np.digitize(guess, np.quantile(guess, np.arange(0.1, 1, 0.1)))
    for at in range(10):
        assert importance[tenth == at].mean() == pytest.approx(guess[tenth == at].mean(), abs=0.03)


def test_the_features_alone_give_the_best_guess():
    spec = Spec(videos=20, noise=0.7, users=0)
    for each in synthetic.plant(spec):
        video: Any = each.video
        parts = (
            shown(video.frame_feature)[0],
            shown(video.sentence_feature)[0][sentence_of_frames(video)],
            shown(video.step_feature)[0][step_of_frames(video)],
        )
        total = sum(np.sqrt(share) * part for share, part in zip(SHARES, parts, strict=True))
        order = np.abs(np.subtract.outer(total, total)) > 1e-4  # float32 features
        agree = np.sign(np.subtract.outer(total, total)) == np.sign(np.subtract.outer(each.bayes, each.bayes))
        assert agree[order].all()


def test_each_modality_carries_its_share_and_none_is_enough():
    """Least squares learnt on one seed's videos: what it explains on another's is the modality's share."""
    train, test = (synthetic.plant(replace(BARE, noise=0.0, seed=seed)) for seed in (1, 2))

    def inputs(video: Any, modalities: int) -> np.ndarray:
        """Frames; with sentences; with steps (found by their key)."""
        features = [video.frame_feature, video.sentence_feature[sentence_of_frames(video)]]
        features.append(video.step_feature[step_of_frames(video)])
        return np.concatenate(features[:modalities], axis=1)

    truth = [np.concatenate([ndtri(each.importance) for each in part]) for part in (train, test)]
    explained = []
    for modalities in (1, 2, 3):
        x_train, x_test = (np.concatenate([inputs(e.video, modalities) for e in part]) for part in (train, test))
        weights, *_ = np.linalg.lstsq(x_train, truth[0], rcond=None)
        explained.append(np.corrcoef(x_test @ weights, truth[1])[0, 1] ** 2)
    assert explained == pytest.approx(np.cumsum(SHARES), abs=0.03)


def sound(video: Any) -> np.ndarray:
    return np.asarray(video.audio_feature)


def test_sound_carries_its_share_and_nothing_else_changes():
    silent, sounding = (synthetic.plant(replace(BARE, noise=0.0, audio=share, seed=1)) for share in (0.0, 0.4))
    assert all(each.video.audio_feature is None for each in silent)
    for name in ("frame_feature", "sentence_feature", "step_feature", "shot_start"):
        for one, other in zip(silent, sounding, strict=True):
            np.testing.assert_array_equal(getattr(one.video, name), getattr(other.video, name))
    part, truth = (
        np.concatenate(each)
        for each in (
            [shown(sound(each.video))[0] for each in sounding],
            [ndtri(each.importance) for each in sounding],
        )
    )
    assert np.corrcoef(part, truth)[0, 1] ** 2 == pytest.approx(0.4, abs=0.03)
    assert truth.std() == pytest.approx(1, abs=0.03)
    seen = np.concatenate([ndtri(each.importance) for each in silent])
    np.testing.assert_allclose(truth, np.sqrt(0.6) * seen + np.sqrt(0.4) * part, atol=1e-5)


@pytest.mark.parametrize("audio", [0.3, 1.0])
def test_with_sound_the_best_guess_is_as_good_as_the_closed_form_says(audio):
    spec = replace(BARE, noise=0.7, audio=audio)
    planted = synthetic.plant(spec)
    found = pooled(planted, [each.bayes for each in planted])
    assert found == pytest.approx(synthetic.expected_rank(spec)["bayes"], abs=0.02)


def nuisance(video: Any) -> np.ndarray:
    """What a frame shows beside signal and key: [T,N]."""
    dim = synthetic.FRAME_DIM
    turn, _ = np.linalg.qr(np.random.default_rng([synthetic.ROTATIONS, dim]).standard_normal((dim, dim)))
    return np.asarray((video.frame_feature.astype(np.float64) @ turn.T)[:, 1 + synthetic.KEY_DIM :])


def test_clear_frames_show_what_no_other_video_does():
    """Of two frames' nuisance, the mean product is that of their shares of the same theme, and else nothing."""
    planted = synthetic.plant(Spec(videos=60, users=0, theme=0.9, perspectives=2))
    shown, share, perspective = (
        np.concatenate(parts)
        for parts in zip(*((nuisance(e.video), e.clearness, e.perspective) for e in planted), strict=True)
    )
    video = np.repeat(np.arange(len(planted)), [len(e.clearness) for e in planted])
    product = shown @ shown.T / shown.shape[1]
    expected = np.outer(share, share)
    same_video, same_theme = video[:, None] == video, perspective[:, None] == perspective
    other_frame = ~np.eye(len(video), dtype=bool)
    clear = expected > 0.4
    assert product[same_video & same_theme & clear & other_frame].mean() == pytest.approx(
        expected[same_video & same_theme & clear & other_frame].mean(), abs=0.05
    )
    assert abs(product[same_video & ~same_theme & clear].mean()) < 0.05
    assert abs(product[~same_video & clear].mean()) < 0.02
    assert shown.std() == pytest.approx(1, abs=0.03)
    assert 0 <= share.min() < 0.1 < 0.8 < share.max() <= 0.9


def test_a_theme_changes_nothing_else_and_leaves_the_ceiling():
    for plain, themed in zip(*(synthetic.plant(Spec(videos=3, theme=theme)) for theme in (0.0, 1.0)), strict=True):
        np.testing.assert_array_equal(plain.bayes, themed.bayes)
        np.testing.assert_array_equal(plain.video.user_score, themed.video.user_score)
        for before, after in zip(*(shown(each.video.frame_feature) for each in (plain, themed)), strict=True):
            np.testing.assert_allclose(before, after, atol=1e-5)
        assert not plain.clearness.any()
        order = np.argsort(shown(themed.video.frame_feature)[0], kind="stable")
        assert (np.diff(themed.clearness[order]) > -1e-6).all(), "the clearness tells no more than the signal does"
        assert np.abs(nuisance(plain.video) - nuisance(themed.video)).mean() > 0.3


def load(spec: str) -> list[Any]:
    return list(synthetic.load(spec))


def test_chance_is_below_the_best_guess_is_below_the_oracle():
    means = {}
    for noise in (0.5, 2.0):
        spec = Spec(videos=40, noise=noise)
        planted = synthetic.plant(spec)
        rng = np.random.default_rng(0)
        scores = {
            "chance": [rng.random(len(each.importance)) for each in planted],
            "bayes": [each.bayes for each in planted],
            "oracle": [each.importance for each in planted],
        }
        for name, predicted in scores.items():
            results = [evaluate(s, each.video, PROTOCOL).values for s, each in zip(predicted, planted, strict=True)]
            means[name, noise] = {key: np.mean([result[key] for result in results]) for key in PROTOCOL.metrics}
    for metric in PROTOCOL.metrics:
        order = [means[key][metric] for key in (("chance", 2.0), ("bayes", 2.0), ("bayes", 0.5), ("oracle", 0.5))]
        assert (np.diff(order) > 0.01).all(), (metric, order)
        assert means["oracle", 0.5][metric] == means["oracle", 2.0][metric], (
            "the noise is the features', not the users'"
        )
    assert abs(means["chance", 0.5]["tau"]) < 0.03


def test_a_video_is_the_same_whenever_it_is_drawn():
    few, more, other = (synthetic.load(f"users=3,{spec}") for spec in ("videos=2", "videos=4", "videos=2,seed=1"))
    for one, same, another in zip(few, more, other, strict=False):
        for name in SHAPES:
            if getattr(one, name) is not None:
                np.testing.assert_array_equal(getattr(one, name), getattr(same, name), err_msg=name)
        assert one.video_id == same.video_id != another.video_id
        assert one.sentence == same.sentence
        assert not np.array_equal(one.frame_feature[:20], another.frame_feature[:20])


def test_annotations_are_like_a_benchmarks():
    for video in load("videos=20,users=4"):
        num_frames = len(video.frame_time_s)
        assert video.n_frames == num_frames * synthetic.STRIDE
        assert video.change_points[0, 0] == 0
        assert video.change_points[-1, 1] == video.n_frames - 1
        np.testing.assert_array_equal(video.change_points[1:, 0], video.change_points[:-1, 1] + 1)
        np.testing.assert_array_equal(video.shot_start * synthetic.STRIDE, video.change_points[:, 0])
        assert set(np.unique(video.user_score)) <= {1, 2, 3, 4, 5}
        assert (video.user_summary.sum(axis=1) <= 0.15 * video.n_frames).all()
        assert video.user_summary.any(axis=1).all()
        spans = video.sentence_span
        assert (spans[0, 0], spans[-1, 1]) == (0, num_frames)
        np.testing.assert_array_equal(spans[1:, 0], spans[:-1, 1])
    scores = np.concatenate([video.user_score.ravel() for video in load("videos=60,users=4")])
    counts = np.bincount(scores.astype(int))[1:] / len(scores)
    assert counts == pytest.approx([0.2] * 5, abs=0.03), "no score of a user is rarer than another"


def test_the_heatmap_is_as_youtube_draws_it():
    for video in load("videos=5"):
        bins = video.replay_bins
        assert len(bins) == synthetic.REPLAY_BINS
        assert (bins[0]["start_s"], bins[-1]["end_s"]) == (0, video.duration_s)
        values = [mark["value"] for mark in bins]
        assert (min(values), max(values)) == (0, 1)
        for second, value in enumerate(video.replay_score):
            (holder,) = [m["value"] for m in bins if m["start_s"] <= second < m["end_s"]]
            assert value == pytest.approx(holder)
        agreement = np.corrcoef(video.replay_score, video.user_score.mean(axis=0))[0, 1]
        assert agreement > 0.8, "the bins are of what the users think"


def test_users_differ_by_the_noise_that_is_asked_for():
    def agreement(user_noise: float) -> float:
        videos = load(f"videos=30,users=2,user_noise={user_noise}")
        return float(np.mean([metrics.spearman_rho(v.user_score[0], v.user_score[1:])[0] for v in videos]))

    assert agreement(0) == 1
    assert 1 > agreement(0.5) > agreement(2) + 0.2 > 0.2


def test_no_task_crosses_the_folds():
    videos = load("videos=30,users=0,frames=20")
    groups = {video.video_id: video.task for video in videos}
    check(folds("synthetic", [video.video_id for video in videos], groups=groups), videos)
    with pytest.raises(UsageError, match="task"):
        check(folds("synthetic", [video.video_id for video in videos]), videos)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vidoes=3", "no setting `vidoes`; did you mean `videos`?"),
        ("videos=many", "videos=many is not int"),
        ("videos=2.5", "videos=2.5 is not int"),
        ("noise", "noise= is not float"),
        ("theme=1.5", "theme=1.5 must be at most 1"),
        ("audio=1.5", "audio=1.5 must be at most 1"),
        ("perspectives=0", "perspectives=0 must be a finite number, at least 1"),
        ("noise=-1", "noise=-1.0 must be a finite number, at least 0"),
        ("noise=nan", "must be a finite number"),
        ("user_noise=inf", "must be a finite number"),
        ("videos=0", "videos=0 must be a finite number, at least 1"),
        ("some/file.h5", "known are: videos, frames, users, noise, user_noise, theme, perspectives, audio, seed"),
    ],
)
def test_a_wrong_spec_is_told(text, says):
    with pytest.raises(UsageError) as told:
        synthetic.load(text)
    assert says in str(told.value)


def test_a_spec_keeps_the_defaults_of_what_it_does_not_name():
    assert synthetic.parse(" noise = 0.25 , videos=7 ") == Spec(noise=0.25, videos=7)
    assert synthetic.parse("") == Spec()


def test_the_shortest_video_works():
    (video,) = load("videos=1,frames=2,users=2")
    assert np.isfinite(video.replay_score).all()
    assert evaluate(np.arange(float(len(video.frame_time_s))), video, PROTOCOL).values.keys() == {"f1", "tau", "rho"}
