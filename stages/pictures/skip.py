"""Which packets need not be decoded, because no picture that is on screen at a step depends on them.

Known before decoding: the packets' times tell which pictures are on screen at the steps, and their headers which others
those depend on.

- H.264: a picture that no other refers to (`nal_ref_idc` 0), and what follows the last needed picture up to the next IDR.
- VP9: what follows the last needed picture up to the next key frame. Nearly every frame changes a reference frame.
- AV1: every frame that no needed frame refers to, directly or through others.

For anything else there is no plan, and all is decoded. `decode.py` also decodes all if the pictures do not come as planned.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from vsumdata.stages.pictures.av1 import References, Unusual
from vsumdata.stages.pictures.clock import CLOCK_S, MAX_FRAMES, MICRO
from vsumdata.stages.pictures.ffmpeg import Child

# Formats that store the time of each picture, in one clock.
FORMATS = frozenset({"mov", "matroska", "webm"})
# Steps computed here and by ffmpeg may differ by rounding: pictures that close to a step are kept, with their neighbours.
ROUNDING_S = 2e-6
# Below, a picture in two is on screen at a step.
MIN_PER_STEP = 2.0
MAX_PACKETS = 2_000_000
MAX_PACKET_BYTES = 1 << 28

_NO_TIME = -(1 << 63)
# Number of the copy, time stamp, and flags if they are others than those of an ordinary key frame.
_PACKET = re.compile(rb"^([012]), *-?\d+, *(-?\d+), *\d+, *\d+, *0x[0-9a-f]+(?:, *F=0x([0-9A-Fa-f]+))?")
_BASE = re.compile(rb"^#tb 0: (\d+)/(\d+)")
_DISCARD = 4


@dataclass(frozen=True)
class Plan:
    """What to leave out. `dropped` is an expression of ffmpeg for its filter of packets `noise`, 1 for a packet to drop.

    `awaited_us`: the time stamps of the pictures that have to come, in order. `ahead`: none of them, the first and the
    last aside, is shown more than that many steps before the next step.
    """

    dropped: str
    num_dropped: int
    awaited_us: tuple[int, ...]
    ahead: float


@dataclass(frozen=True)
class Coded:
    """The packets of a stream in the order of decoding. `needed`: from wanted packets to all that are to be decoded."""

    pts: list[int]
    base: Fraction
    shown: list[int]  # numbers of the packets whose picture is shown
    needed: Callable[[set[int]], set[int]]


def plan(
    input_args: Sequence[str], stream: int, codec: str, zero_s: float, fps: float, idle_s: float
) -> Plan | None:
    """Return what need not be decoded for `fps` steps a second from `zero_s`; None if all has to be.

    Raises FailVideo `timeout` and RetryVideo as `Child` does.
    """
    readers = {"h264": _h264, "vp9": _ivf, "av1": _ivf}
    if codec not in readers:
        return None
    try:
        coded = readers[codec]([*input_args], stream, codec, idle_s)
    except Unusual:
        return None
    if len(set(coded.pts)) < len(coded.pts) or not coded.shown:
        return None
    return _plan(coded, zero_s, fps)


def _plan(coded: Coded, zero_s: float, fps: float) -> Plan | None:
    order = sorted(coded.shown, key=coded.pts.__getitem__)
    stamps = [_round_us(coded.pts[number], coded.base) for number in order]
    at = [(us * MICRO - zero_s - CLOCK_S) * fps for us in stamps]
    if at[-1] > MAX_FRAMES:
        return None
    slack = ROUNDING_S * fps + 1e-9
    # The last of those first shown by the same step, as in `decode.py`; both where rounding may decide.
    last = [i for i in range(len(at) - 1) if math.ceil(at[i + 1] + slack) > max(math.ceil(at[i] - slack), 0)]
    # Pictures before the origin count for the first step.
    wanted = [0, *(i for i in last if i), len(at) - 1] if len(at) > 1 else [0]
    if len(wanted) * MIN_PER_STEP > len(at):
        return None
    ahead = max((math.ceil(at[i] - slack) - at[i] for i in wanted[1:-1]), default=0.0) + 2 * slack
    needed = coded.needed({order[i] for i in wanted})
    return Plan(
        _expression(coded.pts, needed), len(coded.pts) - len(needed), tuple(stamps[i] for i in wanted), ahead
    )


def _round_us(pts: int, base: Fraction) -> int:
    """As ffmpeg's `settb` does: to the nearest, half away from zero."""
    us = abs(pts) * base * 1_000_000
    return math.floor(us + Fraction(1, 2)) * (1 if pts >= 0 else -1)


def _expression(pts: Sequence[int], needed: set[int]) -> str:
    """An ffmpeg expression of `pts`: 1 for the packets that are not needed. A search tree, so that it is evaluated fast."""
    by_time = sorted(range(len(pts)), key=pts.__getitem__)
    drops = [False, *(number not in needed for number in by_time)]
    edges = [i for i in range(1, len(drops)) if drops[i] != drops[i - 1]]
    stamps = [pts[by_time[i - 1]] for i in edges]

    def tree(start: int, stop: int) -> str:
        """Of the stretches `start` to `stop`; those with odd numbers are dropped."""
        if stop - start == 1:
            return str(start & 1)
        middle = (start + stop) // 2
        return f"if(lt(pts,{stamps[middle - 1]}),{tree(start, middle)},{tree(middle, stop)})"

    return tree(0, len(edges) + 1)


