"""`vsumdata run` with a root on an object store that fails now and then: the tables of a local run, and no keys."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from tests.manifests.object_kit import KEY, SECRET, FlakyProxy, keys_of, root_url, uploads_of
from tests.pipeline.crawl_kit import MadeUpSite
from tests.pipeline.sample_kit import assert_same, contents, here, sample_run, start, vsumdata, wait_for_rows

from vsumdata.datasets.shards import open_shards
from vsumdata.manifests import upkeep
from vsumdata.manifests.store import Store
from vsumdata.train.data.training import Wanted, open_data

pytestmark = [pytest.mark.slow, pytest.mark.ray]
# What may be there when no run is under way.
OURS = r"(videos|articles|transcripts|frames|features|summaries)/\w+/part-[\w-]+\.parquet|(dataset|models|pace)\.json"
OURS += r"|logs/[\w-]+\.log|cache/web/\w\w/\w+|listings/\w+\.json|leases/\w{12}\.json|models\.lock|\.alone"


def strange(port: int, bucket: str) -> list[str]:
    """The objects that no finished run should leave."""
    return [key for key in keys_of(port, bucket) if not re.fullmatch(f"root/({OURS})", key)]


def with_keys(store: Store) -> list[str]:
    """The objects that hold the keys of the address."""
    assert store.objects is not None
    found = store.objects.below(store.base)
    secret = [text.encode() for text in (KEY, *store.secrets)]
    return [each.path for each in found if any(text in store.content(each.path) for text in secret)]


def test_a_run_on_a_store_that_fails_gives_the_tables_of_a_local_run(
    ray_session: None, finished: Path, sample_site: str, s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The keys come with the address only, to the workers too.
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with FlakyProxy(s3_port, share=0.1, stall_s=0.3) as proxy:
        url = root_url(proxy.port, bucket, keys=True)
        answer = here(*sample_run(url), site=sample_site)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "nothing pending" in answer.stdout
        assert proxy.done.total() - proxy.done[""] > 20
        assert_same(contents(finished), contents(url))
    assert (strange(s3_port, bucket), uploads_of(s3_port, bucket)) == ([], 0)
    assert [key for key in keys_of(s3_port, bucket) if key.startswith("root/logs/")]
    url = root_url(s3_port, bucket, keys=True)
    store = Store(url)
    assert with_keys(store) == []
    said = [answer.stdout, answer.stderr]
    for words in (["status", "--json"], ["inspect", "toastie__05"], ["inspect", "nobody"], ["verify"], ["models"]):
        answer = here(*words, "--root", url)
        said += [answer.stdout, answer.stderr]
        assert answer.returncode == (2 if "nobody" in words else 0), answer.stderr
    assert json.loads(said[2])["tables"]["videos"]["outcomes"]["done"] == 9
    assert not any(SECRET in text or KEY in text for text in said)
    assert {video.video_id for video in open_shards(url)} == {video.video_id for video in open_shards(finished)}
    origin = open_data(Wanted(data=url), seed=1).origin
    assert Store(origin.path).root == store.root
    assert SECRET not in origin.model_dump_json()
    for words in (["compact"], ["prune"], ["verify"]):
        assert here(*words, "--root", url).returncode == 0
    assert_same(contents(finished), contents(url))
    again = here(*sample_run(url), site=sample_site)
    assert (again.returncode, "0 rows made" in again.stdout) == (0, True)
    assert list(upkeep.scratch_parent(store).glob("*")) == []


def test_two_runs_at_once_divide_the_videos(finished: Path, s3_port: int, bucket: str) -> None:
    url, whole = root_url(s3_port, bucket), contents(finished)
    with MadeUpSite(num_videos=0) as site:
        both = [start(*sample_run(url), "--stage", "crawl", site=site.address) for _ in range(2)]
        for process in both:
            out, err = process.communicate(timeout=400)
            assert process.returncode == 0, out + err
        asked = Counter(target for target in site.asked if target.startswith("/api/videos/"))
    assert set(asked.values()) == {1}, "one visit a video"
    made = {name: rows for name, rows in contents(url).items() if rows}
    assert_same({name: whole[name] for name in ("videos", "articles")}, made)
    assert strange(s3_port, bucket) == []
    assert vsumdata("verify", "--root", url).returncode == 0


@pytest.mark.long
def test_a_store_that_goes_away_for_good_ends_the_run_in_one_line_and_the_same_command_goes_on(
    finished: Path, sample_site: str, s3_port: int, bucket: str
) -> None:
    with FlakyProxy(s3_port) as proxy:
        process = start(*sample_run(root_url(proxy.port, bucket)), site=sample_site)
        wait_for_rows(Store(root_url(s3_port, bucket)), "transcripts", process)
        proxy.is_down = True
        out, err = process.communicate(timeout=400)
        assert process.returncode == 1, out + err
        [line] = err.splitlines()
        assert "the object store does not answer" in line
        assert "Traceback" not in out
    url = root_url(s3_port, bucket)
    answer = vsumdata(*sample_run(url), site=sample_site)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert_same(contents(finished), contents(url))
    assert (strange(s3_port, bucket), uploads_of(s3_port, bucket)) == ([], 0)
