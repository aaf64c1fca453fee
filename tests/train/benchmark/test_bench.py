"""The table: which rows, what its numbers are made of, and what is said beside them."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import write_bliss, write_eccv16, write_mrhisum, write_tvsum_tsv
from tests.terminal import WIDE, shown
from tests.train.benchmark.bench_kit import write_root

from vsumdata.datasets import shards, synthetic
from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.splits import folds
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import table
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.benchmark.table import Row, Table
from vsumdata.train.benchmark.videos import open_data
from vsumdata.train.scoring import baselines, metrics
from vsumdata.train.scoring.baselines import BASELINES, Trial
from vsumdata.train.scoring.measure import Measured

SMALL = Request(on="synthetic", data="videos=8,users=3,frames=40", seeds=2)


def value(found: Table, method: str, metric: str) -> Row:
    (row,) = [row for row in found.rows if (row.method, row.metric) == (method, metric)]
    return row


@pytest.fixture(scope="module")
def small() -> Table:
    return bench(SMALL)


def test_chance_and_people_are_always_there(small):
    assert small.methods == ["random", "uniform", "human", "mean-user", "oracle", "bayes"]
    assert small.metrics == ["f1", "tau", "rho"]
    assert {row.n for row in small.rows} == {8}
    assert bench(replace(SMALL, methods=("bayes", "human"))).methods == [
        "random", "uniform", "bayes", "human", "mean-user", "oracle",
    ]  # fmt: skip


def test_without_users_there_is_no_human_row_and_the_table_says_so(tmp_path):
    path = write_eccv16(tmp_path / "eccv16_dataset_tvsum_google_pool5.h5", 50)
    found = bench(Request(on="tvsum", data=str(path), seeds=1))
    assert found.split == "tvsum/csta"
    assert found.methods == ["random", "uniform", "human", "mean-user"]


def test_the_mean_never_stands_in_for_the_users(tmp_path):
    """With the file alone there is no tau per user; against the mean there is one, under its own name."""
    path = write_eccv16(tmp_path / "eccv16_dataset_tvsum_google_pool5.h5", 50)
    found = bench(Request(on="tvsum", data=str(path), seeds=1))
    assert found.metrics == ["f1", "tau", "rho"]
    for method in found.methods:
        cells = [value(found, method, metric) for metric in ("tau", "rho")]
        assert [(table.cell(cell), cell.n) for cell in cells] == [("–", 0), ("–", 0)]
        assert all("protocol tvsum needs user_score" in cell.missing for cell in cells)
        assert value(found, method, "f1").n == 50
    text = shown(table.terminal(found), WIDE)
    assert text.count("no tau, rho: video_1: protocol tvsum needs user_score; protocol scores-vs-mean compares") == 1
    (cell,) = [r for r in json.loads(table.as_json(found))["rows"] if (r["method"], r["metric"]) == ("random", "tau")]
    assert (cell["mean"], cell["n"]) == (None, 0)
    assert any(note.startswith("no tau: video_1: protocol tvsum needs user_score") for note in cell["notes"])
    write_tvsum_tsv(tmp_path)
    per_user, with_mean = (
        bench(Request(on="tvsum", data=str(data), seeds=1, protocol=protocol))
        for data, protocol in ((tmp_path, None), (path, "scores-vs-mean"))
    )
    assert 0 < value(per_user, "mean-user", "tau").mean < 0.9
    assert (with_mean.protocol, value(with_mean, "mean-user", "tau").mean) == ("scores-vs-mean", pytest.approx(1))
    with pytest.raises(UsageError, match="nothing can be measured; no ap_top5: .* needs user_score"):
        bench(Request(on="tvsum", data=str(path), seeds=1, protocol="umt-tvsum"))


def test_the_ceiling_is_above_the_best_guess_is_above_chance():
    found = bench(Request(on="synthetic", data="videos=30,noise=1"))
    for metric in found.metrics:
        oracle, bayes, chance = (value(found, name, metric) for name in ("oracle", "bayes", "random"))
        assert oracle.mean > bayes.mean > chance.mean
        assert bayes.ci95[0] > chance.ci95[1]
        assert (bayes.p < 0.001, math.isnan(chance.p)) == (True, True)
    assert value(found, "random", "tau").ci95[0] < 0 < value(found, "random", "tau").ci95[1]


def test_human_is_each_user_against_the_others(small):
    videos: list[Any] = synthetic.load(SMALL.data)
    tau, f1 = {}, {}
    for video in videos:
        others = [[other for other in range(3) if other != user] for user in range(3)]
        scores, summaries = video.user_score, video.user_summary
        tau[video.video_id] = np.mean([metrics.kendall_tau(scores[u], scores[others[u]]) for u in range(3)])
        f1[video.video_id] = np.mean([metrics.f1_per_user(summaries[u], summaries[others[u]]) for u in range(3)])
    groups = {video.video_id: video.task for video in videos}
    for metric, expected in (("tau", tau), ("f1", f1)):
        means = [
            np.mean([expected[video_id] for video_id in fold.test])
            for seed in range(SMALL.seeds)
            for fold in folds("synthetic", list(groups), seed=seed, groups=groups)
        ]
        found = value(small, "human", metric)
        assert (found.mean, found.std) == pytest.approx((np.mean(means), np.std(means, ddof=1)))


@pytest.mark.recorded
def test_people_on_tvsum_are_as_published(recordings):
    """.177/.204 are published; CSTA's folds are a partition into equal parts."""
    found = bench(Request(on="tvsum", data=str(recordings / "tvsum_annotations.parquet")))
    for name, tau, rho in (("human", 0.177445, 0.204224), ("mean-user", 0.3782, 0.4732)):
        assert value(found, name, "tau").mean == pytest.approx(tau, abs=5e-5)
        assert value(found, name, "rho").mean == pytest.approx(rho, abs=5e-5)
        assert value(found, name, "tau").n == 50
    for metric in ("tau", "rho"):
        assert abs(value(found, "random", metric).mean) < 0.01
        assert value(found, "human", metric).p == pytest.approx(2e-4), "the least that 9,999 draws can show"
    assert {table.cell(row) for row in found.rows if row.metric == "f1"} == {"–"}
    assert any("no f1: video_1: keyshots need change_points" in line for line in found.remarks)


