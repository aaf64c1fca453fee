"""Real annotations and published predictions give the figures of official code; the checker notices where not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
