"""MADE UP: a player's script and answers of YouTube with a challenge in them, of the shape that yt-dlp-ejs looks for.

Its solver takes the body of a script that is one call of a function, finds the function that sets `alr` to `yes` on an
address, has it make one, and calls the address's own method that is neither `set`, `get` nor `clone`.
"""

from __future__ import annotations

import json
from typing import Any

import tests.stages.youtube.youtube_kit as kit

from vsumdata.datasets.sample.site import Answer, json_answer

# This player's `n` is written backwards, and its signatures lose their first letter.
SCRIPT = """(function(){
  var config={signatureTimestamp:20607};
  var Address=function(text){this.text=text;this.values={}};
  Address.prototype.set=function(key,value){this.values[key]=value;return this};
  Address.prototype.get=function(key){return this.values[key]};
  Address.prototype.clone=function(){return this};
  Address.prototype.solve=function(){if(this.values.n)this.values.n=%(n)s};
  function open(text,key,signature){
    var address=new Address(text);
    address.set("alr","yes");
    if(signature)address.set(key,encodeURIComponent(decodeURIComponent(signature).slice(1)));
    return address
  }
}).call(this);
"""
BACKWARDS = 'this.values.n.split("").reverse().join("")'
VIDEO = "made-up-vid"


def script(n: str = BACKWARDS) -> bytes:
    return (SCRIPT % {"n": n}).encode()


def stream(itag: int, mime: str, **more: Any) -> dict[str, Any]:
    return {"itag": itag, "mimeType": mime, "bitrate": 90_000, "contentLength": "1000000"} | more


def player(video_id: str = VIDEO, streams: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """The answer about a video that plays, with two streams whose `n` is a challenge."""
    url = "https://rr1.googlevideo.com/videoplayback?expire=4000000000&n=AbCdEfGh"
    if streams is None:
        streams = [
            stream(134, 'video/mp4; codecs="avc1.4d401e"', url=url, width=640, height=360),
            stream(140, 'audio/mp4; codecs="mp4a.40.2"', url=url),
        ]
    return {
        "playabilityStatus": {"status": "OK"},
        "videoDetails": {"videoId": video_id, "title": "How to make a player up", "lengthSeconds": "60"},
        "streamingData": {"adaptiveFormats": streams},
    } | more


def storyboards() -> dict[str, Any]:
    spec = "https://i.ytimg.com/sb/made-up-vid/storyboard3_L$L/$N.jpg|48#27#100#10#10#0#default#rs$AOn4"
    return {"storyboards": {"playerStoryboardSpecRenderer": {"spec": spec}}}


def refusal(reason: str, subreason: str = "", status: str = "UNPLAYABLE") -> dict[str, Any]:
    """The answer about a video that does not play, in YouTube's words."""
    screen: dict[str, Any] = {"reason": {"simpleText": reason}}
    if subreason:
        screen["subreason"] = {"simpleText": subreason}
    told = {"status": status, "reason": reason, "errorScreen": {"playerErrorMessageRenderer": screen}}
    return {"playabilityStatus": told}


class MadeUp(kit.YouTube):
    """The stand-in for YouTube with nothing recorded: `answers` by video (else `player`), `script` the player's."""

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self.script = script()
        self.answers: dict[str, dict[str, Any]] = {}
        self.faults = [self.made_up]

    def made_up(self, asked: kit.Asked) -> Answer | None:
        if asked.path == kit.PLAYER_URL:
            return Answer(kit.HTTPStatus.OK, self.script, {"Content-Type": "text/javascript"})
        answer = player(asked.about) | self.answers.get(asked.about, {})
        if answer["playabilityStatus"]["status"] != "OK":
            answer.pop("streamingData")
        if asked.path == "/youtubei/v1/player":
            return json_answer(json.loads(json.dumps(answer)))
        if asked.path == "/watch":
            return kit.page(ytInitialData={"contents": {}})
        return None
