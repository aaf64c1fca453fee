"""`summarize` on files and on a root's videos: the features, the files it writes, and everything that may be amiss."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.media_kit import (
    MODELS,
    TALK,
    lavfi,
    needs_models,
    noise,
    rotated,
    run,
    spoken_sound,
    write_manifest,
)
from tests.stages.pictures.numbered_clips import X264, render
from tests.train.summarize.summary_kit import drawn_run

from vsumdata.datasets.shards import COLUMNS, open_shards
from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.recipe import recipe
from vsumdata.stages.pictures.probe import probe
from vsumdata.stages.speech.cues import read_cues
from vsumdata.train.data.origin import Origin
from vsumdata.train.loop.runs import read_info
from vsumdata.train.summarize import clips, summarize
from vsumdata.train.summarize.featurize import _kept, of_file
from vsumdata.train.summarize.kinds import kind_of
from vsumdata.train.summarize.summarize import FILES, Request
from vsumdata.train.summarize.summary import Summary

pytestmark = [needs_models, pytest.mark.slow, pytest.mark.ray]
HEATMAP = [{"start_s": s, "end_s": s + 7.0, "value": v} for s, v in ((0.0, 0.2), (7.0, 1.0), (14.0, 0.4), (21.0, 0.1))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("summarize")


@pytest.fixture(scope="module")
def root(ray_session: None, folder: Path) -> Path:
    """Two spoken videos of the corpus: one that is heard, one with captions."""
    caption = folder / "said.vtt"
    caption.write_text("WEBVTT\n\n00:01.000 --> 00:04.000\nTake a pan.\n\n00:05.000 --> 00:09.000\nAdd oil & salt.\n")
    lines: list[dict[str, Any]] = [
        {"video": str(TALK), "heatmap": HEATMAP},
        {"video": str(TALK.with_name("pancakes_01.mp4")), "captions": str(caption), "description": "How to cook"},
    ]
    select = {"min_views": None, "require_heatmap": False, "min_duration_s": None}
    code, said = run(write_manifest(folder, lines, select=select), folder / "root")
    assert code == 0, said
    return folder / "root"


@pytest.fixture(scope="module")
def trained(folder: Path, root: Path) -> Path:
    return drawn_run(folder / "run", root)


@pytest.fixture(scope="module")
def blind(folder: Path, root: Path) -> Path:
    """A model of pictures alone."""
    return drawn_run(folder / "blind", root, method="mlp", sets=("model.hidden=[16]",), sizes=(256, None))


def ask(video: Path | str, checkpoint: Path, output: Path, **more: object) -> Summary:
    request = Request(video=str(video), checkpoint=str(checkpoint), output=str(output), **more)  # type: ignore[arg-type]
    return summarize.summarize(request, recipe)


@pytest.mark.parametrize("name", [TALK.stem, "pancakes_01"])
def test_the_features_are_those_of_the_pipeline(root, trained, folder, name):
    video = next(video for video in open_shards(root) if video.video_id == name)
    captions = str(folder / "said.vtt") if name == "pancakes_01" else None
    kind = kind_of(read_info(trained).origin, trained)
    found = of_file(str(TALK.with_name(f"{name}.mp4")), captions, kind, recipe, shown="subtitles", device="cpu").video
    for column in COLUMNS:
        there, here = getattr(video, column), getattr(found, column)
        if column in {"replay_score", "replay_bins", "source", "split"} or column.startswith(("global", "description")):
            continue  # what a file alone does not tell
        if isinstance(there, np.ndarray):
            np.testing.assert_allclose(here.astype(np.float64), there.astype(np.float64), atol=1e-3, err_msg=column)
        else:
            assert list(here or ()) == list(there or ()) if column in {"sentence", "step"} else here == there, column
    assert len(video.sentence) > 0


def test_every_file_of_a_summary(trained, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    (tmp_path / "out" / "summary.json").write_text("old")
    found = ask(TALK, trained, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*FILES, "mine.txt"])
    assert Summary.model_validate_json((tmp_path / "out" / "summary.json").read_bytes()) == found
    chosen = [shot for shot in found.shots if shot.chosen]
    info = probe(tmp_path / "out" / "summary.mp4")
    assert info.duration_s == pytest.approx(sum(shot.length_s for shot in chosen), abs=1 / 10)
    assert found.summary_s == pytest.approx(sum(shot.length_s for shot in chosen))
    assert len(info.audio) == 1
    assert 0 < found.summary_s <= 0.15 * found.duration_s + 1
    assert [a.end_s for a in found.shots[:-1]] == [b.start_s for b in found.shots[1:]]
    assert len(found.frame_score) == len(found.frame_time_s)
    assert any(sentence.chosen for sentence in found.sentences)
    assert found.sentence_scores_from == "model"
    assert any("random weights" in remark for remark in found.remarks)
    assert (found.text, found.method, found.replay_score) == ("subtitles", "hiersum", None)
    cues, _ = read_cues((tmp_path / "out" / "summary.vtt").read_text(encoding="utf-8"), header=True)
    assert cues
    assert all(0 <= cue.start_s < cue.end_s <= found.summary_s + 0.001 for cue in cues)


def test_a_video_of_a_root(root, trained, tmp_path):
    found = ask(TALK.stem, trained, tmp_path / "out", root=str(root), budget=0.5)
    assert found.replay_score is not None
    assert {round(score, 4) for score in found.replay_score} == {0.2, 1.0, 0.4, 0.1}
    assert found.budget == 0.5
    assert set(found.files) == {"summary.mp4", "summary.vtt", "summary.png", "summary.html"}
    same = ask(TALK, trained, tmp_path / "file", budget=0.5)
    assert same.frame_score == pytest.approx(found.frame_score, abs=2e-3)


def test_without_the_media_the_rest_is_written(root, trained, tmp_path, monkeypatch):
    out = tmp_path / "out"
    ask(TALK.stem, trained, out, root=str(root))
    monkeypatch.setattr("vsumdata.train.summarize.featurize._kept", lambda video, root: (None, None))
    monkeypatch.setenv("VSUMDATA_FFMPEG", "/nowhere/ffmpeg")
    found = ask(TALK.stem, trained, out, root=str(root))
    assert sorted(path.name for path in out.iterdir()) == ["summary.html", "summary.json", "summary.png", "summary.vtt"]
    assert any("keep_media" in remark for remark in found.remarks)


def test_the_text_is_a_choice(trained, blind, tmp_path, folder):
    said = str(folder / "said.vtt")
    kinds = ("subtitles", "global", "both")
    shown = {text: ask(TALK, trained, tmp_path / text, text=text, captions=said) for text in kinds}
    assert [found.text for found in shown.values()] == list(shown)
    scores = [tuple(found.frame_score) for found in shown.values()]
    assert len(set(scores)) == 3
    assert [found.sentence_scores_from for found in shown.values()] == ["model", "frames", "model"]
    with pytest.raises(UsageError, match="one of subtitles"):
        ask(TALK, trained, tmp_path / "x", text="titles")
    with pytest.raises(UsageError, match=r"mlp .* always shown none"):
        ask(TALK, blind, tmp_path / "x", text="both")


def test_a_model_of_pictures_takes_sentences_from_the_frames(blind, tmp_path, folder):
    found = ask(TALK, blind, tmp_path / "out", captions=str(folder / "said.vtt"))
    assert (found.text, found.sentence_scores_from) == ("none", "frames")
    first = found.sentences[0]
    assert first.score == pytest.approx(np.mean(found.frame_score[1:4]), abs=1e-5)


@pytest.mark.parametrize("kind", ["portrait", "rotated", "variable", "one frame", "silent", "slides"])
def test_odd_videos(trained, tmp_path, kind):
    source = tmp_path / "clip.mp4"
    make = {
        "portrait": lambda: lavfi(source, "testsrc=s=90x160:r=25:d=12", "sine=d=12:r=16000"),
        "rotated": lambda: rotated(source),
        "variable": lambda: render(source, 80, "N*N*0.002", *X264),
        "one frame": lambda: render(source, 1, "N/25", *X264),
        "silent": lambda: lavfi(source, "testsrc=s=96x64:r=30:d=10"),
        "slides": lambda: render(source, 5, "N*4", *X264),
    }
    make[kind]()
    found = ask(source, trained, tmp_path / "out")
    info = probe(tmp_path / "out" / "summary.mp4")
    rate = float(clips.open_media(source).rate)
    assert info.duration_s == pytest.approx(found.summary_s, abs=1 / rate + 0.011)
    assert info.best_video.shown_size == probe(source).best_video.shown_size
    assert bool(info.audio) == (kind == "portrait")
    assert found.sentences == []
    assert found.sentence_scores_from == "none"
    assert (tmp_path / "out" / "summary.vtt").read_text(encoding="utf-8") == "WEBVTT\n"


def refused(video: Path | str, checkpoint: Path, out: Path, **more: object) -> str:
    """The one line; nothing is left in the folder."""
    with pytest.raises(UsageError) as error:
        ask(video, checkpoint, out, **more)
    assert not out.is_dir()
    line = str(error.value)
    assert "\n" not in line
    return line


def test_files_that_are_no_videos(trained, tmp_path):
    out = tmp_path / "out"
    assert "sound only" in refused(spoken_sound(tmp_path / "talk.m4a"), trained, out)
    assert re.search(
        r"noise\.mp4: it cannot be read as a video \(", refused(noise(tmp_path / "noise.mp4"), trained, out)
    )
    assert "there is no such file" in refused(tmp_path / "gone.mp4", trained, out)
    (tmp_path / "empty.mp4").touch()
    assert "the file is empty" in refused(tmp_path / "empty.mp4", trained, out)
    assert "not a regular file" in refused(tmp_path, trained, out)


def test_wrong_requests(root, trained, tmp_path, folder):
    out = tmp_path / "out"
    assert "--budget 0 " in refused(TALK, trained, out, budget=0.0)
    assert "--device gpu" in refused(TALK, trained, out, device="gpu")
    assert "did you mean dressing_03?" in refused("dresing_03", trained, out, root=str(root))
    assert "--captions is for a media file" in refused(TALK.stem, trained, out, root=str(root), captions="x.vtt")
    assert "there is no such file" in refused(TALK, trained, out, captions="nothing.vtt")
    (tmp_path / "bad.vtt").write_text("no captions at all")
    assert "--captions" in refused(TALK, trained, out, captions=str(tmp_path / "bad.vtt"))
    assert "is no training run" in refused(TALK, tmp_path / "nothing", out)
    (tmp_path / "file").touch()
    assert "give a folder" in refused(TALK, trained, tmp_path / "file")


def test_features_that_cannot_be_computed_here(root, trained, tmp_path):
    out = tmp_path / "out"
    google = drawn_run(tmp_path / "google", root, origin=Origin(data_set="tvsum", path="tvsum.h5"))
    assert re.search("tvsum brings .*but they have 256 numbers, not 1024: train on a root", refused(TALK, google, out))
    hisum = drawn_run(tmp_path / "hisum", root, origin=Origin(data_set="mrhisum", path="x.h5"), sizes=(1024, None))
    assert re.search(r"mrhisum brings \(Inception of YouTube-8M\).*inception-2015-12-05", refused(TALK, hisum, out))
    motion = drawn_run(tmp_path / "i3d", root, origin=Origin(data_set="tvsum", path="x.h5", features_root="i3d:here"))
    assert "vsumdata cannot compute them: train on a root" in refused(TALK, motion, out)
    origin = read_info(trained).origin
    features = json.loads(json.dumps(origin.features))
    features["features"]["clip"] = {"model": "ViT-B-32", "weights": "nowhere/weights.pt"}
    other = drawn_run(tmp_path / "other", root, origin=origin.model_copy(update={"features": features}))
    assert "no weights nowhere/weights.pt" in refused(TALK, other, out)
    assert "features of another kind than the run: CLIP is" in refused(TALK.stem, other, out, root=str(root))
    features["features"]["clip"] = MODELS["features"]["clip"]
    features["asr"]["model"] = "./no-model-here"
    deaf = drawn_run(tmp_path / "deaf", root, origin=origin.model_copy(update={"features": features}))
    assert "--captions FILE" in refused(TALK, deaf, out)
    assert ask(TALK, deaf, tmp_path / "global", text="global").sentences == []


def test_another_content_of_a_model_is_noticed(root, trained, tmp_path):
    origin = read_info(trained).origin
    features = json.dumps(origin.features).replace("open_clip ViT-S-32-alt seed:0", "open_clip ViT-S-32-alt of old")
    old = drawn_run(tmp_path / "old", root, origin=origin.model_copy(update={"features": json.loads(features)}))
    assert "was trained with clip ViT-S-32-alt seed:0 as" in refused(TALK, old, tmp_path / "out")


def test_no_ffmpeg(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("VSUMDATA_FFMPEG", str(tmp_path / "nothing"))
    assert "imageio-ffmpeg" in refused(TALK, trained, tmp_path / "out")


def test_an_interruption_leaves_the_folder_as_it_was(root, trained, tmp_path, monkeypatch):
    out = tmp_path / "out"
    ask(TALK.stem, trained, out, root=str(root))
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(summarize.picture, "draw", interrupt)  # after summary.mp4 was cut
    with pytest.raises(KeyboardInterrupt):
        ask(TALK.stem, trained, out, root=str(root), budget=0.6)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_download_that_was_kept(root, tmp_path):
    """Pictures and sound in files of their own, as YouTube gives them."""
    video = replace(open_shards(root)[0], url="https://www.youtube.com/watch?v=abc")
    assert _kept(video, str(tmp_path)) == (None, None)
    media = tmp_path / "media" / f"v-{video.video_id}"
    media.mkdir(parents=True)
    for name in ("picture.mp4", "sound.m4a"):
        (media / name).touch()
    assert _kept(video, str(tmp_path)) == (media / "picture.mp4", media / "sound.m4a")
