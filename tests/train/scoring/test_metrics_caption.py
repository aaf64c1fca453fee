"""Caption metrics by hand; the golden packs hold them against pycocoevalcap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.train.scoring.metrics_caption import Rarity, bleu, bleu_counts, n_grams, ptb_tokens, rouge_l

TOKENS = st.lists(st.sampled_from("a man cuts an onion two".split()), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The man's dog can't jump; he cannot!", "the man 's dog ca n't jump he can not"),
        ("It’s “gonna” rain...", "it 's gon na rain"),
        ("Mix 1/2 cup (120 ml) of well-chopped onions", "mix 1/2 cup -lrb- 120 ml -rrb- of well-chopped onions"),
        ("At 5:30 p.m. the U.S. team, 50% for $3.50", "at 5:30 p.m. the u.s. team 50 % for $ 3.50"),
        ("Dr. Lee paints a wash. The wash dries.", "dr. lee paints a wash the wash dries"),
        ("a 3d, 7up and x/y -- 1.5-inch", "a 3d 7up and x/y 1.5-inch"),
        ("Heat ½ cup to 350–400 °F", "heat 1/2 cup to 350 400 ° f"),
        (" \n ?! ...", "?!"),
        ("", ""),
    ],
)
def test_tokens(text: str, tokens: str) -> None:
    assert " ".join(ptb_tokens(text)) == tokens


@given(st.text(max_size=60))
def test_any_text_has_tokens_without_blanks(text: str) -> None:
    assert all(token and " " not in token for token in ptb_tokens(text))


@given(TOKENS)
def test_a_text_is_its_own_best(tokens: list[str]) -> None:
    assert rouge_l(tokens, [["else"], tokens]) == pytest.approx(1)
    if len(tokens) >= 4:
        assert bleu(bleu_counts(tokens, [tokens])) == pytest.approx(1, abs=1e-6)
    rarity = Rarity([[n_grams(tokens)], [n_grams(["else"])]])
    assert rarity.cider(n_grams(tokens), [n_grams(tokens)]) == pytest.approx(10 * min(4, len(tokens)) / 4)


def test_bleu_clips_and_punishes_short_texts() -> None:
    counts = bleu_counts("the the the the".split(), ["the cat is on the mat".split()])
    assert counts.tolist() == [2, 0, 0, 0, 4, 3, 2, 1, 4, 6]
    assert bleu(counts, 1) == pytest.approx(0.5 * math.exp(1 - 6 / 4))
    assert bleu_counts(["a"] * 3, [["b"] * 2, ["b"] * 4])[-1] == 2, "of two close lengths the shorter"


def test_corpus_bleu_is_no_mean() -> None:
    texts = ["a b c d e".split(), "a b c d x y".split()]
    references = ["a b c d e".split(), "a b c d e f".split()]
    each = [bleu_counts(*pair) for pair in zip(texts, [[r] for r in references], strict=True)]
    whole = bleu(np.sum(each, axis=0))
    exact = math.prod(one / all_ for one, all_ in zip((9, 7, 5, 3), (11, 9, 7, 5), strict=True)) ** 0.25
    assert whole == pytest.approx(exact)
    assert whole != pytest.approx(np.mean([bleu(one) for one in each]))


def test_nothing_is_worth_nothing() -> None:
    assert (rouge_l([], [["a"]]), rouge_l(["a"], [[]]), rouge_l([], [[]])) == (0, 0, 0)
    assert bleu(bleu_counts([], [["a"]])) == 0
    assert Rarity([[n_grams(["a"])]]).cider(n_grams(["a"]), [n_grams(["a"])]) == 0, "one video says nothing of rarity"
