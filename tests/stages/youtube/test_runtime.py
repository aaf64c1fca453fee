"""The JavaScript runtime: yt-dlp's own solver through deno on a made-up player, and how a broken one is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.stages.youtube import player_kit
from tests.stages.youtube.player_kit import MadeUp

from vsumdata.manifests.errors import SetupError, UsageError
from vsumdata.stages.youtube import runtime
from vsumdata.stages.youtube.session import Session

URL = f"https://www.youtube.com/watch?v={player_kit.VIDEO}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MadeUp]:
    with MadeUp(tmp_path / "nothing") as site:
        yield site


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, whose cache deno would take for its own."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("DENO_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return home


def challenges(session: Session) -> set[str]:
    streams = [one for one in session.extract(URL)["formats"] if one.get("format_note") != "storyboard"]
    return {parse_qs(urlsplit(one["url"]).query)["n"][0] for one in streams}


def test_yt_dlps_own_solver_runs_the_players_script(site: MadeUp, tmp_path: Path, at_home: Path) -> None:
    scratch = tmp_path / "scratch"
    session = Session(site.context(scratch))
    assert challenges(session) == {"hGfEdCbA"}
    assert session.remarks.blamed() == ("streams", "")
    assert [path.name for path in scratch.iterdir()] == [runtime.DENO_FOLDER]
    assert not list(at_home.rglob("*"))


def test_signatures_are_solved_too(site: MadeUp, tmp_path: Path, at_home: Path) -> None:
    hidden = "s=0123456789&sp=sig&url=https%3A%2F%2Frr1.googlevideo.com%2Fvideoplayback%3Fexpire%3D4000000000"
    site.answers[player_kit.VIDEO] = player_kit.player(
        streams=[player_kit.stream(140, 'audio/mp4; codecs="mp4a.40.2"', signatureCipher=hidden)]
    )
    [stream] = Session(site.context(tmp_path)).extract(URL)["formats"]
    assert parse_qs(urlsplit(stream["url"]).query)["sig"] == ["123456789"]


@pytest.mark.parametrize(
    "right",
    [
        'Deno.readTextFileSync("/etc/hostname")',
        'Deno.env.get("HOME")',
        'new Deno.Command("true").outputSync().code+""',
        'Deno.listen({port:0,hostname:"127.0.0.1"}).addr.port+""',
    ],
)
def test_the_players_script_has_no_rights(site: MadeUp, tmp_path: Path, at_home: Path, right: str) -> None:
    """Files, the environment, programs, the network: what it asks for fails, and with it the challenge."""
    site.script = player_kit.script(right)
    with pytest.raises(SetupError, match="could not solve YouTube's challenge"):
        Session(site.context(tmp_path)).extract(URL)


def test_the_users_own_place_of_denos_cache_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENO_DIR", "/mine")
    runtime.keep_from_home(tmp_path)
    assert os.environ["DENO_DIR"] == "/mine"
    monkeypatch.delenv("DENO_DIR")
    for run in ("one", "another"):
        runtime.keep_from_home(tmp_path / run)
        assert Path(os.environ["DENO_DIR"]).parent == tmp_path / run


def test_the_package_brings_a_runtime_that_starts(monkeypatch: pytest.MonkeyPatch, at_home: Path) -> None:
    monkeypatch.setenv("PATH", "")
    assert runtime.check_runtime().startswith("deno 2.")
    assert not list(at_home.rglob("*"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "#!/bin/sh\necho no such library >&2; exit 127\n",
            r"deno \(.*\) does not start: no such library: pip install",
        ),
        ("#!/bin/sh\nexit 3\n", "does not start: exit code 3"),
        ("no program", "does not start: Exec format error"),
        ("#!/bin/sh\n[ $1 = run ] && echo 42 || echo deno 1.40.0\n", "deno 1.40.0 .*is too old for yt-dlp"),
        ("#!/bin/sh\nexec sleep 60\n", "does not answer within 0.5 s: install it anew"),
        (None, "there is none: pip install deno"),
    ],
)
def test_a_runtime_that_does_not_serve_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, says: str
) -> None:
    found = tmp_path / "deno"
    if content is not None:
        found.write_text(content)
        found.chmod(0o755)
    monkeypatch.setenv("PATH", "/bin" if content else "")
    monkeypatch.setattr(runtime, "STARTS_WITHIN_S", 0.5)
    monkeypatch.setattr(runtime, "deno_program", lambda: str(found) if content else None)
    monkeypatch.setattr(runtime, "program", lambda name: None)
    with pytest.raises(UsageError, match=says) as caught:
        runtime.check_runtime()
    assert "\n" not in str(caught.value)


def test_runtimes_without_rights_of_their_own_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(runtime.runtimes()) == ["deno", "node"]
    monkeypatch.setattr(runtime, "deno_program", lambda: None)
    assert list(runtime.runtimes()) == ["deno", "node", "quickjs", "bun"]