@pytest.mark.recorded
def test_overlapping_folds_test_fewer_videos(recordings):
    """PGL-SUM's five draws test 34 of 50."""
    data = str(recordings / "tvsum_annotations.parquet")
    found = bench(Request(on="tvsum", data=data, seeds=1, split="pgl-sum"))
    assert (value(found, "human", "tau").n, found.split) == (34, "tvsum/pgl-sum")


def test_only_random_depends_on_the_seed(small):
    again, one = bench(SMALL), bench(replace(SMALL, seeds=1))
    assert table.as_json(again) == table.as_json(small)
    video, another = synthetic.load(SMALL.data)[:2]
    drawn = [next(BASELINES["random"](v, synthetic.PROTOCOL, 0)).frame_score[:9] for v in (video, another)]
    assert not np.array_equal(drawn[0], drawn[1]), "each video has its own"
    for name, baseline in BASELINES.items():
        first, same, other = (next(baseline(video, synthetic.PROTOCOL, seed)).frame_score for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, same)
        assert np.array_equal(first, other) == (name != "random")
    assert value(one, "random", "tau").mean != value(small, "random", "tau").mean


def test_uniform_takes_the_budget_at_equal_distances():
    video = synthetic.load("videos=1,users=0,frames=100")[0]
    score = next(BASELINES["uniform"](video, synthetic.PROTOCOL, 0)).frame_score
    chosen = np.flatnonzero(score)
    assert len(chosen) == round(0.15 * len(score))
    assert np.ptp(np.diff(chosen)) <= 1


def test_degenerate_predictions_are_counted():
    videos = synthetic.load("videos=3,users=2")
    measured = Measured(synthetic.PROTOCOL)
    for video, constant in zip(videos, (0, np.nan, 1), strict=True):
        score = np.full(len(video.frame_time_s), float(constant))
        measured.add(video.video_id, [(0, 0)], [Trial(video=video, frame_score=score)])
    assert measured.notes() == [
        "constant scores in 2 of 3 videos",
        "empty summary in 1 of 3 videos",  # zeros are worth nothing
        "not finite in 1 of 3 videos",
    ]
    summary = measured.summary("tau")
    assert (summary.mean, summary.n) == (0.0, 2)


