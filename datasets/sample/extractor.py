"""yt-dlp extractors for the sample's site. Nothing else is special about crawling the embedded corpus."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError, OnDemandPagedList

from vsumdata.datasets.sample.site import HOST, PAGE_SIZE


class SampleSiteIE(InfoExtractor):
    """The common part of the extractors of video and channel pages."""

    # yt-dlp tests a URL against every extractor; False fits none.
    _VALID_URL: str | bool = False

    def _ask(self, path: str, item_id: str, **query: Any) -> dict[str, Any]:
        url = f"https://{HOST}/api/{path}"
        # The site gives its reason in the body of a 404. yt-dlp's own error for a 404 would lose it.
        answer = self._download_json(url, item_id, query=query, expected_status=404)
        if reason := answer.get("unavailable"):
            # `expected`: else yt-dlp takes it for a bug of its own and asks the user to report it.
            raise ExtractorError(reason, expected=True, video_id=item_id)
        return answer


class SampleVideoIE(SampleSiteIE):
    """A watch page."""

    IE_NAME = "sample"
    _VALID_URL = rf"https://{re.escape(HOST)}/watch\?v=(?P<id>[\w-]{{11}})"

    def _real_extract(self, url: str) -> dict[str, Any]:
        video_id = self._match_id(url)
        video = self._ask(f"videos/{video_id}", video_id)
        # YouTube's format 18: sound and picture in one plain MP4, which needs no merging.
        media = {
            **video.pop("format"),
            "format_id": "18",
            "url": f"https://{HOST}/media/{video_id}.mp4",
            "ext": "mp4",
            "vcodec": "avc1.64000d",
            "acodec": "mp4a.40.2",
        }
        return {**video, "formats": [media]}


class SampleChannelIE(SampleSiteIE):
    """A channel's listing of videos."""

    IE_NAME = "sample:channel"
    _VALID_URL = rf"https://{re.escape(HOST)}/@(?P<id>\w+)(?:/(?P<tab>\w+))?/?$"

    def _real_extract(self, url: str) -> dict[str, Any]:
        name, tab = self._match_valid_url(url).group("id", "tab")
        # YouTube's own words, which `stages.youtube.messages` knows.
        if tab not in (None, "videos"):
            raise ExtractorError(f"This channel does not have a {tab} tab", expected=True, video_id=name)
        first = self._ask(f"channels/{name}", name, page=0)
        # Page by page, as yt-dlp lists a real channel: a run that stops early asks for no more pages.
        entries = OnDemandPagedList(functools.partial(self._entries, name, first), PAGE_SIZE)
        about = {"channel": first["name"], "channel_id": first["id"]}
        return self.playlist_result(entries, first["id"], f"{first['name']} - Videos", **about)

    def _entries(self, name: str, first: dict[str, Any], page: int) -> Iterator[dict[str, Any]]:
        listing = self._ask(f"channels/{name}", name, page=page) if page else first
        for entry in listing["entries"]:
            yield self.url_result(
                f"https://{HOST}/watch?v={entry['id']}",
                ie=SampleVideoIE,
                video_id=entry["id"],
                video_title=entry["title"],
                duration=entry["duration"],
                view_count=entry["view_count"],
            )


EXTRACTORS: tuple[type[InfoExtractor], ...] = (SampleVideoIE, SampleChannelIE)
