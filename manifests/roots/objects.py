"""Every access to an object store: S3, Google Cloud Storage, Azure, and what speaks S3.

A hiccup (503, a reset connection, a stall, a body cut short) is waited out: obstore repeats single requests, and
`Objects.call` repeats what obstore gives up, waiting twice as long each time, within a quarter. A store that stays away
for `GIVES_UP_AFTER_S` is a StorageError. Each write is one PUT, so a killed writer leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import obstore
from obstore import exceptions as refusals
from obstore.store import AzureStore, GCSStore, S3Store

from vsumdata.manifests.errors import StorageError
from vsumdata.manifests.roots.address import AZURE, GCS, S3, Address, parse

GIVES_UP_AFTER_S = 120.0
LOST_PATIENCE_S = 2.0  # once a store has stayed away, until it answers again
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
# obstore's own attempts at one request, before `Objects.call` makes it anew.
REQUEST_RETRIES = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 2},
}
# A request that takes longer is made anew. Large bodies need their time on a slow line.
SMALL_TIMEOUT_S, LARGE_TIMEOUT_S = 20.0, 1800.0
LARGE_BYTES = 4 << 20
DELETED_AT_ONCE = 1000
# Each failed compare-and-swap means that another writer's succeeded.
SWAP_TRIES, LONGEST_SWAP_PAUSE_S = 200, 0.3
# Error codes of the stores (S3 and GCS in XML, Azure likewise).
NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"}
KEYS_REFUSED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "AuthenticationFailed"}
MACHINES_ROLE = "169.254.169.254"  # where a machine of a provider asks for the keys of its role
KEYS_OF = {
    S3: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    GCS: "set GOOGLE_APPLICATION_CREDENTIALS",
    AZURE: "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
# Client errors that pass: too slow, two conditional writes at once, too many requests.
PASSING = {408, 409, 425, 429}
AGAIN = "what is committed is kept: run the same command again to continue"

Result = TypeVar("Result")
BEGAN: dict[str, int] = {}  # the process whose threads do the requests


class StoreRefused(StorageError):
    """The store answers, and refuses: no such bucket, or keys that it does not take. Waiting does not help."""


@dataclass(frozen=True)
class Found:
    """An object, as a listing shows it. `modified` is by the store's own clock."""

    path: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Tagged:
    """The content of an object and the mark of this content, for `Objects.swap`."""

    content: bytes
    tag: Any


