"""The tree reads as it is meant to: sizes, one broad except, no package that hides another, the built wheel."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("pipeline", "stages", "manifests", "datasets", "train")
MAX_FILES, MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 15, 500, 80, 8
COMMANDS = {("main.py", "run"), *(("train.py", name) for name in ("train", "evaluate", "bench", "summarize"))}
BANNED_NAMES = {"utils", "common", "base", "core", "misc", "helpers"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", sources(*FOLDERS, "tests"), ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    for function in functions(path):
        assert (function.end_lineno or 0) - function.lineno < MAX_FUNCTION_LINES, function.name
    assert path.stem not in BANNED_NAMES


def folders(*names: str) -> list[Path]:
    """These folders of the tree and all below them, as git knows them: without caches."""
    known = {path.parent for path in sources(*names)}
    return sorted(known | {ROOT / name for name in names})


@pytest.mark.parametrize("folder", folders(*FOLDERS, "recipes", "tests"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_folder_is_seen_at_a_glance(folder: Path) -> None:
    files = [path.name for path in folder.iterdir() if path.is_file()]
    assert len(files) <= MAX_FILES, f"{len(files)} files: {files}"


def test_every_folder_is_in_the_wheel() -> None:
    """`packages` names each folder: setuptools does not look below them. The recipes are data alone."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {f"vsumdata.{path.parent.relative_to(ROOT).as_posix().replace('/', '.')}" for path in sources(*FOLDERS)}
    assert set(listed) == there | {"vsumdata", "vsumdata.recipes"}
    assert listed == sorted(listed)


def test_tests_mirror_the_tree() -> None:
    """A folder of tests stands for the folder of the tree that has its name; these two stand for none."""
    beside = {"bench", "cluster", "golden"}
    for folder in folders("tests"):
        room = folder.relative_to(ROOT / "tests")
        if room.parts and room.parts[0] not in beside:
            assert (ROOT / room).is_dir(), f"tests/{room} has no counterpart"


def test_parameters() -> None:
    for path in sources(*FOLDERS):
        for function in functions(path):
            arguments = function.args
            count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
            # These commands have one parameter for each of their flags.
            is_command = path.parent.name == "commands" and (path.name, function.name) in COMMANDS
            assert count <= MAX_PARAMETERS or is_command, (path, function.name)


def test_no_package_of_ours_hides_another() -> None:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")]
    assert found == [], "a datasets/__init__.py would hide Hugging Face's `datasets` on every Ray worker"


def test_one_broad_except_in_all() -> None:
    broad = [
        path.relative_to(ROOT).as_posix()
        for path in sources(*FOLDERS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]
    assert broad == ["pipeline/workers/worker.py"]


def test_heavy_packages_are_not_imported_by_the_command_line() -> None:
    code = (
        "import sys, vsumdata.pipeline.commands.main, vsumdata.pipeline.session;"
        "print([m for m in ('torch','ray','open_clip','sentence_transformers','faster_whisper','whisper','numba')"
        " if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_built_wheel_works_in_an_empty_folder(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    wheel = next((tmp_path / "dist").glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    outside = [n for n in names if not n.startswith("vsumdata/") and ".dist-info/" not in n]
    assert outside == [], "the tree's own folders must not leak into site-packages"
    empty = tmp_path / "empty"
    empty.mkdir()
    recipes = {f"vsumdata/{path.relative_to(ROOT)}" for path in (ROOT / "recipes").glob("*/*.yaml")}
    recipes.remove("vsumdata/recipes/cluster/kuberay.yaml")
    assert {name for name in names if name.startswith("vsumdata/recipes/")} == recipes
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if p != " + repr(str(ROOT)) + "];"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()];"
        "sys.argv = ['vsumdata', 'run', '--manifest', 'sample', '--dry-run', '--root', 'root'];"
        "import vsumdata.pipeline.commands.main as cli; print(cli.__file__);"
        "from vsumdata.train.benchmark.asked import recipes; print(recipes.known());"
        "recipes.read('csum-table1'); cli.main()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=empty,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert str(tmp_path / "site") in answer.stdout
    assert "hiersum-wikihow" in answer.stdout
    assert "frames" in answer.stdout
