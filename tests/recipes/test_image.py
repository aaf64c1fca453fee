"""The Dockerfile: what a linter says of it, and what it must not do. No test builds the image."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
# With their continued lines in one.
STEPS = [
    step.split(None, 1)
    for step in re.sub(r"\\\n", " ", DOCKERFILE.read_text()).splitlines()
    if step and not step.startswith("#")
]


def steps(name: str) -> list[str]:
    return [rest for word, rest in STEPS if word == name]


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    answer = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_what_it_copies_is_there_and_all_that_the_wheel_needs() -> None:
    copied = [word for step in steps("COPY") if "--from" not in step for word in step.split()[:-1]]
    assert [word for word in copied if not (ROOT / word).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.split(".")[1] for name in project["tool"]["setuptools"]["packages"] if "." in name}
    assert packages | {
        "__init__.py",
        "py.typed",
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
    } <= {*copied}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_through == set(copied), "the rest of a checkout is not even sent to the builder"


def test_it_runs_as_a_user_by_number() -> None:
    assert steps("USER") == ["1000"]
    order = [word for word, _ in STEPS]
    assert "RUN" not in order[order.index("USER") :]
    assert steps("ENTRYPOINT") == ['["vsumdata"]']
    assert steps("HEALTHCHECK") == ["NONE"]


def test_bases_have_a_version() -> None:
    assert steps("ARG")[0] == "PYTHON=3.11-slim-bookworm"
    assert [step.split()[0] for step in steps("FROM")] == ["python:${PYTHON}"] * 2


def test_no_secrets_no_caches_no_addresses_of_package_hosts() -> None:
    text = DOCKERFILE.read_text()
    assert all("--no-cache-dir" in step for step in steps("RUN") if "pip install" in step)
    assert "://" not in text
    assert [
        name for name in re.findall(r"(?m)^(?:ARG|ENV) (\w+)", text) if re.search("(?i)token|secret|key|passw", name)
    ] == []


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_both_kinds_of_device_are_known(device: str) -> None:
    assert any(f" {device})" in step for step in steps("RUN"))
