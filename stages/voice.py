"""Where there is speech: voice activity, packed into windows of at most 30 s.

Times are seconds from the start of the sound; audio is float32 mono at 16 kHz. Only these stretches are decoded
at all: Whisper invents text in silence and music.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vsumdata.stages.sentences import Word

SAMPLE_RATE_HZ = 16_000
WINDOW_S = 30.0  # what Whisper's encoder sees at once
STRETCH_S = 600.0
DITHER = np.float32(1e-4)  # minutes of digital silence numb the detector: it then misses a third of what follows
VAD = {"max_speech_duration_s": 28.0, "min_silence_duration_ms": 300, "speech_pad_ms": 200}


@dataclass(frozen=True)
class Window:
    """A stretch of at most `WINDOW_S` seconds and the spans of speech in it."""

    speech: tuple[tuple[float, float], ...]

    @property
    def start_s(self) -> float:
        return self.speech[0][0]

    @property
    def end_s(self) -> float:
        return self.speech[-1][1]

    @property
    def speech_s(self) -> float:
        return sum(stop - start for start, stop in self.speech)

    def cut(self, audio: np.ndarray) -> np.ndarray:
        return audio[round(self.start_s * SAMPLE_RATE_HZ) : round(self.end_s * SAMPLE_RATE_HZ)]


@dataclass(frozen=True)
class Stretch:
    """A piece of a video's sound that no speech crosses the ends of; its windows' times are from its own start."""

    start_s: float
    audio: np.ndarray
    windows: list[Window]


def stretches(chunks: Iterable[np.ndarray]) -> Iterator[Stretch]:
    """Cut a stream of sound into stretches of about `STRETCH_S`: a long talk needs no more memory than a short one."""
    held: list[np.ndarray] = []
    begun = 0
    for chunk in chunks:
        held.append(chunk)
        if sum(map(len, held)) < STRETCH_S * SAMPLE_RATE_HZ:
            continue
        audio = np.concatenate(held)
        spans, stop = speech_spans(audio), len(audio)
        # Speech at the end may go on: the next stretch starts with it.
        if spans and spans[-1][1] * SAMPLE_RATE_HZ >= stop and spans[-1][0] > 0:
            stop = round(spans.pop()[0] * SAMPLE_RATE_HZ)
        yield Stretch(begun / SAMPLE_RATE_HZ, audio[:stop], windows_of(spans))
        held, begun = [audio[stop:].copy()], begun + stop
    if held:
        audio = np.concatenate(held)
        yield Stretch(begun / SAMPLE_RATE_HZ, audio, windows_of(speech_spans(audio)))


def speech_spans(audio: np.ndarray) -> list[tuple[float, float]]:
    """The parts of `audio` that hold speech, each at most 28 s, in order."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    noise = np.random.default_rng(0).standard_normal(len(audio), np.float32)
    found = get_speech_timestamps(audio + DITHER * noise, VadOptions(**VAD))
    return [(span["start"] / SAMPLE_RATE_HZ, span["end"] / SAMPLE_RATE_HZ) for span in found]


def windows_of(spans: Sequence[tuple[float, float]]) -> list[Window]:
    """Pack spans into as few windows as can be (each costs a whole window's encoding), cut at the longest pauses."""
    # best[n]: number of windows of the first n spans, less the pauses that they are cut at, where the last begins.
    best: list[tuple[int, float, int]] = [(0, 0.0, 0)]
    for n, (_, end_s) in enumerate(spans, 1):
        found = []
        for first in range(n - 1, -1, -1):
            if first < n - 1 and end_s - spans[first][0] > WINDOW_S:
                break
            pause_s = spans[first][0] - spans[first - 1][1] if first else 0.0
            found.append((best[first][0] + 1, best[first][1] - pause_s, first))
        best.append(min(found))
    windows, last = [], len(spans)
    while last:
        first = best[last][2]
        windows.append(Window(tuple(spans[first:last])))
        last = first
    return windows[::-1]


def uncovered_s(window: Window, words: Iterable[Word]) -> float:
    """The longest stretch of the window's speech in which no word was recognised."""
    longest, marks = 0.0, sorted((word.start_s, word.end_s) for word in words)
    for start, stop in window.speech:
        at = start
        for first, last in marks:
            if first >= stop:
                break
            longest, at = max(longest, first - at), max(at, last)
        longest = max(longest, stop - at)
    return longest
