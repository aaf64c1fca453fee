"""Voice activity, windows, and both Whisper engines on the packaged tiny.en weights."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stages.speech.speech_kit import JFK, needs_weights, read_audio, weights, words_of, write_openai_checkpoint

from vsumdata.stages.speech import voice, whisper
from vsumdata.stages.speech.sentences import Word


@pytest.fixture(scope="module")
def engine() -> whisper.Engine:
    return whisper.open_engine("faster-whisper", str(weights()), "cpu", 2)


@pytest.fixture(scope="module")
def jfk(recordings: Path) -> np.ndarray:
    return read_audio(recordings / "media" / "jfk.flac")


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> whisper.Engine:
    """openai-whisper on the same weights, from a checkpoint file."""
    path = tmp_path_factory.mktemp("whisper") / "tiny.en.pt"
    write_openai_checkpoint(weights(), path)
    return whisper.open_engine("openai-whisper", str(path), "cpu", 2)


# openai-whisper's beam search and its vocabulary file.
@pytest.mark.filterwarnings("ignore:__array_wrap__", "ignore:.*gpt2.tiktoken")
@needs_weights
@pytest.mark.recorded
def test_both_engines_hear_the_same_words_at_the_same_times(engine, reference, jfk):
    windows = voice.windows_of(voice.speech_spans(jfk))
    heard = []
    for one in (engine, reference):
        assert whisper.detect_language(one, jfk, windows) == ("en", 1.0)
        results = list(whisper.transcribe(one, jfk, windows, "en"))
        assert [again for _, again in results] == [False]
        heard.append(list(itertools.chain.from_iterable(words for words, _ in results)))
    assert words_of(heard[0]) == words_of(heard[1]) == JFK
    starts = np.array([[word.start_s for word in words] for words in heard])
    apart = np.abs(starts[0] - starts[1])
    assert np.median(apart) < 0.15
    assert apart.max() < 2  # a word beside a pause may begin before or after it


@pytest.mark.filterwarnings("ignore:__array_wrap__", "ignore:.*gpt2.tiktoken")
@needs_weights
@pytest.mark.recorded
def test_openai_whisper_hears_all_windows_in_one_batch(reference, jfk):
    windows = [voice.Window(((start, start + 11.0),)) for start in (0.0, 11.0, 22.0)]
    found = reference.recognise(np.tile(jfk, 3), windows, "en")
    assert [words_of(segment.words) for (segment,) in found] == [JFK] * 3
    starts = [segment.words[0].start_s for (segment,) in found]
    np.testing.assert_allclose(np.diff(starts), 11, atol=0.1)


@needs_weights
@pytest.mark.recorded
def test_voice_activity_in_stretches_loses_nothing(monkeypatch, jfk):
    audio = np.tile(jfk, 3)
    whole = voice.speech_spans(audio)
    monkeypatch.setattr(voice, "STRETCH_S", 7.0)
    found = list(voice.stretches(np.array_split(audio, 50)))
    assert len(found) > 3
    np.testing.assert_array_equal(np.concatenate([stretch.audio for stretch in found]), audio)
    pieces = [
        (stretch.start_s + start, stretch.start_s + stop)
        for stretch in found
        for window in stretch.windows
        for start, stop in window.speech
    ]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(pieces))
    seconds = [np.zeros(34 * 10, bool), np.zeros(34 * 10, bool)]
    for marks, spans in zip(seconds, (whole, pieces), strict=True):
        for start, stop in spans:
            marks[int(start * 10) : int(stop * 10)] = True
    assert (seconds[0] == seconds[1]).mean() > 0.95


@needs_weights
@pytest.mark.recorded
def test_speech_after_minutes_of_digital_silence_is_found_as_well(jfk):
    def seconds(spans):
        return sum(stop - start for start, stop in spans)

    silence = np.zeros(300 * 16_000, np.float32)
    found = voice.speech_spans(np.concatenate([silence, jfk]))
    assert seconds(found) == pytest.approx(seconds(voice.speech_spans(jfk)), rel=0.1)


@needs_weights
@pytest.mark.recorded
def test_the_sequential_way_hears_the_same(engine, jfk):
    (window,) = voice.windows_of(voice.speech_spans(jfk))
    (batched,) = engine.recognise(jfk, [window], "en")
    careful = engine.recognise_carefully(jfk, window, "en")
    assert whisper.complete(window, batched)
    heard = [[word for segment in found for word in segment.words] for found in (batched, careful)]
    assert words_of(heard[0]) == words_of(heard[1]) == JFK
    assert heard[0][0].start_s == pytest.approx(heard[1][0].start_s, abs=0.5)


class Forgetful:
    """The real engine, but its batched answer keeps only the first words: a known failure."""

    def __init__(self, real: whisper.Engine) -> None:
        self.real = real
        self.recognise_carefully = real.recognise_carefully
        self.language_probs = real.language_probs

    def recognise(self, audio, windows, language):
        whole = self.real.recognise(audio, windows, language)
        return [[dataclasses.replace(found[0], words=found[0].words[:3])] for found in whole]


@needs_weights
@pytest.mark.recorded
def test_speech_that_batched_decoding_dropped_is_decoded_again(engine, jfk):
    windows = voice.windows_of(voice.speech_spans(jfk))
    ((words, again),) = whisper.transcribe(Forgetful(engine), jfk, windows, "en")
    assert again
    assert words_of(words) == JFK


def test_an_unknown_engine_is_named():
    with pytest.raises(ValueError, match="'vosk'; it is one of faster-whisper, openai-whisper"):
        whisper.open_engine("vosk", "m", "cpu", 1)


SPANS = st.lists(st.tuples(st.floats(0, 40), st.floats(0.1, 28)), max_size=40)


@given(SPANS)
def test_windows_hold_every_span_and_fit_whisper(gaps):
    spans, at = [], 0.0
    for pause, length in gaps:
        spans.append((at + pause, at + pause + length))
        at = spans[-1][1]
    windows = voice.windows_of(spans)
    assert list(itertools.chain.from_iterable(w.speech for w in windows)) == spans
    assert all(w.end_s - w.start_s <= voice.WINDOW_S + 1e-6 for w in windows)


def test_a_full_window_closes_at_its_longest_pause():
    spans = [(0, 10), (10.2, 18), (20, 24), (24.1, 29), (29.2, 40)]
    assert [w.speech for w in voice.windows_of(spans)] == [tuple(spans[:2]), tuple(spans[2:])]


def test_uncovered_speech():
    window = voice.Window(((0.0, 10.0), (20.0, 26.0)))
    words = [Word(0.5, 4, "a"), Word(4, 5, "b"), Word(8, 21, "c")]
    assert voice.uncovered_s(window, words) == 5
    assert voice.uncovered_s(window, []) == 10


@pytest.mark.parametrize(
    ("avg_logprob", "no_speech_prob", "compression_ratio", "credible"),
    [(-0.3, 0.1, 1.5, True), (-0.3, 0.9, 1.5, True), (-1.2, 0.9, 1.5, False), (-0.1, 0.0, 3.0, False)],
)
def test_made_up_and_repeated_text_is_not_credible(avg_logprob, no_speech_prob, compression_ratio, credible):
    segment = whisper.Segment((Word(0, 1, "a"),), avg_logprob, no_speech_prob, compression_ratio)
    assert segment.credible() == credible
