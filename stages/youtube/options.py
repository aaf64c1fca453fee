"""The options of yt-dlp: those of the manifest, checked before any work, and those that our code relies on."""

from __future__ import annotations

import difflib
import functools
import ipaddress
import logging
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vsumdata.manifests.errors import ManifestError, StorageError, UsageError
from vsumdata.manifests.manifest import Loaded
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.stage import Context, make_folder
from vsumdata.stages.youtube.runtime import runtimes

log = logging.getLogger("vsumdata.yt_dlp")
SOCKET_TIMEOUT_S = 20

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# Zero would divide by zero in yt-dlp, or mean its default.
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# A line break in a header's value would begin another header.
OneLine = Annotated[str, Field(pattern=r"^[^\r\n\x00]*$")]
# As on yt-dlp's command line, a text with commas is a list.
Words = Annotated[list[str], BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value)]


def an_address(value: str) -> str:
    ipaddress.ip_address(value)
    return value


class YtDlp(BaseModel):
    """The options of yt-dlp that a manifest may set (`crawl.yt_dlp`), under yt-dlp's names; null is yt-dlp's default.

    A manifest comes from anybody, as a list of videos does. So none of these runs a program, reads the user's browser
    or passwords, or writes a file.
    """

    # Strict: YAML reads `no` as false and `0123` as a number, and yt-dlp would take either without a word.
    model_config = ConfigDict(extra="forbid", strict=True)

    cookiefile: Text | None = Field(None, description="file of cookies (Netscape format); each process copies it")
    username: Text | None = Field(None, description="name of an account")
    password: Text | None = Field(None, description="password of that account")
    twofactor: Text | None = Field(None, description="second factor of that account")
    videopassword: Text | None = Field(None, description="password of the videos")
    client_certificate: Text | None = Field(None, description="file of a client certificate (PEM)")
    client_certificate_key: Text | None = Field(None, description="file of its private key")
    client_certificate_password: Text | None = Field(None, description="password of that key")
    proxy: str | None = Field(None, description="URL of a proxy, used as given; empty: none, whatever the environment")
    geo_verification_proxy: str | None = Field(None, description="proxy for requests that check the country")
    source_address: Annotated[str, AfterValidator(an_address)] | None = Field(
        None, description="local address to send from; 0.0.0.0: IPv4 only, `::`: IPv6 only"
    )
    geo_bypass: bool | None = Field(None, description="claim another country in a header")
    geo_bypass_country: Annotated[str, Field(pattern=r"^[A-Za-z]{2}$")] | None = Field(
        None, description="the country to claim, two letters"
    )
    geo_bypass_ip_block: Text | None = Field(None, description="addresses to claim, in CIDR notation")
    http_headers: dict[str, OneLine] | None = Field(None, description="headers of all requests (User-Agent, …)")
    extractor_args: dict[str, dict[str, Words]] | None = Field(
        None, description="arguments of extractors: {youtube: {player_client: [web]}}"
    )
    retries: Count | None = Field(None, description="tries again of a request for media")
    fragment_retries: Count | None = Field(None, description="tries again of a fragment")
    extractor_retries: Count | None = Field(None, description="tries again of an extraction")
    file_access_retries: Count | None = Field(None, description="tries again of a file that is in use")
    socket_timeout: Positive | None = Field(None, description="seconds of silence that end a request")
    ratelimit: Positive | None = Field(None, description="most bytes per second of a download")
    throttledratelimit: Positive | None = Field(None, description="bytes per second below which to extract again")
    http_chunk_size: Annotated[int, Field(gt=0)] | None = Field(None, description="bytes of each request for media")
    concurrent_fragment_downloads: Annotated[int, Field(gt=0)] | None = Field(
        None, description="fragments of a stream at a time"
    )
    sleep_interval: Seconds | None = Field(None, description="seconds to wait before a download")
    max_sleep_interval: Seconds | None = Field(None, description="most seconds to wait, then a random time")
    sleep_interval_requests: Seconds | None = Field(None, description="seconds between requests of an extraction")


