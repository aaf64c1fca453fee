"""`doctor` for one job: each thing that would stop the run is named, with its remedy, and nothing else is asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.manifests.object_kit import keys_of, root_url
from tests.pipeline.media_kit import MODELS, needs_models
from tests.pipeline.sample_kit import SMALL_CLIP, vsumdata

from vsumdata.manifests.manifest import Loaded, load
from vsumdata.manifests.store import Store
from vsumdata.pipeline.recipe import parse_stages
from vsumdata.pipeline.reports import preflight
from vsumdata.pipeline.reports.doctor import Check

ALL = parse_stages("crawl,asr,features")
NETSCAPE = "# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t{expires}\tSID\tvalue\n"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def job(folder: Path, source: dict[str, str], **sections: object) -> Loaded:
    path = folder / "job.yaml"
    path.write_text(json.dumps({"sources": [source], **MODELS, **sections}))
    return load(str(path))


def named(checks: list[Check]) -> dict[str, tuple[bool, str]]:
    assert not any(check.optional for check in checks)
    assert not any("\n" in check.found for check in checks)
    return {check.name: (check.ok, check.found) for check in checks}


def test_youtube_needs_a_javascript_runtime_and_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsumdata.pipeline.reports.doctor.NETWORK_TIMEOUT_S", 0.001)  # the answer is of no interest
    found = named(preflight.sources(job(tmp_path, {"channel": "@wikihow"}), ALL))
    assert list(found) == ["JavaScript runtime", "youtube.com"]
    assert found["JavaScript runtime"][0]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("vsumdata.stages.youtube.runtime.deno_program", lambda: None)
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path))
    found = named(preflight.sources(job(tmp_path, {"channel": "@wikihow"}), ALL))
    assert found["JavaScript runtime"] == (False, "YouTube needs a JavaScript runtime: there is none: pip install deno")
    assert named(preflight.sources(job(tmp_path, {"channel": "@wikihow"}), ["features"])) == {}


def test_own_files_and_the_sample_need_neither(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"video": "a.mp4"}\n')
    assert named(preflight.sources(job(tmp_path, {"files": "own.jsonl"}), ALL)) == {"lists": (True, "1 videos")}
    assert preflight.sources(load("sample"), ALL) == []


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "there is no list" in named(preflight.sources(job(tmp_path, {"files": "none.jsonl"}), ALL))["lists"][1]
    (tmp_path / "own.jsonl").write_text('{"video": "a.mp4"}\n{"vido": "b.mp4"}\n')
    ok, found = named(preflight.sources(job(tmp_path, {"files": "own.jsonl"}), ALL))["lists"]
    assert (ok, "own.jsonl:2: vido: unknown key" in found) == (False, True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (NETSCAPE.format(expires=4_000_000_000), "1 in "),
        (NETSCAPE.format(expires=1_000_000_000), "no cookie that is still valid"),
        ('[{"name": "SID"}]', "not in the Netscape format"),
        (None, "does not exist"),
    ],
)
def test_cookies_are_read_as_yt_dlp_reads_them(tmp_path: Path, content: str | None, says: str) -> None:
    (tmp_path / "own.jsonl").write_text('{"video": "a.mp4"}\n')
    if content is not None:
        (tmp_path / "cookies.txt").write_text(content)
    crawl = {"yt_dlp": {"cookiefile": "cookies.txt"}}
    found = named(preflight.sources(job(tmp_path, {"files": "own.jsonl"}, crawl=crawl), ALL))
    ok, words = found["cookies" if content is not None else "crawl.yt_dlp"]
    assert (ok, says in words) == (says == "1 in ", True)


def test_faiss_is_missed_before_the_work_not_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = job(tmp_path, {"channel": "@x"})
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert "vsumdata[labels]" in preflight.models(loaded, {}, ["videos", "duplicates"]).found
    assert preflight.models(loaded, {}, ["videos"]).ok


@needs_models
def test_models_are_those_of_the_wanted_tables(tmp_path: Path) -> None:
    loaded = job(tmp_path, {"channel": "@x"}, asr={"model": "package:no_such_package/model"})
    assert not preflight.models(loaded, {}, ALL).ok
    assert preflight.models(loaded, {}, ["videos", "frames"]).ok


def test_a_root_is_made_by_the_run_not_by_the_check(tmp_path: Path) -> None:
    found = named(preflight.root(str(tmp_path / "a" / "b")))
    assert list(found) == ["root", "room for the root", "room for temporary files"]
    assert all(ok for ok, _ in found.values())
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_a_run_would_refuse_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.tex").touch()
    assert "not empty" in named(preflight.root(str(tmp_path)))["root"][1]
    assert "nonsense" in named(preflight.root("nonsense://x"))["root"][1]
    monkeypatch.setenv("VSUMDATA_TMPDIR", str(tmp_path / "root" / "inside"))
    assert "VSUMDATA_TMPDIR" in named(preflight.root(str(tmp_path / "root")))["root"][1]


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may write everywhere")
def test_a_root_without_permission_is_named(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o555)
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        os.chown(root, 65534, 65534)
        before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    code = "import sys; from vsumdata.pipeline.reports.preflight import root; print(root(sys.argv[1]))"
    command = [*before, sys.executable, "-c", code, str(root)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ok=False" in answer.stdout
    assert "Permission denied; fix the permissions or give another --root" in answer.stdout


def test_a_root_on_an_object_store_is_asked_with_a_time_limit(
    s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = root_url(s3_port, bucket, keys=True)
    assert named(preflight.root(good)) == {"root": (True, f"{Store(good).root} can be written")}
    assert keys_of(s3_port, bucket) == []
    ok, found = named(preflight.root(root_url(s3_port, "no-such-bucket", keys=True)))["root"]
    assert (ok, found.endswith("the bucket `no-such-bucket` does not exist: create it")) == (False, True)
    nobody = "s3://bucket/root?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:9"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    ok, found = named(preflight.root(nobody))["root"]
    assert (ok, "check the address, the credentials and the network" in found) == (False, True)


def test_a_disk_that_is_nearly_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "MIN_FREE_BYTES", 1 << 60)
    ok, found = named(preflight.root(str(tmp_path / "root")))["room for the root"]
    assert (ok, found.endswith("make room or give another --root")) == (False, True)


@pytest.mark.ray
@pytest.mark.slow
@needs_models
def test_a_running_ray_is_asked_for_what_the_manifest_needs(ray_session: None, tmp_path: Path) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    found = named(preflight.ray(address, job(tmp_path, {"channel": "@x"}), {}, ALL))
    assert (found["Ray"][0], found["resources"][0]) == (True, True)
    assert "frames 2 × (0.75 CPUs, 0 GPUs)" in found["resources"][1]
    greedy = job(tmp_path, {"channel": "@x"}, resources={"frames": {"gpus": 64}})
    ok, words = named(preflight.ray(address, greedy, {}, ALL))["resources"]
    assert (ok, "resources.frames" in words) == (False, True)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@needs_models
def test_the_command_exits_by_whether_the_job_can_run(tmp_path: Path) -> None:
    of_sample = ["doctor", "--manifest", "sample", "--root", str(tmp_path / "root"), *SMALL_CLIP]
    good = vsumdata(*of_sample)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "fails" not in good.stdout
    assert not (tmp_path / "root").exists()
    bad = vsumdata(*of_sample, "--address", "127.0.0.1:9", "--json")
    assert bad.returncode == 1
    assert [check["name"] for check in json.loads(bad.stdout) if not check["ok"]] == ["Ray"]
    assert "no answer within 10 s; is a Ray running at 127.0.0.1:9" in bad.stdout
    wrong = vsumdata("doctor", "--manifest", "sampel")
    assert (wrong.returncode, "built in are: sample" in wrong.stdout) == (1, True)