class Objects:
    """One bucket. Paths are `BUCKET/KEY`, as pyarrow writes them.

    Every method raises StorageError for a store that stays away or refuses, and FileNotFoundError for a missing object.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.small, self.large = connect(address, SMALL_TIMEOUT_S), connect(address, LARGE_TIMEOUT_S)
        self.is_lost = self.has_answered = False

    def key(self, path: str) -> str:
        return path.removeprefix(self.address.bucket).strip("/")

    def path(self, key: str) -> str:
        return f"{self.address.bucket}/{key}"

    def get(self, path: str) -> bytes:
        """The content of an object."""
        return self.get_tagged(path).content

    def get_tagged(self, path: str) -> Tagged:
        """The content of an object, with the mark that `swap` asks for."""

        def get() -> Tagged:
            answer = obstore.get(self.small, self.key(path))
            meta = answer.meta
            # A large one may take longer than a small one's time limit.
            if meta["size"] > LARGE_BYTES:
                answer = obstore.get(self.large, self.key(path))
                meta = answer.meta
            content = bytes(answer.bytes())
            if len(content) != meta["size"]:
                raise refusals.GenericError(f"{len(content)} of {meta['size']} bytes came")
            return Tagged(content, tag_of(meta))

        return self.call(path, get)

    def get_start(self, path: str, most: int) -> tuple[bytes, int]:
        """At most the first `most` bytes of an object, and its whole size, in one request."""

        def get() -> tuple[bytes, int]:
            answer = obstore.get(self.small, self.key(path), options={"range": (0, most)})
            content, size = bytes(answer.bytes()), answer.meta["size"]
            if len(content) != min(most, size):
                raise refusals.GenericError(f"{len(content)} of {min(most, size)} bytes came")
            return content, size

        return self.call(path, get)

    def get_range(self, path: str, start: int, size: int) -> bytes:
        """`size` bytes of an object, from `start` on."""

        def get() -> bytes:
            store = self.large if size > LARGE_BYTES else self.small
            content = bytes(obstore.get_range(store, self.key(path), start=start, length=size))
            if len(content) != size:
                raise refusals.GenericError(f"{len(content)} of {size} bytes came")
            return content

        return self.call(path, get)

    def head(self, path: str) -> Found:
        """Size and time of one object."""
        meta = self.call(path, lambda: obstore.head(self.small, self.key(path)))
        return Found(path, meta["size"], meta["last_modified"])

    def put(self, path: str, content: bytes | memoryview) -> None:
        """Write an object, which appears whole or not at all."""
        store = self.large if len(content) > LARGE_BYTES else self.small
        # One PUT always: a multipart upload that is cut off leaves its parts behind, unseen and paid for.
        self.call(path, lambda: obstore.put(store, self.key(path), content, use_multipart=False))

    def swap(self, path: str, content: bytes, tag: Any) -> Any | None:
        """Write an object if it still has the content that `tag` marks; with `tag` None, if there is no such object.

        Returns the mark of the new content, or None where somebody else has written meanwhile. `content` must differ
        from whatever any other writer may write.
        """
        mode: Any = "create" if tag is None else tag
        try:
            put = functools.partial(obstore.put, self.small, self.key(path), content, mode=mode, use_multipart=False)
            return tag_of(self.call(path, put))
        except (refusals.AlreadyExistsError, refusals.PreconditionError):
            # Perhaps by ourselves: the answer to our first attempt may have been lost on its way.
            try:
                found = self.get_tagged(path)
            except FileNotFoundError:
                return None
            return found.tag if found.content == content else None

    def update(self, path: str, change: Callable[[bytes | None], tuple[bytes | None, Result]]) -> Result:
        """Change an object by compare-and-swap, so that no two writers lose each other's change.

        `change` gets the content (None: no such object) and returns the new one (None: leave it) and what `update` is
        to return. It is called again when somebody else was faster.
        """
        for _ in range(SWAP_TRIES):
            try:
                found = self.get_tagged(path)
            except FileNotFoundError:
                found = Tagged(b"", None)
            content, result = change(found.content if found.tag is not None else None)
            if content is None or self.swap(path, content, found.tag) is not None:
                return result
            time.sleep(random.uniform(0.0, LONGEST_SWAP_PAUSE_S))
        raise StorageError(f"{self.address.shown}: {path} is written by too many at once; {AGAIN}")

    def below(self, folder: str) -> list[Found]:
        """All objects below a folder."""
        found = self.call(folder, lambda: obstore.list(self.small, self.key(folder) or None, chunk_size=1000).collect())
        return [Found(self.path(each["path"]), each["size"], each["last_modified"]) for each in found]

    def children(self, folder: str) -> tuple[list[str], list[Found]]:
        """The folders and the objects that lie in a folder itself."""
        found = self.call(folder, lambda: obstore.list_with_delimiter(self.small, self.key(folder) or None))
        objects = [Found(self.path(o["path"]), o["size"], o["last_modified"]) for o in found["objects"]]
        return [self.path(each.strip("/")) for each in found["common_prefixes"]], objects

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; those that are gone already count as deleted."""

        keys = [self.key(path) for path in paths]
        for first in range(0, len(keys), DELETED_AT_ONCE):
            some = keys[first : first + DELETED_AT_ONCE]
            try:
                self.call(self.address.bucket, functools.partial(obstore.delete, self.small, some))
            except FileNotFoundError:
                # Stores without a bulk form (GCS, Azure) stop at the first one that is gone.
                for key in some:
                    with contextlib.suppress(FileNotFoundError):
                        self.call(key, functools.partial(obstore.delete, self.small, key))

    def call(self, path: str, do: Callable[[], Result]) -> Result:
        """Do one thing, again and again while the store fails in a way that passes."""
        if BEGAN.setdefault("pid", os.getpid()) != os.getpid():
            # The threads of obstore's runtime are not in the child, and its first request would wait for ever.
            raise StorageError(
                f"{self.address.shown}: a forked process cannot use an object store: start it by spawn "
                '(DataLoader: multiprocessing_context="spawn")'
            )
        # A run that ends because its store is away still has things to put in order there: it asks for each, and soon
        # gives up.
        patience_s = min(LOST_PATIENCE_S, GIVES_UP_AFTER_S) if self.is_lost else GIVES_UP_AFTER_S
        until, pause_s = time.monotonic() + patience_s, FIRST_PAUSE_S
        while True:
            try:
                result = do()
                self.is_lost, self.has_answered = False, True
                return result
            except (refusals.AlreadyExistsError, refusals.PreconditionError):
                raise
            except (refusals.BaseError, OSError, ValueError) as error:
                refusal = self.judged(error, path)
                if refusal is not None:
                    raise refusal from error
                if time.monotonic() + pause_s > until:
                    self.is_lost = True
                    raise StorageError(
                        f"{self.address.shown}: the object store does not answer "
                        f"({self.address.hide(in_short(error))}); {AGAIN}"
                    ) from error
            time.sleep(pause_s * random.uniform(0.75, 1.25))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def judged(self, error: Exception, path: str) -> Exception | None:
        """What to raise for an error that does not pass; None for one that may."""
        code, status, shown = code_of(error), status_of(error), self.address.shown
        if code in NO_BUCKET:
            return StoreRefused(f"{shown}: the bucket `{self.address.bucket}` does not exist: create it")
        if MACHINES_ROLE in str(error) and not self.has_answered:
            # The last place where obstore looks. Elsewhere than on a provider's machines nobody answers there.
            return StoreRefused(f"{shown}: no keys were found: {KEYS_OF[self.address.kind]}")
        if isinstance(error, FileNotFoundError):
            return FileNotFoundError(2, "no such object", path)
        if isinstance(error, refusals.PermissionDeniedError | refusals.UnauthenticatedError) or code in KEYS_REFUSED:
            why = f" ({code})" if code else ""
            return StoreRefused(f"{shown}: the keys were refused{why}: give others, or rights to read, write and list")
        if code == "RequestTimeTooSkewed":
            return StoreRefused(f"{shown}: this machine's clock is wrong: set it (NTP)")
        if isinstance(error, ValueError) or (status is not None and status // 100 == 4 and status not in PASSING):
            return StoreRefused(f"{shown}: the object store refuses: {self.address.hide(in_short(error))}")
        return None


def tag_of(meta: Mapping[str, Any]) -> dict[str, str]:
    """What marks a content: its e_tag, and its generation where the store counts them (GCS)."""
    return {name: meta[name] for name in ("e_tag", "version") if meta[name]}


def code_of(error: Exception) -> str:
    """The store's own name of an error; "" where it gives none."""
    found = re.search(r"<Code>(\w+)</Code>", str(error))
    return found[1] if found else ""


def status_of(error: Exception) -> int | None:
    """The HTTP status in an error of obstore; None where no answer came."""
    found = re.search(r"status code: (\d{3})", str(error))
    return int(found[1]) if found else None


def in_short(error: Exception) -> str:
    """One line for a person: the store's code and status if there are any, else the beginning of the text."""
    if status := status_of(error):
        return f"{status} {code_of(error)}".strip()
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    # The method, the address and the time that it took say nothing here.
    return text.rpartition(" - ")[2][:200]


def open_objects(address: Address) -> Objects:
    """The one client of this process for an address: it keeps its connections."""
    # What `connect` reads of the environment, so that a changed one counts.
    env = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(("AWS_", "AZURE_"))))
    return client_of(address.location, env)


