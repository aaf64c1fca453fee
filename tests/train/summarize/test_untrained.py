"""`summarize` without a checkpoint: which method it takes, what it says of that, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.train.summarize.film_kit import CAPTIONS, CUTS_S, LENGTH_S, command, film, without_hub
from tests.train.training_kit import videos, write_root

from vsumdata.datasets.shards import open_shards
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.clip import ClipEncoder, ClipText
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.pictures.probe import probe
from vsumdata.train.benchmark import crossmodal
from vsumdata.train.scoring.baselines import evenly
from vsumdata.train.summarize import untrained
from vsumdata.train.summarize.beside import beside
from vsumdata.train.summarize.kinds import kind_of_settings
from vsumdata.train.summarize.summary import Summary, choose, rule_of

CLIP = "ViT-S-32-alt"
HEATMAP = [{"start_time": s, "end_time": s + 7, "value": v} for s, v in ((0, 0.1), (7, 1.0), (14, 0.2), (21, 0.0))]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both towers of a small CLIP. Its weights are random, but they are a file's, as trained ones would be."""
    import open_clip
    import torch

    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        torch.save(open_clip.create_model(CLIP).state_dict(), path)
    return path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    without_hub(monkeypatch, tmp_path)
    return lambda *words: command(monkeypatch, *words)


def beside_it(source: Path, folder: Path, **files: str) -> Path:
    """The film in a folder of its own, with files beside it: `vtt="…"` is film.vtt, `info_json` film.info.json."""
    (folder / "film.mp4").symlink_to(source)
    for form, text in files.items():
        (folder / f"film.{form.replace('_', '.')}").write_text(text, encoding="utf-8")
    return folder / "film.mp4"


def read(folder: Path) -> Summary:
    return Summary.model_validate_json((folder / "summary.json").read_bytes())


def test_without_any_weights_it_is_uniform_and_says_why(call, source, tmp_path, capsys) -> None:
    assert call(source, "-o", tmp_path / "out", "--budget", "0.5") == 0
    said = capsys.readouterr()
    assert said.out.startswith("uniform: ")
    assert "not by replay: no heatmap" in said.err
    assert "not by step-cm and frame-cm: nothing is said in it" in said.err
    made = read(tmp_path / "out")
    assert (made.method, made.checkpoint, made.features["clip"]) == ("uniform", None, "colour-histograms none")
    assert made.frame_score == evenly(len(made.frame_score), 0.15).tolist()
    assert {float(cut) for cut in CUTS_S} <= {shot.start_s for shot in made.shots}
    assert 0 < made.summary_s <= 0.5 * LENGTH_S
    assert probe(tmp_path / "out" / "summary.mp4").duration_s == pytest.approx(made.summary_s, abs=0.2)


def test_its_own_heatmap_is_the_best(call, source, tmp_path, capsys) -> None:
    told = json.dumps({"title": "Tea <b>&</b> 茶", "heatmap": HEATMAP})
    video = beside_it(source, tmp_path, info_json=told, vtt=CAPTIONS)
    assert call(video, "-o", tmp_path / "out", "--budget", "0.3") == 0
    assert capsys.readouterr().out.startswith("replay: 1 of 4 shots, 0:07 of 0:28 (25%)")
    made = read(tmp_path / "out")
    assert made.title == "Tea <b>&</b> 茶"
    assert made.frame_score == made.replay_score
    assert {round(value, 4) for value in made.frame_score} == {0.1, 1.0, 0.2, 0.0}
    assert [(part.start_s, part.end_s) for part in made.segments] == [(6.0, 13.0)]
    assert [each.text for each in made.sentences] == ["Take a red pan.", "Mix oil & salt."]
    assert any("film.vtt, which lies beside it" in remark for remark in made.remarks)


