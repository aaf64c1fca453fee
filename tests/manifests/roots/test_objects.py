"""An object store that fails now and then: nobody notices. One that is lost, or refuses: one line that says why."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from tests.manifests.object_kit import FAULTS, FlakyProxy, keys_of, root_url, uploads_of

from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.manifests.roots import objects
from vsumdata.manifests.roots.objects import StoreRefused
from vsumdata.manifests.store import Store


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up soon, and wait for little."""
    monkeypatch.setattr(objects, "GIVES_UP_AFTER_S", 1.5)
    monkeypatch.setattr(objects, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(objects, "REQUEST_RETRIES", objects.REQUEST_RETRIES | {"max_retries": 1})


def number_in(content: bytes | None) -> int:
    return int((content or b"0").split()[0])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat at once."""
    backoff = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(milliseconds=20), "base": 2}
    monkeypatch.setattr(objects, "REQUEST_RETRIES", objects.REQUEST_RETRIES | {"backoff": backoff})
    monkeypatch.setattr(objects, "FIRST_PAUSE_S", 0.01)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_hiccup_is_noticed(s3_port: int, bucket: str, fault: str, hasty: None) -> None:
    content = bytes(range(256)) * 400
    with FlakyProxy(s3_port, share=0.4, stall_s=0.1, faults=(fault,)) as proxy:
        store = Store(root_url(proxy.port, bucket))
        assert store.objects is not None
        for number in range(8):
            store.put(f"{store.base}/{number}", content)
            assert store.content(f"{store.base}/{number}") == content
            assert store.objects.get_range(f"{store.base}/{number}", 100, 50) == content[100:150]
            number_was = store.objects.update(
                f"{store.base}/n", lambda now: (b"%d %d" % (number_in(now) + 1, time.time_ns()), number_in(now))
            )
            assert number_was == number, "a change whose answer was lost is made once"
        assert len(store.objects.below(store.base)) == 9
        store.delete([f"{store.base}/{number}" for number in range(8)])
        with pytest.raises(FileNotFoundError):
            store.content(f"{store.base}/0")
        assert proxy.done[fault] > 5
    assert keys_of(s3_port, bucket) == ["root/n"]


def test_a_request_that_stalls_is_made_anew(
    s3_port: int, bucket: str, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "SMALL_TIMEOUT_S", 0.3)
    with FlakyProxy(s3_port, share=0.4, stall_s=120, faults=("stall",)) as proxy:
        store = Store(root_url(proxy.port, bucket))
        begun = time.monotonic()
        for number in range(2):
            store.write_json(f"{number}", {"number": number})
            assert store.read_json(f"{number}") == {"number": number}
        assert proxy.done["stall"] > 0
        assert time.monotonic() - begun < 60, "no stall was waited out"


def test_a_store_that_is_lost_ends_in_one_line(s3_port: int, bucket: str, quick: None) -> None:
    with FlakyProxy(s3_port) as proxy:
        store = Store(root_url(proxy.port, bucket, keys=True))
        store.write_json("a", {})
        proxy.is_down = True
        for do in (lambda: store.write_json("a", {}), lambda: store.read_json("a"), lambda: store.parts("videos", "f")):
            with pytest.raises(StorageError) as caught:
                do()
            said = str(caught.value)
            assert said.startswith(f"{store.root}: the object store does not answer (")
            assert said.endswith("what is committed is kept: run the same command again to continue")
            assert "\n" not in said
        proxy.is_down = False
        assert store.read_json("a") == {}


def test_a_bucket_that_is_not_there_is_named(s3_port: int, bucket: str) -> None:
    store = Store(root_url(s3_port, "no-such-bucket"))
    says = "the bucket `no-such-bucket` does not exist: create it"
    for do in (lambda: store.put(f"{store.base}/a", b""), lambda: store.parts("videos", "f"), store.dataset):
        with pytest.raises(StoreRefused, match=says) as caught:
            do()
        assert "make room" not in str(caught.value)
    with pytest.raises(UsageError, match=says):
        store.claim()


@pytest.mark.parametrize("fault", ["403", "expired"])
def test_keys_that_are_refused_are_named_and_not_shown(s3_port: int, bucket: str, fault: str) -> None:
    with FlakyProxy(s3_port, share=1.0, faults=(fault,)) as proxy:
        store = Store(root_url(proxy.port, bucket, keys=True))
        begun = time.monotonic()
        with pytest.raises(UsageError, match=r"the keys were refused \((InvalidAccessKeyId|ExpiredToken)\)") as caught:
            store.claim()
        with pytest.raises(StorageError, match="the keys were refused"):
            store.put(f"{store.base}/a", b"")
        assert time.monotonic() - begun < 5, "waiting does not help"
    assert not any(secret in str(caught.value) for secret in store.secrets)


def test_keys_that_are_nowhere_are_asked_for(bucket: str) -> None:
    store = Store(root_url(1, bucket)).objects
    assert store is not None
    nobody = "Error performing PUT http://169.254.169.254/latest/api/token in 2 s - HTTP error: error sending request"
    assert "no keys were found: set AWS_ACCESS_KEY_ID" in str(store.judged(OSError(nobody), "a"))
    store.has_answered = True
    assert store.judged(OSError(nobody), "a") is None, "a role that served before is waited for"


def test_a_forked_process_is_told_and_does_not_hang(s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(root_url(s3_port, bucket))
    store.write_json("a", 1)
    monkeypatch.setitem(objects.BEGAN, "pid", os.getppid())
    with pytest.raises(StorageError, match="start it by spawn"):
        store.read_json("a")


def test_the_environment_names_the_server(s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_port}")
    Store(f"s3://{bucket}/a").write_json("x", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{s3_port}")
    assert Store(f"s3://{bucket}/a").read_json("x") == 1
    assert keys_of(s3_port, bucket) == ["a/x"]


def test_a_large_file_is_one_put(s3_port: int, bucket: str) -> None:
    content = b"0123456789abcdef" * (1 << 20)
    with FlakyProxy(s3_port) as proxy:
        store = Store(root_url(proxy.port, bucket))
        store.put(f"{store.base}/large", content)
        assert [request.split()[0] for request in proxy.requests] == ["PUT"]
        assert store.content(f"{store.base}/large") == content
    assert uploads_of(s3_port, bucket) == 0


def test_pyarrow_reads_and_writes_there(s3_port: int, bucket: str) -> None:
    store = Store(root_url(s3_port, bucket))
    table = pa.table({"a": list(range(1000)), "b": ["x" * 100] * 1000})
    pq.write_table(table, f"{store.base}/t/1.parquet", filesystem=store.fs, row_group_size=100)
    assert pq.read_table(f"{store.base}/t/1.parquet", filesystem=store.fs).equals(table)
    assert pq.read_table(f"{store.base}/t", filesystem=store.fs, filters=[("a", "=", 7)])["a"].to_pylist() == [7]
    (info,) = store.fs.get_file_info(pafs.FileSelector(store.base))
    assert (info.path, info.type) == (f"{store.base}/t", pafs.FileType.Directory)
    assert store.fs.get_file_info(f"{store.base}/none").type == pafs.FileType.NotFound
    store.fs.move(f"{store.base}/t/1.parquet", f"{store.base}/t/2.parquet")
    store.fs.delete_dir(f"{store.base}/t")
    assert keys_of(s3_port, bucket) == []


def test_many_writers_lose_no_change(s3_port: int, bucket: str) -> None:
    store = Store(root_url(s3_port, bucket))
    assert store.objects is not None
    counter, path = store.objects, f"{store.base}/n"

    def count() -> None:
        for _ in range(5):
            counter.update(path, lambda now: (b"%d %d" % (number_in(now) + 1, threading.get_ident()), None))

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number_in(counter.get(path)) == 30
