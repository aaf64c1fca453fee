"""Which packets need not be decoded, because no picture that is on screen at a step depends on them.

Known before decoding: the packets' times tell which pictures are on screen at the steps, and their headers which others
those depend on.

- H.264: a picture that no other refers to (`nal_ref_idc` 0), and what follows the last needed one up to the next IDR.
- VP9: what follows the last needed picture up to the next key frame. Nearly every frame changes a reference frame.
- AV1: every frame that no needed frame refers to, directly or through others.

For anything else there is no plan, and all is decoded. `decode.py` also decodes all if pictures do not come as planned,
or if the decoder says anything: of a damaged file, only damage in what is left out is not seen.
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
from vsumdata.stages.pictures.packets import NO_TIME, Packets
from vsumdata.stages.pictures.probe import VideoStream

# Formats that store the time of each picture, in one clock.
FORMATS = frozenset({"mov", "matroska", "webm"})
# Steps computed here and by ffmpeg may differ by rounding: pictures that close to a step are kept, and those before.
ROUNDING_S = 2e-6
# Below, a picture in two is on screen at a step.
MIN_PER_STEP = 2.0
MAX_PACKETS = 2_000_000
MAX_PACKET_BYTES = 1 << 28

_PACKET = re.compile(rb"^([01]), *-?\d+, *(-?\d+),")


@dataclass(frozen=True)
class Plan:
    """What to leave out. `dropped` is an expression for ffmpeg's filter of packets `noise`: 1 for a packet to drop.

    `awaited_us`: the time stamps of the pictures that have to come, in order. `ahead`: none of them, the first and the
    last aside, is shown more than that many steps before the next step.
    """

    dropped: str
    num_dropped: int
    awaited_us: tuple[int, ...]
    ahead: float


# From the numbers of wanted packets to those of all that are to be decoded.
Needed = Callable[[set[int]], set[int]]


def plan(
    input_args: Sequence[str], stream: VideoStream, packets: Packets, zero_s: float, fps: float, idle_s: float
) -> Plan | None:
    """Return what need not be decoded for `fps` steps a second from `zero_s`; None if all has to be.

    Raises FailVideo `timeout` and RetryVideo as `Child` does.
    """
    reader = {"h264": _h264, "vp9": _vp9, "av1": _av1}.get(stream.codec)
    is_plain = 0 < len(packets.pts) <= MAX_PACKETS and NO_TIME not in packets.pts
    if reader is None or not is_plain or len(set(packets.pts)) < len(packets.pts):
        return None
    try:
        needed = reader([*input_args, "-map", f"0:{stream.index}"], packets.pts, idle_s)
    except Unusual:
        return None
    return plan_for(packets, needed, zero_s, fps)


def plan_for(packets: Packets, needed: Needed, zero_s: float, fps: float) -> Plan | None:
    """Return the plan for pictures with distinct time stamps; None if too few can be left out."""
    pts = packets.pts
    order = sorted(set(range(len(pts))) - packets.hidden, key=pts.__getitem__)
    if not order:
        return None
    stamps = [_round_us(pts[number], packets.time_base) for number in order]
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
    kept = needed({order[i] for i in wanted})
    return Plan(_expression(pts, kept), len(pts) - len(kept), tuple(stamps[i] for i in wanted), ahead)


def _round_us(pts: int, base: Fraction) -> int:
    """As ffmpeg's `settb` does: to the nearest, half away from zero."""
    us = abs(pts) * base * 1_000_000
    return math.floor(us + Fraction(1, 2)) * (1 if pts >= 0 else -1)


def _expression(pts: Sequence[int], needed: set[int]) -> str:
    """An ffmpeg expression of `pts`: 1 for the packets that are not needed. A search tree, which is evaluated fast."""
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


def _up_to_the_last(starts: Sequence[bool], is_reference: Sequence[bool]) -> Needed:
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


def _h264(from_stream: list[str], pts: Sequence[int], idle_s: float) -> Needed:
    """Read two copies of the stream: without pictures that none refers to, and the IDR slices alone."""
    # Parameter sets count as referred to. Messages (6), delimiters (9) and filler (12) do not.
    referred = "filter_units=discard=nonref:discard_flags=keep_non_vcl,filter_units=remove_types=6|9|12"
    filters = ["-bsf:v:0", referred, "-bsf:v:1", "filter_units=pass_types=5"]
    copies = [*from_stream, *from_stream[-2:], "-c", "copy", "-copyinkf", *filters, "-f", "framecrc", "pipe:1"]
    referred_to, idr = kept = set[int](), set[int]()
    with Child(copies, idle_s) as child:
        for line in child.lines():
            if found := _PACKET.match(line):
                kept[int(found[1])].add(int(found[2]))
        if child.finish():
            raise Unusual("it is damaged")
    if pts[0] not in idr or not referred_to <= set(pts):
        raise Unusual("it does not begin with a whole picture")
    return _up_to_the_last([at in idr for at in pts], [at in referred_to for at in pts])


def _vp9(from_stream: list[str], pts: Sequence[int], idle_s: float) -> Needed:
    starts: list[bool] = []
    for data in _first_bytes(from_stream, pts, idle_s):
        # VP9 specification, 6.2: marker 2, two bits of the profile (3 has one more), show_existing_frame, frame_type.
        if data[0] >> 6 != 2 or (data[0] >> 4) & 3 == 3:
            raise Unusual("an unknown profile")
        starts.append(not data[0] & 0b1100)
    if not starts[0]:
        raise Unusual("it does not begin with a whole picture")
    return _up_to_the_last(starts, [True] * len(starts))


def _av1(from_stream: list[str], pts: Sequence[int], idle_s: float) -> Needed:
    references, ends = References(), list[int]()
    for data in _first_bytes(from_stream, pts, idle_s):
        references.add(data)
        ends.append(len(references.needs))
    return _closure(ends, references.needs)


def _first_bytes(from_stream: list[str], pts: Sequence[int], idle_s: float) -> Iterator[bytes]:
    """Yield the packets through IVF, the plainest of containers. Raises Unusual for others than those of `pts`."""
    # Else IVF's writer moves all times if one is negative.
    copy = [*from_stream, "-c", "copy", "-copyinkf", "-avoid_negative_ts", "disabled", "-f", "ivf", "pipe:1"]
    with Child(copy, idle_s) as child:
        child.read(32)
        for expected in pts:
            head = child.read(12)
            size, at = struct.unpack("<Iq", head) if len(head) == 12 else (0, 0)
            data = child.read(size) if at == expected and 0 < size < MAX_PACKET_BYTES else b""
            if not size or len(data) < size:
                raise Unusual("other packets than before")
            yield data
        if child.read(1) or child.finish():
            raise Unusual("it is damaged")


def _closure(ends: Sequence[int], needs: Sequence[tuple[int, ...]]) -> Needed:
    """All packets that wanted ones refer to, directly or through others. `ends`: number of frames up to each's end."""

    def needed(wanted: set[int]) -> set[int]:
        packet_of = [
            packet for packet, end in enumerate(ends) for _ in range(end - (ends[packet - 1] if packet else 0))
        ]
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
