"""Which stream is taken: yt-dlp's own selection over format lists as YouTube gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yt_dlp

from vsumdata.stages.youtube.download import FORMATS, ORDERS

SORT = ("quality", "res", "fps", "hdr:12", "source", "vcodec", "channels", "acodec", "lang", "proto")  # the extractor's
SIZES = {144: (256, 0.1), 240: (426, 5), 360: (640, 6), 480: (854, 7), 720: (1280, 8), 1080: (1920, 9)}
LADDER = [(144, 1.4), (240, 2.8), (360, 4.0), (480, 5.1), (720, 9.0), (1080, 20.0)]


def picture(format_id: str, side: int, mb: float | None, *, portrait: bool = False, **more: Any) -> dict[str, Any]:
    width, quality = SIZES[side]
    found = {"format_id": format_id, "ext": "mp4", "vcodec": "avc1.4D4015", "acodec": "none", "quality": quality}
    found |= {"width": width, "height": side, "protocol": "https", "source_preference": -1}
    if portrait:
        found |= {"width": side, "height": width}
    return found | ({"filesize": int(mb * 1e6)} if mb is not None else {}) | {"url": "https://v/"} | more


def sound(format_id: str, kbps: float | None, preference: int = -1, **more: Any) -> dict[str, Any]:
    found = {"format_id": format_id, "ext": "m4a", "vcodec": "none", "acodec": "mp4a.40.5", "quality": 1}
    found |= {"protocol": "https", "language_preference": preference, "tbr": kbps, "url": "https://v/"}
    return found | ({"filesize": int(kbps * 75_000)} if kbps else {}) | more


BOARD = {"format_id": "sb0", "ext": "mhtml", "vcodec": "none", "acodec": "none", "width": 160, "height": 90}
BOARD |= {"protocol": "mhtml", "url": "https://v/", "format_note": "storyboard"}
MUXED_18 = picture("18", 360, None, acodec="mp4a.40.2", tbr=160.0)
AVC = [picture(f"avc-{side}", side, mb) for side, mb in LADDER]
VP9 = [picture(f"vp9-{side}", side, mb * 1.4, vcodec="vp09.00.20.08", ext="webm") for side, mb in LADDER]
HLS = [picture(f"hls-{side}", side, None, protocol="m3u8_native", manifest_url="https://v/", tbr=9.0) for side in SIZES]
SOUNDS = [sound("599", 31), sound("600", 34, acodec="opus", ext="webm"), sound("140", 129), sound("251", 119)]


def taken(what: str, formats: list[dict[str, Any]], duration_s: float | None = 600) -> str:
    options = {"format": FORMATS[what], "format_sort": ORDERS[what], "quiet": True, "ignore_no_formats_error": False}
    info: dict[str, Any] = {
        "id": "v",
        "title": "v",
        "extractor": "youtube",
        "extractor_key": "Youtube",
        "duration": duration_s,
    }
    info |= {"webpage_url": "https://v/", "formats": [dict(one) for one in formats], "_format_sort_fields": SORT}
    with yt_dlp.YoutubeDL(options) as ydl:
        return str(ydl.process_ie_result(info, download=False)["format_id"])


def portrait(formats: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one | {"width": one["height"], "height": one["width"]} for one in formats]


@pytest.mark.parametrize("order", [1, -1], ids=["as listed", "reversed"])
@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        ([BOARD, *SOUNDS, *HLS, *AVC, *VP9, MUXED_18], "avc-240"),
        ([BOARD, *SOUNDS, *portrait(AVC), *portrait(VP9)], "avc-240"),
        ([*AVC, picture("av01", 360, 2.0, vcodec="av01.0.01M.08")], "av01"),
        ([*VP9, picture("muxed", 240, 3.0, acodec="mp4a.40.2")], "muxed"),
        ([AVC[1], picture("muxed", 240, 3.0, acodec="mp4a.40.2")], "avc-240"),
        ([MUXED_18, *SOUNDS], "18"),
        ([picture("unknown", 240, None), AVC[2]], "avc-360"),
        ([picture("unknown", 240, None), picture("rate", 360, None, tbr=90.0)], "rate"),
        ([AVC[0], *AVC[3:], *SOUNDS], "avc-480"),
        ([AVC[0], *SOUNDS], "avc-144"),
        ([picture("17", 144, 0.5, preference=-2), AVC[0]], "avc-144"),
        ([picture("damaged", 240, 1.0, preference=-10), AVC[2]], "avc-360"),
        (HLS, "hls-240"),
        ([{"format_id": "0", "ext": "mp4", "url": "https://v/"}], "0"),
        ([sound("599", 31)], "599"),
    ],
    ids=[
        "the whole list", "portrait", "a better codec", "muxed and smaller", "muxed and larger", "only muxed",
        "known before unknown", "a rate is a size", "none in the window", "only small ones", "3gp is the last choice",
        "damaged is the last choice", "no size anywhere", "nothing known", "sound alone",
    ],
)  # fmt: skip
def test_the_smallest_picture_that_serves(formats: list[dict[str, Any]], expected: str, order: int) -> None:
    assert taken("picture", formats[::order]) == expected


def test_a_portrait_video_needs_its_width() -> None:
    """256 pixels high, but 144 wide: CLIP would enlarge it."""
    assert taken("picture", [picture("p144", 144, 1, portrait=True), picture("p360", 360, 4, portrait=True)]) == "p360"


@pytest.mark.parametrize("order", [1, -1], ids=["as listed", "reversed"])
@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        ([BOARD, *SOUNDS, *AVC, MUXED_18], "599"),
        ([sound("139-drc", 20), sound("139", 21)], "139"),
        ([sound("139-drc", 20), *AVC], "139-drc"),
        ([sound("de", 31, -1, language="de"), sound("en", 60, 10, language="en"), sound("fr", 31, -1)], "en"),
        ([sound("de", 31, -1), sound("default", 60, 5), sound("desc", 20, -10)], "default"),
        ([sound("de", 31, -1), sound("en-low", 31, 10), sound("en", 129, 10)], "en-low"),
        ([sound("233", None, protocol="m3u8_native", acodec=None), sound("140", 129)], "140"),
        ([MUXED_18, picture("22", 720, 90, acodec="mp4a.40.2"), *AVC], "18"),
        (
            [
                picture("dub", 240, 3, acodec="mp4a.40.2", language_preference=-1),
                picture("original", 360, 9, acodec="mp4a.40.2", language_preference=10),
            ],
            "original",
        ),
        (AVC, "avc-144"),
    ],
    ids=[
        "the whole list", "not drc", "drc where alone", "not a dub", "the default where no original is named",
        "the smallest original", "known before unknown", "only muxed", "muxed, not a dub", "no sound at all",
    ],
)  # fmt: skip
def test_the_smallest_sound_of_the_original(formats: list[dict[str, Any]], expected: str, order: int) -> None:
    assert taken("sound", formats[::order]) == expected


def test_only_storyboards_are_no_format() -> None:
    for what in FORMATS:
        with pytest.raises(yt_dlp.utils.ExtractorError, match="Requested format is not available"):
            taken(what, [BOARD])


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("name", "expected_picture", "expected_sound"),
    [("tubesync__metadata_2023-06-29", "133", "599"), ("pinchflat__example.info", "242", "599")],
)
def test_on_recorded_lists(recordings: Path, name: str, expected_picture: str, expected_sound: str) -> None:
    info = json.loads((recordings / "youtube" / "info_json" / f"{name}.json").read_bytes())
    assert taken("picture", info["formats"], info["duration"]) == expected_picture
    assert taken("sound", info["formats"], info["duration"]) == expected_sound