def _up_to_the_last(starts: Sequence[bool], is_reference: Sequence[bool]) -> Callable[[set[int]], set[int]]:
    """Between two `starts`: the wanted ones, and all references before the last wanted one."""

    def needed(wanted: set[int]) -> set[int]:
        found, is_used = set(wanted), False
        for number in range(len(starts) - 1, -1, -1):
            is_used = is_used or number in wanted
            if is_used and is_reference[number]:
                found.add(number)
            if starts[number]:
                is_used = False
        return found

    return needed


def _h264(input_args: list[str], stream: int, codec: str, idle_s: float) -> Coded:
    """Three copies of the stream: all of it, without pictures that none refers to, and the IDR slices alone."""
    copies = ["-map", f"0:{stream}"] * 3
    # Parameter sets count as referred to. Messages (6), delimiters (9) and filler (12) do not.
    referred = "filter_units=discard=nonref:discard_flags=keep_non_vcl,filter_units=remove_types=6|9|12"
    filters = ["-bsf:v:1", referred, "-bsf:v:2", "filter_units=pass_types=5"]
    pts: list[int] = []
    shown: list[int] = []
    kept: tuple[set[int], set[int]] = (set(), set())
    base = Fraction(0)
    with Child([*input_args, *copies, "-c", "copy", "-copyinkf", *filters, "-f", "framecrc", "pipe:1"], idle_s) as child:
        for line in child.lines():
            if found := _BASE.match(line):
                base = Fraction(int(found[1]), int(found[2]))
            elif found := _PACKET.match(line):
                copy, at = int(found[1]), int(found[2])
                if at == _NO_TIME or len(pts) > MAX_PACKETS:
                    raise Unusual("a picture without a time")
                if copy:
                    kept[copy - 1].add(at)
                    continue
                if not int(found[3] or b"0", 16) & _DISCARD:
                    shown.append(len(pts))
                pts.append(at)
        if child.finish():
            raise Unusual("it is damaged")
    referred_to, idr = kept
    if not pts or pts[0] not in idr:
        raise Unusual("it does not begin with a whole picture")
    return Coded(pts, base, shown, _up_to_the_last([at in idr for at in pts], [at in referred_to for at in pts]))


def _ivf(input_args: list[str], stream: int, codec: str, idle_s: float) -> Coded:
    """VP9 and AV1: the packets' first bytes, through the plainest of containers."""
    copy = ["-map", f"0:{stream}", "-c", "copy", "-copyinkf", "-f", "ivf", "pipe:1"]
    pts: list[int] = []
    starts: list[bool] = []
    units: list[int] = []  # of each packet: how many frames there are up to its end
    references = References()
    with Child([*input_args, *copy], idle_s) as child:
        head = child.read(32)
        if len(head) < 32:
            raise Unusual("it is damaged")
        den, num = struct.unpack_from("<II", head, 16)
        for at, data in _packets(child):
            # In these formats pictures are shown in the order of their packets.
            if pts and at <= pts[-1]:
                raise Unusual("pictures in disorder")
            pts.append(at)
            if codec == "av1":
                references.add(data)
                units.append(len(references.needs))
            else:
                starts.append(_is_vp9_key(data))
        if child.finish():
            raise Unusual("it is damaged")
    if not pts or not num or not den or (starts and not starts[0]):
        raise Unusual("it does not begin with a whole picture")
    needed = _closure(units, references.needs) if codec == "av1" else _up_to_the_last(starts, [True] * len(pts))
    return Coded(pts, Fraction(num, den), list(range(len(pts))), needed)


def _packets(child: Child) -> Iterator[tuple[int, bytes]]:
    for _ in range(MAX_PACKETS):
        head = child.read(12)
        if not head:
            return
        size, at = struct.unpack("<Iq", head) if len(head) == 12 else (0, 0)
        data = child.read(size) if 0 < size < MAX_PACKET_BYTES else b""
        if not size or len(data) < size:
            raise Unusual("it is damaged")
        yield at, data
    raise Unusual("too many pictures")


def _is_vp9_key(data: bytes) -> bool:
    """VP9 specification, 6.2: marker 2, two bits of the profile (3 has one more), show_existing_frame, frame_type."""
    first = data[0]
    if first >> 6 != 2 or (first >> 4) & 3 == 3:
        raise Unusual("an unknown profile")
    return not first & 0b1100


def _closure(ends: Sequence[int], needs: Sequence[tuple[int, ...]]) -> Callable[[set[int]], set[int]]:
    """All packets that wanted ones refer to, directly or through others. `ends`: the number of frames up to each's end."""

    def needed(wanted: set[int]) -> set[int]:
        packet_of = [packet for packet, end in enumerate(ends) for _ in range(end - (ends[packet - 1] if packet else 0))]
        found, waiting = set(wanted), list(wanted)
        while waiting:
            packet = waiting.pop()
            # All frames of a packet: what is decoded must find its references, wanted or not.
            for frame in range(ends[packet - 1] if packet else 0, ends[packet]):
                fresh = {packet_of[need] for need in needs[frame]} - found
                found |= fresh
                waiting += fresh
        return found

    return needed
