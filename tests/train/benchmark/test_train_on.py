"""Training on one data set for a table of another: `--train-on`, and WikiHow Summaries, on which nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import write_wikihow
from tests.train.benchmark.bench_kit import noted_fits, value
from tests.train.training_kit import fitted, small, videos, write_root

from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.benchmark.evaluation import Request as EvalRequest
from vsumdata.train.benchmark.evaluation import evaluate_run

QUICK = ("epochs=2", "model.hidden=[8]")
SMALL = Request(on="synthetic", data="videos=5,users=2,frames=24", methods=("mlp",), seeds=2, sets=QUICK)


def root_of(path: Path, found: list[Video], *parts: str) -> str:
    return str(write_root(path, found, parts or ("train", "train", "train", "val", "test"), per_part=4))


@pytest.fixture(scope="module")
def wikihow(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """WikiHow Summaries with three videos, and a root with features of two of them and replay scores of others."""
    folder = tmp_path_factory.mktemp("wikihow")
    write_wikihow(folder)
    short = [
        replace(video, video_id=name, task=f"own {name}")
        for video, name in zip(videos(2, frames=4), ("AAAAAAAAAAA", "abcdefghijk"), strict=True)
    ]
    return str(folder), root_of(folder / "root", [*short, *videos(8)[2:]], "train", "train", "train", "train", "val")


def test_wikihow_summaries_is_never_trained_on(wikihow) -> None:
    data, root = wikihow
    request = Request(on="wikihow-summaries", data=data, methods=("mlp",), seeds=1, sets=QUICK, features=root)
    with pytest.raises(UsageError, match="wikihow-summaries is for testing alone: give --train-on ROOT"):
        bench(request)
    assert bench(replace(request, methods=("frame-cm",), sets=())).split == "all 2 test videos"
    with pytest.raises(UsageError, match="wikihow-summaries is for testing alone; train on a root"):
        bench(replace(request, train_on=f"wikihow-summaries:{data}"))


def test_it_is_tested_by_what_a_root_has_taught(wikihow, tmp_path, monkeypatch) -> None:
    given = noted_fits(monkeypatch)
    data, root = wikihow
    request = Request(
        on="wikihow-summaries", data=data, methods=("mlp",), seeds=2, sets=QUICK, features=root,
        train_on=f"shards:{root}", runs=str(tmp_path),
    )  # fmt: skip
    found = bench(request)
    assert [each.seed for each in given] == [0, 1], "one run a seed, and no folds"
    for each in given:
        assert each.origin.data_set == "shards"
        assert not {"AAAAAAAAAAA", "abcdefghijk"} & (each.train | each.val), "what is tested is not trained on"
        assert each.train
        assert each.val
    assert value(found, "mlp", "tau").n == value(found, "random", "tau").n == 2
    assert found.split == f"all 2 test videos, trained on shards:{root}"
    assert any(line.startswith(f"trained on 5 videos of shards:{root}, ") for line in found.remarks)
    (line,) = [line for line in found.remarks if line.startswith("mlp: ")]
    assert "preset default" in line
    assert "2 videos of shards are tested here and were left out of training" in found.remarks
    assert found.made["mlp"][0]["trained_on"] == f"shards {root}"
    run = str(tmp_path / "mlp/seed-0/fold-1")
    again = bench(replace(request, methods=(f"run:{run}",), sets=(), train_on=None, seeds=1))
    assert value(again, f"run:{run}", "tau").n == 2


def test_a_run_stands_beside_the_papers_numbers_of_its_method(wikihow, tmp_path) -> None:
    data, root = wikihow
    fitted(tmp_path / "run", small("hiersum", "epochs=1"), videos(3, seed=9))
    word = f"run:{tmp_path / 'run'}"
    found = bench(Request(on="wikihow-summaries", data=data, methods=(word,), seeds=1, features=root))
    assert found.made[word][0]["method"] == "hiersum"
    assert [paper.short_source for paper in found.published] == ["HierSum"]


def test_the_numbers_are_those_of_eval(tmp_path) -> None:
    """The run that the bench keeps, measured by `eval` on the same videos."""
    root = root_of(tmp_path / "root", videos(9, seed=4))
    found = bench(replace(SMALL, train_on=root, seeds=1, runs=str(tmp_path / "runs")))
    alone = evaluate_run(EvalRequest(run=str(tmp_path / "runs/mlp/seed-0/fold-1"), on="synthetic", data=SMALL.data))
    for metric in ("f1", "tau", "rho"):
        assert value(found, "mlp", metric).n == 5
        assert value(found, "mlp", metric).mean == pytest.approx(value(alone, "mlp", metric).mean)


def test_another_benchmark_may_teach_too(monkeypatch) -> None:
    given = noted_fits(monkeypatch)
    found = bench(replace(SMALL, seeds=1, train_on="synthetic:videos=8,users=2,frames=24,seed=3"))
    (its,) = given
    assert all(video_id.startswith("synthetic-3-") for video_id in its.train | its.val)
    assert value(found, "mlp", "tau").n == 5
    with pytest.raises(UsageError, match="each of its .* training videos is tested here"):
        bench(replace(SMALL, train_on=f"synthetic:{SMALL.data}"))
    given.clear()
    found = bench(replace(SMALL, seeds=1, train_on="synthetic:videos=12,users=2,frames=24"))
    (its,) = given
    assert (its.train | its.val).isdisjoint(f"synthetic-0-{n:04}" for n in range(5))
    assert "3 videos of synthetic are tested here and were left out of training" in found.remarks


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"methods": ()}, "--train-on .*: no method of --methods is trained"),
        ({"legacy": True}, "--legacy: it uses videos that are tested"),
        ({"methods": ("visp+mlp",), "pool": "transductive"}, "--pool transductive: it uses videos that are tested"),
        ({"train_on": "nowhere"}, "nowhere"),
    ],
)
def test_what_does_not_go_together_is_told(change, says) -> None:
    request = replace(SMALL, train_on="synthetic:videos=8,seed=3", sets=())
    with pytest.raises(UsageError, match=says):
        bench(replace(request, **change))


def test_features_of_another_size_are_refused_before_training(tmp_path, monkeypatch) -> None:
    given = noted_fits(monkeypatch)
    other = [replace(v, frame_feature=np.ones((len(v.frame_time_s), 32), np.float32)) for v in videos(9, seed=4)]
    root = root_of(tmp_path / "root", other)
    bare = [replace(v, frame_feature=v.frame_feature[:, :7]) for v in videos(3)]
    monkeypatch.setattr("vsumdata.datasets.synthetic.load", lambda path="": bare)
    with pytest.raises(UsageError, match="mlp: .* has frame features of size 7, the model takes 32"):
        bench(replace(SMALL, train_on=root))
    assert given == []
