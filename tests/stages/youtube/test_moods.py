"""YouTube's moods and a client that is not let in, through yt-dlp's own extractor on made-up answers."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from tests.stages.youtube import player_kit
from tests.stages.youtube.player_kit import MadeUp, player, refusal, storyboards, stream
from tests.stages.youtube.youtube_kit import PLAYER_URL

from vsumdata.datasets.sample.site import Answer
from vsumdata.manifests.errors import RetryVideo, SetupError, SkipVideo
from vsumdata.stages import media
from vsumdata.stages.youtube.session import Session

NO_RUNTIME: dict[str, Any] = {"js_runtimes": {}}
ADMINISTRATOR = "This video is restricted. Please check the Google Workspace administrator and/or the network"
SABR = [stream(134, 'video/mp4; codecs="avc1.4d401e"'), stream(140, 'audio/mp4; codecs="mp4a.40.2"')]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MadeUp]:
    with MadeUp(tmp_path / "nothing") as site:
        yield site


def watch(video_id: str = player_kit.VIDEO) -> str:
    return f"https://www.youtube.com/watch?v={video_id}"


def test_without_a_runtime_the_run_stops_with_the_remedy(site: MadeUp, tmp_path: Path) -> None:
    session = Session(site.context(tmp_path, yt_dlp=NO_RUNTIME))
    # yt-dlp warns once, and the second video is as badly off.
    for video_id in ("made-up-001", "made-up-002"):
        with pytest.raises(
            SetupError, match=r"could not run YouTube's script: see `vsumdata doctor`.*No supported Java"
        ):
            session.extract(watch(video_id))


@pytest.mark.parametrize(
    ("script", "answer", "says"),
    [
        (b"var config={signatureTimestamp:20607};", {}, "could not solve YouTube's challenge: see `vsumdata doctor`"),
        (None, {"streamingData": {"adaptiveFormats": SABR}}, r"cannot download \(SABR\): update yt-dlp"),
        (None, {"streamingData": {}} | storyboards(), "no streams, only preview pictures"),
        (None, {"streamingData": {}}, "no streams"),
    ],
    ids=["a script that yt-dlp does not know", "SABR only", "storyboards only", "nothing"],
)
def test_a_video_without_streams_is_the_clients_trouble(
    site: MadeUp, tmp_path: Path, script: bytes | None, answer: dict[str, Any], says: str
) -> None:
    site.script = script or site.script
    site.answers[player_kit.VIDEO] = answer
    # A client whose warnings yt-dlp does not keep for itself.
    clients = {"extractor_args": {"youtube": {"player_client": ["tv_simply" if "SABR" in says else "tv_samsung"]}}}
    with pytest.raises(SetupError, match=says) as caught:
        Session(site.context(tmp_path, yt_dlp=clients)).extract(watch())
    assert "\n" not in str(caught.value)


def test_one_odd_video_among_others_is_tried_again(site: MadeUp, tmp_path: Path) -> None:
    """It must not end every run: the client is let in for others."""
    site.answers["made-up-odd"] = {"streamingData": {"adaptiveFormats": SABR}}
    session = Session(site.context(tmp_path))
    session.extract(watch("made-up-001"))
    with pytest.raises(RetryVideo, match="SABR|no streams") as caught:
        session.extract(watch("made-up-odd"))
    assert (caught.value.reason, caught.value.is_counted) == ("unavailable", False)
    session.extract(watch("made-up-002"))


def test_of_visits_for_media_the_second_without_streams_ends_the_run(site: MadeUp, tmp_path: Path) -> None:
    """A visit stores nothing: the next run would begin, and end, with the same video."""
    session = Session(site.context(tmp_path))
    for video_id in ("made-up-001", "made-up-002"):
        site.answers[video_id] = {"streamingData": {}}
    media.bring_ahead("made-up-001", watch("made-up-001"), frozenset({media.PICTURE}), session)
    with pytest.raises(RetryVideo, match="preview pictures") as caught:
        media.raise_noted("made-up-001", media.PICTURE, session.context)
    assert (caught.value.reason, caught.value.is_counted, caught.value.after_s) == ("unavailable", False, 3600.0)
    with pytest.raises(SetupError, match="preview pictures"):
        media.bring_ahead("made-up-002", watch("made-up-002"), frozenset({media.PICTURE}), session)


def test_a_script_that_does_not_come_is_a_failed_request(site: MadeUp, tmp_path: Path) -> None:
    broken = Answer(HTTPStatus.INTERNAL_SERVER_ERROR)
    site.faults.insert(0, lambda asked: broken if asked.path == PLAYER_URL else None)
    with pytest.raises(RetryVideo, match="Download of .* failed: HTTP Error 500") as caught:
        Session(site.context(tmp_path)).extract(watch())
    assert caught.value.reason == "transient"


@pytest.mark.parametrize(
    "told",
    [
        refusal("The page needs to be reloaded."),
        refusal("Video unavailable", "This content isn’t available.", "ERROR"),
        refusal("Video unavailable", "Playback on other websites has been disabled by the video owner"),
        refusal("The following content is not available on this app.", "Watch on the latest version of YouTube."),
        refusal("Video unavailable"),
    ],
)
def test_moods_are_no_try_of_the_videos(site: MadeUp, tmp_path: Path, told: dict[str, Any]) -> None:
    site.answers["made-up-bad"] = told
    with pytest.raises(RetryVideo) as caught:
        Session(site.context(tmp_path)).extract(watch("made-up-bad"))
    assert (caught.value.reason, caught.value.is_counted) == ("unavailable", False)


def test_restricted_mode_of_the_network_stops_the_run(site: MadeUp, tmp_path: Path) -> None:
    site.answers[player_kit.VIDEO] = refusal("Video unavailable", f"{ADMINISTRATOR} administrator restrictions.")
    with pytest.raises(SetupError, match="Restricted Mode on: use another network"):
        Session(site.context(tmp_path)).extract(watch())


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (refusal("Video unavailable", "This video has been removed by the uploader", "ERROR"), "removed"),
        (refusal("This video is unavailable", "", "ERROR"), "removed"),
        (refusal("This video requires payment to watch."), "members_only"),
        (
            refusal("Video unavailable", "This video contains content from X, who has blocked it in your country"),
            "region",
        ),
    ],
)
def test_the_videos_own_state_stays_final(site: MadeUp, tmp_path: Path, told: dict[str, Any], reason: str) -> None:
    site.answers[player_kit.VIDEO] = told
    with pytest.raises(SkipVideo) as caught:
        Session(site.context(tmp_path)).extract(watch())
    assert caught.value.reason == reason


def test_the_answer_that_a_video_plays_has_its_streams(site: MadeUp, tmp_path: Path) -> None:
    site.answers[player_kit.VIDEO] = player()
    assert {one["format_id"] for one in Session(site.context(tmp_path)).extract(watch())["formats"]} == {"134", "140"}
