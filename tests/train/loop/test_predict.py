"""What a trained model says of videos, one by one."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.train.training_kit import fitted, small, videos

from vsumdata.manifests.errors import UsageError
from vsumdata.train.loop import predict as module
from vsumdata.train.loop.predict import predict


def test_predictions_come_in_order_and_do_not_depend_on_batch_mates(tmp_path: Path) -> None:
    found = videos(10)
    trained = fitted(tmp_path / "run", small("hiersum"), found[:5], found[5:])
    together, alone = list(predict(trained, found)), list(predict(trained, found, batch_size=1))
    assert [p.video_id for p in together] == [v.video_id for v in found]
    for one, other, video in zip(together, alone, found, strict=True):
        assert one.frame_score.shape == video.frame_time_s.shape
        assert one.sentence_score is not None
        assert one.sentence_score.shape == (len(video.sentence),)
        assert one.frame_score.dtype == np.float64
        np.testing.assert_allclose(one.frame_score, other.frame_score, atol=1e-5)


@pytest.mark.parametrize(("text", "says_sentences"), [("global", False), ("both", True), ("none", False)])
def test_only_sentences_that_were_shown_are_scored(tmp_path: Path, text: str, says_sentences: bool) -> None:
    found = videos(4)
    trained = fitted(tmp_path / "run", small("hiersum", f"model.text={text}"), found)
    for answer in predict(trained, found):
        assert (answer.sentence_score is not None) == says_sentences
        if answer.sentence_score is not None:
            assert answer.sentence_score.shape == (len(answer.video.sentence),)


def test_denormals_are_flushed_for_as_long_as_the_model_works(tmp_path: Path) -> None:
    found = videos(4)
    trained = fitted(tmp_path / "run", small(), found)
    assert sys.float_info.min / 2 > 0
    for _ in predict(trained, found):
        assert sys.float_info.min / 2 > 0


def test_more_videos_than_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = videos(11)
    trained = fitted(tmp_path / "run", small(), found[:4])
    whole = list(predict(trained, found))
    monkeypatch.setattr(module, "WINDOW", 4)
    for one, other in zip(predict(trained, found, batch_size=3), whole, strict=True):
        assert one.video_id == other.video_id
        np.testing.assert_allclose(one.frame_score, other.frame_score, atol=1e-6)


def test_long_videos_share_no_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen of 10,000 frames each would take dozens of gigabytes."""
    assert list(map(len, module.batches([10_000, 600, 10_000, *[600] * 40], 32))) == [32, 9, 1, 1]
    assert module.batches([3, 1, 2], 2) == [[1, 2], [0]]
    found = videos(5)
    trained = fitted(tmp_path / "run", small("hiersum"), found)
    together = list(predict(trained, found))
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 1)
    for one, other in zip(predict(trained, found), together, strict=True):
        np.testing.assert_allclose(one.frame_score, other.frame_score, atol=1e-6)


def test_a_video_that_the_model_cannot_take_is_named(tmp_path: Path) -> None:
    found = videos(2)
    trained = fitted(tmp_path / "run", small("hiersum"), found)
    num = len(found[0].sentence)
    for changes, said in (
        ({"frame_feature": np.zeros((len(found[0].frame_time_s), 7), np.float32)}, "of size 7, the model takes 32"),
        ({"sentence_feature": np.zeros((num, 7), np.float32)}, "sentence_feature of size 7, the model takes 24"),
        ({"global_feature": np.full(24, np.nan, np.float32)}, "global_feature has values that are not finite"),
    ):
        bad = replace(found[0], **{"step": (), "step_feature": None, "global_feature": None, **changes})  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=f"^synthetic-0-0000.*{said}"):
            list(predict(trained, [bad]))