def test_clip_and_captions_come_next(call, source, weights, tmp_path, capsys) -> None:
    clip = ("--set", f"features.clip.model={CLIP}", "--set", f"features.clip.weights={weights}")
    video = beside_it(source, tmp_path, en_srt="1\n00:00:01,000 --> 00:00:05,000\nA red wall.\n")
    assert call(video, "-o", tmp_path / "a", *clip) == 0
    assert capsys.readouterr().out.startswith("step-cm: ")
    assert call(video, "-o", tmp_path / "b", *clip, "--method", "frame-cm", "--set", "crossmodal.propagate=true") == 0
    by_step, by_frame = read(tmp_path / "a"), read(tmp_path / "b")
    assert (by_step.method, by_frame.method) == ("step-cm", "frame-cm")
    assert by_step.sentence_scores_from == "model"
    encoder = ClipEncoder(CLIP, str(weights))
    text = ClipText(CLIP, str(weights)).encode(["A red wall."])
    with read_frames(source, Wanted(size=encoder.size, resize=encoder.resize)) as reader:
        pictures = np.stack([frame for _, frame in reader])
    cosine = crossmodal.similarity(encoder.encode(pictures), text)
    place = crossmodal.segments(np.arange(len(cosine), dtype=np.float32), 4.0)
    expected = untrained.spread(crossmodal.means(cosine[:, None], place)[place, 0])
    assert by_frame.frame_score == pytest.approx(expected.tolist(), abs=0.02)
    assert min(by_frame.frame_score) == 0
    assert max(by_frame.frame_score) == 1


def test_a_method_that_cannot_be_used_is_one_line(call, source, weights, tmp_path, capsys) -> None:
    clip = ("--set", f"features.clip.model={CLIP}", "--set", f"features.clip.weights={weights}")
    random = ("--set", f"features.clip.model={CLIP}", "--set", "features.clip.weights=seed:1")
    captions = tmp_path / "film.vtt"
    captions.write_text(CAPTIONS)
    heard = film(tmp_path / "heard.mp4", sound=True)
    cases = [
        ((source, "--method", "replay"), "--method replay: the video has no heatmap"),
        ((source, "--method", "step-cm", *clip), "give --captions FILE"),
        ((source, "--method", "step-cm", "--captions", captions), "cannot be fetched"),
        ((source, "--method", "frame-cm", "--captions", captions, *random), "CLIP's weights are random (seed:1)"),
        ((heard, "--method", "frame-cm", *clip), "or give --captions FILE"),
        ((source, "--method", "best"), "--method best: it is one of replay, step-cm, frame-cm, uniform"),
        ((source, "--method", "uniform", "--checkpoint", "run"), "give it or --checkpoint, not both"),
        ((source, "--text", "none"), "--text needs a trained model"),
        ((source, "--task", "both"), "--task needs a trained model"),
        ((source, "--highlight", "auto"), "--highlight auto needs a trained model"),
        ((source, "--set", "features.fps=0"), "--set features.fps: Input should be greater than 0"),
        ((source, "--set", "features.clip=3"), "--set features.clip"),
        ((source, "--set", "crossmodal.segments=3"), "known are: segment_s"),
        ((source, "--set", "features.clip.model=googlenet-pool5"), "googlenet-pool5 has no weights openai"),
    ]
    for words, said in cases:
        assert call(*words, "-o", tmp_path / "out") == 2, words
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1, error
        assert not (tmp_path / "out").exists()


def test_sound_without_a_speech_model_or_words_falls_back(call, weights, tmp_path, capsys) -> None:
    clip = ("--set", f"features.clip.model={CLIP}", "--set", f"features.clip.weights={weights}")
    heard = film(tmp_path / "heard.mp4", sound=True)
    assert call(heard, "-o", tmp_path / "out", *clip) == 0
    said = capsys.readouterr()
    assert said.out.startswith("uniform: ")
    assert "not by step-cm and frame-cm: the model Systran/faster-whisper-small cannot be fetched" in said.err
    (tmp_path / "heard.vtt").write_text("no captions at all")
    assert call(heard, "-o", tmp_path / "out", *clip, "--highlight", "0.5") == 0
    assert read(tmp_path / "out").highlight is not None


