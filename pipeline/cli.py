"""The commands; no logic. Errors are one line with the remedy, a traceback only with --debug."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.exceptions
from rich.markup import escape
from rich.table import Table

from vsumdata.pipeline import cli_train
from vsumdata.pipeline.cli_train import Root, err, out
from vsumdata.pipeline.errors import UsageError, VsumdataError

app = typer.Typer(
    name="vsumdata",
    help="From a YouTube channel to video summarization training shards. Start with: vsumdata run --manifest sample",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@app.callback(invoke_without_command=True)
def start(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks instead of one-line errors")] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        out.print(version_of("vsumdata"), highlight=False)
        raise typer.Exit


@app.command()
def run(  # noqa: PLR0913 - its parameters are the command's flags
    manifest: Annotated[str, typer.Option(help="wikihow_ehow, sample, wikihow_summaries or a file")] = "wikihow_ehow",
    stage: Annotated[str, typer.Option(help="Groups crawl, asr, features, or single tables")] = "crawl,asr,features",
    root: Root = "./data",
    limit: Annotated[int | None, typer.Option(min=1, help="At most N pending videos per table")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a manifest setting")
    ] = None,
    retry: Annotated[str, typer.Option(help="Do these outcomes again: failed, skipped or both")] = "",
    address: Annotated[str | None, typer.Option(help="A running Ray cluster (auto, HOST:PORT)")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do nothing")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if any video failed")] = False,
) -> None:
    """Run the stages over the videos that still need them. Safe to stop and to run again at any moment."""
    from vsumdata.pipeline import session

    raise typer.Exit(
        session.run(
            session.Request(
                manifest=manifest,
                stage=stage,
                root=root,
                limit=limit,
                settings=tuple(set_ or ()),
                retry=retry,
                address=address,
                dry_run=dry_run,
                strict=strict,
            ),
            out,
        )
    )


@app.command()
def status(root: Root = "./data", as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False) -> None:
    """Per table: outcomes, reasons, rows, bytes, paths."""
    from vsumdata.manifests.store import Store
    from vsumdata.pipeline import session, status

    store = Store(root)
    loaded, stages, records, remarks = status.open_root(store)
    found = status.summary(store, loaded, stages, records)
    if as_json:
        print_json(found)
        return
    for remark in remarks:
        err.print(escape(remark))
    out.print(session.tables_table(found))
    if rot := status.link_rot_line(found):
        out.print(rot, highlight=False)


@app.command()
def inspect(video_id: str, root: Root = "./data") -> None:
    """Everything known of one video."""
    from vsumdata.manifests.store import Store
    from vsumdata.pipeline.status import inspect

    print_json(inspect(Store(root), video_id))


@app.command()
def verify(root: Root = "./data") -> None:
    """Read every file of a root and check it; exit 1 if something is wrong."""
    from vsumdata.manifests import upkeep
    from vsumdata.manifests.store import Store

    store = Store(root)
    store.dataset()
    found = upkeep.verify(store)
    for problem in found.problems:
        err.print(escape(problem), style="red", highlight=False)
    out.print(
        f"{found.files} files, {found.rows} rows ({found.superseded} superseded), {found.bytes / 1e6:.1f} MB, "
        f"{len(found.problems)} problems",
        highlight=False,
    )
    if found.problems:
        raise typer.Exit(FAILED)


@app.command()
def compact(root: Root = "./data") -> None:
    """Merge small part files into shards of 64 to 256 MB. Runs may go on meanwhile."""
    from vsumdata.manifests import upkeep
    from vsumdata.manifests.store import Store

    store = Store(root)
    for table, (before, after) in upkeep.compact(store, store.tables()).items():
        out.print(f"{table}: {before} files, now {after}", highlight=False)


@app.command()
def prune(
    root: Root = "./data",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed")] = False,
) -> None:
    """Remove the tables made with settings that the last run did not use."""
    from vsumdata.manifests import upkeep
    from vsumdata.manifests.store import Store

    store = Store(root)
    gone = upkeep.prune(store, store.tables(), dry_run=dry_run)
    for table, fingerprint, size_bytes in gone:
        verb = "would remove" if dry_run else "removed"
        out.print(f"{verb} {table}/{fingerprint} ({size_bytes / 1e6:.1f} MB)", highlight=False)
    if not gone:
        out.print("nothing to remove")


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False) -> None:
    """What works on this machine: ffmpeg, JavaScript runtime, GPU, Ray, network, model weights."""
    from vsumdata.pipeline.doctor import examine

    checks = examine()
    if as_json:
        print_json([check.__dict__ for check in checks])
    else:
        table = Table("what", "", "found", box=None, pad_edge=False)
        for check in checks:
            sign = "[green]ok[/]" if check.ok else "[yellow]missing[/]" if check.optional else "[red]missing[/]"
            table.add_row(check.name, sign, escape(check.found))
        out.print(table)
    if not all(check.ok or check.optional for check in checks):
        raise typer.Exit(FAILED)


app.add_typer(cli_train.app)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def main() -> None:
    """The program's entry: turns errors into one line and an exit code."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    signal.signal(signal.SIGTERM, interrupt)
    sys.exit(guarded(app))


def interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def guarded(program: Callable[..., Any]) -> int:
    """Call `program` and return the exit code that its end means."""
    debug = "--debug" in sys.argv  # anywhere on the line
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        code = program(standalone_mode=False) or OK  # typer turns Ctrl-C into 130
    except KeyboardInterrupt:
        code = INTERRUPTED
    except typer.exceptions.TyperException as error:  # a wrong flag: the usual usage message
        error.show()  # type: ignore[attr-defined]
        return USAGE
    except (VsumdataError, OSError) as error:
        if debug:
            raise
        err.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return USAGE if isinstance(error, UsageError) else FAILED
    if code == INTERRUPTED:
        err.print("interrupted: what is committed is kept; run the same command again to go on", style="yellow")
    return code
