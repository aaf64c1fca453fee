"""The sample corpus → shards → `train hiersum` → `bench` and `eval` → `summarize`; then on to a benchmark's videos."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup
from safetensors.torch import load_file
from tests.datasets.benchmarks.benchmark_files import write_eccv16
from tests.pipeline.media_kit import needs_models
from tests.pipeline.sample_kit import here, vsumdata

from vsumdata.datasets.sample.site import ASSETS
from vsumdata.datasets.shards import open_shards
from vsumdata.pipeline.commands import main as cli
from vsumdata.stages.pictures.probe import probe
from vsumdata.stages.speech.cues import read_cues
from vsumdata.train.loop import runs
from vsumdata.train.loop.predict import predict, shown_text
from vsumdata.train.summarize.highlights import smoothed
from vsumdata.train.summarize.summary import Summary

pytestmark = [needs_models, pytest.mark.slow, pytest.mark.ray]

SIZES = ["--set", "model.hidden=16", "--set", "model.layers=1", "--set", "model.heads=2"]
TRAINING = [*SIZES, "--set", "epochs=3", "--set", "batch_size=2"]
HELD_OUT = {"dressing_03", "pancakes_01"}  # the root's test videos
TRAINED_ON = ("airplane_09", "flattyre_07", "growbean_13", "hang-pic_10", "sow-seed_08", "tea-brew_02")  # and validated


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """RUN, and what the program said."""
    out = tmp_path_factory.mktemp("chain") / "run"
    answer = vsumdata("train", "hiersum", "--data", str(finished), "--out", str(out), *TRAINING)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return out, answer


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    def command(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["vsumdata", *map(str, words)])
        return cli.guarded(cli.app)

    return command


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def row(table: dict[str, Any], method: str, metric: str) -> dict[str, Any]:
    (found,) = [each for each in table["rows"] if (each["method"], each["metric"]) == (method, metric)]
    return found


def test_train(trained, finished: Path) -> None:
    out, answer = trained
    info, records = runs.read_info(out), log(out)
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "best.safetensors", "last.safetensors", "log.jsonl", "run.json",
    ]  # fmt: skip
    parts = {split: set(open_shards(finished, split=split).video_ids) for split in ("train", "val", "test")}
    assert (set(info.train), set(info.val), set(info.origin.test)) == tuple(parts.values())
    assert parts["test"] == HELD_OUT
    assert (info.settings.method, info.frame_dim, info.text_dim) == ("hiersum", 256, 384)
    assert info.origin.features["features"]["clip"] == {"model": "ViT-S-32-alt", "weights": "seed:0"}
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == list(range(9))
    assert {record["parent"] for record in steps} == {1.0}, "by default each step shows both texts"
    assert all(np.isfinite(record["loss"]) for record in steps)
    validated = {record["epoch"]: record["tau"] for record in records if "tau" in record}
    best = runs.load(out).position
    assert list(validated) == [1, 2, 3]
    assert validated[best.epoch] == max(validated.values())
    assert f"{out}: weights of epoch {best.epoch}, tau {best.best:.3f}" in answer.stdout


def test_training_again_does_nothing(trained, finished: Path) -> None:
    out, _ = trained
    before = {path: path.read_bytes() for path in out.iterdir()}
    answer = here("train", "hiersum", "--data", str(finished), "--out", str(out), *TRAINING)
    assert answer.returncode == 0
    assert "is complete: 3 epochs" in answer.stdout
    assert before == {path: path.read_bytes() for path in out.iterdir()}


def test_bench(finished: Path, tmp_path: Path) -> None:
    words = ["--on", "shards", "--data", finished, "--methods", "hiersum,mlp", "--seeds", "2", "--set", "epochs=1"]
    answer = here("bench", *map(str, words), *SIZES[2:], "--json", str(tmp_path / "table.json"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    table = json.loads((tmp_path / "table.json").read_text())
    assert (table["protocol"], table["split"], table["seeds"]) == ("shards", "as published", 2)
    for method in ("random", "uniform", "hiersum", "mlp"):
        assert row(table, method, "map50")["n"] == len(HELD_OUT)
        assert 0 < row(table, method, "map50")["mean"] < 1
        assert f"{row(table, method, 'map50')['mean']:.3f} ±" in answer.stdout
    assert row(table, "mean-user", "map50")["mean"] == 1
    notes = " ".join(row(table, "hiersum", "map50")["notes"])
    assert "hiersum: preset default" in notes, notes
    assert "text at inference: both" in notes
    assert "epochs=1" in notes


def test_eval(trained, finished: Path, tmp_path: Path) -> None:
    out, _ = trained
    answer = here("eval", str(out), "--on", "shards", "--data", str(finished), "--json", str(tmp_path / "t.json"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    table = json.loads((tmp_path / "t.json").read_text())
    assert table["split"] == "the run's test videos (the root's own)"
    assert row(table, "hiersum", "map50")["n"] == len(HELD_OUT)
    assert f"{row(table, 'hiersum', 'map50')['mean']:.3f} [" in answer.stdout


def test_summarize_a_file(trained, finished: Path, tmp_path: Path) -> None:
    run, _ = trained
    out, source = tmp_path / "out", ASSETS / "media" / "dressing_03.mp4"
    # A file has no article.
    words = ("--checkpoint", str(run), "-o", str(out), "--budget", "0.4", "--text", "subtitles")
    answer = here("summarize", str(source), *words)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"summary.mp4, summary.vtt, summary.png, summary.html, summary.json in {out}" in answer.stdout
    assert "random weights" in answer.stderr
    found = Summary.model_validate_json((out / "summary.json").read_bytes())
    assert {path.name for path in out.iterdir()} == {"summary.json", *found.files}
    assert (found.method, found.checkpoint, found.text) == ("hiersum", str(run), "subtitles")
    assert 0 < found.summary_s <= 0.4 * found.duration_s
    assert probe(out / "summary.mp4").duration_s == pytest.approx(found.summary_s, abs=0.1)
    assert (out / "summary.png").read_bytes().startswith(b"\x89PNG")
    cues, _ = read_cues((out / "summary.vtt").read_text(encoding="utf-8"), header=True)
    assert all(0 <= cue.start_s < cue.end_s <= found.summary_s + 0.001 for cue in cues)
    # The file has never been in the root's tables on this way; what was computed is what is there.
    row_there = next(video for video in open_shards(finished) if video.video_id == "dressing_03")
    expected = next(predict(shown_text(runs.load(run), "subtitles"), [row_there]))
    np.testing.assert_allclose(found.frame_score, expected.frame_score, atol=2e-3)
    assert len(found.sentences) == len(row_there.sentence) > 0


def test_summarize_a_video_of_the_root(trained, finished: Path, tmp_path: Path, call, capsys) -> None:
    run, _ = trained
    words = ("summarize", "pancakes_01", "--checkpoint", run, "-o", tmp_path / "out", "--highlight")
    assert call(*words, "2") == 2
    assert call(*words, "auto") == 2
    assert "validation video with a labelled frame" in capsys.readouterr().err, "each of its shots is too long"
    assert call(*words, "0.5") == 0
    found = Summary.model_validate_json((tmp_path / "out" / "summary.json").read_bytes())
    assert sorted(found.files) == ["summary.html", "summary.png", "summary.vtt"]
    assert "its media file is not here" in capsys.readouterr().err
    best = found.highlight
    assert best is not None
    assert (best.threshold, best.num_videos) == (0.5, 0)
    peak_s = smoothed(np.array(found.frame_score)).argmax() / found.fps
    assert best.start_s <= peak_s < best.end_s
    video = next(video for video in open_shards(finished) if video.video_id == "pancakes_01")
    assert found.replay_score == pytest.approx(video.replay_score, abs=1e-6)
    np.testing.assert_allclose(found.frame_score, next(predict(runs.load(run), [video])).frame_score, atol=1e-5)


def test_a_page_with_the_scores_of_a_run(trained, finished: Path, tmp_path: Path, call, capsys) -> None:
    run, _ = trained
    assert call("report", "--root", finished, "-o", tmp_path / "report.html", "--checkpoint", run) == 0
    found = BeautifulSoup((tmp_path / "report.html").read_text(), "lxml")
    assert len(found.select("path.model")) == len(open_shards(finished)) == 8
    assert "hiersum" in found.select_one(".legend .model").get_text()
    assert found.select(".curves path.picked"), "the summary that the run chooses"
    assert call("report", "--root", finished, "-o", tmp_path / "x.html", "--checkpoint", tmp_path) == 2
    assert not (tmp_path / "x.html").exists()


def test_a_language_model_writes_about_a_video_of_the_root(finished: Path, tmp_path: Path, call, capsys) -> None:
    run, words = tmp_path / "v2xum", ["--preset", "tiny", "--set", "epochs=2", "--set", "batch_size=3"]
    short = ["--set", "model.frames=10", "--set", "model.text_tokens=40", "--set", "model.sentence_tokens=20"]
    assert call("train", "v2xum", "--data", finished, "--out", run, *words, *short) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "random weights, so its texts mean nothing" in said
    given = {video.video_id for video in open_shards(finished) if video.summary}
    assert given, "the table `summaries` has some"
    assert call("eval", run, "--on", "shards", "--data", finished) == 0
    assert "frame scores by samples" in capsys.readouterr().out
    asked = ["summarize", "pancakes_01", "--checkpoint", run, "-o", tmp_path / "out"]
    assert call(*asked, "--task", "words") == 2
    assert call(*asked, "--task", "both") == 0
    found = Summary.model_validate_json((tmp_path / "out" / "summary.json").read_bytes())
    assert found.task == "both"
    assert found.written
    for each in found.written:
        assert each.text
        assert each.start_s is not None
        assert each.end_s is not None
        assert 0 <= each.start_s < each.end_s <= found.duration_s
    assert found.written[0].text[:20] in capsys.readouterr().out
    assert "NOTE The summary in words" in (tmp_path / "out" / "summary.vtt").read_text(encoding="utf-8")
    assert call(*asked, "--task", "text") == 0
    found = Summary.model_validate_json((tmp_path / "out" / "summary.json").read_bytes())
    assert [each.start_s for each in found.written] == [None] * len(found.written)


def test_only_a_language_model_writes(trained, tmp_path: Path, call, capsys) -> None:
    run, _ = trained
    asked = ["summarize", "pancakes_01", "--checkpoint", run, "-o", tmp_path / "out", "--task", "text"]
    assert call(*asked) == 2
    assert "hiersum writes no text; v2xum does" in capsys.readouterr().err


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SumMe's layout; eight of its videos are those of the sample, those held out among the test videos of fold 1."""
    names = dict(enumerate([*sorted(HELD_OUT), None, None, None, *TRAINED_ON], 1))
    frames, rng = 900, np.random.default_rng(0)
    starts = np.arange(0, frames, 45)
    changes = {
        f"video_{number}": {
            "video_name": names.get(number) or f"Clip {number}",
            "features": rng.random((frames // 15, 8), np.float32),
            "gtscore": rng.random(frames // 15, np.float32),
            "gtsummary": None,
            "user_summary": rng.integers(0, 2, (15, frames)).astype(np.float32),
            "change_points": np.stack([starts, starts + 44], axis=1),
            "n_frames": np.int64(frames),
            "picks": np.arange(0, frames, 15),
        }
        for number in range(1, 26)
    }
    return write_eccv16(tmp_path_factory.mktemp("summe") / "summe.h5", 25, changes)


FOLD = ["--split", "msva-ordered", "--fold", "1"]  # tests video_1 to video_5


def test_pre_trained_here_fine_tuned_on_a_benchmark(trained, finished, benchmark, tmp_path, call, capsys) -> None:
    run, _ = trained
    joined = ["--features", finished]
    words = ["hiersum", "--data", f"summe:{benchmark}", *joined, *FOLD, "--out", tmp_path / "tuned", *TRAINING]
    assert call("train", *words, "--init", run) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert f"begins with the weights of {run}" in said
    assert "afresh" not in said
    assert f"features of {finished}: 8 of 25 videos have our features" in said
    info = runs.read_info(tmp_path / "tuned")
    assert {*info.train, *info.val} == {f"video_{number}" for number in range(6, 12)}
    assert (info.frame_dim, info.text_dim, info.init) == (256, 384, str(run))
    assert call("eval", tmp_path / "tuned", "--on", "summe", "--data", benchmark, *joined) == 0
    assert "the run's test videos (summe/msva-ordered, fold 1 of 5)" in capsys.readouterr().out


def test_what_is_taken_over_from_other_features(trained, benchmark, tmp_path, call, capsys) -> None:
    """The benchmark's own features are of another size, and it has no text."""
    run, _ = trained
    out = tmp_path / "run"
    words = ["hiersum", "--data", f"summe:{benchmark}", *FOLD, "--out", out, *TRAINING, "--set", "epochs=1"]
    assert call("train", *words, "--init", run, "--set", "optimizer.lr=1e-12") == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "begins afresh, for the features' sizes are 256 (text 384) there, 8 (text none) here:" in said
    theirs, ours = load_file(run / "best.safetensors"), load_file(out / "best.safetensors")
    theirs, ours = ({k: v for k, v in each.items() if k.startswith("model.")} for each in (theirs, ours))
    taken = {name for name in ours if name in theirs and ours[name].shape == theirs[name].shape}
    equal = {name for name in taken if (ours[name] - theirs[name]).abs().max() < 1e-6}
    fresh = {name.removeprefix("model.").rpartition(".")[0] for name in ours.keys() - equal}
    assert fresh
    assert len(equal) > len(ours.keys() - equal)
    assert all(layer in said.partition("here: ")[2] for layer in fresh)


def test_zero_shot(trained, finished, benchmark, tmp_path, call, capsys) -> None:
    run, _ = trained
    words = ["eval", run, "--on", "summe", "--data", benchmark]
    assert call(*words, "--features", finished, "--json", tmp_path / "table.json") == 0, capsys.readouterr().err
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["split"] == "all videos, without 6 that trained the run or one that it began with"
    assert row(table, "hiersum", "f1")["n"] == len(HELD_OUT)
    capsys.readouterr()
    assert call(*words) == 2
    error = capsys.readouterr().err
    assert "frame features of size 8, the model takes 256" in error
    assert error.count("\n") == 1


def test_pre_training_on_test_videos_is_refused(trained, finished, benchmark, call, capsys) -> None:
    run, _ = trained
    words = ["--on", "summe", "--data", benchmark, "--features", finished, "--methods", "hiersum", *SIZES]
    assert call("bench", *words, "--init", run) == 2
    assert "was trained or selected on 6 of the 8 test videos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "backbone", "sets"),
    [
        ("visp", "csta", ["model.width=48", "model.weights=none", "objective.least_batch=2", "batch_size=4"]),
        ("csum", "vasnet", ["batch_size=4"]),
    ],
)
def test_without_labels_and_then_with_them(call, finished, tmp_path, capsys, method, backbone, sets) -> None:
    """The features as they are; the corpus is small, so that all videos are looked at, and that is said."""
    model = [word for each in sets if each.startswith("model.") for word in ("--set", each)]
    words = [word for each in [*sets, "epochs=1"] for word in ("--set", each)]
    first, second = tmp_path / "first", tmp_path / "second"
    asked = ("--backbone", backbone, "--data", finished, "--pool", "transductive")
    assert call("train", method, *asked, "--out", first, *words) == 0, capsys.readouterr().err
    assert runs.read_info(first).settings.method == f"{method}+{backbone}"
    assert set(runs.read_info(first).train) > HELD_OUT
    assert "transductive" in capsys.readouterr().out
    tuning = ("--data", finished, "--init", first, *model, "--set", "epochs=1")
    assert call("train", backbone, *tuning, "--out", second) == 0, capsys.readouterr().err
    info = runs.read_info(second)
    assert set(info.train) | set(info.val) == set(TRAINED_ON)
    assert any("transductive" in note for note in info.notes)
