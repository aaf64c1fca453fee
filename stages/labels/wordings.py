"""Find videos in which the same is said: whole, or one transcript a part of the other.

Of each transcript's runs of words a fixed share is kept, by their hash, so that what two transcripts share can be
counted in what was kept (FracMinHash, Irber et al. 2022). MinHash proper tells like sets, not parts of sets; its form
for parts, datasketch's MinHashLSHEnsemble, took 80 KB a video, 8 GB for 100,000.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

WORD = re.compile(r"\w+")
RUN = 5  # words
# One run in so many is kept. A short of 30 s has some 80 words.
KEPT = 4
FEWEST_KEPT = 6
# A run that so many videos share is a phrase of the channel's, or of the language.
MOST_SHARE = 40
MULTIPLIERS = np.random.default_rng(0).integers(1, 2**63, RUN, dtype=np.uint64) | np.uint64(1)


@dataclass
class Wordings:
    """What was kept of many transcripts."""

    names: list[str] = field(default_factory=list)
    kept: list[np.ndarray] = field(default_factory=list)

    def add(self, name: str, text: str) -> None:
        """Take one transcript; one of too few words is left out."""
        kept = sketch(text)
        if len(kept) >= FEWEST_KEPT:
            self.names.append(name)
            self.kept.append(kept)

    def matches(self, least: float) -> Iterator[tuple[str, str, float]]:
        """Yield each pair of videos where the shorter transcript has at least this share of its runs in the other."""
        if not self.kept:
            return
        runs = np.concatenate(self.kept)
        owner = np.repeat(np.arange(len(self.kept), dtype=np.int32), [len(each) for each in self.kept])
        order = np.lexsort((owner, runs))
        runs, owner = runs[order], owner[order]
        _, first, number = np.unique(runs, return_index=True, return_counts=True)
        pairs: list[np.ndarray] = []
        for many in range(2, MOST_SHARE + 1):
            # All runs that so many videos share at once: each gives the pairs of these.
            at = first[number == many][:, None] + np.arange(many)
            one, other = np.triu_indices(many, 1)
            who = owner[at].astype(np.int64)
            pairs.append((who[:, one] * len(self.kept) + who[:, other]).ravel())
        pair, shared = np.unique(np.concatenate(pairs), return_counts=True)
        size = np.array([len(each) for each in self.kept])
        share = shared / np.minimum(size[pair // len(size)], size[pair % len(size)])
        for at in np.flatnonzero(share >= least).tolist():
            first_of, second_of = divmod(int(pair[at]), len(size))
            yield self.names[first_of], self.names[second_of], float(share[at])


def sketch(text: str) -> np.ndarray:
    """The hashes of the kept runs of words: uint64, ascending, each once."""
    word = np.array([zlib.crc32(each.encode()) for each in WORD.findall(text.casefold())], np.uint64)
    if len(word) < RUN:
        return np.array([], np.uint64)
    with np.errstate(over="ignore"):
        runs = (np.lib.stride_tricks.sliding_window_view(word, RUN) * MULTIPLIERS).sum(1, dtype=np.uint64)
        # The low bits of a sum of products hardly depend on the high ones of its words.
        runs ^= runs >> np.uint64(29)
        runs *= np.uint64(0xBF58476D1CE4E5B9)
        runs ^= runs >> np.uint64(32)
    return np.unique(runs[runs % np.uint64(KEPT) == 0])
