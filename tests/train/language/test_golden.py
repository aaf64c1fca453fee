"""Official code and libraries say the same of prompts, samples, outputs, captions; the checker notices where not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKER = Path(__file__).parents[2] / "golden" / "v2xum.py"
pytestmark = pytest.mark.recorded


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(CHECKER), str(folder)], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_all_cases_agree(recordings: Path) -> None:
    answer = checked(recordings / "golden_v2xum")
    lines = [line.split("\t") for line in answer.stdout.splitlines()[:-1]]
    assert [line for line in lines if line[-1] != "ok"] == []
    assert answer.returncode == 0, answer.stderr
    assert {line[0] for line in lines} == {path.stem for path in (recordings / "golden_v2xum").glob("*.json")}


def test_wrong_answers_are_noticed(recordings: Path, tmp_path: Path) -> None:
    """One in each pack that needs no model, under names that say nothing."""
    packs = {path.stem: json.loads(path.read_text()) for path in (recordings / "golden_v2xum").glob("*.json")}
    packs["prompts"]["timestamps"][3]["index"] = "99"
    packs["interleaving"]["cases"][0]["positions"][0][40] = "v9"
    packs["sampling"]["cases"][6]["frames"][1] += 1
    packs["outputs"]["outputs"][0]["lists"][0][0] += 1
    packs["captions"]["segments"][0]["cider"] += 1e-8
    packs["importance"]["cases"][0]["scores"][0] += 1e-8
    del packs["bertscore"]
    for number, content in enumerate(packs.values()):
        (tmp_path / f"pack{number}.json").write_text(json.dumps(content))
    (tmp_path / "unknown.json").write_text('{"nothing": 1}')
    answer = checked(tmp_path)
    assert answer.returncode == 1
    wrong = [line.split("\t")[0] for line in answer.stdout.splitlines() if line.endswith("DIFFERS")]
    assert sorted(wrong) == sorted([*(f"pack{number}" for number in range(len(packs))), "unknown"])
