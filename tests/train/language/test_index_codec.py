"""Each index is its digits, the same ids everywhere; tokenizers that cannot write them are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.train.language.tokenizer_kit import FAMILIES, family

from vsumdata.manifests.errors import UsageError
from vsumdata.train.language.index_codec import make_codec

NAMES = st.sampled_from(sorted(FAMILIES))


def test_the_families_differ_as_real_tokenizers_do() -> None:
    """Left to themselves: two digits, one token of both, one of both with the blank."""
    pieces = {name: [family(name).tokenizer.id_to_token(i) for i in family(name).encode("x, 09")] for name in FAMILIES}
    assert pieces["per-digit"][-2:] == ["0", "9"]
    assert pieces["three-digits"][-1] == "09"
    assert pieces["gpt2"][-1] == "Ġ09"
    assert pieces["metaspace"][-2:] == ["0", "9"]


@given(NAMES, st.integers(10, 1000), st.data())
def test_what_is_listed_is_read(name: str, frames: int, data: st.DataObject) -> None:
    codec = family(name).codec(frames)
    indexes = data.draw(st.lists(st.integers(0, frames - 1), min_size=1, max_size=12))
    ids = codec.listed(indexes)
    assert codec.read(ids[1:-1]) == indexes
    shown = family(name).decode(list(ids)).replace(" ", "")
    assert shown == "[" + ",".join(str(index).zfill(codec.width) for index in indexes) + "]"
    assert len(ids) == 2 + codec.width * len(indexes) + len(codec.separator) * (len(indexes) - 1)
    for index in indexes:
        assert codec.prompt(index)[1:-1] == codec.digits(index), "the same ids in the prompt and in an answer"


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_widths(name: str) -> None:
    assert [family(name).codec(frames).width for frames in (10, 100, 101, 1000)] == [2, 2, 3, 3]


def test_a_metaspace_bracket_brings_its_blank_and_the_closing_one_none() -> None:
    its = family("metaspace")
    codec, word = its.codec(100), its.encode("a")
    assert codec.joins
    assert codec.space == ()
    assert its.decode([*word, *codec.listed([7, 8])]) == "a [07, 08]"
    assert not family("gpt2").codec(100).joins
    assert family("gpt2").codec(100).space


@pytest.mark.parametrize("ids", [[], [0], "half", "other separator", "no digit"])
def test_what_is_no_list_is_refused(ids: object) -> None:
    codec = family("per-digit").codec(100)
    digits = [*codec.digits(3), *codec.separator, *codec.digits(4)]
    wrong = {
        "half": digits[:-1],
        "other separator": [*codec.digits(3), *[codec.closing] * len(codec.separator), *codec.digits(4)],
        "no digit": [codec.opening, *digits],
    }
    with pytest.raises(ValueError):
        codec.read(wrong[ids] if isinstance(ids, str) else ids)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [-1, 100])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="not in 0 to 99"):
        family("gpt2").codec(100).digits(index)


@pytest.mark.parametrize("frames", [9, 1001])
def test_numbers_of_frames_that_are_no_use(frames: int) -> None:
    with pytest.raises(UsageError, match=r"model\.frames"):
        family("gpt2").codec(frames)


@pytest.mark.parametrize(
    ("unknown", "words"),
    [
        ("0123456789", "each digit"),
        ("78", "each digit"),
        ("[]", r"tokens for `\["),
        (",7", "tokens for"),
        (".!?", "`!`"),
    ],
)
def test_a_tokenizer_without_these_tokens_is_refused_by_name(unknown: str, words: str) -> None:
    def encode(text: str) -> list[int]:
        return [0 if character in unknown else ord(character) for character in text]

    with pytest.raises(UsageError, match=words) as error:
        make_codec(encode, lambda ids: "", 100, "tiny-llm")
    assert "tiny-llm" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("dropped", "words"), [("0123456789", "each digit"), ("]", "`,`"), (", ", "`,`"), ("!", "`!`")]
)
def test_a_tokenizer_that_drops_these_is_refused(dropped: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_codec(lambda text: [ord(c) for c in text if c not in dropped], lambda ids: "", 100, "tiny-llm")
