"""The options of yt-dlp that a manifest gives: known to yt-dlp, harmless to a run, their files there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsumdata.manifests.manifest import Loaded
from vsumdata.pipeline.errors import ManifestError

FILES = ("cookiefile", "client_certificate", "client_certificate_key", "netrc_location")
OURS = "is set by vsumdata itself"
LOSES = "would drop videos without a word; `select` and --limit choose them"
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
    "wait_for_video": "would hold a worker for hours",
}


def resolve_options(loaded: Loaded) -> dict[str, Any]:
    """The manifest's `crawl.yt_dlp` with paths made absolute (they are relative to the manifest).

    Raises ManifestError where yt-dlp knows no such option, where it would break a run, where a file is missing.
    """
    options = dict(loaded.manifest.crawl.yt_dlp)
    if not options:
        return options
    import yt_dlp

    known = yt_dlp.parse_options([]).ydl_opts.keys()
    for key in options:
        where = f"{loaded.file}: crawl.yt_dlp.{key}"
        if key in REFUSED:
            raise ManifestError(f"{where}: {REFUSED[key]}; leave it out")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise ManifestError(f"{where}: no such option of yt_dlp.YoutubeDL (not of its command line){hint}")
    if "initial_data" in str(youtube_arguments(options).get("player_skip", "")):
        where = f"{loaded.file}: crawl.yt_dlp.extractor_args.youtube.player_skip"
        raise ManifestError(f"{where}: without initial_data there are no heatmaps; leave it out")
    for key in FILES:
        if options.get(key):
            path = loaded.folder / Path(str(options[key])).expanduser()
            if not path.is_file():
                raise ManifestError(f"{loaded.file}: crawl.yt_dlp.{key}: {path} does not exist")
            options[key] = str(path)
    return options


def youtube_arguments(options: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = options.get("extractor_args")
    found = arguments.get("youtube") if isinstance(arguments, Mapping) else None
    return found if isinstance(found, Mapping) else {}
