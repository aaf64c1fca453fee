"""Recognise speech: turn windows of speech into words with times, with one of two engines.

Times are seconds from the start of the sound; audio is float32 mono at 16 kHz. Batched decoding can lose speech or
repeat itself (faster-whisper#1179). So each window's result is checked, and a poor one is decoded again sequentially.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.hub import local_path
from vsumdata.stages.speech.sentences import Word
from vsumdata.stages.speech.voice import SAMPLE_RATE_HZ, Window, uncovered_s

BATCH_WINDOWS = {"cpu": 8, "cuda": 24}
BEAM_SIZE = 5
# The files of a CTranslate2 model that faster-whisper reads.
MODEL_FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")

# Whisper's own limits (openai-whisper, transcribe.py): text beyond them is repeated or made up.
MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
MAX_NO_SPEECH_PROB = 0.6
# Slow narration has about one word per second of speech, ordinary talk two to three.
MIN_WORDS_PER_S = 0.5
# A longer time of speech without a word means that the decoder dropped some.
MAX_UNCOVERED_S = 4.0


@dataclass(frozen=True)
class Segment:
    """Words that were decoded together, and how sure Whisper was of them.

    A word keeps the space before it, if its language writes one.
    """

    words: tuple[Word, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float

    def credible(self) -> bool:
        """Whether this is speech, and neither a repeated phrase nor text invented in silence."""
        # As in openai-whisper: a high no-speech probability alone is no proof, only together with a doubtful text.
        silent = self.no_speech_prob > MAX_NO_SPEECH_PROB and self.avg_logprob < MIN_AVG_LOGPROB
        return bool(self.words) and not silent and self.compression_ratio <= MAX_COMPRESSION_RATIO


class Engine(Protocol):
    """What both speech recognisers can do."""

    def language_probs(self, audio: np.ndarray) -> Mapping[str, float]:
        """The probability of each language in the first 30 s of `audio`."""

    def recognise(self, audio: np.ndarray, windows: Sequence[Window], language: str) -> list[list[Segment]]:
        """The segments of each window, decoded in batches and not yet checked."""

    def recognise_carefully(self, audio: np.ndarray, window: Window, language: str) -> list[Segment]:
        """The segments of one window, decoded sequentially, with rising temperatures while the text is poor."""


def complete(window: Window, segments: Sequence[Segment]) -> bool:
    """Whether credible words cover the speech of the window."""
    words = [word for segment in segments for word in segment.words]
    sure = all(segment.credible() and segment.avg_logprob >= MIN_AVG_LOGPROB for segment in segments)
    enough = len(words) >= MIN_WORDS_PER_S * window.speech_s
    return sure and enough and uncovered_s(window, words) <= MAX_UNCOVERED_S


def transcribe(
    engine: Engine, audio: np.ndarray, windows: Sequence[Window], language: str
) -> Iterator[tuple[list[Word], bool]]:
    """Yield each window's words, and whether it had to be decoded a second time."""
    for window, first in zip(windows, engine.recognise(audio, windows, language), strict=True):
        if complete(window, first):
            yield _words(first), False
            continue
        second = engine.recognise_carefully(audio, window, language)
        # The second try can be the poorer one. The longer credible text wins, on a tie the second.
        kept = [[s for s in segments if s.credible()] for segments in (second, first)]
        yield max(map(_words, kept), key=len), True


def detect_language(engine: Engine, audio: np.ndarray, windows: Sequence[Window]) -> tuple[str, float]:
    """The most probable language and its probability, averaged over the first three windows."""
    # Three, because the first one is often a jingle or a greeting in another language.
    probs = [engine.language_probs(window.cut(audio)) for window in windows[:3]]
    mean = {name: sum(p.get(name, 0.0) for p in probs) / len(probs) for name in set().union(*probs)}
    # Sorted, because the order of a set changes from process to process, and with it the choice between equals.
    language = max(sorted(mean), key=mean.__getitem__)
    return language, mean[language]


