"""Answers outlive their process, in a local root and on an object store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.manifests.object_kit import root_url

from vsumdata.manifests.errors import RetryVideo
from vsumdata.stages.curation.chat import PUT_EVERY, Keeper
from vsumdata.stages.curation.question import Question
from vsumdata.stages.stage import Context

QUESTIONS = [Question(text=f"Question {number}") for number in range(2 * PUT_EVERY + 5)]


class Parrot:
    """Says what it is asked, and fails after some answers."""

    def __init__(self, patience: int = 1000) -> None:
        self.patience = patience
        self.asked: list[str] = []

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, str]]:
        # From the last to the first: the order in which answers come is nobody's promise.
        for at, question in reversed(list(enumerate(questions))):
            if len(self.asked) == self.patience:
                raise RetryVideo("transient")
            self.asked.append(question.text)
            yield at, question.text.upper()


@pytest.fixture(params=["local", "s3"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Context:
    if request.param == "s3":
        port, bucket = request.getfixturevalue("s3_port"), request.getfixturevalue("bucket")
        return Context(root=root_url(port, bucket), scratch=str(tmp_path))
    return Context(root=str(tmp_path), scratch=str(tmp_path))


def test_what_was_answered_before_an_error_is_not_asked_again(context: Context) -> None:
    first, second, third = Parrot(patience=PUT_EVERY + 3), Parrot(), Parrot()
    with pytest.raises(RetryVideo):
        Keeper(first, "m", "summaries", context).answers("a/../b", QUESTIONS)
    found = Keeper(second, "m", "summaries", context).answers("a/../b", QUESTIONS)
    assert found == [question.text.upper() for question in QUESTIONS]
    assert sorted(first.asked + second.asked) == sorted(question.text for question in QUESTIONS)
    assert Keeper(third, "m", "summaries", context).answers("a/../b", QUESTIONS) == found
    assert third.asked == []


def test_another_model_video_or_table_has_its_own_answers(context: Context) -> None:
    parrot = Parrot()
    for identity, table, video_id in (("m", "t", "v"), ("n", "t", "v"), ("m", "u", "v"), ("m", "t", "w")):
        Keeper(parrot, identity, table, context).answers(video_id, [QUESTIONS[0]])
    assert len(parrot.asked) == 4


def test_equal_questions_are_asked_once(context: Context) -> None:
    parrot = Parrot()
    assert Keeper(parrot, "m", "t", context).answers("v", [QUESTIONS[0]] * 3) == ["QUESTION 0"] * 3
    assert len(parrot.asked) == 1


def test_all_that_is_sent_counts() -> None:
    plain = Question(text="What?")
    others = [
        replace(plain, **change)
        for change in (
            {"text": "Who?"},
            {"system": "s"},
            {"picture": b"1"},
            {"picture": b"2"},
            {"turns": (("a", "b"),)},
            {"schema": {"type": "object"}},
            {"max_tokens": 9},
        )
    ]
    assert len({question.key("m") for question in [plain, *others]}) == 8
    assert plain.key("m") != plain.key("n")
