"""Every preset reproduces what the official code answers; the checker notices where it would not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKER = Path(__file__).with_name("packs.py")


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(CHECKER), str(folder)], capture_output=True, text=True, check=False)


@pytest.mark.recorded
def test_all_packs_agree(recordings: Path) -> None:
    answer = checked(recordings / "golden")
    lines = [line.split("\t") for line in answer.stdout.splitlines()[:-1]]
    assert [line for line in lines if line[-1] != "ok"] == []
    assert answer.returncode == 0, answer.stderr
    seen = {line[0] for line in lines}
    assert seen == {path.stem for path in (recordings / "golden").glob("*.json")}
    assert all(len(line) == 5 for line in lines)


@pytest.mark.recorded
def test_a_wrong_number_is_noticed(recordings: Path, tmp_path: Path) -> None:
    pack = json.loads((recordings / "golden" / "07_chance.json").read_text())
    pack["random_f1"][0]["expected_f1"] += 1e-9
    (tmp_path / "07_chance.json").write_text(json.dumps(pack))
    answer = checked(tmp_path)
    assert answer.returncode == 1
    assert [line.split("\t")[-1] for line in answer.stdout.splitlines() if "DIFFERS" in line] == ["DIFFERS"]


@pytest.mark.recorded
def test_a_wrong_summary_is_noticed(recordings: Path, tmp_path: Path) -> None:
    pack = json.loads((recordings / "golden" / "03_scores_to_summary.json").read_text())
    shutil.copy(recordings / "golden" / "03_scores_to_summary.npz", tmp_path)
    first, second = pack["videos"][:2]
    summary = first["summaries"]["DSNet"]
    summary["array"] = second["summaries"]["DSNet"]["array"]
    (tmp_path / "03_scores_to_summary.json").write_text(json.dumps(pack))
    answer = checked(tmp_path)
    assert answer.returncode == 1
    assert f"{first['name']} DSNet" in answer.stdout.split("DIFFERS")[0].splitlines()[-1]


def test_an_unknown_pack_or_none_fails(tmp_path: Path) -> None:
    assert checked(tmp_path).returncode == 1
    (tmp_path / "a.json").write_text('{"pack": "another"}')
    answer = checked(tmp_path)
    assert answer.returncode == 1
    assert "another" in answer.stdout
