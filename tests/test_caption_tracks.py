import json
from pathlib import Path
from typing import Any

import pytest

from vsumdata.stages.captions import choose_track

RECORDED = Path(__file__).parents[2] / "shared" / "data" / "youtube" / "info_json"


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("name", "languages", "expected"),
    [
        ("pinchflat__example.info.json", ["en"], ("en", "automatic", "json3")),
        ("pinchflat__example.info.json", ["en-GB"], ("en", "automatic", "json3")),
        ("pinchflat__example.info.json", ["de"], ("de", "manual", "json3")),
        ("pinchflat__example.info.json", ["fr"], None),
        ("tubesync__metadata_2023-06-29.json", ["en"], ("en", "automatic", "json3")),
        ("tubesync__metadata_2023-06-29.json", ["de", "fr"], None),
    ],
)
def test_recorded_info_gives_an_untranslated_track(name: str, languages: list[str], expected):
    if not RECORDED.exists():
        pytest.skip("the recordings are not here")
    track = choose_track(json.loads((RECORDED / name).read_text(encoding="utf-8")), languages)
    assert (track and (track.language, track.kind, track.format)) == expected
    if track is not None:
        assert track.url is not None
        assert "tlang=" not in track.url
        assert f"lang={track.language}" in track.url


def entry(ext: str, query: str = "", **more) -> dict:
    return {"ext": ext, "url": f"https://www.youtube.com/api/timedtext?v=x{query}&fmt={ext}", **more}


def test_manual_before_automatic_and_json3_before_vtt():
    info: dict[str, Any] = {
        "language": "en",
        "subtitles": {
            "live_chat": [entry("json3")],
            "en-US": [entry("ttml"), entry("vtt"), entry("json3")],
            "en": [entry("srt"), entry("vtt")],
        },
        "automatic_captions": {"en": [entry("json3", "&kind=asr")]},
    }
    track = choose_track(info, ["en"])
    assert track is not None
    assert (track.language, track.kind, track.format) == ("en", "manual", "vtt")
    del info["subtitles"]["en"]
    track = choose_track(info, ["en"])
    assert track is not None
    assert (track.language, track.kind, track.format) == ("en-US", "manual", "json3")


def test_keys_with_suffixes_and_tracks_with_data_only():
    info = {"subtitles": {"de-CcQ45jRV4-E": [{"ext": "vtt", "data": "WEBVTT\n"}]}, "automatic_captions": None}
    track = choose_track(info, ["de"])
    assert track is not None
    assert (track.language, track.url, track.data) == ("de", None, "WEBVTT\n")


def test_translated_and_foreign_automatic_tracks_are_never_chosen():
    translated = {"de": [entry("json3", "&lang=en&tlang=de")], "en": [entry("json3", "&lang=en&tlang=en")]}
    assert choose_track({"language": "en", "automatic_captions": translated}, ["de", "en"]) is None
    playlist = {"de": [entry("vtt", protocol="m3u8_native")]}
    assert choose_track({"language": "de", "automatic_captions": playlist}, ["de"]) is None
    dubbed = {"de-orig": [entry("vtt")], "de": [entry("vtt")], "en": [entry("vtt")]}
    assert choose_track({"automatic_captions": dubbed}, ["en"]) is None
    assert choose_track({"subtitles": {"live_chat": [entry("json3")]}}, ["live_chat", "en"]) is None
    assert choose_track({"subtitles": {"en": [{"ext": "vtt"}, None]}, "automatic_captions": []}, ["en"]) is None
