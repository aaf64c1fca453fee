import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vsumdata.manifests.roots.folder import Folder
from vsumdata.stages.web.cache import Page, WebCache, decode_html

URL = "https://www.wikihow.com/A"
# Each process writes pages of its own letter. Every page that it reads must be complete, from either process.
WRITER = """
import sys
from datetime import UTC, datetime
from vsumdata.manifests.roots.folder import Folder
from vsumdata.stages.web.cache import Page, WebCache
root, url, letter = sys.argv[1:]
cache = WebCache(Folder(root))
page = Page(url=url, body=letter.encode() * 100_000, content_type="text/html", retrieved_at=datetime.now(UTC))
for _ in range(300):
    cache.write(url, page)
    found = cache.read(url)
    assert found is not None and set(found.body) in ({ord("a")}, {ord("b")}) and len(found.body) == 100_000
"""


def page(body: bytes) -> Page:
    retrieved_at = datetime(2026, 1, 2, tzinfo=UTC)
    return Page(url=URL, body=body, content_type="text/html", retrieved_at=retrieved_at, etag='"1"')


def test_a_page_is_read_as_it_was_written(tmp_path):
    WebCache(Folder(str(tmp_path))).write(URL, page(b"<p>1"))
    assert WebCache(Folder(str(tmp_path))).read(URL) == page(b"<p>1")
    assert WebCache(Folder(str(tmp_path))).read(f"{URL}B") is None


@pytest.mark.parametrize("place", [0, 40, 64, 70, 150, -20, -1])
def test_a_page_damaged_anywhere_is_none(tmp_path, place):
    cache = WebCache(Folder(str(tmp_path)))
    cache.write(URL, page(b"<p>once upon a time" * 20))
    path = Path(cache.folder.path, cache.name(URL))
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)
    assert cache.read(URL) is None
    path.write_bytes(damaged[:place])
    assert cache.read(URL) is None
    cache.write(URL, page(b"<p>2"))
    assert cache.read(URL) == page(b"<p>2")


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = WebCache(Folder(str(tmp_path)))
    cache.write(URL, page(b"<p>1"))
    assert cache.read(URL) is None


def test_two_processes_write_one_page_at_once(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path), URL]
    writers = [subprocess.Popen([*command, letter]) for letter in "ab"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    assert [path.name.startswith(".") for path in tmp_path.rglob("*") if path.is_file()] == [False]


def test_pages_are_decoded_by_what_fits():
    assert decode_html("é".encode(), "text/html; charset=iso-8859-1") == "é"
    assert decode_html("é".encode("latin-1"), "text/html; charset=iso-8859-1") == "é"
    assert decode_html('<meta charset="windows-1251">я'.encode("cp1251")).endswith("я")
    assert isinstance(decode_html(b"\xff\xfe\x00\xd8", "text/html; charset=nonsense"), str)
