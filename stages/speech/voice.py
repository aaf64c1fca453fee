"""Find the speech in a sound, and pack it into windows of at most 30 s.

Times are seconds from the start of the sound; audio is float32 mono at 16 kHz. Whisper decodes only these windows,
because it invents text in silence and music.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vsumdata.stages.speech.sentences import Word

SAMPLE_RATE_HZ = 16_000
# Whisper's encoder always sees 30 s; shorter windows are padded.
WINDOW_S = 30.0
# Bounds the memory: three hours of sound need no more than ten minutes of it.
STRETCH_S = 600.0
# The detector is unreliable on signals near zero (silero-vad#396). After minutes of digital silence it was seen to miss
# a third of the speech that followed. Noise 80 dB below full scale prevents that.
DITHER = np.float32(1e-4)
# 28 s, so that a span with its padding of 2 x 200 ms still fits a window.
VAD = {"max_speech_duration_s": 28.0, "min_silence_duration_ms": 300, "speech_pad_ms": 200}


@dataclass(frozen=True)
class Window:
    """At most `WINDOW_S` seconds of sound; `speech` are the spans (start, end) of speech in it."""

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
        """The window's part of `audio`."""
        return audio[round(self.start_s * SAMPLE_RATE_HZ) : round(self.end_s * SAMPLE_RATE_HZ)]


@dataclass(frozen=True)
class Stretch:
    """A piece of a video's sound whose ends cut through no speech. Its windows' times count from its own start."""

    start_s: float
    audio: np.ndarray
    windows: list[Window]


def stretches(chunks: Iterable[np.ndarray]) -> Iterator[Stretch]:
    """Cut a stream of sound into stretches of about `STRETCH_S`, so that a long talk needs no more memory."""
    held: list[np.ndarray] = []
    begun = 0
    for chunk in chunks:
        held.append(chunk)
        if sum(map(len, held)) < STRETCH_S * SAMPLE_RATE_HZ:
            continue
        audio = np.concatenate(held)
        spans, stop = speech_spans(audio), len(audio)
        # Speech at the very end may continue, and a cut would tear a word. So it moves to the next stretch, unless it
        # is all there is: then the stretch would never end.
        if spans and spans[-1][1] * SAMPLE_RATE_HZ >= stop and spans[-1][0] > 0:
            stop = round(spans.pop()[0] * SAMPLE_RATE_HZ)
        yield Stretch(begun / SAMPLE_RATE_HZ, audio[:stop], windows_of(spans))
        # A copy, because a view would keep the whole stretch in memory.
        held, begun = [audio[stop:].copy()], begun + stop
    if held:
        audio = np.concatenate(held)
        yield Stretch(begun / SAMPLE_RATE_HZ, audio, windows_of(speech_spans(audio)))


def speech_spans(audio: np.ndarray) -> list[tuple[float, float]]:
    """The spans (start, end) of speech in `audio`, each at most 28 s, in order."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    # A fixed seed: the same sound must give the same transcript.
    noise = np.random.default_rng(0).standard_normal(len(audio), np.float32)
    found = get_speech_timestamps(audio + DITHER * noise, VadOptions(**VAD))
    return [(span["start"] / SAMPLE_RATE_HZ, span["end"] / SAMPLE_RATE_HZ) for span in found]


def windows_of(spans: Sequence[tuple[float, float]]) -> list[Window]:
    """Pack spans into as few windows as possible, and cut at the longest pauses."""
    # Few, because each window costs the encoding of 30 s. By dynamic programming: best[n] is, for the first n spans,
    # (the number of windows, minus the sum of the pauses at the cuts, the first span of the last window).
    best: list[tuple[int, float, int]] = [(0, 0.0, 0)]
    for n, (_, end_s) in enumerate(spans, 1):
        found = []
        for first in range(n - 1, -1, -1):
            # One span alone always gets a window, even if it is longer.
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
    """The longest time in s within the window's speech without a recognised word."""
    longest, marks = 0.0, sorted((word.start_s, word.end_s) for word in words)
    for start, stop in window.speech:
        at = start
        for first, last in marks:
            if first >= stop:
                break
            longest, at = max(longest, first - at), max(at, last)
        longest = max(longest, stop - at)
    return longest
