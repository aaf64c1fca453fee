"""JSON that may be packed, and what is wrong with a file said in one line."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from vsumdata.datasets.benchmarks.forms.gzipped import found, read_json, read_lines, read_object, read_text
from vsumdata.manifests.errors import UsageError

WHERE = "the place"
PACKED = gzip.compress(json.dumps({"a": list(range(500))}).encode())


def a_tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("dog/clip.json"))
    return content.getvalue()


def test_plain_and_packed_are_read_alike(tmp_path: Path) -> None:
    for name, content in (("a.json", b'\xef\xbb\xbf{"a": 1}'), ("b.json.gz", gzip.compress(b'{"a": 1}'))):
        (tmp_path / name).write_bytes(content)
        assert read_json(tmp_path / name, WHERE) == {"a": 1}
    # Some servers unpack a file that they call packed.
    (tmp_path / "c.json.gz").write_bytes(b'{"a": 1}')
    assert read_object(tmp_path / "c.json.gz", "this", WHERE) == {"a": 1}
    assert found(tmp_path, "b.json") == tmp_path / "b.json.gz"
    assert found(tmp_path, "d.json") is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json.gz", None, "is not there; get it from the place"),
        ("x.json.gz", b"", "is empty"),
        ("x.json.gz", b"<html>login", "is a web page"),
        ("x.json.gz", b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer"),
        ("x.json.gz", PACKED[:-20], "is cut off or damaged"),
        ("x.json.gz", PACKED[:40] + b"\x00\x00\x00" + PACKED[43:], "is cut off or damaged"),
        ("x.tar.gz", a_tar(), "is a tar archive; unpack it and name the folder inside"),
        ("x.json", PACKED, "is a gzip archive; unpack it"),
        ("x.json", b"\xff\xfe\x00", "is not a text in UTF-8"),
        ("x.json", b'{"a": ', "is not JSON, or is cut off"),
        ("x.json", b"[]", "is not this: another data set's file"),
        ("x.json", b"{}", "is not this: another data set's file"),
    ],
    # Packed bytes hold the time, so as names they would differ between the processes of pytest-xdist.
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_what_is_not_the_file(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_object(tmp_path / name, "this", WHERE)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        read_text(tmp_path, WHERE)


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    # A line separator of Unicode within a text ends no line.
    path.write_text('{"vid": "a\u2028b"}\n\n{"vid": "c", "more": 1}\n', encoding="utf-8")
    assert [each["vid"] for each in read_lines(path, ["vid"], "this", WHERE)] == ["a\u2028b", "c"]
    for content, message in [
        ('{"vid": 1}\n{"vid"', "line 2 is not JSON, or is cut off"),
        ('{"vid": 1}\n[1]', "line 2 has no vid: this is not this's annotation"),
        ('{"vid": 1}\n{"a": 1}', "line 2 has no vid"),
        ("\n", "is empty"),
    ]:
        path.write_text(content)
        with pytest.raises(UsageError, match=message):
            read_lines(path, ["vid"], "this", WHERE)
