"""Everything that reads text from outside, with valid inputs to start from and what its results promise."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from tests.recordings import RECORDINGS
from tests.stages import fuzz_seeds as seeds
from tests.stages.fuzz_kit import Target
from yt_dlp.utils import DownloadError

from vsumdata.manifests import manifest, rows, tables
from vsumdata.manifests.errors import FailVideo, ManifestError, RetryVideo, SetupError, ThrottledError
from vsumdata.manifests.select import decide
from vsumdata.manifests.sources import FILE_FIELDS, fields_hash, read_list
from vsumdata.pipeline.state.dataset import stored_manifest
from vsumdata.stages import articles, videos
from vsumdata.stages.howto.links import find_article_url
from vsumdata.stages.howto.parser import MAX_DEPTH, canonical_url, parse_article
from vsumdata.stages.pictures.probe import read_messages
from vsumdata.stages.speech.captions import CaptionError, choose_track, format_of, parse_captions
from vsumdata.stages.speech.encodings import decode
from vsumdata.stages.web import answers
from vsumdata.stages.web.cache import decode_html
from vsumdata.stages.web.fetch import read_robots
from vsumdata.stages.youtube.errors import as_ours
from vsumdata.stages.youtube.messages import NO_ANSWER, REMEDIES, classify
from vsumdata.stages.youtube.session import Session

URL = "https://www.wikihow.com/Boil-an-Egg"
HOST = "sample.invalid"
VIDEOS = pa.schema(tables.VIDEOS)
ARTICLES = pa.schema(tables.ARTICLES)
SENTENCES = pa.list_(tables.SENTENCE)
# The longest piece of a recording, in characters: whole pages take tenths of a second each.
PIECE = 1500
# Lists and manifests are read from files.
FOLDER = Path(tempfile.gettempdir()) / "vsumdata-fuzz"


def pieces(pattern: str) -> tuple[str, ...]:
    """Some stretches of the recordings that match; none where the recordings are not here."""
    found = []
    for path in sorted(RECORDINGS.glob(pattern)):
        text = path.read_bytes()[:2_000_000].decode("utf-8", "replace")
        step = max(PIECE, len(text) // 8)
        found += [text[at : at + PIECE] for at in range(0, len(text), step)]
    return tuple(found)


def read_captions(text: str, form: str) -> None:
    found = parse_captions(text, form)
    for sentence in found:
        assert 0 <= sentence.start_s <= sentence.end_s < math.inf, sentence
        assert sentence.text.strip(), sentence
        assert "-->" not in sentence.text, sentence
        assert "\0" not in sentence.text, sentence
        # In JSON it may be spelt as an escape.
        assert "\ufffd" not in sentence.text or "\ufffd" in text or "\\ufffd" in text.lower(), sentence
    for one, after in pairwise(found):
        assert one.start_s <= after.start_s, (one, after)
        assert one.end_s <= after.start_s, (one, after)
    rows.to_array([[sentence._asdict() for sentence in found]], SENTENCES)


def read_caption_bytes(text: str) -> None:
    """A file of any bytes: what is lost is said."""
    body = text.encode("latin-1", "ignore")
    found = decode(body, "en")
    assert (
        "\ufffd" not in found.text or "cannot be read" in found.note or b"\xef\xbf\xbd" in body or b"\xff\xfd" in body
    )
    read_captions(found.text, format_of(found.text, "srt"))


def read_page(text: str) -> None:
    canonical_url(text)
    article = parse_article(text, URL)
    assert article.steps
    for step in article.steps:
        assert step.text.strip(), step
        for address in (step.image_url, step.clip_url):
            assert address is None or re.match(r"https?://[^/]", address), address
    row = articles.payload(article, URL, text.encode("utf-8", "replace"), None)
    rows.to_table(ARTICLES, [row])


def read_bytes(text: str) -> None:
    """A page's bytes in a charset that its header (the first line) or the page itself states, rightly or not."""
    header, _, page = text.partition("\n")
    body = page.encode("latin-1", "ignore") if "iso" in text else page.encode("utf-8", "surrogatepass")
    decode_html(body, header)
    answers.refuse_wall(body, URL)


