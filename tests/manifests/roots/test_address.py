"""Addresses of roots: what is taken, what is refused, and that nothing shown has keys."""

from __future__ import annotations

import re

import pytest

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.address import hide_keys, parse
from vsumdata.manifests.store import Store


@pytest.mark.parametrize(
    ("text", "kind", "bucket", "prefix", "shown"),
    [
        ("s3://b", "s3", "b", "", "s3://b"),
        ("s3://b/x//y/", "s3", "b", "x/y", "s3://b/x/y"),
        ("s3://KEY1:SECRET@b/x", "s3", "b", "x", "s3://b/x"),
        ("s3://KEY1:SE%2FCRET@b/x?region=eu-1", "s3", "b", "x", "s3://b/x?region=eu-1"),
        (
            "s3://KEY1:SECRET@b/x?scheme=http&allow_bucket_creation=true&endpoint_override=127.0.0.1:5000",
            "s3", "b", "x", "s3://b/x?endpoint_override=127.0.0.1:5000&scheme=http",
        ),
        ("s3://b/a%25b%23/my%20data/caf%C3%A9=1", "s3", "b", "a%b#/my data/café=1", "s3://b/a%25b%23/my%20data/caf%C3%A9=1"),
        ("gs://anonymous@b/x", "gs", "b", "x", "gs://b/x"),
        ("gcs://b/x", "gs", "b", "x", "gs://b/x"),
        ("az://c/x", "az", "c", "x", "az://c/x"),
        ("abfs://account:SECRET@c/x", "az", "c", "x", "az://c/x"),
        ("abfss://c@account.dfs.core.windows.net/x", "az", "c", "x", "az://c/x"),
    ],
)  # fmt: skip
def test_what_a_url_names(text: str, kind: str, bucket: str, prefix: str, shown: str) -> None:
    found = parse(text)
    assert found is not None
    assert (found.kind, found.bucket, found.prefix, found.shown) == (kind, bucket, prefix, shown)
    assert found.location == text
    again = parse(shown)
    assert again is not None
    assert (again.bucket, again.prefix, again.shown) == (bucket, prefix, shown)
    assert "SECRET" not in repr(found)
    assert found.hide("KEY1 SECRET SE/CRET").count("SECRET") == (0 if "SECRET" in text else 1)


@pytest.mark.parametrize("text", ["data", "./a:b", "/a/b", "~/x", "file:///a/b", "C"])
def test_local_folders(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s3:/b/x", "did you mean `s3://b/x`?"),
        ("s3:/KEY:SECRET@b/x", "did you mean `s3://b/x`?"),
        ("file:/b/x", "did you mean `file:///b/x`?"),
        ("foo:/b/x", "`foo` is no known kind of store"),
        ("foo://KEY:SECRET@b/x", "--root foo://b/x: `foo` is no known kind of store: a root is a folder, s3://"),
        ("s3:///x", "no bucket is named"),
        ("s3://KEY:SEC/RET@b/x", "must be %-encoded"),
        ("s3://KEY:SECRET@b/x?sesion_token=SECRET", "unknown option `sesion_token`"),
    ],
)
def test_what_is_refused_and_says_the_right_form(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        Store(text)
    assert not re.search("SEC|KEY:", str(caught.value)), "no keys in a message"


def test_keys_are_hidden_in_any_text() -> None:
    said = "none of the videos of s3://KEY:SE/CR@ET@b/x?region=r has shots, see s3://b/x and mail a:b@c.d"
    assert hide_keys(said) == "none of the videos of s3://b/x?region=r has shots, see s3://b/x and mail a:b@c.d"


def test_the_name_of_a_root_does_not_depend_on_its_keys(bucket: str) -> None:
    one, other = Store(f"s3://K1:SECRET1@{bucket}/x?region=r"), Store(f"s3://{bucket}/x/?region=r")
    assert one.root == other.root == f"s3://{bucket}/x?region=r"
    assert (one.location, other.location) == (f"s3://K1:SECRET1@{bucket}/x?region=r", f"s3://{bucket}/x/?region=r")
