"""`vsumdata bench` and `vsumdata export`: what they print and write, and how they refuse."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.datasets.shards_kit import FINGERPRINT, SCHEMA, payload, row
from tests.pipeline.sample_kit import vsumdata

from vsumdata.datasets import synthetic
from vsumdata.manifests import rows
from vsumdata.manifests.store import Store
from vsumdata.pipeline.commands import main as cli

SMALL = ["bench", "--on", "synthetic", "--data", "videos=8,users=3,frames=40"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command line without a process of its own; its exit code."""
    monkeypatch.setattr(sys, "argv", ["vsumdata", *arguments])
    return cli.guarded(cli.app)


def test_bench_needs_no_file_and_no_trained_model(tmp_path: Path) -> None:
    files = {form: tmp_path / f"table.{form}" for form in ("json", "markdown", "csv")}
    written = [word for form, path in files.items() for word in (f"--{form}", str(path))]
    answer = vsumdata("bench", "--on", "synthetic", "--seeds", "1", *written)
    assert answer.returncode == 0, answer.stderr
    for word in ("synthetic: protocol synthetic, split synthetic/5 parts, seeds 1", "tau (synthetic)", "mean-user"):
        assert word in answer.stdout
    found = json.loads(files["json"].read_text())
    assert found.keys() == {"protocol", "split", "seeds", "rows"}
    assert [row["method"] for row in found["rows"][::3]] == [
        "random", "uniform", "human", "mean-user", "oracle", "bayes",
    ]  # fmt: skip
    lines = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert [float(line["mean"]) for line in lines] == [row["mean"] for row in found["rows"]]
    for line in files["markdown"].read_text().splitlines()[4:10]:
        method, first, *_ = line.strip("| ").split(" | ")
        assert f"{next(float(x['mean']) for x in lines if x['method'] == method):.3f}" in first


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_number_is_broken_at_the_end_of_a_line(tmp_path, monkeypatch, columns) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    answer = vsumdata(*SMALL, "--seeds", "1", "--json", str(tmp_path / "t.json"))
    assert answer.returncode == 0, answer.stderr
    assert max(map(len, answer.stdout.splitlines())) <= columns
    for its in json.loads((tmp_path / "t.json").read_text())["rows"]:
        low, high = its["ci95"]
        assert f"{its['mean']:.3f} ± {its['std']:.3f}" in answer.stdout
        assert f"[{low:.3f}, {high:.3f}]" in answer.stdout


def test_another_protocol_is_named_in_all_that_is_printed(tmp_path, monkeypatch, capsys):
    path = tmp_path / "t.json"
    assert call(monkeypatch, *SMALL, "--protocol", "csta-summe", "--baseline", "uniform", "--json", str(path)) == 0
    assert "f1 (csta-summe)" in capsys.readouterr().out
    found = json.loads(path.read_text())
    assert found["protocol"] == "csta-summe"
    compared = {row["method"] for row in found["rows"] if any("against uniform" in note for note in row["notes"])}
    assert compared == {row["method"] for row in found["rows"]} - {"uniform"}


