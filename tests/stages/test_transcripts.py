"""Transcripts: captions first, else real Whisper (the packaged tiny.en weights)."""

from __future__ import annotations

import re
import wave
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from tests.recordings import RECORDINGS
from tests.stages.speech.speech_kit import needs_weights, read_audio, weights

from vsumdata.manifests import rows, tables
from vsumdata.manifests.errors import FailVideo, SkipVideo, UsageError
from vsumdata.stages import transcripts
from vsumdata.stages.speech import voice, whisper
from vsumdata.stages.speech.sentences import Word
from vsumdata.stages.stage import Context

MEDIA = RECORDINGS / "media"
RATE_HZ = voice.SAMPLE_RATE_HZ
VTT = "WEBVTT\n\n00:00:01.000 --> 00:00:03.000\nPeel the garlic. Then cut it.\n"


def stage(location: str = "/no/such/model", languages=("en",)):
    options = {"languages": list(languages), "engine": "faster-whisper", "model": "m", "location": location}
    return transcripts.load(options, Context(root="/nowhere", scratch="/nowhere", threads=2))


@pytest.mark.parametrize(
    ("wanted", "given", "device"),
    [("auto", "cpu", "cpu"), ("auto", "cuda", "cuda"), ("cpu", "cuda", "cpu"), ("cuda", "cuda", "cuda")],
)
def test_the_device_is_the_one_asked_for(monkeypatch, tmp_path, wanted, given, device):
    opened = []
    (tmp_path / "talk.wav").touch()
    monkeypatch.setattr(whisper, "open_engine", lambda name, location, device, threads: opened.append(device))
    monkeypatch.setattr(transcripts, "from_speech", lambda media, options, engine, context: {"engine": engine()})
    options = {"languages": ["en"], "engine": "faster-whisper", "model": "m", "location": "m", "device": wanted}
    listen = transcripts.load(options, Context(root="/nowhere", scratch="/nowhere", device=given))
    listen(row(tmp_path / "talk.wav"))
    assert opened == [device]


def test_cuda_without_a_gpu_is_an_error_before_the_first_video():
    options = {"languages": ["en"], "engine": "faster-whisper", "model": "m", "location": "m", "device": "cuda"}
    with pytest.raises(UsageError, match=r"asr\.device is cuda, but torch finds no GPU .*asr\.device=cpu"):
        transcripts.load(options, Context(root="/nowhere", scratch="/nowhere", device="cpu"))


def row(media: Path | None = None, **caption):
    track = {"language": "en", "kind": "manual", "format": "vtt", "text": VTT} | caption if caption else None
    video = {"caption": track, "language": None, "duration_s": 4.0}
    found = {"video_id": "v", "source": {}, "videos": video}
    return found | ({"media": str(media)} if media else {})


