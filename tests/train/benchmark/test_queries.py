"""`score`, `bench` and `train` on QVHighlights: predictions in the official form, moments kept, a model that learns."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.highlights.qvhighlights_files import PARTS, lines, write
from tests.train.benchmark.bench_kit import value

from vsumdata.datasets.benchmarks.highlights import qvhighlights
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import bench, evaluation, predictions, table
from vsumdata.train.benchmark import score as scoring
from vsumdata.train.benchmark.score import Request, score
from vsumdata.train.loop import runs
from vsumdata.train.scoring.evaluate import MOMENTS, SALIENCY, evaluate

VAL = [(qid, vid) for qid, vid in enumerate(PARTS["val"], len(PARTS["train"]))]


def submission(path: Path, *changes: Any, **every: Any) -> Path:
    """Predictions for the val part in the official form; `changes` are of the first queries, `every` of all."""
    rng = np.random.default_rng(0)
    records = []
    for at, (qid, vid) in enumerate(VAL):
        windows = [[4.0, 10.0, 0.9], [0.0, 20.0, 0.5]]
        found = {"qid": qid, "query": "a", "vid": vid, "pred_relevant_windows": windows}
        found["pred_saliency_scores"] = rng.random(10).tolist()
        found |= every | (changes[at] if at < len(changes) else {})
        records.append({key: its for key, its in found.items() if its is not None})
    path.write_text(lines(records))
    return path


def scored(folder: Path, path: Path) -> table.Table:
    return score(Request(predictions=(str(path),), on="qvhighlights", data=str(folder)))


def test_the_official_form_is_found_by_query_and_video(tmp_path: Path) -> None:
    videos = {video.video_id: video for video in qvhighlights.load(write(tmp_path / "data"))}
    path = submission(tmp_path / "mine.jsonl")
    found = scored(tmp_path / "data", path)
    expected = []
    for record in map(json.loads, path.read_text().splitlines()):
        its = videos[f"{record['vid']}/{record['qid']}"]
        scores, windows = (np.array(record[key]) for key in ("pred_saliency_scores", "pred_relevant_windows"))
        expected.append(evaluate(scores, its, qvhighlights.PROTOCOL, moments=windows).values)
    for metric in qvhighlights.PROTOCOL.metrics:
        row = value(found, "mine", metric)
        assert (row.n, row.mean) == (2, pytest.approx(np.mean([each[metric] for each in expected])))
    assert value(found, "random", "mr_map").n == 2
    assert value(found, "human", "mr_map").missing == "it proposes no moments"
    assert "mine: measured on its val part" in found.remarks
    assert not any("without" in remark for remark in found.remarks), "the train part is not missing"
    assert any("missing clips count as score 0" in remark for remark in found.remarks)
    alone = scored(tmp_path / "data", submission(tmp_path / "mine.jsonl", vid=None))
    assert value(alone, "mine", "mr_map").mean == value(found, "mine", "mr_map").mean, "a qid is enough"


def test_predictions_of_others_are_refused_and_odd_ones_left_out(tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    with pytest.raises(UsageError, match="none of its 2 names is a video of qvhighlights .first: elsewhere/4"):
        scored(data, submission(tmp_path / "a.jsonl", vid="elsewhere"))
    odd = [
        ({"pred_relevant_windows": [[9, 4, 0.5]]}, r"moment 0 is \[9.0, 4.0, 0.5\]"),
        ({"pred_relevant_windows": [[4, 9, 1], [4, 9, float("nan")]]}, r"moment 1 is \[4.0, 9.0, nan\]"),
        ({"pred_relevant_windows": [[4, 9]]}, "no moments; expected rows of start and end in seconds and score"),
        ({"pred_relevant_windows": [[4, 9, 1], [4]]}, "no moments"),
        ({"pred_saliency_scores": [1.0, float("inf")]}, "score 1 is inf"),
        ({"pred_saliency_scores": []}, "no scores, which others have"),
        ({"pred_saliency_scores": None}, "no scores, which others have"),
        ({"pred_relevant_windows": None}, "no moments, which others have"),
    ]
    for changes, said in odd:
        found = scored(data, submission(tmp_path / "b.jsonl", changes))
        assert value(found, "b", "mr_map").n == 1
        (remark,) = [remark for remark in found.remarks if "left out" in remark]
        assert re.search(f"left out: {VAL[0][1]}/{VAL[0][0]}: {said}", remark)
    few = scored(data, submission(tmp_path / "c.jsonl", {"pred_saliency_scores": [0.5, 0.2]}))
    assert value(few, "c", "hl_map_fair").n == 2, "any number of scores will do"


@pytest.mark.parametrize(
    ("lacking", "metrics", "why"),
    [
        ("pred_saliency_scores", SALIENCY, "it scores no clips"),
        ("pred_relevant_windows", MOMENTS, "it proposes no moments"),
    ],
)
def test_one_half_of_a_prediction_will_do(tmp_path: Path, lacking: str, metrics: tuple[str, ...], why: str) -> None:
    found = scored(write(tmp_path / "data"), submission(tmp_path / "mine.jsonl", **{lacking: None}))
    for metric in qvhighlights.PROTOCOL.metrics:
        row = value(found, "mine", metric)
        assert (row.n, row.missing) == ((0, why) if metric in metrics else (2, ""))


SMALL = ("model.hidden=8", "model.heads=2", "model.feedforward=8", "epochs=2", "validate_every=1", "batch_size=2")


def test_moment_detr_is_trained_measured_kept_and_scored_again(tmp_path: Path) -> None:
    data = write(tmp_path / "data", features=True)
    asked = bench.Request(
        on="qvhighlights",
        data=str(data),
        methods=("moment-detr", "mlp"),
        seeds=1,
        sets=SMALL,
        runs=str(tmp_path / "runs"),
        save_scores=str(tmp_path / "scores"),
    )
    found = bench.bench(asked)
    assert found.split == "as published, tested on its val part"
    row = value(found, "moment-detr", "mr_map")
    assert (row.n, row.missing) == (2, "")
    assert value(found, "mlp", "hl_map_fair").n == 2
    assert value(found, "mlp", "mr_map").missing == "it proposes no moments"
    assert any("features of queries' words of size 4" in remark for remark in found.remarks)
    made = found.made["moment-detr"][0]
    assert (made["preset"], made["runs"][0]["selected_on"]) == ("qvhighlights", "mr_map")
    info = runs.read_info(tmp_path / "runs" / "moment-detr" / "seed-0" / "fold-1")
    assert (info.frame_dim, info.query_dim) == (8, 4)
    assert not set(info.val) & {f"{vid}/{qid}" for qid, vid in VAL}, "the epoch is chosen on training videos"
    kept = predictions.read(tmp_path / "scores" / "moment-detr" / "seed-0-fold-1.h5")
    assert {each.moments.shape for each in kept.scores.values()} == {(10, 3)}
    again = scored(data, tmp_path / "scores" / "moment-detr")
    for metric in qvhighlights.PROTOCOL.metrics:
        assert value(again, "moment-detr", metric).mean == pytest.approx(value(found, "moment-detr", metric).mean)
    run = tmp_path / "runs" / "moment-detr" / "seed-0" / "fold-1"
    measured = evaluation.evaluate_run(evaluation.Request(run=str(run), on="qvhighlights", data=str(data)))
    assert value(measured, "moment-detr", "mr_map").mean == pytest.approx(row.mean)


def test_the_val_part_can_be_asked_for(tmp_path: Path) -> None:
    data = write(tmp_path / "data", labelled_test=True)
    by_split = {
        split: bench.bench(bench.Request(on="qvhighlights", data=str(data), seeds=1, methods=(), split=split))
        for split in (None, "test", "val")
    }
    assert [found.split for found in by_split.values()] == [
        "as published", "as published", "as published, tested on its val part",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no split 'dev' of qvhighlights is known"):
        bench.bench(bench.Request(on="qvhighlights", data=str(data), seeds=1, methods=(), split="dev"))


OFFICIAL = {
    "hl_map_fair": "HL-min-Fair-mAP", "hl_hit1_fair": "HL-min-Fair-Hit1", "hl_map_good": "HL-min-Good-mAP",
    "hl_hit1_good": "HL-min-Good-Hit1", "hl_map_verygood": "HL-min-VeryGood-mAP",
    "hl_hit1_verygood": "HL-min-VeryGood-Hit1", "mr_r1_50": "MR-full-R1@0.5", "mr_r1_70": "MR-full-R1@0.7",
    "mr_map": "MR-full-mAP", "mr_map_50": "MR-full-mAP@0.5", "mr_map_75": "MR-full-mAP@0.75",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.recorded
@pytest.mark.parametrize(
    "name",
    ["moment_detr_sample", "moment_detr_pretrained", "qd_detr_QDDETR_onlyclip", "qd_detr_video_checkpoint"],
)
def test_published_predictions_have_the_figures_of_official_code(
    name: str, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recordings / "benchmarks" / "QVHighlights"
    # The rows of chance and people, and the tests against chance, take minutes.
    monkeypatch.setattr(scoring, "BASELINES", {})
    word = f"{name}={folder / f'pred_{name}.jsonl.gz'}"
    found = score(Request(predictions=(word,), on="qvhighlights", data=str(folder)))
    brief = json.loads((folder / f"pred_{name}.metrics.json").read_text())["brief"]
    for metric, official in OFFICIAL.items():
        row = value(found, name, metric)
        assert (row.n, float(f"{100 * row.mean:.2f}")) == (1550, brief[official]), metric
    assert "measured on its val part" in " ".join(found.remarks)
