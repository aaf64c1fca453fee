"""Real annotations and published predictions give the figures of official code; the checker notices where not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from vsumdata.train.benchmark.score import Request, score

CHECKER = Path(__file__).with_name("real.py")
pytestmark = pytest.mark.recorded


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(CHECKER), str(folder)], capture_output=True, text=True, check=False)


def test_all_figures_agree(recordings: Path) -> None:
    answer = checked(recordings / "golden_real")
    lines = [line.split("\t") for line in answer.stdout.splitlines()[:-1]]
    assert [line for line in lines if line[-1] != "ok"] == []
    assert answer.returncode == 0, answer.stderr
    assert {line[0] for line in lines} == {path.stem for path in (recordings / "golden_real").glob("*.json")}


@pytest.mark.parametrize(
    ("pack", "section", "key"),
    [
        ("14_qfvs_real", "cases", "f1"),
        ("15_umt_real", "youtube", "ap_rounded5"),
        ("16_summe_examples", "por", "official_avg_percent"),
    ],
)
def test_a_wrong_figure_is_noticed(recordings: Path, tmp_path: Path, pack: str, section: str, key: str) -> None:
    content = json.loads((recordings / "golden_real" / f"{pack}.json").read_text())
    rows = content[section]
    first = rows[0] if isinstance(rows, list) else next(iter(rows.values()))
    first[key] += 1e-3
    (tmp_path / "under_any_name.json").write_text(json.dumps(content))
    arrays = recordings / "golden_real" / f"{pack}.npz"
    if arrays.is_file():
        shutil.copy(arrays, tmp_path / "under_any_name.npz")
    answer = checked(tmp_path)
    assert answer.returncode == 1
    assert answer.stdout.count("DIFFERS") == 1


def figure(table: object, method: str, metric: str, protocol: str) -> float:
    (row,) = (
        row
        for row in table.rows  # type: ignore[attr-defined]
        if (row.method, row.metric, row.protocol) == (method, metric, protocol)
    )
    return float(row.mean)


def test_published_scores_give_the_f1_that_their_authors_stored(recordings: Path) -> None:
    summe = recordings / "benchmarks" / "SumMe"
    stored: dict[str, list[float]] = {}
    words = []
    for path in sorted((summe / "predictions").glob("*.h5")):
        name = path.name.partition("_non-overlapping")[0]
        words.append(f"{name}={path}")
        with h5py.File(path) as file:
            # In percent in some of the files.
            values = [float(video["fscore" if "fscore" in video else "fm"][()]) for video in file.values()]
        stored.setdefault(name, []).append(float(np.mean(values)) / (100 if max(values) > 1 else 1))
    rules = ("pgl-sum-summe", "csta-summe")
    data = str(summe / "rebuilt" / "summe_rebuilt_signals.h5")
    table = score(Request(predictions=tuple(words), on="summe", data=data, protocols=rules))
    assert set(stored) == {"csnet", "sum-gan-aae", "sum_ind"}
    for name, folds in stored.items():
        for protocol in rules:
            assert figure(table, name, "f1", protocol) == pytest.approx(np.mean(folds), abs=5e-5), name
    # None of them stands out from chance, which is not 0 where the summary is ranked.
    assert 0.08 < figure(table, "random", "tau", "csta-summe") < 0.11
    for name in stored:
        assert abs(figure(table, name, "tau", "csta-summe") - figure(table, "random", "tau", "csta-summe")) < 0.02
