"""How long a text may be that is learnt, and how many videos are answered at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.train.language.language_kit import model, planted, tiny
from tests.train.training_kit import losses

from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video, collate
from vsumdata.train.data.origin import Origin
from vsumdata.train.data.training import Data
from vsumdata.train.language import answers
from vsumdata.train.language.model import V2Xum
from vsumdata.train.language.objectives import Instruct, InstructOptions
from vsumdata.train.loop.job import fit_fold
from vsumdata.train.loop.predict import batches

SAYS = ("One cuts it.", "He fries it. He eats it all.", "Then he sleeps.")


def said(video: Video, *texts: str) -> Video:
    return replace(video, summary=tuple({"text": text, "time_s": [4.0 * at]} for at, text in enumerate(texts)))


def learnt(its: V2Xum, video: Video, task: str, most: int, **options: Any) -> str:
    """The text that a step of a task learns of a video."""
    steps = dict.fromkeys(("video_steps", "text_steps", "both_steps"), 0)
    steps[{"v": "video_steps", "t": "text_steps", "b": "both_steps"}[task]] = 1
    objective = Instruct(InstructOptions(**steps, answer_tokens=most, **options))
    nll, seen = its.nll, []

    def noted(prompt: Any, written: Any) -> Any:
        seen.extend(written)
        return nll(prompt, written)

    its.nll = noted  # type: ignore[method-assign]
    try:
        objective(its, collate([video]), 0)
    finally:
        its.nll = nll  # type: ignore[method-assign]
    assert all(len(ids) <= max(most, 45) for ids in seen)
    return " | ".join(answers.read(ids[:-1], its.codec, its.decode).text for ids in seen)


def test_a_long_text_ends_with_the_last_sentence_that_fits() -> None:
    its, video = model(), said(planted(1)[0], *SAYS)
    whole = " ".join(SAYS)
    for most, expected in (
        (2048, whole),
        (len(whole) + 1, whole),
        (len(whole), " ".join(SAYS[:2])),
        (len(SAYS[0]) + 1, SAYS[0]),
        (len(SAYS[0]), ""),  # asked for its frames, which have no text
    ):
        assert learnt(its, video, "t", most) == expected, most
    # A list of one index takes 5 tokens.
    assert learnt(its, video, "b", len(SAYS[0]) + 6) == SAYS[0]


def test_a_long_sentence_is_cut_behind_a_mark() -> None:
    its, video = model(), said(planted(1)[0], SAYS[1], SAYS[2])
    assert learnt(its, video, "t", 20) == "He fries it."
    assert learnt(its, video, "b", 20) == "He fries it."
    assert learnt(its, said(planted(1)[0], "é" * 100), "t", 20) == ""


def test_what_is_cut_is_counted(tmp_path: Path) -> None:
    videos = [said(planted(1, seed=at)[0], *texts) for at, texts in enumerate([SAYS, SAYS[:1], ("x" * 500,)])]
    sets = ("objective.answer_tokens=30", "objective.video_steps=0", "batch_size=3")
    data = Data(train=videos, val=(), protocol=protocol("scores-vs-mean"), origin=Origin(), checked=True)
    trained = fit_fold(tiny(*sets), data, tmp_path / "run")
    limit = "objective.answer_tokens=30"
    assert any(
        f"the texts of 1 of 3 training videos are longer than {limit}" in note and "cut at a sentence" in note
        for note in trained.info.notes
    )
    assert f"no sentence of 1 of 3 training videos fits {limit}: asked for frames alone" in trained.info.notes
    assert all(loss > 0 for _, loss in losses(tmp_path / "run"))
    spoken = [
        replace(each, summary=None, sentence=[{"start_s": 0.0, "end_s": 9.0, "text": text}])
        for each, text in zip(planted(3), ("Short.", "Cut. " * 20, "y" * 99), strict=True)
    ]
    aligned = fit_fold(tiny(*sets, "objective.stage=align"), replace(data, train=spoken), tmp_path / "align")
    assert f"no sentence of 1 of 3 training videos fits {limit}: left out" in aligned.info.notes
    assert any("the texts of 1 of 3" in note for note in aligned.info.notes)


def test_nothing_is_said_where_all_fits(tmp_path: Path) -> None:
    data = Data(train=planted(4, words=True), val=(), protocol=protocol("scores-vs-mean"), origin=Origin())
    assert not any("answer_tokens" in note for note in fit_fold(tiny(), data, tmp_path / "run").info.notes)


def test_the_models_own_limit_holds_too() -> None:
    its = model()
    assert its.room == 8192 - its.positions
    video = said(planted(1)[0], *("A sentence that is long.",) * 20)
    its.room = 60
    assert learnt(its, video, "t", 2048) == "A sentence that is long. A sentence that is long."


def test_long_videos_do_not_force_batches_of_one() -> None:
    """A language model is shown as much of a long video as of a short one."""
    hours = [4 * 3600] * 32
    assert {len(each) for each in batches(hours, 16)} == {1}
    positions = model(frames=100).positions
    assert {len(each) for each in batches(hours, 16, positions)} == {16}
    assert [len(each) for each in batches([5, 3], 16, 6000)] == [1, 1]


@pytest.mark.parametrize("task", ["t", "b"])
def test_a_text_of_a_megabyte_is_cut_like_any_other(task: str) -> None:
    its = model()
    assert learnt(its, said(planted(1)[0], "A word. " * 125_000), task, 40).startswith("A word. A word.")
