"""Whatever a model prefers, its answer parses, increases, is in range and ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.train.language.tokenizer_kit import FAMILIES, family

from vsumdata.train.language.answers import Form, Sentence, encode_pieces, parse, pieces, read, settle
from vsumdata.train.language.grammar import Grammar, make_vocabulary
from vsumdata.train.language.prompts import Task

CASES: list[tuple[Task, Form]] = [("v", "list"), ("t", "list"), ("b", "list"), ("b", "lead")]
FRAMES = (10, 16, 100, 137)


def walk(grammar: Grammar, rng: np.random.Generator, sharpness: float) -> tuple[list[int], list[int]]:
    """Write one answer as a model with random preferences would. Returns its ids without the end, and its indexes."""
    # Preferences for tokens, some strong: uniform ones would hardly ever leave the text.
    taste = rng.normal(size=len(grammar.vocabulary.text)) * sharpness
    taste[[grammar.codec.opening, grammar.codec.closing, *grammar.vocabulary.ends]] += rng.choice([-2, 2, 6], 3)
    state, ids = grammar.start(), []
    while not state.finished:
        allowed = state.allowed()
        assert len(allowed)
        assert (np.diff(allowed) > 0).all()
        ids.append(int(allowed[np.argmax(taste[allowed] + rng.gumbel(size=len(allowed)))]))
        state.advance(ids[-1])
        # Lists cannot outgrow the frames, nor the text its limit, of which one forced token may lie behind each end.
        assert len(ids) <= 8 * grammar.codec.frames + 3 * grammar.text_tokens + 20
    return ids[:-1], state.indexes


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize(("task", "form"), CASES)
def test_200_answers_of_random_preferences(name: str, task: Task, form: Form) -> None:
    its, rng = family(name), np.random.default_rng(0)
    for number in range(50):
        for sharpness in (0.0, 1.0, 3.0, 8.0):
            frames = FRAMES[number % len(FRAMES)]
            grammar = Grammar(
                codec=its.codec(frames), vocabulary=its.vocabulary, task=task, form=form,
                text_tokens=int(rng.integers(1, 40)), sentence_tokens=int(rng.integers(1, 12)),
                most=[None, 3][number % 2],
            )  # fmt: skip
            ids, indexes = walk(grammar, rng, sharpness)
            found = read(ids, grammar.codec, its.decode)
            assert list(itertools.chain(*found.lists)) == indexes == sorted(set(indexes))
            assert all(0 <= index < frames for index in indexes)
            assert bool(indexes) == (task != "t")
            if task == "v":
                assert found.text == ""
                assert len(indexes) <= (grammar.most or frames)
            else:
                assert all(sentence.text for sentence in found.answer)
                assert all(bool(sentence.frames) == (task == "b") for sentence in found.answer)
            # The text that a person sees says the same.
            again = parse(its.decode(ids), frames)
            assert (again.indexes, again.out_of_range) == (found.indexes, 0)
            assert again.lists == found.lists


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize(("task", "form"), CASES)
def test_what_we_write_is_what_the_grammar_allows(name: str, task: Task, form: Form) -> None:
    its = family(name)
    grammar = Grammar(codec=its.codec(100), vocabulary=its.vocabulary, task=task, form=form)
    answer = settle(
        [Sentence("A man cuts an onion", (7, 8)), Sentence("Does she stop?", (40,)), Sentence("No!", (99,))]
    )
    state = grammar.start()
    for token in [*encode_pieces(pieces(answer, task, form), grammar.codec, its.encode), grammar.vocabulary.ends[0]]:
        state.advance(token)
    assert state.finished


def test_digits_that_lead_nowhere_are_not_allowed() -> None:
    its = family("per-digit")
    codec = its.codec(16)
    state = Grammar(codec=codec, vocabulary=its.vocabulary, task="v").start()
    state.advance(codec.opening)
    assert set(state.allowed()) == {codec.digit[0], codec.digit[1]}
    for digit in (0, 9):
        state.advance(codec.digit[digit])
    for token in codec.separator:
        state.advance(token)
    assert set(state.allowed()) == {codec.digit[1]}, "9 was written, 15 is the last"
    state.advance(codec.digit[1])
    assert set(state.allowed()) == {codec.digit[number] for number in range(6)}
    state.advance(codec.digit[5])
    assert state.allowed().tolist() == [codec.closing], "nothing comes behind the last index"
    with pytest.raises(ValueError, match="not allowed"):
        state.advance(codec.separator[0])


def test_the_text_has_neither_brackets_nor_special_tokens() -> None:
    shown = ["a", "[", "x].", " ", "</s>", "<pad>", "\ufffd", "ok. "]
    found = make_vocabulary(shown.__getitem__, len(shown), special=[5], ends=[4])
    assert np.flatnonzero(found.text).tolist() == [0, 3, 6, 7]
    assert np.flatnonzero(found.visible).tolist() == [0, 7]
    assert np.flatnonzero(found.stops).tolist() == [7]