def choose_device(wanted: str, given: str) -> str:
    """The device that `asr.device` (`auto`, `cpu` or `cuda`) means for a worker with the device `given`.

    Raises UsageError for `cuda` on a worker without a GPU.
    """
    if wanted == "cuda" and not given.startswith("cuda"):
        # Numbers differ (int8 on CPUs, float16 on GPUs), and so does the time, tenfold.
        raise UsageError(
            "asr.device is cuda, but torch finds no GPU for this worker: use `--set asr.device=cpu` or `auto`"
        )
    return "cpu" if wanted == "cpu" else given


def open_engine(name: str, location: str, device: str, threads: int) -> Engine:
    """Load `faster-whisper` or `openai-whisper`. Raises ValueError for others, UsageError if the model cannot be had.

    `location` is what `models.resolve_asr` gives, or a path.
    """
    engines: dict[str, Callable[[str, str, int], Engine]] = {
        "faster-whisper": FasterWhisper,
        "openai-whisper": OpenAIWhisper,
    }
    if name not in engines:
        raise ValueError(f"asr.engine is {name!r}; it is one of {', '.join(engines)}")
    return engines[name](location, device, threads)


class FasterWhisper:
    """Whisper on CTranslate2: int8 on CPUs, float16 on GPUs."""

    def __init__(self, location: str, device: str, threads: int) -> None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        compute_type = "float16" if device == "cuda" else "int8"
        path = local_path(location, only=MODEL_FILES)
        # By its folder: a name would be looked up on the hub, where it may mean another revision by now.
        folder = str(path.parent if path.is_file() else path)
        self.model = WhisperModel(folder, device=device, compute_type=compute_type, cpu_threads=threads)
        self.batched = BatchedInferencePipeline(self.model)
        self.batch = BATCH_WINDOWS[device]

    def language_probs(self, audio: np.ndarray) -> Mapping[str, float]:
        if not self.model.model.is_multilingual:
            return {"en": 1.0}
        return dict(self.model.detect_language(audio)[2])

    def recognise(self, audio: np.ndarray, windows: Sequence[Window], language: str) -> list[list[Segment]]:
        results: list[list[Segment]] = []
        # Batch by batch, because the library computes the spectrograms of all windows before it decodes the first.
        for at in range(0, len(windows), self.batch):
            clips = [{"start": w.start_s, "end": w.end_s} for w in windows[at : at + self.batch]]
            # Without timestamp tokens each window gives one segment. With them the library drops the text after the
            # last token, which is one cause of the lost speech that users report (faster-whisper#1179).
            segments, _ = self.batched.transcribe(
                audio,
                language=language,
                clip_timestamps=clips,
                word_timestamps=True,
                without_timestamps=True,
                batch_size=self.batch,
                beam_size=BEAM_SIZE,
            )
            results += [[_segment(vars(s), [vars(w) for w in s.words or ()])] for s in segments]
        return results

    def recognise_carefully(self, audio: np.ndarray, window: Window, language: str) -> list[Segment]:
        segments, _ = self.model.transcribe(
            window.cut(audio),
            language=language,
            word_timestamps=True,
            # Conditioned on its own text, Whisper can get stuck in a loop of one phrase (its transcribe.py).
            condition_on_previous_text=False,
            beam_size=BEAM_SIZE,
        )
        found = [_segment(vars(s), [vars(w) for w in s.words or ()]) for s in segments]
        return [_later(segment, window.start_s) for segment in found]


