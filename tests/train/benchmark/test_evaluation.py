"""`vsumdata eval`: which videos a run is measured on, and what is said and refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tests.datasets.benchmarks.benchmark_files import write_bliss, write_mrhisum
from tests.train.benchmark.bench_kit import value, write_root
from tests.train.training_kit import write_root as write_shards

from vsumdata.datasets import synthetic
from vsumdata.datasets.benchmarks import mrhisum
from vsumdata.datasets.shards import open_shards
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Manifest
from vsumdata.manifests.store import Store
from vsumdata.pipeline.commands import main as cli
from vsumdata.train.benchmark.asked.request import Request as BenchRequest
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.benchmark.evaluation import Request, chosen, evaluate_run
from vsumdata.train.benchmark.held_out import seen_by
from vsumdata.train.benchmark.videos import open_data
from vsumdata.train.data.origin import Origin, other_kind
from vsumdata.train.data.training import Wanted
from vsumdata.train.loop import runs
from vsumdata.train.train import TrainRequest, train

DATA = "videos=10,users=2,frames=24"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a benchmark on DATA: methods mlp and hiersum, one seed, five folds."""
    folder = tmp_path_factory.mktemp("runs")
    sets = ("epochs=2", "model.layers=1", "model.heads=2", "optimizer.lr=0.01", "model.initial=xavier")
    small = (*sets, "model.hidden=16")
    for method, settings in (("mlp", ("epochs=2",)), ("hiersum", small)):
        bench(BenchRequest(on="synthetic", data=DATA, methods=(method,), seeds=1, sets=settings, runs=str(folder)))
    return folder


def run_of(kept: Path, method: str = "mlp", fold: int = 1) -> Request:
    return Request(run=str(kept / method / "seed-0" / f"fold-{fold}"), on="synthetic", data=DATA)


def test_a_run_that_knows_the_videos_is_measured_on_those_held_out(kept) -> None:
    """So the mean of its folds is what the benchmark says."""
    again = bench(
        BenchRequest(on="synthetic", data=DATA, methods=("mlp",), seeds=1, sets=("epochs=2",), runs=str(kept))
    )
    found = [evaluate_run(run_of(kept, fold=fold)) for fold in range(1, 6)]
    for table, fold in zip(found, range(1, 6), strict=True):
        info = runs.read_info(Path(run_of(kept, fold=fold).run))
        assert value(table, "mlp", "tau").n == len(info.origin.test) == 2
        assert table.split == f"the run's test videos (synthetic/5 parts, seed 0, fold {fold} of 5)"
        assert {"random", "uniform", "human", "mean-user", "bayes", "oracle", "mlp"} == set(table.methods)
    for metric in ("f1", "tau", "rho"):
        means = [value(table, "mlp", metric).mean for table in found]
        assert sum(means) / 5 == pytest.approx(value(again, "mlp", metric).mean)
    # As `train` takes the data.
    named = evaluate_run(replace(run_of(kept), data=f"synthetic:{DATA}"))
    assert value(named, "mlp", "tau").mean == value(found[0], "mlp", "tau").mean


def test_what_the_run_began_with_had_seen_is_not_measured(tmp_path) -> None:
    """Else weights of one fold would be tested on what another fold's run has learnt by heart."""

    def fold(number: int, init: str | None = None) -> Path:
        out = tmp_path / f"fold-{number}"
        wanted = Wanted(data=f"synthetic:{DATA}", fold=number)
        sets = ("epochs=1", "model.hidden=[4]")
        return train(
            TrainRequest(method="mlp", data=wanted, out=str(out), sets=sets, init=init), Console(quiet=True)
        ).path

    second = fold(2)
    first = fold(1, init=str(second))
    info = runs.read_info(first)
    assert any(note.startswith("2 of 2 test videos trained") for note in info.notes)
    with pytest.raises(UsageError, match="no test videos"):
        evaluate_run(Request(run=str(first), on="synthetic", data=DATA))
    third = runs.read_info(fold(3, init=str(first)))  # and so had the run before that
    everything = {video.video_id for video in synthetic.load(DATA)}
    assert seen_by(third, "synthetic", synthetic.load(DATA)) == everything


def test_other_videos_are_all_measured(kept) -> None:
    found = evaluate_run(replace(run_of(kept), data=f"{DATA},seed=1"))
    assert (found.split, value(found, "mlp", "tau").n) == ("all videos", 10)
    info = runs.read_info(Path(run_of(kept).run))
    said = f"trained on {len(info.train)} videos of synthetic {DATA} (synthetic/5 parts, seed 0, fold 1 of 5), epoch "
    assert any(said in line for line in found.remarks)


def test_a_data_sets_own_test_part_is_measured(kept, tmp_path) -> None:
    data = open_data(mrhisum, str(write_mrhisum(tmp_path)))
    trained = runs.load(run_of(kept).run)
    label, videos = chosen("test", data, trained)
    assert (label, [video.video_id for video in videos]) == ("the data's test videos", ["video_4"])
    label, videos = chosen("all", data, trained)
    assert (label, len(videos)) == ("all videos", 4)