def read_info(text: str) -> None:
    """An info of yt-dlp, as far as a row of the table."""
    try:
        info = json.loads(text)
    # yt-dlp reads JSON itself, and its errors are `Session`'s affair.
    except (ValueError, RecursionError):
        return
    if not isinstance(info, dict):
        return
    row = videos.describe(info, (HOST,))
    track = choose_track(info, ["en", "de"])
    if track is not None:
        # The text of a track at a URL comes through a session, which decodes it; here it counts as given.
        given = dataclasses.replace(track, url=None, data=track.data or "WEBVTT")
        row |= videos.caption_of(given, cast(Session, None))
    row.pop("detail", None)
    row |= {"source": "channel:@x"}
    rows.to_table(VIDEOS, [row])
    decide(row, {})
    videos.health({"outcome": "done", "reason": "", "result": row})


def read_probe(text: str) -> None:
    info = read_messages(text)
    assert info.duration_s is None or 0 <= info.duration_s < math.inf, info.duration_s
    assert math.isfinite(info.start_s), info.start_s
    if info.best_video:
        assert all(0 < side < 2**31 for side in info.best_video.shown_size), info.best_video


def read_lines(text: str, *, own_files: bool, name: str = "list.jsonl") -> None:
    """A list, and what a run makes of its records before any work."""
    path = written(name, text)
    for _, record in read_list(path, "files:list.jsonl" if own_files else "ids:list.jsonl", own_files=own_files):
        assert record.video_id.encode(), record
        fields_hash(record, (*FILE_FIELDS, "title", "steps"))
        json.dumps(record.as_dict()).encode()
        if own_files:
            try:
                row = without_detail(videos.describe_file(record.as_dict(), ["en"])) | {"source": record.source}
            except FailVideo:
                continue
            rows.to_table(VIDEOS, [row])
            decide(row, {})
        elif record.steps is not None:
            try:
                rows.to_table(
                    ARTICLES, [without_detail(articles.from_steps(record.steps, record.title, record.article_url))]
                )
            except FailVideo:
                continue


def without_detail(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "detail"}


def read_manifest(text: str) -> None:
    """A manifest, and what `dataset.json` keeps of it."""
    loaded = manifest.load(str(written("fuzz.yaml", text)))
    kept = json.loads(json.dumps(stored_manifest(loaded)))
    assert (
        manifest.from_stored(kept["settings"], kept["folder"], kept["file"]).manifest.sources == loaded.manifest.sources
    )


def written(name: str, text: str) -> Path:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def read_rules(text: str) -> None:
    rules = read_robots(text.encode("utf-8", "replace").decode())
    for url in (URL, f"{URL}?a=1", "https://www.ehow.com/how_5_x.html", f"https://{HOST}/"):
        assert rules.can_fetch(url, "vsumdata") in (True, False)
    delay_s = rules.crawl_delay("vsumdata")
    assert delay_s is None or 0 <= delay_s < math.inf


def read_link(text: str) -> None:
    found = find_article_url(text, (HOST,))
    assert found is None or found.startswith("https://"), found


def read_error(text: str) -> None:
    kind = classify(text)
    assert kind in tables.REASONS | set(REMEDIES) | {NO_ANSWER}
    error = as_ours(DownloadError(text), "https://www.youtube.com/watch?v=aaaaaaaaaaa")
    assert isinstance(error, ThrottledError | SetupError) or error.reason in tables.REASONS


def read_header(text: str) -> None:
    after_s = answers.retry_after_s(text)
    assert after_s is None or 0 <= after_s <= answers.LONGEST_RETRY_AFTER_S


def targets() -> tuple[Target, ...]:
    """All of them; `share` says how often each is tried, by how fast it is and how hostile its inputs are."""
    return (*of_captions(), *of_pages(), *of_video_tools(), *of_the_users_own(), *of_headers())