def test_a_video_of_a_root(call, tmp_path, capsys) -> None:
    root = write_root(tmp_path / "root", videos(4, frames=40), ["train"])
    video_id = open_shards(root).video_ids[0]
    assert call(video_id, "--root", root, "-o", tmp_path / "out") == 2
    assert "does not say how its features were made" in capsys.readouterr().err
    stored = json.loads((root / "dataset.json").read_text())
    settings = {"sources": [{"channel": "@x"}], "features": {"clip": {"weights": "seed:7"}}}
    stored["manifest"] = {"settings": settings, "folder": "/corpus", "file": "m.yaml"}
    (root / "dataset.json").write_text(json.dumps(stored))
    assert call(video_id, "--root", root, "-o", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert said.out.startswith("replay: ")
    assert "CLIP has the random weights seed:7: the shots mean nothing" in said.err
    assert read(tmp_path / "out").frame_score == read(tmp_path / "out").replay_score
    assert call("nobody", "--root", root, "-o", tmp_path / "x") == 2
    assert "has no features of the video nobody" in capsys.readouterr().err
    assert call(video_id, "--root", root, "-o", tmp_path / "x", "--method", "step-cm") == 2
    assert "CLIP's weights are random (seed:7)" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["none", "empty", "without tables", "no videos"])
def test_roots_that_hold_nothing(call, tmp_path, capsys, kind) -> None:
    root = tmp_path / "root"
    if kind != "none":
        root.mkdir()
    if kind == "without tables":
        (root / "dataset.json").write_text('{"format": 1, "tables": {}, "manifest": {}}')
    if kind == "no videos":
        write_root(root, videos(2, frames=10), ["train"])
        for part in root.rglob("part-*.parquet"):
            part.unlink()
    assert call("abc", "--root", root, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert str(root) in error
    assert error.count("\n") == 1, error


def test_what_lies_beside_a_file(tmp_path: Path) -> None:
    video = tmp_path / "talk.mp4"
    assert beside(video, ["en"]).captions is None
    for name in ("talk.de.vtt", "talk.en.srt", "other.vtt"):
        (tmp_path / name).touch()
    assert beside(video, ["en", "de"]).captions == str(tmp_path / "talk.en.srt")
    (tmp_path / "talk.vtt").touch()
    assert beside(video, ["en"]).captions == str(tmp_path / "talk.vtt")
    info = tmp_path / "talk.info.json"
    for text, said in (("{", "was not read"), ("[1]", "no JSON object"), ('{"heatmap": [{"value": 7}]}', "heatmap of")):
        info.write_text(text)
        found = beside(video, [])
        assert found.heatmap is None
        assert any(said in remark for remark in found.remarks), found.remarks
    info.write_text('{"title": 7, "heatmap": null}')
    assert (beside(video, []).title, beside(video, []).heatmap) == (None, None)


def test_cosines_become_scores() -> None:
    assert untrained.spread(np.array([0.2, 0.3, 0.25])).tolist() == pytest.approx([0, 1, 0.5])
    assert untrained.spread(np.array([0.2, 0.2])).tolist() == [0.5, 0.5]


def test_stretches_where_no_shot_fits() -> None:
    """A talk of 1,000 s in one shot: eight stretches, evenly placed, together as long as the budget."""
    long = Video(
        video_id="talk",
        frame_time_s=np.arange(1000, dtype=np.float32),
        frame_feature=np.zeros((1000, 2)),
        shot_start=np.array([0]),
        shot_stop=np.array([1000]),
    )
    chosen, how = choose(evenly(1000, 0.16), long, rule_of(0.16), evenly=True)
    assert (how, chosen.sum()) == ("stretches", 160)
    starts = np.flatnonzero(np.diff(chosen.astype(int), prepend=0) == 1)
    assert len(starts) == 8
    assert set(np.diff(starts)) == {125}
    few, how = choose(evenly(1000, 0.001), long, rule_of(0.001), evenly=True)
    assert (how, few.sum()) == ("stretches", 1)


def test_a_choice_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_hub(monkeypatch, tmp_path)
    kind = kind_of_settings((), colours=False)
    options = crossmodal.CrossModalOptions()
    found = untrained.choice(None, kind, options, replayed=False, worded=True)
    assert (found.methods, found.encode) == (("uniform",), None)
    assert untrained.choice(None, kind, options, replayed=True, worded=True).methods == ("replay",)
    with pytest.raises(UsageError, match="no text tower"):
        untrained.choice("step-cm", kind_of_settings((), colours=True), options, replayed=True, worded=True)
