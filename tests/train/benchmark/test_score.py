"""`vsumdata score`: files of others and our own, beside chance and people, under several protocols."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import write_bliss
from tests.terminal import WIDE, shown
from tests.train.benchmark.bench_kit import value
from tests.train.training_kit import fitted, small

from vsumdata.datasets import synthetic
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import bench, evaluation, predictions, table
from vsumdata.train.benchmark.score import Request, score
from vsumdata.train.scoring.evaluate import evaluate

DATA = "videos=6,users=3,frames=24"
SMALL = bench.Request(on="synthetic", data=DATA, methods=("mlp",), seeds=2, sets=("epochs=1", "model.hidden=[8]"))
VIDEOS: list[Any] = synthetic.load(DATA)
SCORES = {each.video_id: np.sin(np.arange(len(each.frame_time_s)) * (at + 1)) for at, each in enumerate(VIDEOS)}
IDS = list(SCORES)


def lists(scores: Any) -> dict[str, list[float]]:
    return {name: np.asarray(values).tolist() for name, values in scores.items()}


def hdf5(path: Path, key: str = "", **more: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, values in SCORES.items():
            if not key:
                file[name] = values
                continue
            file[f"{name}/{key}"] = values[None]  # as a network answers
            for other, content in more.items():
                file[f"{name}/{other}"] = content


def lines(scores: Any) -> str:
    return "\n".join(json.dumps({"vid": name, "qid": 3, "pred_saliency_scores": its}) for name, its in scores.items())


FORMS: dict[str, Callable[[Path], Any]] = {
    "a.h5": hdf5,
    "b.h5": lambda path: hdf5(path, "score", gtscore=np.zeros(24), machine_summary=np.zeros(9)),
    "c.hdf5": lambda path: hdf5(path, "importance_scores", user_summary=np.zeros((2, 3))),
    "d.npz": lambda path: np.savez(path, **cast(Any, SCORES)),
    "e.npz": lambda path: np.savez(path, **cast(Any, {f"{name}/pred": its for name, its in SCORES.items()})),
    "f.npy": lambda path: np.save(path, np.array(SCORES, dtype=object), allow_pickle=True),
    "g.json": lambda path: path.write_text(json.dumps(lists(SCORES))),
    "h.json": lambda path: path.write_text(json.dumps({k: {"scores": v} for k, v in lists(SCORES).items()}, indent=1)),
    "i.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(lists(SCORES)).encode())),
    "j.jsonl": lambda path: path.write_text(lines(lists(SCORES))),
    "k.json": lambda path: path.write_text(json.dumps([{"video": k, "pred": v} for k, v in lists(SCORES).items()])),
}


def scored(path: Path | str, *protocols: str) -> table.Table:
    return score(Request(predictions=(str(path),), on="synthetic", data=DATA, protocols=protocols))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_what_the_protocol_gives(tmp_path: Path, name: str) -> None:
    FORMS[name](tmp_path / name)
    found = scored(tmp_path / name)
    expected = [evaluate(SCORES[video.video_id], video, synthetic.PROTOCOL).values for video in VIDEOS]
    for metric in found.metrics:
        row = value(found, name[0], metric)
        assert (row.n, row.mean) == (6, pytest.approx(np.mean([each[metric] for each in expected])))
    assert found.methods == ["random", "uniform", name[0], "human", "mean-user", "oracle", "bayes"]


def test_each_protocol_has_its_columns(tmp_path: Path) -> None:
    FORMS["a.h5"](tmp_path / "mine.h5")
    found = scored(tmp_path / "mine.h5", "synthetic", "scores-vs-mean", "pgl-sum")
    columns = ["f1 (synthetic)", "tau (synthetic)", "rho (synthetic)", "tau (scores-vs-mean)", "rho (scores-vs-mean)"]
    assert found.headings() == ["method", *columns, "f1 (pgl-sum)"]
    assert found.caption.startswith("synthetic: protocol synthetic, scores-vs-mean, pgl-sum, ")
    one = scored(tmp_path / "mine.h5", "scores-vs-mean")
    (cells,) = [line for line in found.cells() if line[0] == "mine"]
    (alone,) = [line for line in one.cells() if line[0] == "mine"]
    assert cells[4:6] == alone[1:]
    assert cells[2] != cells[4]
    drawn = shown(table.terminal(found), WIDE)
    assert all(column in drawn for column in columns)
    rows = json.loads(table.as_json(found))["rows"]
    means = {(row["protocol"], row["metric"]): row["mean"] for row in rows if row["method"] == "mean-user"}
    assert len(means) == 6
    assert means["scores-vs-mean", "tau"] == pytest.approx(1)
    written = list(csv.DictReader(io.StringIO(table.as_csv(found))))
    assert {line["protocol"] for line in written} == {"synthetic", "scores-vs-mean", "pgl-sum"}
    assert len(written) == len(rows) == 6 * 7
    assert "protocol" not in json.loads(table.as_json(one))["rows"][0]


def test_a_number_over_fewer_videos_says_so(tmp_path: Path) -> None:
    odd = lists(SCORES)
    del odd[IDS[0]]
    odd[IDS[1]] = odd[IDS[1]][:-2]
    odd[IDS[2]][5] = float("nan")
    odd["video_of_others"] = [1.0, 2.0]
    odd[IDS[3]] = "abc"  # type: ignore[assignment]
    (tmp_path / "mine.json").write_text(json.dumps(odd))
    found = scored(tmp_path / "mine.json")
    assert {value(found, method, "tau").n for method in ("mine", "random", "human")} == {2}
    told = "\n".join(found.remarks)
    size = len(SCORES[IDS[1]])
    assert f"{IDS[1]}: {size - 2} scores; expected {size}, one for each of its picks" in told
    assert f"{IDS[2]}: score 5 is nan" in told
    assert f"{IDS[3]}: no list of numbers" in told
    assert f"mine: 2 of 6 videos of synthetic; without {IDS[0]}, {IDS[1]}, {IDS[2]}, 1 more" in told
    assert "mine: 1 names are no videos of synthetic: video_of_others" in told
    assert "2 videos" in found.caption


def test_scores_of_every_frame_are_read_at_the_picks(tmp_path: Path) -> None:
    lasts = [np.diff(each.picks, append=each.n_frames) for each in VIDEOS]
    held = {name: np.repeat(SCORES[name], its).tolist() for name, its in zip(IDS, lasts, strict=True)}
    (tmp_path / "a.json").write_text(json.dumps(held))
    FORMS["a.h5"](tmp_path / "a.h5")
    every, picked = (scored(tmp_path / name, "scores-vs-mean") for name in ("a.json", "a.h5"))
    assert [row.mean for row in every.rows] == [row.mean for row in picked.rows]
    (tmp_path / "a.json").write_text(json.dumps({IDS[0]: [0.5, 1]}))
    size = len(SCORES[IDS[0]])
    with pytest.raises(UsageError, match=f"2 scores; expected {size}, .* or {VIDEOS[0].n_frames}, one for each frame"):
        scored(tmp_path / "a.json", "scores-vs-mean")


def test_videos_may_have_their_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = [
        replace(video, url=f"https://www.youtube.com/watch?v=youtube_{at}", title="the same" if at < 2 else f"No {at}")
        for at, video in enumerate(VIDEOS)
    ]
    monkeypatch.setattr(synthetic, "load", lambda path: named)
    one = [f"youtube_{at}" if at % 2 else f"No {at}" for at in range(2, 6)]
    (tmp_path / "a.json").write_text(json.dumps(dict(zip(one, list(lists(SCORES).values())[2:], strict=True))))
    assert value(scored(tmp_path / "a.json"), "a", "tau").n == 4
    twice = {"youtube_2": SCORES[IDS[2]].tolist(), IDS[2]: SCORES[IDS[2]].tolist()}
    (tmp_path / "b.json").write_text(json.dumps(twice))
    with pytest.raises(UsageError, match=f"{IDS[2]} is there under two names"):
        scored(tmp_path / "b.json")
    (tmp_path / "c.json").write_text(json.dumps({"the same": SCORES[IDS[0]].tolist()}))
    with pytest.raises(UsageError, match="none of its 1 names is a video of synthetic .first: the same"):
        scored(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"", "a.json is empty"),
        ("a.json", b"{}", "a.json holds no videos"),
        ("a.json", b'{"video_1": [0.1, ', "is cut off"),
        ("a.json", b"3", "holds no scores by video"),
        ("a.json", b'[{"score": [1]}]', "record 1 has none of video_id, video"),
        ("a.jsonl", b'{"vid": "a", "score": [1]}\n{"vid": "a", "score": [2]}\n', "record 2: a is there twice"),
        ("a.json", b"<!doctype html><html>", "is a web page"),
        ("a.pkl", b"\x80\x04\x95\xff\xfe", "is neither HDF5, .npz, .npy nor JSON"),
        ("a.npz", b"PK\x03\x04 and no more", "is no .npz file of plain arrays"),
        ("a.json.gz", b"\x1f\x8b\x08", "is no compressed JSON"),
        ("a.h5", b"\x89HDF\r\n\x1a\n and no more", "a.h5"),
        ("a.json", b'{"synthetic-0-0000": {"gtscore": [1]}}', "has gtscore; expected its scores under one of"),
        ("a.json", b'{"synthetic-0-0000": {"score": [1], "pred": [1]}}', "has score, pred; expected"),
        ("a.json", b'{"video_1": [1, 2]}', "none of its 1 names is a video of synthetic"),
        ("a.json", b'{"synthetic-0-0000": [1, 2]}', "a: no scores fit their videos of synthetic"),
        ("random.json", b'{"synthetic-0-0000": [1, 2]}', "random is the name of a row of its own; name yours"),
    ],
)
def test_what_is_no_prediction_is_refused_before_anything(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as told:
        scored(tmp_path / name)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_links_that_lead_nowhere_and_groups_are_no_scores(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["synthetic-0-0000"] = h5py.SoftLink("/gone")
        file.create_group("synthetic-0-0001/score/deeper")
    with pytest.raises(UsageError, match="no list of numbers"):
        scored(tmp_path / "a.h5")


def test_a_file_or_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    for word, says in ((tmp_path / "none.h5", "is not there"), (tmp_path, "holds no scores")):
        with pytest.raises(UsageError, match=says):
            scored(word)


def test_saved_scores_give_the_very_numbers_of_the_bench(tmp_path: Path) -> None:
    """Chance too: it is drawn by the same seeds, for the same videos of the same folds."""
    made = bench.bench(replace(SMALL, save_scores=str(tmp_path / "scores")))
    assert sorted(path.name for path in (tmp_path / "scores/mlp").iterdir()) == [
        f"seed-{seed}-fold-{fold}.h5" for seed in (0, 1) for fold in (1, 2, 3)
    ]
    for place in ("scores", "scores/mlp"):
        found = scored(tmp_path / place)
        assert (found.methods, found.split, found.seeds) == (made.methods, made.split, 2)
        for ours, theirs in zip(found.rows, made.rows, strict=True):
            numbers = [(row.mean, row.std, *row.ci95, row.p) for row in (ours, theirs)]
            assert numbers[0] == pytest.approx(numbers[1], abs=1e-12, nan_ok=True)
            assert (ours.n, ours.direction, ours.notes) == (theirs.n, theirs.direction, theirs.notes)
    other = bench.bench(replace(SMALL, protocol="scores-vs-mean"))
    again = scored(tmp_path / "scores", "synthetic", "scores-vs-mean")
    (tau,) = [row for row in again.rows if (row.method, row.metric, row.protocol) == ("mlp", "tau", "scores-vs-mean")]
    assert tau.mean == pytest.approx(value(other, "mlp", "tau").mean, abs=1e-12)
    # The same command writes them again; those of another one would be mixed with them.
    bench.bench(replace(SMALL, save_scores=str(tmp_path / "scores")))
    with pytest.raises(UsageError, match="seed-1-fold-1.h5, which is not of these runs"):
        bench.bench(replace(SMALL, seeds=1, save_scores=str(tmp_path / "scores")))
    with pytest.raises(UsageError, match="holds scores of synthetic, not of tvsum"):
        predictions_on_tvsum(tmp_path)


def predictions_on_tvsum(folder: Path) -> None:
    from tests.datasets.benchmarks.benchmark_files import write_tvsum_tsv

    write_tvsum_tsv(folder)
    score(Request(predictions=(str(folder / "scores"),), on="tvsum", data=str(folder)))


def test_a_failed_method_leaves_no_scores(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no method of --methods makes scores"):
        bench.bench(replace(SMALL, methods=(), sets=(), save_scores=str(tmp_path)))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; give a folder"):
        bench.bench(replace(SMALL, save_scores=str(tmp_path / "file")))


def test_eval_keeps_scores_of_the_same_form(tmp_path: Path) -> None:
    fitted(tmp_path / "run", small("mlp"), VIDEOS[:2])
    request = evaluation.Request(run=str(tmp_path / "run"), on="synthetic", data=DATA, save_scores=str(tmp_path / "s"))
    made, found = evaluation.evaluate_run(request), scored(tmp_path / "s")
    assert (tmp_path / "s/mlp/seed-0-fold-1.h5").is_file()
    assert [row.mean for row in found.rows] == pytest.approx([row.mean for row in made.rows], abs=1e-12)
    assert found.split == made.split


def test_sentences_have_their_scores_too(tmp_path: Path) -> None:
    data = str(write_bliss(tmp_path / "BLiSS"))
    request = bench.Request(on="bliss", data=data, seeds=1, methods=("a2summ",), sets=("epochs=1",))
    made = bench.bench(replace(request, save_scores=str(tmp_path / "scores")))
    found = score(Request(predictions=(str(tmp_path / "scores"),), on="bliss", data=data))
    for metric in ("rouge1", "rougeL", "cosine"):
        assert value(found, "a2summ", metric).mean == pytest.approx(value(made, "a2summ", metric).mean, abs=1e-12)


def test_names_that_hdf5_or_a_file_cannot_have_come_back(tmp_path: Path) -> None:
    class On:
        on, partition = "synthetic", type("P", (), {"label": "parts"})

    names = ["a/b", "50 %", ".", "%2F"]
    scores = {name: predictions.Scores(frame=np.arange(3.0)) for name in names}
    predictions.save(str(tmp_path), "run:runs/x[a.b=1]", {(0, 0): scores}, On)  # type: ignore[arg-type]
    ((method, its),) = predictions.open_all([str(tmp_path)]).items()
    assert (method, list(its)) == ("run:runs/x[a.b=1]", [(0, 0)])
    assert sorted(its[0, 0].scores) == sorted(names)


@pytest.mark.recorded
def test_published_predictions_have_their_published_numbers(recordings: Path) -> None:
    """SumMe's F1 is stored beside the scores, one for each frame in CSNet's and SUM-GAN-AAE's files."""
    folder = recordings / "benchmarks" / "SumMe"
    files = sorted((folder / "predictions").glob("*.h5"))
    words = [f"{path.name.partition('_non')[0]}={path}" for path in files]
    data = str(folder / "rebuilt" / "summe_rebuilt_signals.h5")
    found = score(Request(predictions=tuple(words), on="summe", data=data, protocols=("pgl-sum-summe",)))
    for name in ("csnet", "sum-gan-aae", "sum_ind"):
        stored = []
        for path in (path for path in files if path.name.startswith(name)):
            with h5py.File(path) as file:
                stored.append(np.mean([its["fm" if name == "sum_ind" else "fscore"][()] for its in file.values()]))
        percent = 100 if max(stored) > 1 else 1
        row = value(found, name, "f1")
        assert percent * row.mean == pytest.approx(np.mean(stored), abs=1e-5 * percent)
        assert f"{name}: {row.n} of 25 videos of summe" in "\n".join(found.remarks)


@pytest.mark.recorded
def test_published_json_of_tvsum_has_the_figures_of_official_code(recordings: Path, tmp_path: Path) -> None:
    pack = json.loads((recordings / "golden_real" / "12_tvsum_real.json").read_text())
    folder = recordings / "benchmarks" / "TVSum" / "predictions"
    scores: dict[str, list[float]] = {}
    for path in sorted(folder.glob("csnet*.json.gz")):
        scores |= json.loads(gzip.decompress(path.read_bytes()))
    known = {name: its for name, its in scores.items() if name in pack["videos"]}
    assert len(known) > 15
    (tmp_path / "csnet.json").write_text(json.dumps(known))
    data = str(recordings / "tvsum_annotations.parquet")
    words = (str(tmp_path / "csnet.json"),)
    found = score(Request(predictions=words, on="tvsum", data=data, protocols=("csta", "ca-sum")))
    for row in (row for row in found.rows if row.method == "csnet" and row.metric != "f1"):
        theirs = [pack["videos"][name]["models"]["csnet"][row.metric] for name in known]
        assert (row.n, row.mean) == (len(known), pytest.approx(np.mean(theirs), abs=1e-9))
