"""Four families of tokenizers, trained here from a paragraph, and the codec of each."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from vsumdata.train.language.grammar import Vocabulary, make_vocabulary
from vsumdata.train.language.index_codec import IndexCodec, make_codec

TEXT = [
    "A woman holds up a brush [08, 09, 10, 11, 12, 13]. She brushes her hair [42, 43, 44, 60]. Does she stop? No!",
    "[07]A man cuts an onion, twice. [40]He eats it [99]. In 2026 he had 12 onions; 100 were left of 1,500.",
    "Two dogs run on the beach. The dough rests; it rises. A person is seen sitting in a chair [03, 04, 05].",
] * 4
SPECIAL = ["<s>", "</s>", "<pad>"]
BYTES = pre_tokenizers.ByteLevel.alphabet()


def _byte_level(split: pre_tokenizers.PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer)


def _trained(tokenizer: Tokenizer, alphabet: list[str] = BYTES) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=640, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def per_digit() -> Tokenizer:
    """Qwen2's: each digit is alone."""
    return _byte_level(pre_tokenizers.Split(Regex(r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"))


def three_digits() -> Tokenizer:
    """Llama-3's: up to three digits are one token."""
    return _byte_level(pre_tokenizers.Split(Regex(r"\p{N}{1,3}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"))


def gpt2() -> Tokenizer:
    """GPT-2's: ` 09` is one token, and another one than `09`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer)


def metaspace() -> Tokenizer:
    """Llama-2's: a text begins with a blank of the tokenizer's own."""
    tokenizer = Tokenizer(models.BPE(unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return _trained(tokenizer, list("▁[]0123456789.,!?;" + "abcdefghijklmnopqrstuvwxyz"))


FAMILIES = {"per-digit": per_digit, "three-digits": three_digits, "gpt2": gpt2, "metaspace": metaspace}


@dataclass(frozen=True, eq=False)
class Family:
    tokenizer: Tokenizer
    vocabulary: Vocabulary

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=False)

    def codec(self, frames: int) -> IndexCodec:
        return _codec(self, frames)


@functools.cache
def _codec(family: Family, frames: int) -> IndexCodec:
    return make_codec(family.encode, family.decode, frames, "test")


@functools.cache
def family(name: str) -> Family:
    tokenizer = FAMILIES[name]()
    special = [number for number in map(tokenizer.token_to_id, SPECIAL) if number is not None]
    end = special[1]
    vocabulary = make_vocabulary(
        lambda token: tokenizer.decode([token], skip_special_tokens=False), tokenizer.get_vocab_size(), special, [end]
    )
    return Family(tokenizer, vocabulary)
