"""Log files on an object store: written while lines come and at the end, kept while it is away, divided when long."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from tests.manifests.object_kit import FlakyProxy, keys_of, root_url

from vsumdata.manifests.roots import logs, objects
from vsumdata.manifests.roots.folder import Folder
from vsumdata.manifests.roots.logs import log_handler
from vsumdata.manifests.store import Store


def line(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text, "levelno": logging.INFO})


def test_lines_come_while_it_runs_and_at_the_end(s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FIRST_AFTER_S", 0.05)
    folder = Store(root_url(s3_port, bucket)).inside("logs")
    log_handler(folder, "silent").close()
    handler = log_handler(folder, "worker")
    handler.handle(line("one \ud800"))
    until = time.monotonic() + 20
    while folder.read("worker.log") is None and time.monotonic() < until:
        time.sleep(0.05)
    handler.handle(line("two"))
    handler.close()
    assert folder.read("worker.log") == b"one \\ud800\ntwo\n"
    assert keys_of(s3_port, bucket) == ["root/logs/worker.log"]


def test_a_store_that_is_away_holds_nobody_up_and_loses_no_line(
    s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "GIVES_UP_AFTER_S", 0.1)
    monkeypatch.setattr(logs, "FIRST_AFTER_S", 0.05)
    monkeypatch.setattr(logs, "LONGEST_BYTES", 20)
    with FlakyProxy(s3_port) as proxy:
        folder = Store(root_url(proxy.port, bucket)).inside("logs")
        handler = log_handler(folder, "run")
        proxy.is_down = True
        handler.handle(line("what is said while it is away"))
        time.sleep(0.3)
        handler.handle(line("and longer than allowed"))
        proxy.is_down = False
        until = time.monotonic() + 20
        while folder.read("run.log") is None and time.monotonic() < until:
            time.sleep(0.05)
        handler.handle(line("next"))
        handler.close()
        names = ["run.log", *(f"run-{number}.log" for number in range(2, 5))]
        text = b"".join(folder.read(name) or b"" for name in names)
    assert text == b"what is said while it is away\nand longer than allowed\nnext\n"
    assert {"root/logs/run.log", "root/logs/run-2.log"} <= set(keys_of(s3_port, bucket))


def test_a_local_log_is_a_file(tmp_path: Path) -> None:
    handler = log_handler(Folder(str(tmp_path / "logs")), "run")
    assert list(tmp_path.rglob("*.log")) == []
    handler.handle(line("one"))
    handler.close()
    assert (tmp_path / "logs" / "run.log").read_text() == "one\n"
