"""Where a root lies: a local folder, or a place in an object store (`s3://`, `gs://`, `az://`).

An address may hold keys (`s3://KEY:SECRET@bucket/path`). Whatever is stored or shown takes the form without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from vsumdata.manifests.errors import UsageError

S3, GCS, AZURE = "s3", "gs", "az"
KINDS = {"s3": S3, "gs": GCS, "gcs": GCS, "az": AZURE, "abfs": AZURE, "abfss": AZURE}
FORMS = "a folder, s3://BUCKET/PATH, gs://BUCKET/PATH or az://CONTAINER/PATH"
# Options that a URL of pyarrow.fs may have. These say where the store is, and none of them is secret.
HARMLESS = ("endpoint_override", "region", "scheme")
# These tuned pyarrow's own client. A URL that was written for it still works.
WITHOUT_EFFECT = {
    "allow_bucket_creation", "allow_bucket_deletion", "allow_delayed_open", "background_writes",
    "check_directory_existence_before_creation", "force_virtual_addressing", "project_id", "retry_limit_seconds",
    "smart_defaults",
}  # fmt: skip
SAFE = "/=+~,@:!$&'()*;"  # in a path; the name of a root must lead to the same root
HIDDEN = "(hidden)"
SHORTEST_SECRET = 4  # characters: hiding shorter ones would garble every text and protect nothing


@dataclass(frozen=True, kw_only=True)
class Address:
    """A place in an object store. `shown` has no keys; `location` is as given, keys included, for whoever opens it.

    `user` and `password` are the access key and its secret (S3), or the account and its key (Azure).
    """

    kind: str
    bucket: str
    prefix: str
    shown: str
    options: Mapping[str, str]
    location: str = field(repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that nothing may show, the longest first."""
        # Both as written in the address and decoded.
        written = urlsplit(self.location).netloc.rpartition("@")[0]
        account = () if self.kind == AZURE else (self.user, written.partition(":")[0])
        found = {self.password, written.partition(":")[2], *account}
        return tuple(sorted((text for text in found if len(text) >= SHORTEST_SECRET), key=len, reverse=True))

    def hide(self, text: str) -> str:
        """`text` without the secrets."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


def parse(text: str) -> Address | None:
    """The address that `text` names; None for a local folder.

    Raises UsageError for an address of another form. Its message has no keys.
    """
    slips = re.match(r"([A-Za-z][\w+.-]*):/(?!/)", text)
    if slips and slips[1] in {*KINDS, "file"}:
        right = f"{slips[1]}://{'/' if slips[1] == 'file' else ''}{without_keys(text[slips.end() :])}"
        raise UsageError(f"--root {without_keys(text)}: did you mean `{right}`? A root is {FORMS}")
    if slips:
        raise UsageError(f"--root {without_keys(text)}: `{slips[1]}` is no known kind of store: a root is {FORMS}")
    scheme, found, _ = text.partition("://")
    if not found or scheme == "file":
        return None
    if scheme not in KINDS:
        raise UsageError(f"--root {without_keys(text)}: `{scheme}` is no known kind of store: a root is {FORMS}")
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError as error:
        raise UsageError(f"--root {without_keys(text)}: not a URL: a root is {FORMS}") from error
    userinfo, _, bucket = parts.netloc.rpartition("@")
    # A secret key may hold slashes, and a URL ends its host at the first one.
    if ":" in bucket or ("@" in parts.path and not bucket):
        raise UsageError(f"--root {without_keys(text)}: keys in an address must be %-encoded (`/` as %2F)")
    if unknown := sorted(set(options) - {*HARMLESS, *WITHOUT_EFFECT}):
        raise UsageError(f"--root {without_keys(text)}: unknown option `{unknown[0]}`: {', '.join(HARMLESS)} are known")
    kept = {name: options[name].rpartition("@")[2] for name in HARMLESS if options.get(name)}
    user, _, password = userinfo.partition(":")
    if KINDS[scheme] == AZURE and ".core." in bucket:
        # abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH
        user, bucket = bucket.partition(".")[0], unquote(user)
    if not bucket:
        raise UsageError(f"--root {without_keys(text)}: no bucket is named: a root is {FORMS}")
    prefix = "/".join(part for part in unquote(parts.path).split("/") if part)
    where = f"{KINDS[scheme]}://{bucket}" + (f"/{quote(prefix, safe=SAFE)}" if prefix else "")
    return Address(
        kind=KINDS[scheme],
        bucket=bucket,
        prefix=prefix,
        shown=where + (f"?{urlencode(kept, safe=':/')}" if kept else ""),
        options=kept,
        location=text,
        user=unquote(user),
        password=unquote(password),
    )


def hide_keys(text: str) -> str:
    """Any text without the keys of addresses in it: `s3://KEY:SECRET@bucket` becomes `s3://bucket`."""
    return re.sub(r"(\w+://)[^\s/@:]*:\S*@", r"\1", text)


def without_keys(text: str) -> str:
    """An address for a message, also one that cannot be parsed: what may be keys or options is left out."""
    # Up to the last @: a secret that was not %-encoded may hold slashes.
    kept = re.sub(r"^([A-Za-z][\w+.-]*://?)?[^@]*@", r"\1", text)
    return kept.partition("?")[0]
