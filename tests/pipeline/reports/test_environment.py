"""`vsumdata cluster env`: what it prints for a wheel, and what it says without one."""

from __future__ import annotations

import json
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.pipeline.sample_kit import here

METADATA = """Metadata-Version: 2.4
Name: vsumdata
Version: 0.1.0
Requires-Dist: pyarrow
Requires-Dist: ray[data]
Requires-Dist: no-such-package-here
Requires-Dist: pytest; extra == "dev"
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without dist/."""
    monkeypatch.chdir(tmp_path)
    for name in ("VSUMDATA_TMPDIR", "HF_HOME", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


def wheel(folder: Path, *more: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "vsumdata-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vsumdata-0.1.0.dist-info/METADATA", METADATA)
        for name in ("vsumdata/pipeline/recipe.py", *more):
            archive.writestr(name, "")
    return path


def test_a_local_wheel_travels_as_folders_with_its_packages_pinned(tmp_path: Path) -> None:
    answer = here("cluster", "env", "--wheel", str(wheel(tmp_path)))
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    code, metadata = map(Path, found["py_modules"])
    assert (code.name, metadata.name) == ("vsumdata", "vsumdata-0.1.0.dist-info")
    assert (code / "pipeline/recipe.py").is_file()
    packages = dict(text.split("==") for text in found["pip"]["packages"])
    assert packages["pyarrow"] == version("pyarrow").partition("+")[0]
    assert "fsspec" in packages, "ray[data] needs it"
    assert "ray" not in packages, "the cluster has its own"
    assert not {"pytest", "no-such-package-here"} & set(packages)
    assert "env_vars" not in found
    assert found["config"]["setup_timeout_seconds"] > 600
    assert f"ray {version('ray')}" in answer.stderr


def test_the_newest_wheel_of_dist_is_taken_and_an_older_one_leaves_nothing(tmp_path: Path) -> None:
    for name in ("vsumdata/old.py", "vsumdata/new.py"):
        wheel(tmp_path / "dist", name)
        [code, _] = json.loads(here("cluster", "env", "--code-only").stdout)["py_modules"]
    assert sorted(path.name for path in Path(code).iterdir()) == ["new.py", "pipeline"]


def test_nodes_that_have_the_packages_get_the_code_only(tmp_path: Path) -> None:
    found = json.loads(here("cluster", "env", "--code-only", "--wheel", str(wheel(tmp_path))).stdout)
    assert set(found) == {"py_modules", "config"}


def test_a_url_is_installed_by_pip_beside_the_pins() -> None:
    url = "https://files.example/vsumdata-0.1.0-py3-none-any.whl"
    found = json.loads(here("cluster", "env", "--wheel", url).stdout)
    assert found["pip"]["packages"][0] == f"vsumdata @ {url}"
    assert f"torch=={version('torch').partition('+')[0]}" in found["pip"]["packages"]
    assert "py_modules" not in found
    assert here("cluster", "env", "--wheel", url, "--code-only").returncode == 2


def test_what_workers_need_of_the_environment_travels_and_secrets_do_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", "/shared/hub")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("HF_TOKEN", "hidden")
    said = here("cluster", "env", "--code-only", "--wheel", str(wheel(tmp_path))).stdout
    assert json.loads(said)["env_vars"] == {"HF_HOME": "/shared/hub"}
    assert "hidden" not in said


def test_without_a_wheel_it_says_how_to_build_one(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "y.whl", "w") as archive:
        archive.writestr("other/code.py", "")
    for words, said in (
        ([], "no wheel in dist/: run `make build`"),
        (["--wheel", "z.whl"], "no such file; `make build` makes"),
        (["--wheel", "x.whl"], "--wheel x.whl: not a wheel"),
        (["--wheel", "y.whl"], "not a wheel of vsumdata"),
        (["--wheel", "dist.zip"], "not a wheel (….whl)"),
    ):
        answer = here("cluster", "env", *words)
        assert answer.returncode == 2
        assert said in answer.stderr
        assert answer.stderr.count("\n") == 1
