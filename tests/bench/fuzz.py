"""A million inputs that nobody would write, for everything that reads text from outside; and large ones.

    python tests/bench/fuzz.py [--inputs N] [--size MB] [--seed N] [--only NAME,…] [--at N] [--json]

Captions, articles, yt-dlp's infos and errors, ffmpeg's messages, lists, manifests and the rest: valid inputs are cut,
doubled, joined and strewn with odd characters (tests/stages/fuzz_kit.py), beginning with the made-up ones of
tests/stages/fuzz_seeds.py and with pieces of the recordings, where they are. Then large inputs, words of each format
repeated, must take a time that grows with their length. An error that no docstring promises, a broken promise of a
result or an input without an end is printed with its number, and the exit code is 1. `--only NAME --at N` reads input
N alone, without a net.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from machine import report, this_machine
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.stages.fuzz_kit import Findings, Target, made
from tests.stages.fuzz_targets import targets


def chosen(names: str) -> list[Target]:
    """The targets whose names begin with one of these words; all without any."""
    words = tuple(word.strip() for word in names.split(",") if word.strip())
    return [target for target in targets() if not words or target.name.startswith(words)]


def fuzz(arguments: argparse.Namespace, found: Findings) -> list[dict[str, Any]]:
    """Try all chosen targets; return a row of figures for each."""
    tried, lines = chosen(arguments.only), []
    shares = sum(target.share for target in tried)
    for target in tried:
        num_inputs, begun_s = round(arguments.inputs * target.share / shares), time.perf_counter()
        read_s = found.fuzz(target, num_inputs, arguments.seed)
        small_s = time.perf_counter() - begun_s
        longest_s = found.enlarge(target, int(arguments.size * 1e6)) if arguments.size else 0.0
        findings = sum(finding.target == target.name for finding in found)
        lines.append(
            {"target": target.name, "inputs": num_inputs, "seconds": round(small_s, 1), "reading_s": round(read_s, 1)}
            | {"longest_large_s": round(longest_s, 2), "findings": findings}
        )
        print(f"{target.name}: {num_inputs} inputs, {findings} findings", file=sys.stderr, flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000, metavar="N", help="small inputs, over all targets")
    parser.add_argument("--size", type=float, default=1, metavar="MB", help="size of a large input; 0: none")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--only", default="", metavar="NAME,…", help="targets whose names begin so")
    parser.add_argument("--at", type=int, metavar="N", help="read this input alone and let its error through")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    # A warning of a library tells of an input that it was not made for. What bs4 logs of each damaged page does not.
    warnings.simplefilter("error")
    logging.disable()
    if arguments.at is not None:
        for target in chosen(arguments.only):
            text = made(target, arguments.seed, arguments.at)
            print(target.name, repr(text))
            target.read(text)
        return
    found = Findings()
    lines = fuzz(arguments, found)
    if arguments.json:
        figures = {"targets": lines, "findings": [asdict(finding) for finding in found]}
        print(json.dumps(report("fuzz", figures), indent=1))
    else:
        table = Table(*lines[0], box=None, pad_edge=False, title=f"seed {arguments.seed}, {this_machine()}")
        for line in lines:
            table.add_row(*map(str, line.values()))
        Console().print(table)
        for finding in found:
            print(finding)
    raise SystemExit(1 if list(found) else 0)


if __name__ == "__main__":
    main()
