"""README and docs tell the truth: size, links, commands, reference pages, the list of files, the tutorial."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import typer.main
from tests.bench import results
from tests.pipeline.sample_kit import PROGRAM, SMALL_CLIP, SPLIT

from vsumdata.datasets.benchmarks.registry import DATASETS
from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.manifests import tables
from vsumdata.pipeline.commands.main import app
from vsumdata.pipeline.reports import reference
from vsumdata.train.methods import SUPERVISED

ROOT = Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
FOLDERS = ("pipeline", "stages", "manifests", "datasets", "train")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`(vsumdata [^`]+)`")
FLAG = re.compile(r"--?[a-z][a-z-]*")
NO_COMMAND_OF_OURS = ("make ", ". ")  # what else the tutorial types
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(page.read_text()) if language in languages]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def typed(page: Path) -> Iterator[list[str]]:
    """The words of each `vsumdata …` line in a shell block."""
    for block in blocks(page, "bash"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["vsumdata"]:
                yield words[1:]


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_one_screen() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall(prose(README))}
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= linked


@each_page
def test_what_is_to_be_typed_parses(page: Path) -> None:
    """By the command line itself, without running it: known command, known flags, values of the right type."""
    program = typer.main.get_command(app)
    for words in typed(page):
        context = program.make_context("vsumdata", list(words))
        name, command, rest = program.resolve_command(context, words)  # type: ignore[attr-defined]
        assert command is not None, words
        command.make_context(name, rest, parent=context)


@each_page
def test_commands_in_running_text_exist(page: Path) -> None:
    """They may have placeholders, so only the command and its flags are looked at."""
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for text in SPAN.findall(prose(page)):
        name, *rest = text.split()[1:]
        if name == "COMMAND":
            continue
        assert name in known, text
        flags = {flag for parameter in known[name].params for flag in parameter.opts} | {"--help"}
        assert set(filter(FLAG.fullmatch, rest)) <= flags, text


def test_every_command_is_in_the_list() -> None:
    listed = {
        cell.split()[0] for cell in re.findall(r"^\| `([^`]+)`", (DOCS / "commands.md").read_text(), re.MULTILINE)
    }
    assert listed == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("tables.md", reference.tables_page),
        ("settings.md", reference.settings_page),
        ("published.md", reference.published_page),
    ],
)
def test_reference_pages_are_as_the_code_writes_them(name: str, page) -> None:
    assert (DOCS / name).read_text() == page(), "run `make docs`"


def test_the_results_show_the_kept_figures_of_the_benches() -> None:
    assert results.PAGE.read_text() == results.page(), "run `python tests/bench/results.py docs`"


def test_results_are_compared_by_figure(tmp_path: Path) -> None:
    machine = {"cpu": "a", "cores": 2, "ram_gb": 1.0, "python": "3", "date": "2026-12-01"}
    sizes = [{"size": "small", "rate": 8.0}, {"size": "large", "rate": 2}]
    files = []
    for number, rate in enumerate((8.0, 12.0)):
        figures = {"sizes": [sizes[0] | {"rate": rate}, sizes[1]], "of 0": 0, "name": "x", f"new in {number}": 1}
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps({"train": {"arguments": "", "machine": machine, "figures": figures}}))
    said = subprocess.run([sys.executable, results.__file__, "compare", *files], capture_output=True, text=True).stdout
    ratios = {line.split("  ")[-1]: line.split()[0] for line in said.splitlines() if "->" in line}
    assert ratios == {"sizes · small · rate": "1.500", "sizes · large · rate": "1.000", "of 0": "0"}
    assert "only in one of them: new in 0, new in 1" in said
    assert "train (old): 2026-12-01, 2 cores of a" in said


def test_every_column_has_a_meaning() -> None:
    assert list(tables.HEAD_MEANINGS) == tables.schema(pa.schema([]), ()).names
    for table, meanings in tables.MEANINGS.items():
        assert list(meanings) == tables.payload(table, reference.SIZES).names


def test_every_setting_has_a_meaning() -> None:
    rows = re.findall(r"^\| `[\w.]+` \| .*\| ([^|]*) \|$", reference.settings_page(), re.MULTILINE)
    assert len(rows) > 100
    assert all(row.strip() for row in rows)


def test_the_design_has_a_line_for_every_file() -> None:
    named, folder = set(), ""
    for line in (DOCS / "design.md").read_text().splitlines():
        if found := re.match(rf"(?:### |\| `)((?:{'|'.join(FOLDERS)})[\w/]*)/", line):
            folder = found[1]
        elif found := re.match(r"\| `([\w.]+\.(?:py|json|yaml))` \|", line):
            named.add(f"{folder}/{found[1]}")
    there = {
        path.relative_to(ROOT).as_posix()
        for name in FOLDERS
        for path in (ROOT / name).rglob("*")
        if path.suffix in {".py", ".json", ".yaml"} and "assets" not in path.parts
    }
    assert named == there


def test_methods_data_sets_and_protocols_are_all_named() -> None:
    training, benchmarks = (DOCS / "training.md").read_text(), (DOCS / "benchmarks.md").read_text()
    assert [name for name in SUPERVISED if f"`{name}`" not in training] == []
    assert [name for name in (*DATASETS, *PROTOCOLS) if f"`{name}`" not in benchmarks] == []


@pytest.mark.slow
def test_the_tutorial_runs(finished: Path, sample_site: str, tmp_path: Path) -> None:
    """Each command and each piece of Python, in order; the run finds its work done, for `finished` has its settings."""
    work = tmp_path / "work"
    shutil.copytree(finished, work / "tutorial")
    (work / "sample").symlink_to(finished)
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    environment = os.environ | {"VSUMDATA_TRANSPORT": f"sample.invalid={sample_site}", "COLUMNS": "200"}
    page = DOCS / "tutorial.md"
    first = next(words for words in typed(page) if words[0] == "run")
    assert first == ["run", "--manifest", "sample", "--root", "work/tutorial", *SMALL_CLIP, *SPLIT]
    elsewhere = [("python", text) for other in (README, DOCS / "design.md") for text in blocks(other, "python")]
    for language, text in FENCE.findall(page.read_text()) + elsewhere:
        if language == "python":
            commands = [[sys.executable, "-c", text]]
        else:
            lines = [line for line in text.splitlines() if not line.startswith(NO_COMMAND_OF_OURS)]
            assert all(line.startswith("vsumdata ") for line in lines), text
            commands = [[*PROGRAM, *shlex.split(line)[1:]] for line in lines]
        for command in commands:
            answer = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
            )
            assert answer.returncode == 0, (command, answer.stdout, answer.stderr)
    assert {"summary.mp4", "summary.vtt", "summary.png", "summary.json"} <= {
        path.name for path in (work / "summary").iterdir()
    }
    assert (work / "tutorial.h5").is_file()