def of_captions() -> tuple[Target, ...]:
    return (
        Target(
            name="captions vtt",
            share=4,
            seeds=seeds.VTT + pieces("captions/*.vtt") + pieces("field_cases/captions_*/*.vtt"),
            read=lambda text: read_captions(text, "vtt"),
            documented=(CaptionError,),
            tokens=seeds.CUE_TOKENS,
            around=(("WEBVTT\n\n", ""), ("WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n", "")),
        ),
        Target(
            name="captions srt",
            share=4,
            seeds=seeds.SRT + pieces("field_cases/captions_*/*.srt"),
            read=lambda text: read_captions(text, "srt"),
            documented=(CaptionError,),
            tokens=seeds.CUE_TOKENS,
            around=(("1\n00:00:01,000 --> 00:00:02,000\n", ""),),
        ),
        Target(
            name="captions json3",
            share=4,
            form="both",
            seeds=seeds.JSON3 + pieces("captions/*.json3"),
            read=lambda text: read_captions(text, "json3"),
            documented=(CaptionError,),
            tokens=seeds.JSON3_TOKENS,
            around=(
                ('{"events":[', "{}]}"),
                ('{"events":[{"segs":[', "{}]}]}"),
                ('{"events":[{"segs":[{"utf8":"', '"}]}]}'),
            ),
        ),
        *(
            Target(
                name=f"captions {form}",
                share=2,
                seeds=found + pieces(f"field_cases/captions_*/*.{form}"),
                read=functools.partial(read_captions, form=form),
                documented=(CaptionError,),
                tokens=seeds.DOCUMENT_TOKENS,
                around=around,
            )
            for form, found, around in (
                ("sbv", seeds.SBV, (("0:00:01.000,0:00:02.000\n", ""),)),
                ("lrc", seeds.LRC, (("[00:01.00]", ""),)),
                ("ttml", seeds.TTML, (("<tt><body>", "</body></tt>"), ("<tt><p begin='1s' end='2s'>", "</p></tt>"))),
                ("srv3", seeds.SRV, (("<timedtext><body>", "</body></timedtext>"), ("<transcript>", "</transcript>"))),
                ("ass", seeds.ASS, (("[Events]\n", ""), ("Dialogue: 0,0:00:01.00,0:00:02.00,A,,0,0,0,,", ""))),
            )
        ),
        Target(
            name="captions' bytes",
            share=2,
            seeds=seeds.CAPTION_BYTES,
            read=read_caption_bytes,
            documented=(CaptionError,),
            tokens=("\x82\xa0", "\xe9", "\xff\xfe", "\0", "\x1b$B", "a\0", "\xc4\xe3 "),
            around=(("1\n00:00:01,000 --> 00:00:03,000\n", ""),),
        ),
    )


def of_pages() -> tuple[Target, ...]:
    return (
        Target(
            name="articles",
            share=3,
            seeds=seeds.PAGES + pieces("wikihow_pages/*") + pieces("ehow_pages/*"),
            read=read_page,
            documented=(FailVideo,),
            tokens=(*seeds.PAGE_TOKENS, *map(nested, seeds.NESTED)),
            around=seeds.AROUND_PAGES,
        ),
        Target(
            name="articles json-ld",
            share=2,
            form="both",
            seeds=seeds.HOW_TO,
            read=lambda text: read_page(f'<script type="application/ld+json">{text}</script>'),
            documented=(FailVideo,),
            tokens=seeds.HOW_TO_TOKENS,
            around=seeds.AROUND_HOW_TO,
        ),
        Target(
            name="pages' bytes",
            share=1,
            seeds=seeds.BODIES,
            read=read_bytes,
            documented=(ThrottledError,),
            tokens=("charset=", "utf-16", "iso-8859-1", "<meta", "<title", "<title>", "captcha", "just a moment"),
            around=(("\n", ""), ("text/html; charset=", "\n\udfff"), ("\n\udfff<meta charset='", "'>")),
        ),
        Target(
            name="links",
            share=2,
            seeds=seeds.DESCRIPTIONS,
            read=read_link,
            tokens=(
                "https://www.wikihow.com/X ",
                "wikihow.com/",
                "http://bit.ly/a ",
                "https://",
                ")",
                "https://((((",
                "))))",
            ),
            around=(("", ""), ("https://www.wikihow.com/", ""), ("https://www.youtube.com/redirect?q=", "")),
        ),
    )


