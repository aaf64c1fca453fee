"""A stand-in for youtube.com on a local port, which answers with the recordings.

yt-dlp's own extractors read it through the transport map, as a run would: only the network is replaced. The
JSON of videos and of the channel's tab is recorded. MADE UP, because nothing of it was recorded, are the pages
that wrap that JSON, the player's JavaScript, the resolving of handles and the bodies of captions.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from vsumdata.datasets.sample.site import NOT_FOUND, Answer, json_answer
from vsumdata.stages.stage import Context

HOSTS = ("www.youtube.com", "youtubei.googleapis.com", "manifest.googlevideo.com")

KEPT = "rCAS2eD-mcw"  # 81,077 views, 100 heat markers, 12 manual tracks, automatic English
LOW_VIEWS = "M4gD1WSo5mA"  # 12,916 views, no heat markers
NO_HEATMAP = "tjz2u2DiveM"  # 142,650 views, unlisted, 10 s long
UNPLAYABLE = "it3OtbTxQk0"
PRIVATE = "8VajtrESJzA"
NONEXISTENT = "don-t-exist"
AGE_RESTRICTED = "Njp5uhTorCo"
CHANNEL_ID, HANDLE = "UCsXVk37bltHxD1rDPwtNM8Q", "@kurzgesagt"
AGE_RESTRICTED_HANDLE = "@grown-ups-only"

CLIENT = {"clientName": "WEB", "clientVersion": "2.20260603.05.00"}
PLAYER_URL = "/s/player/0123abcd/player_ias.vflset/en_US/base.js"
PAGE_CONFIG = {  # made up
    "INNERTUBE_CONTEXT": {"client": CLIENT},
    "INNERTUBE_CONTEXT_CLIENT_NAME": 1,
    "INNERTUBE_CLIENT_VERSION": CLIENT["clientVersion"],
    "VISITOR_DATA": "bWFkZSB1cA%3D%3D",
    "PLAYER_JS_URL": PLAYER_URL,
}
PLAYER_SCRIPT = b"var config={signatureTimestamp:20607};"  # made up


@dataclass(frozen=True)
class Asked:
    """A request as the site sees it; `about` is its video or channel."""

    path: str
    about: str
    body: dict[str, Any] = field(default_factory=dict)


Fault = Callable[[Asked], Answer | None]


def page(status: HTTPStatus = HTTPStatus.OK, **variables: Any) -> Answer:
    """A made-up page that holds recorded JSON the way that real ones do."""
    scripts = [f"ytcfg.set({json.dumps(PAGE_CONFIG)});"]
    scripts += [f"var {name} = {json.dumps(value)};" for name, value in variables.items()]
    body = "<!DOCTYPE html><html><head><title>YouTube</title></head><body>%s</body></html>"
    body %= "".join(f"<script>{script}</script>" for script in scripts)
    return Answer(status, body.encode(), {"Content-Type": "text/html; charset=utf-8"})


def caption_body(asked: dict[str, list[str]]) -> Answer:
    """A made-up caption track: it names the language, the kind and the format that were asked for."""
    said = f"{asked['lang'][0]} {asked.get('kind', ['manual'])[0]} {asked['fmt'][0]}"
    if asked["fmt"][0] == "json3":
        return json_answer({"events": [{"tStartMs": 0, "dDurationMs": 1000, "segs": [{"utf8": said}]}]})
    text = f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{said}\n"
    return Answer(HTTPStatus.OK, text.encode(), {"Content-Type": "text/vtt; charset=utf-8"})


class YouTube:
    """The site, while its `with` block lasts.

    `faults` are asked first, in order: the first that gives an answer replaces the recording's. `asked` is
    what was requested.
    """

    def __init__(self, recordings: Path) -> None:
        self.folder, self.blocks = recordings / "youtube", recordings / "youtube_blocks"
        self.videos = {path.name[6:17]: path for path in self.folder.glob("video_*")}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.youtube = self  # type: ignore[attr-defined]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def context(self, scratch: Path, **crawl: Any) -> Context:
        """A worker's context that leads YouTube's hosts here; `crawl` as in a manifest."""
        address = f"127.0.0.1:{self.server.server_port}"
        return Context(root=str(scratch), scratch=str(scratch), transport=dict.fromkeys(HOSTS, address), crawl=crawl)

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def recorded(self, path: str) -> Any:
        return json.loads((self.folder / path).read_bytes())

    def block(self, name: str) -> Answer:
        """One of the recorded walls: `request_blocked`, `age_restricted`, `too_many_requests`."""
        path = next(self.blocks.glob(f"youtube_{name}.*"))
        if path.name.endswith(".html.static"):
            headers = {"Content-Type": "text/html; charset=utf-8"}
            return Answer(HTTPStatus.TOO_MANY_REQUESTS, path.read_bytes(), headers)
        return json_answer(json.loads(path.read_bytes()))

    def answer(self, target: str, body: dict[str, Any]) -> Answer:
        url = urlsplit(target)
        query = parse_qs(url.query)
        about = str(body.get("videoId") or body.get("browseId") or query.get("v", [""])[0])
        asked = Asked(url.path, about, body)
        self.asked.append(asked)
        for fault in self.faults:
            if (found := fault(asked)) is not None:
                return found
        if url.path == "/api/timedtext":
            return caption_body(query)
        if url.path == PLAYER_URL:
            return Answer(HTTPStatus.OK, PLAYER_SCRIPT, {"Content-Type": "text/javascript"})
        if url.path == "/watch":
            return self.watch_page(about)
        if url.path.startswith("/embed/"):
            return page()
        if url.path.startswith(("/@", "/channel/")):
            return self.channel_page(url.path)
        return self.api(asked)

    def watch_page(self, video_id: str) -> Answer:
        folder = self.videos.get(video_id)
        if folder is None:
            return page()
        player, following = (json.loads((folder / name).read_bytes()) for name in ("03_player.json", "04_next.json"))
        return page(ytInitialPlayerResponse=player, ytInitialData=following)

    def channel_page(self, path: str) -> Answer:
        name = path.split("/")[1]
        if name == AGE_RESTRICTED_HANDLE:
            return page(ytInitialData=self.without_entries())
        if name == HANDLE or CHANNEL_ID in path:
            return page(ytInitialData=self.channel_tab("01"))
        return page(HTTPStatus.NOT_FOUND)

    def channel_tab(self, number: str) -> Any:
        return self.recorded(f"channel_videos_tab_kurzgesagt_{CHANNEL_ID}/{number}_browse.json")

    def without_entries(self) -> Any:
        """MADE UP: the recorded tab without its grid, as a guest sees an age-restricted channel."""
        tab = self.channel_tab("01")
        for one in tab["contents"]["twoColumnBrowseResultsRenderer"]["tabs"]:
            if "tabRenderer" in one:
                one["tabRenderer"].pop("content", None)
        return tab

    def continued(self, token: str | None) -> Any:
        """The recorded second page. MADE UP: it ends the list, because the third was not recorded."""
        if token is not None and json.dumps(token) in json.dumps(self.channel_tab("01")):
            return self.channel_tab("02")
        return {"onResponseReceivedActions": [{"appendContinuationItemsAction": {"continuationItems": []}}]}

    def api(self, asked: Asked) -> Answer:
        name = asked.path.removeprefix("/youtubei/v1/")
        if name == "player":
            return json_answer(self.player(asked.about))
        if name == "next" and asked.about in self.videos:
            return json_answer(json.loads((self.videos[asked.about] / "04_next.json").read_bytes()))
        if name == "next":
            return json_answer({"contents": {}})
        if name == "browse":
            return json_answer(self.continued(asked.body.get("continuation")))
        return NOT_FOUND

    def player(self, video_id: str) -> Any:
        """The recorded answer to the VISIONOS client, for every client.

        Of private and of missing videos only the answer of the reel player was recorded; it holds the same.
        """
        if video_id == AGE_RESTRICTED:
            return json.loads(self.block("age_restricted").body)
        if video_id == PRIVATE:
            return self.recorded("unavailable_private/01_reel_reel_item_watch.json")["playerResponse"]
        if video_id in self.videos:
            return json.loads((self.videos[video_id] / "02_player.json").read_bytes())
        return self.recorded("unavailable_nonexistent/01_reel_reel_item_watch.json")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.youtube.answer(self.path, json.loads(body or b"{}"))  # type: ignore[attr-defined]
        self.close_connection = True
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Silent: a test reports what matters."""


def firefox_profile(folder: Path) -> Path:
    """Make a profile of Firefox with one cookie of the sample's site."""
    folder.mkdir()
    database = sqlite3.connect(folder / "cookies.sqlite")
    columns = "host TEXT, name TEXT, value TEXT, path TEXT, expiry INTEGER, isSecure INTEGER, originAttributes TEXT"
    database.execute(f"CREATE TABLE moz_cookies ({columns})")
    row = (".sample.invalid", "SID", "s3cret", "/", 2_000_000_000, 1, "")
    database.execute("INSERT INTO moz_cookies VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    database.execute("PRAGMA user_version = 15")
    database.commit()
    database.close()
    return folder