def test_of_another_root_what_the_run_held_out_is_measured(tmp_path) -> None:
    one = bench_on(tmp_path, "one", "train", "train", "val", "test")
    other = write_root(tmp_path / "other", "train", "val", "test", "test")
    info = runs.read_info(one)
    ids = [video.video_id for video in open_shards(other)]
    assert set(ids) & {*info.train, *info.val}, "roots name videos alike"
    found = evaluate_run(Request(run=str(one), on="shards", data=str(other)))
    assert found.split.startswith("the run's test videos")
    assert value(found, "mlp", "map50").n == 1


def bench_on(folder: Path, name: str, *splits: str) -> Path:
    root = write_root(folder / name, *splits)
    request = BenchRequest(on="shards", data=str(root), methods=("mlp",), seeds=1, sets=("epochs=1",))
    bench(replace(request, runs=str(folder / f"runs-{name}")))
    return folder / f"runs-{name}" / "mlp" / "seed-0" / "fold-1"


def test_the_parts_of_a_run_can_be_named_and_are_labelled(kept) -> None:
    info = runs.read_info(Path(run_of(kept).run))
    for part, ids in (("val", info.val), ("train", info.train)):
        found = evaluate_run(replace(run_of(kept), split=part))
        assert value(found, "mlp", "tau").n == len(ids)
        assert f"{len(ids)} of which trained the run or chose its epoch" in found.split
    everything = evaluate_run(replace(run_of(kept), split="all"))
    assert value(everything, "mlp", "tau").n == 10
    assert "8 of which trained the run" in everything.split


def test_a_root_without_held_out_videos_is_refused(tmp_path) -> None:
    run = bench_on(tmp_path, "one", "train", "val", "test")
    only = write_root(tmp_path / "only", "train", "val")
    with pytest.raises(UsageError, match="no test videos of shards .* are left to measure"):
        evaluate_run(Request(run=str(run), on="shards", data=str(only)))
    found = evaluate_run(Request(run=str(run), on="shards", data=str(only), split="val"))
    assert value(found, "mlp", "map50").n == 1


def test_a_roots_videos_are_known_in_a_benchmark_by_their_address(tmp_path) -> None:
    info = runs.read_info(bench_on(tmp_path, "one", "train", "val", "test"))
    videos = [replace(v, url="https://www.youtube.com/watch?v=a") for v in synthetic.load("videos=1,frames=9,users=0")]
    assert seen_by(info, "tvsum", videos) == {videos[0].video_id}
    named = [replace(videos[0], url=None, video_id="video_1")]
    assert seen_by(info, "tvsum", named) == set()


@pytest.mark.parametrize(
    ("trained_on", "seen", "on", "named", "is_seen"),
    [
        ("shards", "MqTdJwMDZhY", "videoxum", "v_MqTdJwMDZhY", True),
        ("shards", "v_MqTdJwMDZhY", "videoxum", "v_MqTdJwMDZhY", True),  # a root of VideoXum's own files
        ("videoxum", "v_MqTdJwMDZhY", "shards", "MqTdJwMDZhY", True),
        ("videoxum", "v_MqTdJwMDZhY", "instruct-v2xum", "MqTdJwMDZhY", True),
        ("instruct-v2xum", "MqTdJwMDZhY", "videoxum", "v_MqTdJwMDZhY", True),
        ("instruct-v2xum", "MqTdJwMDZhY", "shards", "MqTdJwMDZhY", True),
        ("videoxum", "v_MqTdJwMDZhY", "tvsum", "video_1", True),  # its address is known
        ("tvsum", "video_1", "summe", "video_1", False),
        ("llava-pretrain", "MqTdJwMDZhY", "shards", "MqTdJwMDZhY", False),
        ("videoxum", "v_0000000000A", "shards", "MqTdJwMDZhY", False),
    ],
)
def test_a_video_is_known_across_data_sets_that_have_youtubes_ids(
    tmp_path, trained_on: str, seen: str, on: str, named: str, is_seen: bool
) -> None:
    info = runs.read_info(bench_on(tmp_path, "one", "train", "val", "test"))
    info = info.model_copy(
        update={"origin": info.origin.model_copy(update={"data_set": trained_on}), "train": (seen,), "val": ()}
    )
    (video,) = synthetic.load("videos=1,frames=9,users=0")
    address = None if on == "summe" else "https://www.youtube.com/watch?v=MqTdJwMDZhY"
    video = replace(video, video_id=named, url=address)
    assert seen_by(info, on, [video]) == ({named} if is_seen else set())


