"""Keep the figures of the benches in docs/results.json, show them in docs/results.md, compare two such files.

    python tests/bench/results.py run [NAME[=ARGUMENTS] …]    run these benches, or all, and keep their figures
    python tests/bench/results.py docs                        write the tables of docs/results.md anew
    python tests/bench/results.py compare OLD.json NEW.json   ratios of the figures that both have

NAME is a script's without `.py`; `train="--steps 5"` gives it arguments. A bench that fails keeps its older figures,
and the exit status is 1. Figures of two machines, or of one under different loads, say little of the code: `compare`
names both machines first.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
KEPT, PAGE = DOCS / "results.json", DOCS / "results.md"
BEGIN, END = "<!-- from results.json -->\n", "<!-- end of results.json -->\n"
# Not benches: what they share, and this file.
SHARED = ("machine", "results")
Results = dict[str, dict[str, Any]]


def scripts() -> dict[str, Path]:
    """The benches by name."""
    return {path.stem: path for path in sorted(HERE.rglob("*.py")) if path.stem not in SHARED}


def read(path: Path) -> Results:
    found: Results = json.loads(path.read_text()) if path.exists() else {}
    return found


def run(asked: Sequence[str]) -> int:
    """Run benches and keep their figures, each as soon as it is there."""
    known = scripts()
    wanted = dict(each.partition("=")[::2] for each in asked) if asked else dict.fromkeys(known, "")
    if unknown := wanted.keys() - known.keys():
        raise SystemExit(f"no bench {', '.join(sorted(unknown))}; known are: {', '.join(known)}")
    failed = []
    for name, arguments in wanted.items():
        begun = time.perf_counter()
        command = [sys.executable, str(known[name]), *shlex.split(arguments), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(f"{name}: {time.perf_counter() - begun:.0f} s, exit status {done.returncode}", file=sys.stderr)
        # The report is the last thing printed; progress may come before.
        _, brace, rest = done.stdout.partition("{")
        if done.returncode or not brace:
            failed.append(name)
            continue
        found = json.loads(brace + rest)
        kept = read(KEPT) | {name: {"arguments": arguments, "machine": found["machine"], "figures": found["figures"]}}
        beside = KEPT.with_suffix(".new")
        beside.write_text(json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        os.replace(beside, KEPT)
    write_page()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The figures of a report by name: the keys on the way to each, joined by ` · `."""
    if isinstance(value, Mapping):
        parts = [(str(key), each) for key, each in value.items()]
    elif isinstance(value, list) and any(isinstance(each, Mapping | list) for each in value):
        parts = [(label(each) or str(number), each) for number, each in enumerate(value, 1)]
    else:
        yield name, value
        return
    for key, each in parts:
        yield from flat(each, f"{name} · {key}" if name else key)


def label(value: Any) -> str:
    """What names a record of a list: its texts."""
    texts = value.values() if isinstance(value, Mapping) else ()
    return ", ".join(each for each in texts if isinstance(each, str))


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def tables(results: Results) -> str:
    """The figures as Markdown, a table for each bench."""
    parts = []
    for name, found in sorted(results.items()):
        machine = found["machine"]
        arguments = f" with `{found['arguments']}`" if found["arguments"] else ""
        where = f"{machine['cores']} cores of {machine['cpu']}, {machine['ram_gb']} GB, Python {machine['python']}"
        rows = [f"| {key} | {shown(value)} |\n" for key, value in flat(found["figures"])]
        script = f"tests/bench/{scripts()[name].relative_to(HERE).as_posix()}"
        parts.append(
            f"### {name}\n\n`{script}`{arguments}, {machine['date']}: {where}.\n\n"
            f"| figure | value |\n|---|---:|\n{''.join(rows)}\n"
        )
    return "".join(parts)


def page() -> str:
    """docs/results.md with the tables of docs/results.json."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{tables(read(KEPT))}{END}{after}"


def write_page() -> None:
    PAGE.write_text(page())


def compare(old: Results, new: Results) -> str:
    """What changed between two files of results: each figure that both have, and new / old."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            lines.append(f"{name}: only in the {'new' if name in new else 'old'} file")
            continue
        for word, one in (("old", old[name]), ("new", new[name])):
            machine = one["machine"]
            lines.append(f"{name} ({word}): {machine['date']}, {machine['cores']} cores of {machine['cpu']}")
        was, now = (dict(flat(one["figures"])) for one in (old[name], new[name]))
        for key in was:
            before, after = was[key], now.get(key)
            if key not in now or not all(isinstance(each, int | float) for each in (before, after)):
                continue
            ratio = f"{after / before:8.3f}" if before else f"{'':8}"
            lines.append(f"  {ratio}  {shown(before):>12} -> {shown(after):>12}  {key}")
        if missing := was.keys() ^ now.keys():
            lines.append(f"  only in one of them: {', '.join(sorted(missing))}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run").add_argument("names", nargs="*", metavar="NAME[=ARGUMENTS]")
    commands.add_parser("docs")
    of_two = commands.add_parser("compare")
    of_two.add_argument("old", type=Path)
    of_two.add_argument("new", type=Path)
    asked = parser.parse_args()
    if asked.command == "run":
        raise SystemExit(run(asked.names))
    if asked.command == "docs":
        write_page()
        return
    for path in (asked.old, asked.new):
        if not path.exists():
            raise SystemExit(f"{path} does not exist")
    print(compare(read(asked.old), read(asked.new)))


if __name__ == "__main__":
    main()