@functools.lru_cache(maxsize=64)
def client_of(location: str, env: tuple[tuple[str, str], ...]) -> Objects:
    address = parse(location)
    assert address is not None
    return Objects(address)


def connect(address: Address, timeout_s: float) -> Any:
    """obstore's client. Keys of the address come before those of the environment."""
    endpoint = endpoint_of(address)
    client: dict[str, Any] = {"timeout": timedelta(seconds=timeout_s), "connect_timeout": timedelta(seconds=5)}
    # Without TLS only where the address says so.
    if endpoint.startswith("http://"):
        client["allow_http"] = True
    more: dict[str, Any] = {"client_options": client, "retry_config": REQUEST_RETRIES}
    if address.kind == AZURE:
        config = {"account_name": address.user, "account_key": address.password, "endpoint": endpoint}
        more |= {name: value for name, value in config.items() if value}
        return AzureStore(address.bucket, **more)
    if address.kind == GCS:
        if endpoint:
            more["base_url"] = endpoint
        # pyarrow's way to ask for a public bucket.
        if address.user == "anonymous":
            more["skip_signature"] = True
        return GCSStore(address.bucket, **more)
    env = os.environ
    region = address.options.get("region") or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    if endpoint:
        more["endpoint"] = endpoint
    if address.password:
        more |= {"access_key_id": address.user, "secret_access_key": address.password}
    elif not env.get("AWS_ACCESS_KEY_ID") and (provider := botocore_keys()):
        region = region or provider.region
        more["credential_provider"] = provider
    return S3Store(address.bucket, region=region or "us-east-1", **more)


def endpoint_of(address: Address) -> str:
    """The URL of the store's server; "" for the provider's own."""
    given = address.options.get("endpoint_override", "")
    if given:
        return given if "://" in given else f"{address.options.get('scheme', 'https')}://{given}"
    if address.kind == AZURE:
        return os.environ.get("AZURE_STORAGE_ENDPOINT", "")
    if address.kind == GCS:
        return ""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


class BotocoreKeys:
    """Keys of an AWS profile (`~/.aws`), which obstore does not read itself."""

    SERVE = timedelta(minutes=10)  # botocore renews them by itself, so they are asked for now and then

    def __init__(self, credentials: Any, region: str | None) -> None:
        self.credentials, self.region = credentials, region

    def __call__(self) -> dict[str, Any]:
        keys = self.credentials.get_frozen_credentials()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + self.SERVE,
        }


def botocore_keys() -> BotocoreKeys | None:
    """The keys that botocore finds in a profile; None without botocore or a profile.

    Without either obstore asks for the keys of the machine itself (instance, container, web identity).
    """
    if not (os.environ.get("AWS_PROFILE") or os.path.exists(os.path.expanduser("~/.aws"))):
        return None
    try:
        from botocore.session import Session
    except ImportError:
        return None
    session = Session()
    credentials = session.get_credentials()
    return BotocoreKeys(credentials, session.get_config_variable("region")) if credentials is not None else None