def test_the_text_can_be_chosen_and_is_printed(kept) -> None:
    request = run_of(kept, "hiersum")
    every = replace(request, split="all")  # of two test videos alone the order of frames may be the same
    paper, ours = (evaluate_run(replace(every, text=text)) for text in ("subtitles", None))
    assert any("text at inference: subtitles" in line for line in paper.remarks)
    assert any("text at inference: both" in line for line in ours.remarks)
    assert value(paper, "hiersum", "tau").mean != value(ours, "hiersum", "tau").mean
    for run, text, says in ((request, "captions", "it is one of"), (run_of(kept), "both", "always shown none")):
        with pytest.raises(UsageError, match=says):
            evaluate_run(replace(run, text=text))


def test_features_of_another_size_are_refused(kept, tmp_path) -> None:
    path = str(write_mrhisum(tmp_path))
    with pytest.raises(UsageError, match="frame features of size 16, the model takes 32"):
        evaluate_run(replace(run_of(kept), on="mrhisum", data=path))
    with pytest.raises(UsageError, match="of size 5, the model takes 32"):
        evaluate_run(replace(run_of(kept), on="bliss", data=str(write_bliss(tmp_path / "BLiSS"))))


def root_by(path: Path, clip: str, text: str, identity: str = "one") -> str:
    """A root of ten videos that says which models made its features."""
    parts = ("train", "train", "val", "test", "test")
    write_shards(path, synthetic.load("videos=10,frames=24,users=2"), parts)
    settings = {"sources": [{"files": "none"}], "features": {"clip": {"model": clip}, "text": {"model": text}}}
    manifest = {
        "settings": Manifest.model_validate(settings).model_dump(mode="json"), "folder": str(path), "file": "m.yaml",
    }  # fmt: skip
    store = Store(path)
    store.write_json("dataset.json", store.dataset() | {"manifest": manifest})
    store.write_json("models.json", {f"text {text}": {"identity": identity}})
    return str(path)


def test_features_of_another_model_are_refused_though_their_sizes_agree(tmp_path) -> None:
    one = root_by(tmp_path / "one", "ViT-B-32", "a/one")
    sets = ("epochs=1", "model.layers=1", "model.heads=2", "model.hidden=16")
    wanted = Wanted(data=one)
    run = train(
        TrainRequest(method="hiersum", data=wanted, out=str(tmp_path / "run"), sets=sets), Console(quiet=True)
    ).path
    request = Request(run=str(run), on="shards", data=one)
    assert evaluate_run(request).methods
    other_text = replace(request, data=root_by(tmp_path / "text", "ViT-B-32", "a/other"))
    with pytest.raises(UsageError, match=r"texts' features are by a/other, .* by a/one; .* or --text none"):
        evaluate_run(other_text)
    assert evaluate_run(replace(other_text, text="none")).methods
    other_clip = replace(request, data=root_by(tmp_path / "clip", "ViT-B-16", "a/one"), text="none")
    with pytest.raises(UsageError, match="frames' features are by CLIP ViT-B-16 openai"):
        evaluate_run(other_clip)
    other_version = replace(request, data=root_by(tmp_path / "version", "ViT-B-32", "a/one", "two"))
    with pytest.raises(UsageError, match="another version of text a/one"):
        evaluate_run(other_version)


def test_what_made_a_benchmarks_own_texts_is_known() -> None:
    ours = Origin(data_set="shards", features={"features": {"text": {"model": "S-BERT"}}})
    why = other_kind(ours, Origin(data_set="bliss"), reads_text=True)
    assert why is not None
    assert "by RoBERTa (BLiSS's own features), the run was trained on those by S-BERT" in why
    assert other_kind(ours, Origin(data_set="bliss"), reads_text=False) is None
    assert other_kind(ours, Origin(data_set="tvsum"), reads_text=True) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"run": "nowhere"}, "nowhere is no training run"),
        ({"on": "sythetic"}, "did you mean `synthetic`"),
        ({"on": "tvsum", "data": ""}, "tvsum needs --data PATH"),
        ({"protocol": "casum"}, "try ca-sum"),
        ({"split": "tst"}, "no split `tst`; did you mean `test`?"),
        ({"protocol": "bliss"}, "nothing can be measured"),
    ],
)
def test_a_wrong_request_is_told(kept, change, says) -> None:
    with pytest.raises(UsageError) as told:
        evaluate_run(replace(run_of(kept), **change))
    assert says in str(told.value)


def test_the_command_writes_the_table(kept, tmp_path, monkeypatch, capsys) -> None:
    path, run = tmp_path / "t.json", run_of(kept)
    words = ["vsumdata", "eval", run.run, "--on", "synthetic", "--data", DATA, "--json", str(path)]
    monkeypatch.setattr(sys, "argv", words)
    assert cli.guarded(cli.app) == 0
    found = json.loads(path.read_text())
    assert list(found) == ["protocol", "split", "seeds", "rows", "made"]
    assert "mlp" in {row["method"] for row in found["rows"]}
    assert "the run's test videos" in capsys.readouterr().out
