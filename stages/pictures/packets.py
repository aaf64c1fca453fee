"""Read the packets of a media file without decoding them: where pictures and sound end, and what is encrypted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Self

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.pictures.ffmpeg import Child
from vsumdata.stages.pictures.probe import MediaInfo

# How long a picture may stay after the last packet because the header says so. A longer one is a wrong header.
MAX_HOLD_S = 600.0
# A header counts what a decoder drops, too.
PADDING_S = 0.25
ROUNDED_S = 0.0051
# Formats that do not store how long the last picture is shown: only the header's duration tells it.
OPEN_ENDED = frozenset({"matroska", "webm"})
# Packets of sound to look at for encryption. Some films begin with seconds in the clear.
NUM_HEARD = 2000

# Number of the stream, decoding time, time stamp, duration, size, checksum; flags unless they are those of a key frame.
_PACKET = re.compile(rb"^(\d+), *(-?\d+), *(-?\d+), *(\d+), *\d+, *0x[0-9a-fA-F]+(?:, *F=0x([0-9A-Fa-f]+))?")
_BASE = re.compile(rb"^#tb (\d+): (\d+)/(\d+)")
NO_TIME = -(1 << 63)
_DISCARD = 4
_ENCRYPTED = b"Encryption info"


@dataclass
class Packets:
    """What the packets of a picture stream and of all sound streams say. Times in s from the origin, -inf if none.

    `last_s`: when the last picture begins; `picture_end_s`, `sound_end_s`: when picture and sound end; `said`: where
    ffmpeg found the file broken, or "". `pts`: time stamps of the pictures in the order of decoding, in units of
    `time_base` s; `hidden`: numbers of those that the container does not show.
    """

    num_pictures: int = 0
    num_encrypted: int = 0
    last_s: float = -float("inf")
    picture_end_s: float = -float("inf")
    sound_end_s: float = -float("inf")
    said: str = ""
    pts: list[int] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    time_base: Fraction = Fraction(0)
    _bases: dict[int, float] = field(default_factory=dict)

    @classmethod
    def read(cls, input_args: Sequence[str], stream: int, origin_s: float, idle_s: float) -> Self:
        """Read the packets of the picture stream `stream` and of all sound. Raises as `Child` does."""
        found = cls()
        copy = ["-map", f"0:{stream}", "-map", "0:a?", "-c", "copy", "-f", "framecrc", "pipe:1"]
        with Child([*input_args, *copy], idle_s) as child:
            for line in child.lines():
                found._add(line, origin_s)
            found.said = child.finish()
        return found

    def _add(self, line: bytes, origin_s: float) -> None:
        if match := _PACKET.match(line):
            index, dts, pts, length = map(int, match.groups()[:4])
            # AVI has no presentation times.
            at = dts if pts == NO_TIME else pts
            base = self._bases.get(index, 0.0)
            start_s, end_s = at * base - origin_s, (at + length) * base - origin_s
            if index:
                self.sound_end_s = max(self.sound_end_s, end_s)
                return
            if match[5] and int(match[5], 16) & _DISCARD:
                self.hidden.add(self.num_pictures)
            self.pts.append(pts)
            self.num_pictures += 1
            self.num_encrypted += _ENCRYPTED in line
            self.last_s, self.picture_end_s = max(self.last_s, start_s), max(self.picture_end_s, end_s)
        elif match := _BASE.match(line):
            index, time_base = int(match[1]), Fraction(int(match[2]), int(match[3]))
            self._bases[index] = float(time_base)
            if not index:
                self.time_base = time_base

    def end_s(self, info: MediaInfo) -> float:
        """When the presentation ends, in s from the origin; -inf if nothing tells."""
        stated_s = stated_end_s(info)
        if self.said:
            # Behind a break nobody knows what is on screen, though one track or the header may go on.
            heard_s = self.sound_end_s if info.audio else self.picture_end_s
            return min(self.picture_end_s, heard_s)
        found_s = max(self.picture_end_s, self.sound_end_s)
        if stated_s is None:
            return found_s
        # The header's, printed in hundredths.
        if abs(stated_s - found_s) <= ROUNDED_S:
            return found_s
        most_s = PADDING_S if OPEN_ENDED.isdisjoint(info.format.split(",")) else MAX_HOLD_S
        return stated_s if stated_s - found_s <= most_s else found_s


def stated_end_s(info: MediaInfo) -> float | None:
    """When the presentation ends by the header, in s from the origin."""
    if info.duration_s is None:
        return None
    # Matroska's duration counts from the time stamp 0, the others' from the first time stamp.
    zero_s = 0.0 if not OPEN_ENDED.isdisjoint(info.format.split(",")) else info.start_s
    return info.duration_s - (info.origin_s - zero_s)


def refuse_encrypted_sound(path: str, index: int, input_args: Sequence[str], idle_s: float) -> None:
    """Raise FailVideo `encrypted` if the sound stream's first packets say so."""
    copy = ["-map", f"0:{index}", "-frames:a", str(NUM_HEARD), "-c", "copy", "-f", "framecrc", "pipe:1"]
    with Child([*input_args, "-i", f"file:{path}", *copy], idle_s) as child:
        if any(_ENCRYPTED in line for line in child.lines()):
            raise FailVideo("encrypted", "its sound is encrypted")
