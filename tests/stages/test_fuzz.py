"""A few thousand inputs that nobody would write, for everything that reads text from outside.

`tests/bench/fuzz.py` tries a million.
"""

from __future__ import annotations

import pytest
from tests.stages.fuzz_kit import Findings, Target, large, limited, made
from tests.stages.fuzz_targets import targets

TARGETS = targets()
INPUTS = 80  # of each target, times its share
SEED = 20261129


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_made_inputs_raise_only_documented_errors(target: Target) -> None:
    found = Findings()
    found.fuzz(target, INPUTS * target.share, SEED)
    assert not list(found), "\n".join(map(str, found))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_valid_inputs_are_read(target: Target) -> None:
    """Else the made ones would all end at the first look."""
    assert any(is_taken(target, text) for text in target.seeds[:3])


def is_taken(target: Target, text: str) -> bool:
    try:
        target.read(text)
    except target.documented:
        return False
    return True


def refuse_three(text: str) -> None:
    if "9" in text:
        raise ValueError("a documented error")
    if text.count("a") == 3:
        raise KeyError(text)


PLANTED = Target(name="planted", seeds=("aa bb", "cc 9"), read=refuse_three, documented=(ValueError,))


def test_a_planted_error_is_found_once_and_can_be_read_again() -> None:
    found = Findings()
    found.fuzz(PLANTED, 2000, 1)
    (finding,) = found
    assert finding.times > 1
    number = int(finding.what.removeprefix("--at "))
    assert made(PLANTED, 1, number) == finding.text
    with pytest.raises(KeyError):
        PLANTED.read(made(PLANTED, 1, number))


def endless(text: str) -> None:
    while True:
        pass


def test_an_input_without_an_end_is_found() -> None:
    found = Findings()
    found.try_one(Target(name="endless", seeds=("",), read=endless, documented=(Exception,)), "a", "here", 0.05)
    (finding,) = found
    assert "Hang" in finding.error


def test_large_inputs_have_the_size_asked_for() -> None:
    texts = [text for _, text in large(PLANTED, 10_000)]
    assert len(texts) > 50
    assert all(9_000 < len(text) <= 10_000 for text in texts)


def test_the_limit_ends_with_its_block() -> None:
    with limited(0.05):
        pass
    for _ in range(10**6):
        pass