def of_video_tools() -> tuple[Target, ...]:
    return (
        Target(
            name="yt-dlp info",
            share=4,
            form="json",
            seeds=seeds.INFO + small_infos(),
            read=read_info,
            documented=(RetryVideo,),
            tokens=seeds.INFO_TOKENS,
            around=seeds.AROUND_INFO,
        ),
        Target(
            name="yt-dlp errors",
            share=2,
            seeds=seeds.ERRORS,
            read=read_error,
            tokens=("HTTP Error 429", "\x1b[0;31m"),
        ),
        Target(
            name="ffmpeg messages",
            share=4,
            seeds=seeds.FFMPEG,
            read=read_probe,
            documented=(FailVideo,),
            tokens=seeds.FFMPEG_TOKENS,
            around=(("Input #0, mov, from 'x':\n", ""), ("", "")),
        ),
    )


def of_the_users_own() -> tuple[Target, ...]:
    return (
        Target(
            name="lists of files",
            share=2,
            form="both",
            seeds=seeds.FILE_LINES,
            read=lambda text: read_lines(text, own_files=True),
            documented=(ManifestError,),
            tokens=('{"video": "a.mp4"}\n',),
            around=(("", ""), ('{"video": "', '"}'), ('{"video": "a.mp4", "title": "', '"}')),
        ),
        Target(
            name="lists of ids",
            share=2,
            form="both",
            seeds=seeds.ID_LINES,
            read=lambda text: read_lines(text, own_files=False),
            documented=(ManifestError,),
            tokens=('{"video_id": "aaaaaaaaaaa"}\n', '"x",'),
            around=(("", ""), ('{"video_id": "aaaaaaaaaaa", "steps": [', '"x"]}')),
        ),
        *(
            Target(
                name=f"lists as {ending}",
                share=1,
                form="both" if ending == "json" else "text",
                seeds=seeds.TABLES if ending == "csv" else seeds.ARRAYS if ending == "json" else seeds.TEXTS,
                read=partial(read_lines, own_files=False, name=f"list.{ending}"),
                documented=(ManifestError,),
                tokens=("aaaaaaaaaaa\n", '"a,\n', ",", ";", '""', "[", '"aaaaaaaaaaa",', "youtu.be/aaaaaaaaaaa\n"),
                around=(("", ""), ("video_id,title\naaaaaaaaaaa,", ""), ('["aaaaaaaaaaa",', '"aaaaaaaaaaa"]')),
            )
            for ending in ("csv", "json", "txt")
        ),
        Target(
            name="manifests",
            share=1,
            # PyYAML reads 30 kB a second, and nobody writes longer ones.
            largest=0.05,
            seeds=seeds.MANIFESTS,
            read=read_manifest,
            documented=(ManifestError,),
            tokens=seeds.YAML_TOKENS,
            around=(("sources: [{channel: '@x'}]\n", ""), ("", "")),
        ),
    )


def of_headers() -> tuple[Target, ...]:
    return (
        Target(
            name="robots.txt",
            share=2,
            seeds=seeds.ROBOTS,
            read=read_rules,
            tokens=("User-agent: *\n", "Disallow: /*a*b$\n", "Allow: /\n", "*", "*a", "$", "%2F"),
            around=(("", ""), ("User-agent: *\nDisallow: /", "")),
        ),
        Target(
            name="Retry-After",
            share=1,
            seeds=("120", "Wed, 21 Oct 2026 07:28:00 GMT", "Sun, 06-Nov-94 08:49:37 +9900"),
            read=read_header,
            tokens=("GMT", "+0000", "1 ", "Mon,", "Jan", ":", "-99"),
        ),
    )


def nested(tags: str) -> str:
    """Tags inside each other, as deep as a page may have them."""
    names = re.findall(r"<(\w+)", tags)
    times = (MAX_DEPTH - 10) // len(names)
    return tags * times + "word" + "".join(f"</{name}>" for name in reversed(names)) * times


def small_infos() -> tuple[str, ...]:
    """The recorded infos without their formats, which nothing here reads and which make most of their length."""
    found = []
    for path in sorted(RECORDINGS.glob("youtube/info_json/*.json")):
        info = json.loads(path.read_text())
        kept = {key: value for key, value in info.items() if key not in ("formats", "thumbnails", "automatic_captions")}
        kept["automatic_captions"] = dict(list((info.get("automatic_captions") or {}).items())[:3])
        found.append(json.dumps(kept))
    return tuple(found)
