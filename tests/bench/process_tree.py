"""What the processes that a bench starts take: peak memory and processor time, read from /proc while they live."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

LOOK_EVERY_S = 0.2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Seen:
    """One process as last seen."""

    who: str  # "driver", "worker" (does rows) or "ray" (all else that Ray starts)
    peak_mb: float
    cpu_s: float


class ProcessTree:
    """Watches the descendants of this process while its `with` block lasts."""

    def __init__(self) -> None:
        self.seen: dict[int, Seen] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> ProcessTree:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.over.wait(LOOK_EVERY_S):
            for pid, parent in descendants(os.getpid()):
                with contextlib.suppress(OSError, IndexError):  # it ended meanwhile
                    self.seen[pid] = look(pid, is_child=parent == os.getpid())

    def peak_mb(self) -> dict[str, float]:
        """The largest process of each kind."""
        return {who: max(seen.peak_mb for seen in self.of(who)) for who in self.kinds()}

    def cpu_s(self) -> dict[str, float]:
        """All processes of each kind together."""
        return {who: sum(seen.cpu_s for seen in self.of(who)) for who in self.kinds()}

    def kinds(self) -> list[str]:
        return sorted({seen.who for seen in self.seen.values()})

    def of(self, who: str) -> list[Seen]:
        return [seen for seen in self.seen.values() if seen.who == who]


def descendants(pid: int) -> Iterator[tuple[int, int]]:
    """(process, its parent) of all below one process."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
    parents = [pid]
    for parent in parents:
        for child in children.get(parent, ()):
            parents.append(child)
            yield child, parent


def look(pid: int, *, is_child: bool) -> Seen:
    folder = Path(f"/proc/{pid}")
    title = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    status = (folder / "status").read_text()
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return Seen(
        who="driver" if is_child else "worker" if title.startswith("ray::") and "Worker(" in title else "ray",
        peak_mb=int(status.partition("VmHWM:")[2].split()[0]) / 1024,
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
    )