# Options that are paths. yt-dlp would look for them in the worker's folder, not beside the manifest.
FILES = ("cookiefile", "client_certificate", "client_certificate_key")
OURS = "is set by vsumdata itself"
LOSES = "would drop videos without a word; `select` and --limit choose them"
RUNS = "runs a program, which no manifest may"
PASSWORDS = "reads the user's passwords; give `username` and `password`, or `cookiefile`"
WRITES = "writes files of its own"
WEAKENS = "would let others on the network read passwords and change videos"
# Why an option is refused, where there is more to say than that it is not in the list.
REFUSED = {
    **dict.fromkeys(("outtmpl", "paths", "extract_flat", "skip_download", "simulate", "ignoreerrors"), OURS),
    **dict.fromkeys(("nopart", "continuedl", "overwrites", "keep_fragments", "postprocessors", "format"), OURS),
    **dict.fromkeys(("format_sort", "external_downloader", "ffmpeg_location", "fixup", "buffersize"), OURS),
    **dict.fromkeys(("noresizebuffer", "skip_unavailable_fragments", "updatetime"), OURS),
    **dict.fromkeys(("max_filesize", "min_filesize"), "is set by vsumdata itself (`crawl.max_media_mb`)"),
    **dict.fromkeys(("playlist_items", "playliststart", "playlistend", "playlistrandom", "playlistreverse"), LOSES),
    **dict.fromkeys(("matchtitle", "rejecttitle", "match_filter", "daterange", "min_views", "max_views"), LOSES),
    **dict.fromkeys(("age_limit", "max_downloads", "download_archive", "break_on_existing", "break_on_reject"), LOSES),
    **dict.fromkeys(("debug_printtraffic", "dump_intermediate_pages", "write_pages"), "would write secrets to a log"),
    # yt-dlp sleeps until a premiere begins.
    "wait_for_video": "would hold a worker for hours",
    "cookiesfrombrowser": "reads the user's browser: give it on the command line (--cookies-from-browser)",
    **dict.fromkeys(("netrc_cmd", "external_downloader_args", "postprocessor_args"), RUNS),
    "js_runtimes": f"{RUNS}; vsumdata brings deno",
    "remote_components": "fetches programs and runs them, which no manifest may; install yt-dlp-ejs",
    **dict.fromkeys(("usenetrc", "netrc_location"), PASSWORDS),
    "enable_file_urls": "would let a page read files of this machine",
    **dict.fromkeys(("print_to_file", "cachedir", "writeinfojson", "writesubtitles", "writethumbnail"), WRITES),
    **dict.fromkeys(("nocheckcertificate", "prefer_insecure", "legacyserverconnect"), WEAKENS),
    "impersonate": "would open connections that cannot be kept from private addresses",
    "test": "downloads a piece of each video only",
}
# Extractor arguments of yt-dlp's plugin kinds: proof-of-origin and challenge providers. Some name a program to run
# (bgutil's `script_path`, WPC's `browser_path`).
PROVIDERS = ("youtubepot", "youtubejsc")


def resolve_options(loaded: Loaded) -> dict[str, Any]:
    """Return the manifest's `crawl.yt_dlp` (`--set` included), checked, with absolute paths (relative to the manifest).

    Raises ManifestError for an option that is not in `YtDlp`, a wrong value, and a missing file.
    """
    given = loaded.manifest.crawl.yt_dlp
    where = f"{loaded.file}: crawl.yt_dlp"
    try:
        options = YtDlp.model_validate(given).model_dump(exclude_none=True)
    except ValidationError as error:
        # Without the values, which may be passwords.
        raise ManifestError("\n".join(f"{where}.{mistake(found)}" for found in error.errors())) from None
    arguments = options.get("extractor_args", {})
    for site in arguments:
        if site.lower().startswith(PROVIDERS):
            raise ManifestError(f"{where}.extractor_args.{site}: its arguments may name programs to run; leave it out")
    # The heat markers are part of the page's initial data.
    if "initial_data" in arguments.get("youtube", {}).get("player_skip", ()):
        name = f"{where}.extractor_args.youtube.player_skip"
        raise ManifestError(f"{name}: without initial_data there are no heatmaps; leave it out")
    for key in FILES:
        if key in options:
            path = loaded.folder / Path(options[key]).expanduser()
            if not path.is_file():
                raise ManifestError(f"{where}.{key}: {path} does not exist")
            options[key] = str(path)
    return options