def test_trained_methods_have_rows_and_their_runs_are_kept(tmp_path, monkeypatch, capsys):
    path, kept = tmp_path / "t.json", tmp_path / "runs"
    words = ["--methods", "mlp", "--seeds", "1", "--set", "epochs=1", "--set", "model.hidden=[4]", "--legacy"]
    assert call(monkeypatch, *SMALL, *words, "--runs", str(kept), "--json", str(path)) == 0
    found = json.loads(path.read_text())
    assert "mlp" in {row["method"] for row in found["rows"]}
    assert "legacy: selected on the test videos" in found["split"]
    told = capsys.readouterr().out
    assert "legacy: selected on the test videos" in told
    assert "mlp: preset synthetic with model.hidden=[4], epochs=1; " in told
    assert "frame features of size 32 (synthetic's own); init: none" in told
    assert len(list(kept.glob("mlp/seed-0/fold-*/run.json"))) == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bench"], "--on"),
        ([*SMALL, "--no-such-flag"], "no-such-flag"),
        ([*SMALL, "--seeds", "0"], "seeds"),
        (["bench", "--on", "tvsun"], "no data set `tvsun`; did you mean `tvsum`?"),
        (["bench", "--on", "tvsum"], "tvsum needs --data PATH; get it from"),
        (["bench", "--on", "summe", "--data", "none.h5"], "none.h5 is not there; get it from"),
        ([*SMALL, "--methods", "uniform,mean-usr"], "no method `mean-usr`; did you mean `mean-user`?"),
        ([*SMALL, "--methods", "vanet"], "no method `vanet`; did you mean `vasnet`?"),
        ([*SMALL, "--methods", "mlp", "--set", "model.hiden=[4]"], "did you mean `hidden`?"),
        ([*SMALL, "--methods", "mlp", "--preset", "bliss"], "no preset `bliss` of mlp; known are: default"),
        ([*SMALL, "--preset", "tvsum"], "no method of --methods is trained"),
        ([*SMALL, "--protocol", "cssta"], "try csta"),
        ([*SMALL, "--features", "none"], "no vsumdata root"),
        ([*SMALL, "--json", "none/table.json"], "none/table.json cannot be written"),
        (["bench", "--on", "synthetic", "--data", "nose=1"], "no setting `nose`; did you mean `noise`?"),
        (["score", "--on", "synthetic"], "[NAME=]PATH"),
        (["score", "none.h5"], "--on"),
        (["score", "none.h5", "--on", "synthetic"], "none.h5 is not there"),
        (["score", "none.h5", "--on", "tvsum"], "tvsum needs --data PATH; get it from"),
        (["score", "none.h5", "--on", "synthetic", "--protocol", "csta,cssta"], "try csta"),
        ([*SMALL, "--save-scores", "scores"], "no method of --methods makes scores to keep"),
        (["export", "--root", "none", "-o", "x.h5"], "no vsumdata root"),
        (
            ["export", "--root", "none", "-o", "x.h5", "--format", "eccv16"],
            "no format `eccv16`; known are: eccv16-h5, mosu-h5, instruct-v2xum, ids, availability",
        ),
        (["export", "--root", "none", "-o", "x.csv", "--format", "availability"], "no vsumdata root"),
        (["export", "--root", "none"], "--output"),
    ],
)
def test_wrong_usage_is_exit_2_and_one_line(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.out == ""
    assert "Traceback" not in told.err
    assert list(tmp_path.iterdir()) == []


def test_scores_of_others_are_measured_under_several_protocols(tmp_path, monkeypatch, capsys):
    scores = {video.video_id: video.user_score.mean(0).tolist() for video in synthetic.load(SMALL[-1])}
    (tmp_path / "theirs.json").write_text(json.dumps(scores))
    words = ["--on", "synthetic", "--data", SMALL[-1], "--protocol", "synthetic, scores-vs-mean"]
    files = ["--json", str(tmp_path / "t.json"), "--csv", str(tmp_path / "t.csv")]
    assert call(monkeypatch, "score", f"them={tmp_path / 'theirs.json'}", *words, *files) == 0
    assert "tau (scores-vs-mean)" in capsys.readouterr().out
    found = json.loads((tmp_path / "t.json").read_text())
    (tau,) = [
        row for row in found["rows"]
        if (row["method"], row["metric"], row["protocol"]) == ("them", "tau", "scores-vs-mean")
    ]  # fmt: skip
    assert tau["mean"] == pytest.approx(1)


def write_root(path: Path, part: list[dict]) -> Path:
    store = Store(path)
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, part))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two videos that can be scored, one without importance."""
    videos = (("a", 9, True), ("b", 30, True), ("c", 5, False))
    part = [row(name, payload(size, "test", text=text)) for name, size, text in videos]
    return write_root(tmp_path / "root", part)


def test_export_writes_our_shards_and_says_what_is_left_out(root, tmp_path, monkeypatch, capsys):
    path = tmp_path / "ours.h5"
    assert call(monkeypatch, "export", "--root", str(root), "--format", "eccv16-h5", "-o", str(path)) == 0
    told = capsys.readouterr()
    assert f"2 videos in {path}, 1 left out" in told.out
    assert "c is left out: no importance" in told.err
    with h5py.File(path) as file:
        assert sorted(file) == ["video_1", "video_2"]
        np.testing.assert_array_equal(file["video_2/features"], payload(30, "", text=True)["frame_feature"])
        np.testing.assert_allclose(file["video_2/gtscore"], np.linspace(0, 1, 30), atol=1e-6)


def test_our_own_shards_can_be_measured_on(root, tmp_path, monkeypatch, capsys):
    path = tmp_path / "t.json"
    assert call(monkeypatch, "bench", "--on", "shards", "--data", str(root), "--json", str(path)) == 0
    found = json.loads(path.read_text())
    means = {(row["method"], row["metric"]): row["mean"] for row in found["rows"]}
    assert means["mean-user", "map50"] == 1, "the replay score itself ranks rightly"
    assert "human: no row" in capsys.readouterr().out


def test_features_of_ours_take_the_place_of_the_benchmarks(tmp_path, monkeypatch, capsys):
    videos = synthetic.load(SMALL[-1])
    part = [row(v.video_id, payload(len(v.frame_time_s), "test", text=True)) for v in videos[:6]]
    write_root(tmp_path / "root", part)
    path = tmp_path / "t.json"
    assert call(monkeypatch, *SMALL, "--features", str(tmp_path / "root"), "--json", str(path)) == 0
    assert {row["n"] for row in json.loads(path.read_text())["rows"]} == {6}
    told = capsys.readouterr().out
    assert "6 of 8 videos have our features" in told
    assert f"{videos[6].video_id}: not in the root" in told

    write_root(tmp_path / "other", [row("other", payload(9, "test", text=True))])
    assert call(monkeypatch, *SMALL, "--features", str(tmp_path / "other")) == 2
    assert "nothing can be measured" in capsys.readouterr().err


def test_the_commands_stay_light_until_they_run():
    code = (
        "import sys, vsumdata.pipeline.commands.main;"
        "print([m for m in ('scipy', 'numpy', 'h5py', 'sklearn', 'vsumdata.train.benchmark.bench')"
        " if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_benchmark_does_not_load_a_learning_library():
    code = (
        "import sys; from vsumdata.train.benchmark.bench import bench;"
        "from vsumdata.train.benchmark.asked.request import Request;"
        "bench(Request(on='synthetic', data='videos=4,users=2,frames=20', seeds=1));"
        "print([m for m in ('torch', 'ray', 'numba', 'sklearn') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
