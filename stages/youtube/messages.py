"""What yt-dlp's messages mean: one table, first row that matches, each row with where its words were seen.

YouTube words a state of a video and a mood of its own in one breath ("Video unavailable. …"), so only the exact
sentences that tell a state are final. Whatever else it says is tried again.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

NO_ANSWER, UNAVAILABLE = "no_answer", "unavailable"


class Words(NamedTuple):
    """One row: the class of the messages that hold `pattern` (a regex, on `normalised` text), and where they were seen.

    Sources: an issue of yt-dlp (`#123`), of another repository (`owner/name#123`), or the part of yt-dlp 2026.10.26
    that words it.
    """

    kind: str
    pattern: str
    source: str


VIDEO = "yt-dlp extractor/youtube/_video.py"
TAB = "yt-dlp extractor/youtube/_tab.py"
WORDING = "YouTube's wording; no public report found"
# Of a sentence. youtube-dl puts a line break behind "Video unavailable" where yt-dlp puts a full stop.
START = r"(?:^|[.:!] ?|video unavailable )"


def alone(sentence: str) -> str:
    """The pattern of a sentence that ends the message: more words would say more ("… in your country", "… again")."""
    return rf"{START}{sentence}[.!]*$"


# The order matters: a message that tells trouble also holds words of later rows ("Unable to download API page: HTTP
# Error 429"), and a rights holder's or a level's name may hold any words, so what frames a name comes first.
MESSAGES: tuple[Words, ...] = (
    Words("region", r"contains content from .*blocked it (?:in your country|on copyright grounds)", "#2804"),
    Words("region", r"unfortunately, this video is not available in", "MusicGenerator/mumble-ruby-pluginbot#11"),
    Words("members_only", r"available to this channel's members", "#16516, #14949"),
    # Nobody's fault: counted as the video's failure, one ban would mark a whole channel as removed.
    Words("throttled", r"not a bot\b", "#10128"),
    Words("throttled", r"content isn't available, try again later", "#11426"),
    Words("throttled", r"has been rate-limited", "#12958"),
    Words("throttled", r"\b(?:http|http error|status)(?: code)?:? 429\b", "jely2002/youtube-dl-gui#676"),
    Words("throttled", r"too many requests", "jely2002/youtube-dl-gui#676"),
    # How YouTube refused addresses with too many requests for years.
    Words("throttled", r"\bhttp(?: error)? 402\b", "ytdl-org/youtube-dl#13423, #1337"),
    Words("throttled", r"ip is likely being blocked", VIDEO),
    Words("throttled", r"requiring a captcha challenge", VIDEO),
    # Of this client, its network or its account, see `REMEDIES`: no other video would be read either.
    Words("network", r"\b(?:workspace|network) administrator", "#15168"),
    # As warnings; yt-dlp goes on with what is left, and of nothing it says "Requested format is not available".
    Words("runtime", r"no supported javascript runtime could be found", "#15012"),
    Words("streams", r"only images are available for download", "fqscfqj/Y2A-Auto#60"),
    Words("challenge", r"\bn challenge solving failed", "#15684"),
    Words("challenge", r"signature solving failed", VIDEO),
    Words("challenge", r"(?:nsig|signature) extraction failed", "#13260"),
    Words("challenge", r"error solving .*challenge request", "#15897"),
    Words("challenge", r"no usable challenge solver .*script available", "yt-dlp jsc/_builtin/ejs.py"),
    Words("sabr", r"forcing sabr", "#13260"),
    Words("sabr", r"sabr-only|server-side ad placement", "#12482"),
    Words("sabr", r"skipped as they are missing a url", "#12482"),
    Words("po_token", r"require a (?:gvs )?po token", "#17348"),
    Words("po_token", r"unable to fetch (?:gvs|player) po token", "#16821"),
    Words("drm", r"experiment that applies drm to all videos", "#12563"),
    # What is true of the video itself.
    Words("private", r"this video is private", "recorded answer of YouTube"),
    Words("private", START + r"(?:this is a )?private video", "#2804"),
    Words("members_only", r"join this channel to get access", "ytdl-org/youtube-dl#29928"),
    # Needs a paid account, as a members-only video does.
    Words("members_only", r"only available to music premium members", "recorded answer of YouTube"),
    Words("members_only", r"requires payment to watch", WORDING),
    Words("members_only", r"this video is only available for registered users", "yt-dlp extractor/common.py"),
    Words("age_restricted", r"may be inappropriate for some users", "recorded answer of YouTube"),
    Words("age_restricted", r"confirm your age|age-restricted", VIDEO),
    # By its words: yt-dlp does not always raise GeoRestrictedError for it.
    Words("region", r"(?:made this video|not) available (?:in|from) your (?:country|location|region)", VIDEO),
    Words("upcoming", r"this live event will begin (?:in|shortly)", "jmbannon/ytdl-sub#1323"),
    Words("upcoming", r"premieres (?:in|shortly)|premiere will begin", "jmbannon/ytdl-sub#1323"),
    Words("live", r"the channel is not currently live", TAB),
    Words("removed", alone(r"this video is (?:un|not )available"), "ytdl-org/youtube-dl#28613"),
    Words("removed", alone(r"this video (?:is no longer|isn't) available(?: any ?more)?"), WORDING),
    Words("removed", alone(r"this live stream recording is not available"), WORDING),
    Words("removed", alone(r"the uploader has not made this video available"), "ytdl-org/youtube-dl#4475"),
    Words("removed", START + r"(?:this video )?has been removed by the (?:uploader|user)", "vididataset/VIDI#1"),
    Words("removed", r"this video has been removed for violating", "jely2002/youtube-dl-gui#554"),
    Words("removed", r"account associated with this video has been (?:terminated|closed)", "vididataset/VIDI#1"),
    Words("removed", r"uploader has closed their youtube account", WORDING),
    Words("removed", r"no longer available due to a (?:copyright|trademark|privacy) ", "Unrud/video-downloader#183"),
    Words("removed", r"this channel was removed|this account has been terminated", TAB),
    Words("removed", r"this channel does not (?:exist|have a )", TAB),
    Words("removed", r"failed to resolve url", TAB),
    Words("removed", r"\bhttp error 4(?:04|10)\b", TAB),
    # Also what a broken or blocked yt-dlp says of every video, see `watches.Alike`.
    Words(NO_ANSWER, r"failed to extract any player response", VIDEO),
    # Comes and goes by session, client or day, of videos that play in a browser. No attempt is counted.
    Words(UNAVAILABLE, r"this content isn't available", "#13583, #14095, #15767, #16307"),
    Words(UNAVAILABLE, r"playback on other websites has been disabled", "#17497"),
    Words(UNAVAILABLE, r"blocked it from display on this website", "ytdl-org/youtube-dl#4195"),
    Words(UNAVAILABLE, r"page needs to be reloaded", "#16212, #17389, #17405, #17521"),
    Words(UNAVAILABLE, r"not available on this (?:app|device)", "#10108"),
    Words(UNAVAILABLE, r"this live event has ended", "#11218, #16507"),
    Words(UNAVAILABLE, r"we're processing this video", WORDING),
    Words(UNAVAILABLE, START + r"please sign in\b|get the best youtube experience", "#11201, #9899, #9869"),
    Words(UNAVAILABLE, r"try again later", "chelaxian/tg-ytdlp-bot#446"),
    Words(UNAVAILABLE, START + r"video unavailable", "#17702, yattee/yattee-server#16"),
    Words("no_formats", r"drm protected", VIDEO),
    Words("no_formats", r"no video formats found|requested format is not available", "yt-dlp YoutubeDL.py"),
    # Last, because these are parts of more telling messages. yt-dlp itself does not repeat a 403.
    Words("transient", r"incomplete (?:yt initial )?data received|incompleteread|bytes read", TAB),
    Words("transient", r"timed out|timeout|connection|transporterror", "yt-dlp networking/exceptions.py"),
    Words("transient", r"\bhttp(?: error)? (?:5|403)", "#17013"),
    Words("transient", r"unable to download|the downloaded file is empty", "toolforge/video2commons#288"),
    Words("transient", r"temporary failure|failed to resolve|unexpected_eof|ssl:", "yt-dlp networking/exceptions.py"),
)
EQUIP = "see `vsumdata doctor`, and update yt-dlp, yt-dlp-ejs and deno (pip install -U 'yt-dlp[default,deno]')"
CLIENTS = "another client (`crawl.yt_dlp.extractor_args.youtube.player_client`), cookies or another address"
# What to do where the client is at fault, by the class of the message.
REMEDIES = {
    "runtime": f"yt-dlp could not run YouTube's script: {EQUIP}",
    "challenge": f"yt-dlp could not solve YouTube's challenge: {EQUIP}",
    "sabr": f"YouTube gives this session streams that yt-dlp cannot download (SABR): update yt-dlp, or try {CLIENTS}",
    "po_token": f"YouTube asks this client for a PO token: give `po_token` (docs/crawling.md), or try {CLIENTS}",
    "drm": f"YouTube encrypts all videos for this client: update yt-dlp, or try {CLIENTS}",
    "network": "this network or account has YouTube's Restricted Mode on: use another network, address "
    "(`crawl.yt_dlp.proxy`, `source_address`) or cookies of another account",
    "streams": f"YouTube sent no streams, only preview pictures: {EQUIP}; else try {CLIENTS}",
}
SAME_MARKS = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "“": '"', "”": '"'})
# yt-dlp names the extractor and the video; youtube-dl the video alone.
PREFIX = re.compile(r"^(?:error: |warning: )*(?:\[[\w:+.-]+\] (?:[^\s:]+: )?)?(?:[\w-]{11}: )?(?:youtube said: )?")
# What yt-dlp appends for a person. It holds words of its own ("rate-limited" is no hint: it tells the class).
HINTS = re.compile(r";? ?please report.*| use --(?:cookies|list-formats).*| you might want to use a vpn.*")


def normalised(message: str) -> str:
    """A message in lower case with plain apostrophes and single spaces, without yt-dlp's prefix, colours and hints."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message).translate(SAME_MARKS)
    text = " ".join(text.lower().split())
    # "ERROR:" has a colour of its own, and what follows it none.
    return HINTS.sub("", PREFIX.sub("", text)).strip()


@functools.cache
def compiled() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(row.pattern), row.kind) for row in MESSAGES)


def classify(message: str) -> str:
    """Classify a message of yt-dlp: the class of the table's first row that matches, else `unknown`."""
    text = normalised(message)
    return next((kind for pattern, kind in compiled() if pattern.search(text)), "unknown")