def test_what_a_preset_calls_undefined_is_left_out_and_counted():
    (video,) = synthetic.load("videos=1,users=2")
    measured = Measured(PROTOCOLS["ca-sum"])
    trial = Trial(video=video, frame_score=np.zeros(len(video.frame_time_s)))
    measured.add(video.video_id, [(0, 0)], [trial])
    assert "tau undefined in 1 of 1 videos" in measured.notes()
    summary = measured.summary("tau")
    assert (math.isnan(summary.mean), summary.n) == (True, 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"on": "sythetic"}, "no data set `sythetic`; did you mean `synthetic`? known are: tvsum, summe"),
        ({"methods": ("randon",)}, "no method `randon`; did you mean `random`? known are: random, uniform, human"),
        ({"methods": ("vanet",)}, "no method `vanet`; did you mean `vasnet`? known are: random, uniform, human, "),
        (
            {"sets": ("model.hidden=8",)},
            "--set model.hidden=8: no method of --methods is trained; trained methods are: mlp, ",
        ),
        ({"preset": "tvsum"}, "--preset tvsum: no method of --methods is trained"),
        ({"init": "RUN"}, "--init RUN: no method of --methods is trained"),
        ({"sets": ("crossmodal.merge=1",)}, "--set crossmodal.merge=1: neither of frame-cm and step-cm is among"),
        ({"baseline": "unform"}, "did you mean `uniform`?"),
        ({"protocol": "casum"}, "no protocol is called 'casum'; try ca-sum"),
        ({"split": "nowhere"}, "no split 'nowhere' of synthetic is known"),
        ({"on": "tvsum", "data": ""}, "tvsum needs --data PATH; get it from"),
        ({"on": "tvsum", "data": "no/such.h5"}, "no/such.h5 is not there; get it from"),
        ({"protocol": "bliss"}, "nothing can be measured; no rouge1, rouge2, rougeL: "),
        ({"data": "videos=1"}, "cannot be split"),
    ],
)
def test_a_wrong_request_is_told(change, says):
    with pytest.raises(UsageError) as told:
        bench(replace(SMALL, **change))
    assert says in str(told.value)


@pytest.mark.parametrize(("on", "write"), [("mrhisum", write_mrhisum), ("bliss", write_bliss)])
def test_a_data_set_with_its_own_split_is_measured_on_its_test_videos(tmp_path, on, write):
    """Their ceiling is the reference itself; no user can be told from another."""
    found = bench(Request(on=on, data=str(write(tmp_path))))
    assert (found.split, found.methods) == ("as published", ["random", "uniform", "mean-user"])
    assert {row.n for row in found.rows} == {1}
    best = {"mrhisum": "map50", "bliss": "rouge1"}[on]
    assert value(found, "mean-user", best).mean == 1
    assert "human: no row: the annotations do not allow it" in found.remarks


def test_better_and_worse_than_the_baseline_are_told_apart():
    """Against the ceiling chance is significantly worse: a mark for both would read as praise."""
    request = Request(on="synthetic", data="videos=30,noise=1", seeds=1)
    above, below = bench(request), bench(replace(request, baseline="oracle"))
    assert [value(found, name, "tau").direction for found, name in ((above, "oracle"), (below, "random"))] == ["▲", "▼"]
    assert table.cell(value(below, "random", "tau")).endswith(" ▼")
    assert table.cell(value(above, "oracle", "tau")).endswith(" ▲")
    assert value(above, "random", "tau").direction == "", "the baseline itself"
    assert "▲ better or ▼ worse than oracle at p < 0.05" in table.markdown(below)
    cells = {(row["method"], row["metric"]): row["notes"] for row in json.loads(table.as_json(below))["rows"]}
    assert any(
        note.endswith("against oracle: ▼ worse (paired permutation over videos)") for note in cells["random", "tau"]
    )
    lines = list(csv.DictReader(io.StringIO(table.as_csv(below))))
    assert {line["direction"] for line in lines if line["method"] == "random"} == {"▼"}


def test_what_is_odd_is_said_once(small):
    odd = [replace(row, notes=("odd",)) for row in small.rows if row.method in ("random", "uniform")]
    one = replace(value(small, "human", "f1"), notes=("odd",))
    assert replace(small, rows=[*odd, one], remarks=("first",)).notes() == [
        "first",
        "random, uniform: odd",
        "human (f1): odd",
    ]


UNKNOWN = Row(method="x", metric="f1", mean=math.nan, std=math.nan, ci95=(math.nan, math.nan), n=0, p=math.nan)