def write_wav(path: Path, audio: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def recorded(name: str) -> Path:
    if not (MEDIA / name).is_file():
        pytest.skip(f"recording {name} is not here")
    return MEDIA / name


def words_of(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def test_a_caption_needs_no_model_and_no_media():
    found = stage()(row(kind="automatic", language="en-US"))
    (back,) = rows.to_rows(rows.to_table(tables.payload("transcripts", {}), [found]))
    assert (back["kind"], back["language"], back["engine"]) == ("automatic", "en-US", "captions")
    assert back["model"] is back["speech_s"] is None
    assert [s["text"] for s in back["sentence"]] == ["Peel the garlic.", "Then cut it."]


def test_a_caption_whose_language_nobody_states_is_taken():
    assert stage()(row(language=None))["language"] == "en"


@pytest.mark.parametrize(
    ("caption", "why"),
    [
        ({"text": "<html>gone</html>"}, "caption: "),
        ({"text": "WEBVTT\n"}, "caption without a sentence"),
        ({"language": "de"}, "caption in de"),
    ],
)
def test_an_unusable_caption_falls_through_to_the_sound(tmp_path, caption, why):
    silence = write_wav(tmp_path / "a.wav", np.zeros(RATE_HZ))
    found = stage()(row(silence, **caption))
    assert found["kind"] == "none"
    assert found["detail"].startswith(why)
    with pytest.raises(FailVideo, match="file_missing"):
        stage()(row(**caption))
    with pytest.raises(FailVideo, match=r"file_missing: .*gone\.mp4"):
        stage()(row(tmp_path / "gone.mp4", **caption))


def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    at = np.arange(8 * RATE_HZ) / RATE_HZ
    chord = sum(np.sin(2 * np.pi * hz * at) for hz in (220, 277.2, 329.6)) / 4
    return {
        "silence": np.zeros(8 * RATE_HZ),
        "tones": chord * (0.6 + 0.4 * np.sin(2 * np.pi * 2 * at)),
        "noise": rng.normal(0, 0.1, 8 * RATE_HZ),
        "nothing": np.zeros(0),
    }


@needs_weights
@pytest.mark.parametrize("name", sounds())
def test_sound_without_speech_is_none_and_done(tmp_path, name):
    found = stage(str(weights()))(row(write_wav(tmp_path / "a.wav", sounds()[name])))
    assert (found["kind"], found["sentence"], found["language"]) == ("none", [], None)
    assert "detail" not in found


@needs_weights
def test_a_corrupt_file_is_a_failure(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\x00\x01garbage" * 500)
    with pytest.raises(FailVideo, match="unreadable"):
        stage(str(weights()))(row(tmp_path / "a.mp4"))


@needs_weights
@pytest.mark.recorded
def test_real_speech_word_for_word():
    found = stage(str(weights()))(row(recorded("jfk.flac")))
    text = words_of(" ".join(s["text"] for s in found["sentence"]))
    asked = "ask not what your country can do for you ask what you can do for your country"
    assert text == f"and so my fellow americans {asked}"
    assert (found["kind"], found["language"], found["engine"], found["model"]) == (
        "asr", "en", "faster-whisper", "m",
    )  # fmt: skip
    assert 7 < found["speech_s"] < 11
    times = [t for s in found["sentence"] for t in (s["start_s"], s["end_s"])]
    assert times == sorted(times)
    assert times[0] < 1.5
    assert 9 < times[-1] <= 11


@needs_weights
@pytest.mark.recorded
def test_speech_after_a_long_silence_keeps_its_time(tmp_path):
    read = read_audio(Path(recorded("jfk.flac")))
    audio = np.concatenate([np.zeros(45 * RATE_HZ, np.float32), read, np.zeros(40 * RATE_HZ, np.float32), read])
    found = stage(str(weights()))(row(write_wav(tmp_path / "a.wav", audio)))
    assert words_of(" ".join(s["text"] for s in found["sentence"])).count("ask not what your country") == 2
    starts = [s["start_s"] for s in found["sentence"] if "fellow" in s["text"]]
    np.testing.assert_allclose(starts, [45.2, 96.2], atol=0.8)


@needs_weights
@pytest.mark.recorded
def test_a_language_that_was_not_asked_for_is_skipped():
    with pytest.raises(SkipVideo) as skip:
        stage(str(weights()), languages=["de"])(row(recorded("jfk.flac")))
    assert (skip.value.reason, skip.value.detail) == ("language", "en")


def test_pieces_become_words_in_order_without_overlap():
    pieces = [
        Word(0, 1.2, " don"),
        Word(1.2, 1.4, "'t"),
        Word(1.3, 2, " cut"),
        Word(9, 9.5, "ting"),
        Word(3, 3, " "),
    ]
    assert transcripts.spoken(pieces) == [Word(0, 1.3, "don't"), Word(1.3, 2, "cut"), Word(9, 9.5, "ting")]


def test_words_of_a_later_stretch_keep_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    audio, window = np.zeros(16_000, np.float32), voice.Window(((0.5, 2.0),))
    heard = [voice.Stretch(start_s, audio, [window]) for start_s in (0.0, 600.0)]
    words = [Word(0.5, 1.0, " Cut"), Word(1.0, 2.0, " it.")]
    monkeypatch.setattr(transcripts, "stream_audio", lambda media, idle_s: mock.MagicMock())
    monkeypatch.setattr(voice, "stretches", lambda sound: iter(heard))
    monkeypatch.setattr(whisper, "detect_language", lambda *_: ("en", 1.0))
    monkeypatch.setattr(whisper, "transcribe", lambda *_: iter([(words, False)]))
    options = {"languages": ["en"], "engine": "faster-whisper", "model": "m"}
    found = transcripts.from_speech("a.mp4", options, mock.Mock(), Context(root="/nowhere", scratch="/nowhere"))
    assert [(each["start_s"], each["end_s"]) for each in found["sentence"]] == [(0.5, 2.0), (600.5, 602.0)]


# ---- captions that are not clean ---------------------------------------------------------------------------


SPARSE = "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nPeel the garlic.\n"


def unclean(media: Path | None = None, **options):
    """A row whose automatic captions cover a second of a hundred, and what becomes of it."""
    given = row(media, kind="automatic", text=SPARSE)
    given["videos"]["duration_s"] = 100.0
    settings = {"languages": ["en"], "engine": "faster-whisper", "model": "m", "location": "/no/such/model"} | options
    return transcripts.load(settings, Context(root="/nowhere", scratch="/nowhere", threads=2))(given)


def test_sparse_automatic_captions_are_taken_only_where_there_is_no_sound():
    found = unclean()
    assert (found["kind"], found["engine"]) == ("automatic", "captions")
    assert found["detail"].startswith("automatic captions not clean: covers 1% of the video; taken all the same")
    assert found["caption_quality"]["clean"] is False
    rows.to_table(tables.payload("transcripts", {}), [{k: v for k, v in found.items() if k != "detail"}])
    with pytest.raises(FailVideo, match="automatic captions are not taken"):
        unclean(automatic="never")
    assert "detail" not in unclean(automatic="always")
    assert "detail" not in unclean(clean={"min_coverage_of_video": 0.0})


def test_manual_captions_are_taken_as_they_are_and_judged():
    found = stage()(
        row(kind="manual", text=SPARSE) | {"videos": row(kind="manual", text=SPARSE)["videos"] | {"duration_s": 100.0}}
    )
    assert (found["kind"], found["caption_quality"]["clean"]) == ("manual", False)


def heard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *spans: tuple[float, float]) -> Path:
    audio, window = np.zeros(16_000, np.float32), [voice.Window(spans)] if spans else []
    monkeypatch.setattr(transcripts, "stream_audio", lambda media, idle_s: mock.MagicMock())
    monkeypatch.setattr(voice, "stretches", lambda sound: iter([voice.Stretch(0.0, audio, window)]))
    (tmp_path / "a.mp4").touch()
    return tmp_path / "a.mp4"


def test_captions_that_cover_what_is_said_are_clean(monkeypatch, tmp_path):
    found = unclean(heard(monkeypatch, tmp_path, (0.9, 2.1)))
    assert (found["kind"], found["speech_s"]) == ("automatic", pytest.approx(1.2))
    assert found["caption_quality"]["clean"] is True
    assert found["caption_quality"]["coverage"] == pytest.approx(1.0)


def test_whisper_takes_over_and_the_captions_take_over_from_it(monkeypatch, tmp_path):
    media = heard(monkeypatch, tmp_path, (0.9, 2.1), (30.0, 60.0))
    monkeypatch.setattr(whisper, "open_engine", lambda *_: mock.Mock())
    monkeypatch.setattr(whisper, "detect_language", lambda *_: ("en", 1.0))
    said = [Word(30.0, 31.0, " Cut"), Word(31.0, 32.0, " it.")]
    monkeypatch.setattr(whisper, "transcribe", lambda *_: iter([(said, False)]))
    found = unclean(media)
    assert (found["kind"], [s["text"] for s in found["sentence"]]) == ("asr", ["Cut it."])
    assert found["detail"] == "automatic captions not clean: covers 4% of the speech"
    assert found["caption_quality"]["clean"] is False
    said.clear()
    found = unclean(media)
    assert found["kind"] == "automatic"
    assert found["detail"].endswith("taken all the same: Whisper found no words")


def test_captions_over_music_are_not_taken(monkeypatch, tmp_path):
    found = unclean(heard(monkeypatch, tmp_path))
    assert (found["kind"], found["sentence"]) == ("none", [])
    assert "not clean" in found["detail"]


def test_timing_lines_that_cannot_be_read_are_counted():
    found = stage()(row(text=VTT + "\n00:00:0x --> 00:00:0y\nLost.\n"))
    assert found["detail"] == "1 timing line could not be read"


def test_a_caption_file_in_no_known_format_is_said(tmp_path):
    found = stage()(row(write_wav(tmp_path / "a.wav", np.zeros(RATE_HZ)), text="{0}{25}Mix it."))
    assert "formats that are read: json3, srv3, vtt, srt, ttml" in found["detail"]
