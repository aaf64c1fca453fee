"""A short film of four scenes, and the command line that summarizes it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.pipeline.media_kit import lavfi

from vsumdata.pipeline.commands import main as cli

SCENES = ("color=c=red:d=6", "testsrc2=d=7", "color=c=navy:d=6", "testsrc=d=9")
CUTS_S = (6, 13, 19)
LENGTH_S = 28
CAPTIONS = "WEBVTT\n\n00:01.000 --> 00:04.000\nTake a red pan.\n\n00:08.000 --> 00:12.000\nMix <b>oil</b> & salt.\n"


def film(path: Path, *, sound: bool = False) -> Path:
    """96 x 64 at 10 pictures a second."""
    inputs = [f"{scene}:s=96x64:r=10" for scene in SCENES]
    graph = "".join(f"[{at}:v]setsar=1,format=yuv420p[v{at}];" for at in range(len(SCENES)))
    graph += "".join(f"[v{at}]" for at in range(len(SCENES))) + f"concat=n={len(SCENES)}:v=1:a=0[v]"
    extra = ("-map", f"{len(SCENES)}:a", "-shortest") if sound else ()
    sources = (*inputs, f"sine=f=440:d={LENGTH_S}") if sound else inputs
    return lavfi(path, *sources, args=("-filter_complex", graph, "-map", "[v]", *extra))


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """`vsumdata summarize` in this process; the exit code."""
    monkeypatch.setattr(sys, "argv", ["vsumdata", "summarize", *map(str, words)])
    return cli.guarded(cli.app)


def without_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No model hub, and an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub-cache"))