def test_json_has_the_contracts_keys(small):
    found = json.loads(table.as_json(replace(small, rows=[*small.rows, UNKNOWN])))
    assert list(found) == ["protocol", "split", "seeds", "rows"]
    assert (found["protocol"], found["split"], found["seeds"]) == ("synthetic", "synthetic/5 parts", 2)
    *rows, unknown = found["rows"]
    for row, given in zip(rows, small.rows, strict=True):
        assert list(row) == ["method", "metric", "mean", "std", "ci95", "n", "notes"]
        assert (row["mean"], row["std"], tuple(row["ci95"])) == (given.mean, given.std, given.ci95)
        assert row["ci95"][0] <= row["mean"] <= row["ci95"][1]
        assert any(note.startswith("p = ") for note in row["notes"]) == (row["method"] != "random")
    assert [unknown[key] for key in ("mean", "std", "ci95", "n", "notes")] == [None, None, None, 0, []]


def test_every_form_says_the_protocol_beside_the_numbers(small):
    lines = list(csv.DictReader(io.StringIO(table.as_csv(small))))
    assert {(line["protocol"], line["split"], line["data"]) for line in lines} == {
        ("synthetic", "synthetic/5 parts", "synthetic")
    }
    assert [float(line["mean"]) for line in lines] == [row.mean for row in small.rows]
    marked = table.markdown(small).splitlines()
    assert marked[2] == "| method | f1 (synthetic) | tau (synthetic) | rho (synthetic) |"
    assert len([line for line in marked if line.startswith("| ")]) == 2 + len(small.methods)
    text = shown(table.terminal(small), WIDE)
    assert "tau (synthetic)" in text
    human = value(small, "human", "tau")
    assert f"{human.mean:.3f} ± {human.std:.3f} [{human.ci95[0]:.3f}, {human.ci95[1]:.3f}]" in text


def test_what_could_not_be_measured_is_a_dash_not_a_number():
    assert table.cell(UNKNOWN) == "–"
    assert table.cell(replace(UNKNOWN, mean=0.25, n=1)) == "0.250"
    assert table.cell(replace(UNKNOWN, mean=0.25, p=0.01, n=9, direction="▼")) == "0.250 ▼"
    found = Table(data="d", protocol="p", split="s", seeds=1, baseline="random", rows=[UNKNOWN])
    assert table.as_csv(found).splitlines()[1] == "d,p,s,1,x,f1,,,,,0,,,,"


def test_a_users_summary_that_ends_early_chooses_nothing_after_it() -> None:
    video = synthetic.load("videos=1,frames=30,users=2")[0]
    assert video.user_summary is not None
    short = baselines.at_picks(video.user_summary[0][:-20], video)
    whole = baselines.at_picks(video.user_summary[0], video)
    assert len(short) == len(whole) == len(video.frame_time_s)
    assert (short <= whole).all()


def test_videos_without_a_test_part_are_cut_into_parts(tmp_path) -> None:
    path = write_root(tmp_path, "train")
    found = open_data(shards, str(path), seeds=1).partition
    assert "parts" in found.label
    assert sorted(video_id for _, fold in found.runs for video_id in fold.test) == ["a", "b", "c", "d"]


def test_a_value_counts_in_every_run_that_tests_its_video() -> None:
    """Random draws test a video in several folds, and a trained method says another thing in each."""
    videos = synthetic.load("videos=2,users=2")
    measured = Measured(synthetic.PROTOCOL)
    for run, sign, video in [((0, 0), 1, 0), ((0, 1), -1, 0), ((0, 1), 1, 1)]:
        score = sign * np.asarray(videos[video].gt_score, np.float64)
        measured.add(videos[video].video_id, [run], [Trial(video=videos[video], frame_score=score)])
    tau = {key[1]: its for key, its in measured.values.items() if key[0] == "tau"}
    first, second = (video.video_id for video in videos)
    assert tau[0, 1][first] == pytest.approx(-tau[0, 0][first])
    summary = measured.summary("tau")
    assert (summary.n, summary.mean) == (2, pytest.approx((tau[0, 0][first] + np.mean([*tau[0, 1].values()])) / 2))
    assert summary.videos == pytest.approx({first: tau[0, 0][first] / 3, second: tau[0, 1][second]})
