"""What a node is told that it lacks: by its clock, by what Ray says of it, by the root's mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsumdata.manifests.store import Store
from vsumdata.manifests.upkeep import remove_leftovers, scratch_parent
from vsumdata.pipeline.workers.keeper import Asked, problems, versions_here
from vsumdata.pipeline.workers.nodes import Mark, skew, why_it_failed
from vsumdata.stages.youtube import runtime


def asked(root: Path, **changes: object) -> Asked:
    settings = {"root": str(root), "mark": "", "files": (), "models": (), "needs_ffmpeg": True, "versions": {}}
    return Asked(**settings | changes)  # type: ignore[arg-type]


def test_this_machine_is_fit_for_itself(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").touch()
    with Mark(Store(tmp_path)) as mark:
        question = asked(
            tmp_path,
            mark=mark,
            files=(str(tmp_path / "v.mp4"),),
            models=("package:pyarrow/include", "seed:0", "hub:a/b@c/d"),
            versions=versions_here(),
        )
        assert list(problems(question)) == []
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"], "nothing is left of the mark"


def test_each_thing_that_is_missing_is_named_with_its_remedy(tmp_path: Path) -> None:
    question = asked(
        tmp_path,
        mark=str(tmp_path / "elsewhere" / "mark"),
        files=("/videos/none.mp4",),
        models=("/models/none", "package:no_such_package/model"),
        versions={"torch": "0.0.1"},
    )
    found = list(problems(question))
    assert len(found) == 5
    assert found[0].startswith("has torch ")
    assert "the driver 0.0.1: install the same" in found[0]
    assert f"does not see the root {tmp_path}" in found[1]
    assert found[2] == "does not see /videos/none.mp4: mount the folder of the videos there too"
    assert "does not have the model /models/none" in found[3]
    assert "no_such_package" in found[4]


def test_a_node_that_visits_youtube_starts_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = asked(tmp_path, needs_runtime=True)
    assert list(problems(question)) == []
    broken = tmp_path / "deno"
    broken.write_text("#!/bin/sh\necho wrong libc >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(runtime, "deno_program", lambda: str(broken))
    monkeypatch.setattr(runtime, "program", lambda name: None)
    [said] = problems(question)
    assert said.startswith("cannot visit YouTube")
    assert "does not start: wrong libc: pip install deno" in said
    assert list(problems(asked(tmp_path))) == [], "a run of other sites needs none"


def test_another_runs_cleaner_spares_the_mark(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with Mark(store) as mark:
        remove_leftovers(store, scratch_parent(store))
        assert Path(mark).exists()


@pytest.mark.parametrize(
    ("there", "said"), [(100.0, ""), (199.0, ""), (45.0, ""), (30.0, "70 s behind"), (265.0, "65 s ahead")]
)
def test_a_clock_is_off_only_by_more_than_the_answer_took(there: float, said: str) -> None:
    found = skew(there, before=100.0, after=200.0)
    assert found == [] if not said else said in found[0]


def test_a_node_without_our_code_is_told_so() -> None:
    error = RuntimeError("The actor died\nTraceback …\nModuleNotFoundError: No module named 'vsumdata'\n")
    assert "install the same wheel there" in why_it_failed(error)
    assert why_it_failed(RuntimeError("")) == "does not answer: RuntimeError"
