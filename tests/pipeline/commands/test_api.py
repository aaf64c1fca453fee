"""`import vsumdata`: the commands as functions, and the examples of docs/examples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vsumdata
from vsumdata.datasets.sample.site import ASSETS
from vsumdata.manifests.errors import UsageError

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs(example: Path, finished: Path, sample_site: str, tmp_path: Path) -> None:
    # A copy: a run with other settings would leave these to all tests after it.
    shutil.copytree(finished, tmp_path / "work" / "small")
    environment = os.environ | {"VSUMDATA_TRANSPORT": f"sample.invalid={sample_site}"}
    answer = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) > 3


def test_the_package_imports_nothing_until_it_is_used() -> None:
    code = (
        "import sys, vsumdata; print(sorted(m for m in sys.modules if m.split('.')[0] in ('vsumdata', 'torch', 'ray')))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "['vsumdata']"
    assert set(vsumdata.__all__) <= set(dir(vsumdata))
    assert vsumdata.__version__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        vsumdata.nothing  # noqa: B018


def test_a_table_of_videos(finished: Path) -> None:
    shards = vsumdata.open_shards(finished)
    table = shards.to_pandas()
    assert list(table.index) == shards.video_ids
    assert "frame_feature" not in table
    assert table.loc["pancakes_01", "title"] == "How to Make Pancakes"
    assert len(shards[:2].to_pandas(["frame_feature"])) == 2
    with pytest.raises(UsageError, match="no column 'colour'; there are title"):
        shards.to_pandas(["colour"])


def test_errors_are_raised(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no vsumdata root"):
        vsumdata.status(tmp_path)
    with pytest.raises(UsageError, match="did you mean"):
        vsumdata.run("sample", root=tmp_path, stage="crawll")
    with pytest.raises(UsageError, match="nothing"):
        vsumdata.fit("nothing", data="synthetic:", out=tmp_path / "run")


def test_a_summary_without_a_trained_run(tmp_path: Path) -> None:
    video = ASSETS / "media" / "dressing_03.mp4"
    made = vsumdata.summarize(video, method="uniform", output=tmp_path / "out")
    assert (made.method, made.checkpoint) == ("uniform", None)
    assert (tmp_path / "out" / "summary.html").is_file()
