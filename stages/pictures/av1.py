"""Read from AV1 frame headers which frames refer to which others.

After the AV1 specification (version 1.0.0 with errata 1), 5.5, 5.9 and 7.20. Only what ordinary encoders write is read;
anything else raises Unusual: the caller then decodes the whole stream.
"""

from __future__ import annotations

from collections.abc import Iterator

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6
# Redundant frame headers, lists of tiles (large scale) and the reserved types 9 to 14 are not among them.
HARMLESS = frozenset({2, 4, 5, 15})
KEY, INTER, INTRA_ONLY, SWITCH = range(4)
CHOOSE = 2
NUM_SLOTS = 8
# No header is longer up to the fields that are read here.
HEADER_BYTES = 64


class Unusual(Exception):
    """A stream that uses what is not read here, or is damaged."""


class _Bits:
    """Read unsigned numbers from the start of `data`."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def __call__(self, num_bits: int) -> int:
        self._left -= num_bits
        if self._left < 0:
            raise Unusual("a header ends early")
        return (self._value >> self._left) & ((1 << num_bits) - 1)


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at` and where it ends."""
    value = 0
    for number, byte in enumerate(data[at : at + 8]):
        value |= (byte & 127) << (7 * number)
        if not byte & 128:
            return value, at + number + 1
    raise Unusual("a size does not end")


def units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and the beginning of each unit (OBU) of a temporal unit."""
    at = 0
    while at < len(data):
        head = data[at]
        # Without a size only the last could be read; an extension says that there are layers.
        if head & 0b10000100 or not head & 2:
            raise Unusual("layers, or a unit without its size")
        size, start = _leb128(data, at + 1)
        at = start + size
        if at > len(data):
            raise Unusual("a unit goes beyond its packet")
        yield (head >> 3) & 15, data[start : min(at, start + HEADER_BYTES)]


class References:
    """Follow the eight slots of reference frames through a stream. Frames are numbered in the order of decoding."""

    def __init__(self) -> None:
        self.needs: list[tuple[int, ...]] = []  # of each frame: those that it refers to
        self._is_key: list[bool] = []
        self._slots: list[int | None] = [None] * NUM_SLOTS
        self._sequence = b""
        self._screen = self._integer = CHOOSE
        self._hint_bits = 0

    def add(self, data: bytes) -> None:
        """Add the frames of a temporal unit. Raises Unusual."""
        for kind, unit in units(data):
            if kind == SEQUENCE_HEADER:
                if self._sequence and unit != self._sequence:
                    raise Unusual("a second sequence")
                self._sequence = self._sequence or unit
                self._read_sequence(_Bits(unit))
            elif kind in (FRAME_HEADER, FRAME):
                self._read_frame(_Bits(unit))
            elif kind not in HARMLESS:
                raise Unusual(f"a unit of type {kind}")

    def _read_sequence(self, bits: _Bits) -> None:
        bits(3)  # profile
        if bits(1) or bits(1):
            raise Unusual("a still picture")
        if bits(1):
            raise Unusual("timing information")
        delayed = bits(1)
        if bits(5):
            raise Unusual("several operating points")
        bits(12)
        if bits(5) > 7:
            bits(1)  # tier
        if delayed and bits(1):
            bits(4)
        width_bits, height_bits = bits(4) + 1, bits(4) + 1
        bits(width_bits + height_bits)
        if bits(1):
            raise Unusual("numbers of frames")
        bits(3)  # superblocks, intra filter, intra edge
        bits(4)  # interintra, masked, warped motion, dual filter
        has_hints = bits(1)
        if has_hints:
            bits(2)
        self._screen = CHOOSE if bits(1) else bits(1)
        self._integer = CHOOSE
        if self._screen and not bits(1):
            self._integer = bits(1)
        self._hint_bits = bits(3) + 1 if has_hints else 0

    def _read_frame(self, bits: _Bits) -> None:
        if not self._sequence:
            raise Unusual("no sequence header")
        if bits(1):  # show_existing_frame
            shown = self._filled(bits(3))
            self._store((shown,), is_key=self._is_key[shown], refresh=0xFF if self._is_key[shown] else 0)
            return
        kind, is_shown = bits(2), bits(1)
        if not is_shown:
            bits(1)
        starts_anew = kind == KEY and is_shown
        is_resilient = kind == SWITCH or starts_anew or bits(1)
        bits(1)  # disable_cdf_update
        screen = bits(1) if self._screen == CHOOSE else self._screen
        if screen and self._integer == CHOOSE:
            bits(1)
        if kind != SWITCH:
            bits(1)  # frame_size_override
        bits(self._hint_bits)
        is_intra = kind in (KEY, INTRA_ONLY)
        # Not the probabilities of another frame: primary_ref_frame counts among the seven below.
        if not is_intra and not is_resilient:
            bits(3)
        refresh = 0xFF if kind == SWITCH or starts_anew else bits(8)
        needs: tuple[int, ...] = ()
        if is_resilient and self._hint_bits and not (is_intra and refresh == 0xFF):
            raise Unusual("reference frames are described anew")
        if not is_intra:
            if self._hint_bits and bits(1):
                raise Unusual("reference frames are told by two of them")
            needs = tuple(self._filled(bits(3)) for _ in range(7))
        self._store(needs, is_key=kind == KEY, refresh=refresh)

    def _filled(self, slot: int) -> int:
        number = self._slots[slot]
        if number is None:
            raise Unusual("a frame refers to none")
        return number

    def _store(self, needs: tuple[int, ...], *, is_key: bool, refresh: int) -> None:
        number = len(self.needs)
        self.needs.append(tuple(set(needs)))
        self._is_key.append(is_key)
        for slot in range(NUM_SLOTS):
            if refresh >> slot & 1:
                self._slots[slot] = number