class OpenAIWhisper:
    """The reference implementation. Windows are decoded in batches, poor results again sequentially."""

    def __init__(self, location: str, device: str, threads: int) -> None:
        import torch
        import whisper

        torch.set_num_threads(threads)
        # A name's weights are checked against the hash in their URL.
        known = location in whisper.available_models()
        self.model = whisper.load_model(location if known else str(local_path(location)), device=device)
        self.fp16 = device == "cuda"
        self.batch = BATCH_WINDOWS[device]

    def language_probs(self, audio: np.ndarray) -> Mapping[str, float]:
        if not self.model.is_multilingual:
            return {"en": 1.0}
        return self.model.detect_language(self.spectrogram(audio))[1]

    def recognise(self, audio: np.ndarray, windows: Sequence[Window], language: str) -> list[list[Segment]]:
        import torch
        import whisper

        options = whisper.DecodingOptions(
            language=language, without_timestamps=True, beam_size=BEAM_SIZE, fp16=self.fp16
        )
        results: list[list[Segment]] = []
        for at in range(0, len(windows), self.batch):
            cuts = [window.cut(audio) for window in windows[at : at + self.batch]]
            mels = torch.stack([self.spectrogram(cut) for cut in cuts])
            decoded = grouped_task()(self.model, options).run(mels)
            for window, cut, mel, result in zip(windows[at:], cuts, mels, decoded, strict=False):
                found = self.with_words(result, mel, len(cut), language)
                results.append([_later(_segment(found, found["words"]), window.start_s)])
        return results

    def spectrogram(self, audio: np.ndarray) -> Any:
        """The log-mel spectrogram that the encoder takes, of at most 30 s, padded to 30 s."""
        import whisper

        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(audio), self.model.dims.n_mels, device=self.model.device)
        return mel.half() if self.fp16 else mel

    def with_words(self, result: Any, mel: Any, num_samples: int, language: str) -> dict[str, Any]:
        """Turn a window's result into the one segment that openai-whisper's `transcribe` would make of it."""
        from whisper.audio import HOP_LENGTH
        from whisper.timing import add_word_timestamps
        from whisper.tokenizer import get_tokenizer

        duration_s = num_samples / SAMPLE_RATE_HZ
        found = {**vars(result), "seek": 0, "start": 0.0, "end": duration_s, "words": []}
        tokenizer = get_tokenizer(
            self.model.is_multilingual, num_languages=self.model.num_languages, language=language, task="transcribe"
        )
        # `add_word_timestamps` fails on a result that holds special tokens alone.
        if any(token < tokenizer.eot for token in result.tokens):
            add_word_timestamps(
                segments=[found],
                model=self.model,
                tokenizer=tokenizer,
                mel=mel,
                num_frames=num_samples // HOP_LENGTH,
                last_speech_timestamp=0.0,
            )
        return found

    def recognise_carefully(self, audio: np.ndarray, window: Window, language: str) -> list[Segment]:
        result = self.model.transcribe(
            np.ascontiguousarray(window.cut(audio)),
            language=language,
            word_timestamps=True,
            condition_on_previous_text=False,
            fp16=self.fp16,
            beam_size=BEAM_SIZE,
        )
        return [_later(_segment(s, s["words"]), window.start_s) for s in result["segments"]]


@functools.cache
def grouped_task() -> Any:
    """openai-whisper's decoder, corrected so that it can beam-search several windows at once."""
    # whisper#2197: the library (20250625) repeats the tokens for each beam but not the sound. One window passes by
    # broadcasting; two raise an error about shapes.
    from whisper.decoding import DecodingTask

    class GroupedTask(DecodingTask):  # type: ignore[misc]
        def _get_audio_features(self, mel: Any) -> Any:
            return super()._get_audio_features(mel).repeat_interleave(self.n_group, dim=0)

        def _detect_language(self, audio_features: Any, tokens: Any) -> Any:
            return super()._detect_language(audio_features[:: self.n_group], tokens)

    return GroupedTask


def _segment(found: Mapping[str, Any], words: Iterable[Mapping[str, Any]]) -> Segment:
    """Build a segment; both engines use the same names."""
    return Segment(
        words=tuple(Word(float(w["start"]), float(w["end"]), w["word"]) for w in words),
        avg_logprob=float(found["avg_logprob"]),
        no_speech_prob=float(found["no_speech_prob"]),
        compression_ratio=float(found["compression_ratio"]),
    )


def _later(segment: Segment, offset_s: float) -> Segment:
    words = (Word(w.start_s + offset_s, w.end_s + offset_s, w.text) for w in segment.words)
    return replace(segment, words=tuple(words))


def _words(segments: Iterable[Segment]) -> list[Word]:
    return [word for segment in segments for word in segment.words]