def mistake(found: Mapping[str, Any]) -> str:
    """Say what is wrong with one option: `key: words`."""
    key = ".".join(str(part) for part in found["loc"])
    if found["type"] != "extra_forbidden":
        return f"{key}: {found['msg'].removeprefix('Value error, ')}"
    if key in REFUSED:
        return f"{key}: {REFUSED[key]}; leave it out"
    near = difflib.get_close_matches(key, YtDlp.model_fields, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"these are: {', '.join(YtDlp.model_fields)}"
    return f"{key}: is not one of the options that a manifest may set; {hint}"


def browser_cookies(text: str | None) -> dict[str, Any]:
    """Return yt-dlp's option for `--cookies-from-browser BROWSER[:PROFILE]`; nothing for None.

    Reads the cookies once, so that a wrong name raises UsageError before any work.
    """
    if text is None:
        return {}
    from yt_dlp.cookies import SUPPORTED_BROWSERS, CookieLoadError, load_cookies

    browser, _, profile = text.partition(":")
    browser = browser.strip().lower()
    if browser not in SUPPORTED_BROWSERS:
        known = ", ".join(sorted(SUPPORTED_BROWSERS))
        raise UsageError(f"--cookies-from-browser: `{browser}` is not one of {known}")
    # The browser's name, its profile, the keyring, the container.
    asked = (browser, profile or None, None, None)
    try:
        load_cookies(None, asked, None)
    except CookieLoadError as error:
        cause = error.__context__
        raise UsageError(f"--cookies-from-browser: the cookies of {browser} cannot be read: {cause}") from error
    return {"cookiesfrombrowser": asked}


def settings(context: Context, **more: Any) -> dict[str, Any]:
    """Build the options of yt-dlp: our defaults, then the manifest's, then those that our code relies on.

    Raises UsageError if the manifest's cookies cannot be read.
    """
    given = context.crawl.get("yt_dlp") or {}
    options = {
        "cachedir": False,
        "socket_timeout": SOCKET_TIMEOUT_S,
        # Few, because the run itself repeats a video that failed.
        "retries": 2,
        "fragment_retries": 2,
        "extractor_retries": 1,
        "ffmpeg_location": ffmpeg_program(),
        # By default yt-dlp looks for deno alone, and not in the package. Without a runtime formats are missing
        # (yt-dlp#16694).
        "js_runtimes": runtimes(),
        **given,
        "quiet": True,
        # `Session` reads the warnings: they are the only trace of a request that failed.
        "no_warnings": False,
        "noprogress": True,
        "no_color": True,
        "logger": log,
        "noplaylist": True,
        # With True, yt-dlp reports an error and returns None: the video would get no reason.
        "ignoreerrors": False,
        "ignore_no_formats_error": False,
        "wait_for_video": None,
        **more,
        "extractor_args": extractor_args(given.get("extractor_args"), lists="extract_flat" in more),
    }
    for key in FILES:
        if options.get(key):
            options[key] = own_copy(key, str(options[key]), context)
    return options


def extractor_args(given: Any, *, lists: bool) -> dict[str, dict[str, list[str]]]:
    """Return the manifest's extractor arguments, with English messages for `classify` and never without heatmaps.

    `lists` is for a channel's listing: there a missing page raises, because the listing would pass for a complete
    one. For a video it does not: other answers tell that it is private or removed, and `describe` notices a
    missing `heatmap`.
    """
    # As on yt-dlp's command line, a manifest may give a list or a text with commas.
    found = {
        str(site): {name: value.split(",") if isinstance(value, str) else list(value) for name, value in each.items()}
        for site, each in (given or {}).items()
    }
    youtube = found.setdefault("youtube", {}) | {"lang": ["en"]}
    youtube["player_skip"] = [name for name in youtube.get("player_skip", []) if name != "initial_data"]
    if lists:
        youtube["raise_incomplete_data"] = ["true"]
    return found | {"youtube": youtube}


def read_files(options: Mapping[str, Any]) -> dict[str, bytes]:
    """Read the files that `options` name, for workers on machines that do not have them. Raises UsageError."""
    found = {}
    for key in FILES:
        if given := options.get(key):
            try:
                found[key] = Path(given).expanduser().read_bytes()
            except OSError as error:
                remedy = "; export the cookies again" if key == "cookiefile" else ""
                raise UsageError(f"crawl.yt_dlp.{key}: {given}: {error.strerror}{remedy}") from error
    return found


def portable(options: Mapping[str, Any], scratch: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return options and files that workers on other machines can use: a browser's cookies become a file of them.

    Raises UsageError.
    """
    options = dict(options)
    asked = options.pop("cookiesfrombrowser", None)
    if asked is None:
        return options, read_files(options)
    from yt_dlp.cookies import load_cookies

    path = scratch / f"browser-{uuid.uuid4().hex[:8]}"
    path.touch(0o600)
    try:
        load_cookies(None, asked, None).save(str(path))
        return options | {"cookiefile": "the browser's"}, {"cookiefile": path.read_bytes()}
    finally:
        path.unlink()


def own_copy(key: str, given: str, context: Context) -> str:
    """Write this process's own copy of a file that the options name; returns its path. Raises UsageError."""
    content = (context.files or read_files({key: given}))[key]
    # yt-dlp writes its cookies back on closing. Several processes would overwrite each other's, and the user's.
    path = Path(context.scratch) / f"{key}-{this_process(os.getpid())}"
    # Once only: by the next call yt-dlp has written the session's newer cookies to the copy.
    if not path.exists():
        make_folder(path.parent)
        try:
            # 0600 from the start: whoever can read the cookies can log in as the user.
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StorageError(f"cannot write to {path.parent}: {error.strerror}; make room and run again") from error
    return str(path)


@functools.cache
def this_process(pid: int) -> str:
    """Name this process as no other is named: in containers that share a folder each may have the same `pid`."""
    return f"{pid}-{uuid.uuid4().hex[:8]}"
