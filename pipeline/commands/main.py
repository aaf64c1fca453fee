"""The command line: options in, calls out, no logic. An error is one line with the remedy; --debug adds a traceback."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.exceptions
from rich.markup import escape

from vsumdata.manifests.errors import UsageError, VsumdataError
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.pipeline.commands import cluster, handover, look, train
from vsumdata.pipeline.commands.look import DEFAULT_ROOT, print_json
from vsumdata.pipeline.commands.parent import in_child
from vsumdata.pipeline.commands.train import Address, Root, err, out

app = typer.Typer(
    name="vsumdata",
    help="Build training data for video summarization from YouTube channels or your own videos, train summarizers on "
    "it and compare them. Start with: vsumdata run --manifest sample",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Seconds within which a second signal of the same kind is the same one.
TWICE_WITHIN_S = 0.5
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
DEFAULT_MANIFEST = "wikihow_ehow"


@app.callback(invoke_without_command=True)
def start(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks instead of one-line errors")] = False,
) -> None:
    # Modules are imported inside the commands: torch and Ray take seconds, and `--help` needs neither.
    if version:
        from importlib.metadata import version as version_of

        out.print(version_of("vsumdata"), highlight=False)
        raise typer.Exit


@app.command()
def run(  # noqa: PLR0913 - its parameters are the command's flags
    manifest: Annotated[
        str, typer.Option(help="wikihow_ehow, wikihow_summaries, sample or a YAML file")
    ] = DEFAULT_MANIFEST,
    stage: Annotated[
        str, typer.Option(help="Groups (crawl, asr, features, summaries, labels) or single tables")
    ] = "crawl,asr,features",
    root: Root = DEFAULT_ROOT,
    limit: Annotated[int | None, typer.Option(min=1, help="Do at most this many pending videos per table")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change a manifest setting; may be repeated")
    ] = None,
    retry: Annotated[str, typer.Option(help="Do videos again by outcome or reason: failed,skipped,no_heatmap")] = "",
    address: Address = None,
    cookies_from_browser: Annotated[
        str | None,
        typer.Option(metavar="BROWSER[:PROFILE]", help="Use your browser's cookies (a manifest cannot ask for them)"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how many videos, hours and GB to expect; do nothing")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any video failed")] = False,
) -> None:
    """Run the stages over the videos that still need them. You can stop it at any moment and run it again."""
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
                cookies_from_browser=cookies_from_browser,
                dry_run=dry_run,
                strict=strict,
            ),
            out,
        )
    )


@app.command()
def status(
    seconds: Annotated[float | None, typer.Argument(min=0.1, help="With --watch: how often to look (5)")] = None,
    root: Root = DEFAULT_ROOT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again, until Ctrl-C")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="Also how well the labels of the videos agree")] = False,
) -> None:
    """Show the outcomes, reasons and size of each table."""
    from vsumdata.manifests.store import Store
    from vsumdata.pipeline.reports import status
    from vsumdata.pipeline.reports import watch as watching
    from vsumdata.pipeline.state import dataset

    if seconds and not watch:
        raise UsageError(f"{seconds:g}: seconds go with --watch")
    if watch and (as_json or labels):
        what = "JSON" if as_json else "labels"
        raise UsageError(f"--watch shows no {what}; run `vsumdata status --{what.lower()}` as often as you like")
    store = Store(root)
    if watch:
        watching.watch(store, out, seconds or watching.DEFAULT_S)
        return
    loaded, stages, records, remarks = dataset.open_root(store)
    found = dataset.summary(store, loaded, stages, records)
    if labels:
        # It imports scipy, which takes as long as all the rest.
        from vsumdata.pipeline.state import agreement

        found["labels"] = agreement.agreement(store, stages).told()
    if as_json:
        print_json(found)
        return
    for remark in remarks:
        err.print(escape(remark))
    for part in status.page(found):
        out.print(part, highlight=False)


@app.command()
def verify(root: Root = DEFAULT_ROOT) -> None:
    """Read and check every file of a root. Exits with 1 if something is wrong."""
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
def compact(root: Root = DEFAULT_ROOT) -> None:
    """Merge small part files into shards of 64 to 256 MB. A run does it by itself now and then."""
    from vsumdata.manifests import leases, upkeep
    from vsumdata.manifests.store import Store

    store = Store(root)
    tables = store.tables()
    with leases.alone(store, "compact"):
        for table, (before, after) in upkeep.compact(store, tables).items():
            out.print(f"{table}: {before} files, now {after}", highlight=False)


@app.command()
def prune(
    root: Root = DEFAULT_ROOT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing")] = False,
) -> None:
    """Remove tables made with settings that the last run did not use."""
    from vsumdata.manifests import leases, upkeep
    from vsumdata.manifests.store import Store

    store = Store(root)
    tables = store.tables()
    with leases.alone(store, "prune"):
        gone = upkeep.prune(store, tables, dry_run=dry_run)
    for table, fingerprint, size_bytes in gone:
        verb = "would remove" if dry_run else "removed"
        out.print(f"{verb} {table}/{fingerprint} ({size_bytes / 1e6:.1f} MB)", highlight=False)
    if not gone:
        out.print("nothing to remove")


@app.command()
def models(
    root: Root = DEFAULT_ROOT,
    update: Annotated[
        bool,
        typer.Option("--update", help="Lock the models as they are now: a hub's newest revision, a folder's content"),
    ] = False,
) -> None:
    """Show which models a root is made with (its lock file models.json), or move the lock."""
    from vsumdata.manifests import leases
    from vsumdata.manifests.store import Store
    from vsumdata.pipeline.reports import status
    from vsumdata.pipeline.state import lock

    store = Store(root)
    if not update:
        out.print(status.models_table(lock.show(store)))
        return
    with leases.alone(store, "update the models"):
        found, again = lock.update(store)
    out.print(status.models_table(found))
    if again:
        out.print(f"the next run makes these tables again: {', '.join(again)}", highlight=False)


@app.command()
def doctor(
    manifest: Annotated[str | None, typer.Option(help="Check the run of this manifest, and nothing else")] = None,
    root: Annotated[str | None, typer.Option(help="Its dataset's folder or URL")] = None,
    address: Address = None,
    stage: Annotated[str, typer.Option(help="Its groups or single tables")] = "crawl,asr,features",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Its changed settings")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Check this machine: ffmpeg, JavaScript runtime, GPU, Ray, network, models.

    With --manifest, --root or --address, check what `run` with these options needs: exits with 1 if it cannot run.
    """
    from vsumdata.pipeline.reports import preflight
    from vsumdata.pipeline.reports.doctor import checks_table, examine

    if manifest or root or address:
        wanted = preflight.Wanted(
            manifest=manifest or DEFAULT_MANIFEST,
            root=root or DEFAULT_ROOT,
            address=address,
            stage=stage,
            settings=tuple(set_ or ()),
        )
        checks, failed = preflight.examine(wanted), "fails"
    else:
        checks, failed = examine(), "missing"
    if as_json:
        print_json([check.__dict__ for check in checks])
    else:
        out.print(checks_table(checks, failed))
    if not all(check.ok or check.optional for check in checks):
        raise typer.Exit(FAILED)


app.add_typer(look.app)
app.add_typer(train.app)
app.add_typer(handover.app)
app.add_typer(cluster.app, name="cluster")


class Ending:
    """A handler of signals: the first one is raised as KeyboardInterrupt, a second one ends the program at once.

    A batch system ends a job with SIGTERM, a closed terminal with SIGHUP. Like Ctrl-C, they must leave Ray shut down
    and finished work kept.
    """

    def __init__(self) -> None:
        self.signum = 0  # 0: none has come
        self.came_at = 0.0
        self.exit_code = FAILED
        self.terminals: list[int] = []

    def listen(self) -> None:
        """Become the handler of the signals; call it in the main thread."""
        self.terminals = [number for number in (1, 2) if os.isatty(number)]
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # `nohup` ignores SIGHUP, a script's background job ignores SIGINT: whoever did so wants the run to go on.
            if signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, self)

    def __call__(self, signum: int, frame: Any) -> None:
        if self.signum:
            # A batch system sends its signal to all processes of a job, and the parent forwards it once more.
            if signum == self.signum and time.monotonic() - self.came_at < TWICE_WITHIN_S:
                return
            os._exit(128 + signum)
        self.signum, self.came_at = signum, time.monotonic()
        # Writing to a terminal that is gone raises OSError, which would take the place of KeyboardInterrupt.
        for gone in (number for number in self.terminals if not os.isatty(number)):
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), gone)
        raise KeyboardInterrupt

    def code(self) -> int:
        """The exit code by which shells tell that a signal ended a program."""
        return 128 + (self.signum or signal.SIGINT)

    def leave(self) -> None:
        """Leave an interrupted program with its exit code, once all else is over."""
        # Ray's C++ threads, met by a signal while they start, crashed one process in thirty as it was taken apart.
        if self.signum:
            with contextlib.suppress(OSError, ValueError):  # a pipe whose reader is gone
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(self.exit_code)

    def line(self) -> str:
        """What the user reads."""
        by = f" by {signal.Signals(self.signum).name}" if self.signum not in {0, signal.SIGINT} else ""
        return f"interrupted{by}: finished work is kept; run the same command again to continue"


ending = Ending()


def main() -> None:
    """Run the program; exit with its code."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if command in {"run", "train"}:
        # They use Ray, which may end their process without a word.
        sys.exit(in_child(program, lambda line: err.print(line, markup=False, highlight=False, soft_wrap=True)))
    sys.exit(program())


def program() -> int:
    """Run what the command line asks for in this process; return its exit code."""
    ending.listen()
    # Registered first, so it is called last.
    atexit.register(ending.leave)
    ending.exit_code = guarded(app)
    return ending.exit_code


def guarded(program: Callable[..., Any]) -> int:
    """Call `program` and return the exit code; print an error as one line."""
    # typer accepts an option of the whole program only before the command; here it may stand anywhere.
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    try:
        # With standalone_mode typer would end the process itself. It returns 130 after KeyboardInterrupt.
        code = program(standalone_mode=False) or OK
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as exit:
        # ray#17308: while ray.init runs, for seconds, Ray's own handler of SIGTERM exits with the signal's number.
        if exit.code != signal.SIGTERM:
            raise
        ending.signum, code = signal.SIGTERM, INTERRUPTED
    except typer.exceptions.TyperException as error:
        # A wrong option: show typer's usual message.
        error.show()  # type: ignore[attr-defined]
        return USAGE
    except (VsumdataError, OSError) as error:
        if debug:
            raise
        # Not every message names a root by its form without keys.
        err.print(f"error: {hide_keys(str(error))}", style="red", highlight=False, markup=False, soft_wrap=True)
        # An error on the way out of an interrupted run does not hide the signal from the batch system.
        if ending.signum:
            return ending.code()
        return USAGE if isinstance(error, UsageError) else FAILED
    if code == INTERRUPTED:
        err.print(ending.line(), style="yellow", soft_wrap=True)
        return ending.code()
    return code


# `python -m vsumdata.pipeline.commands.main`: a node that got the code from Ray has no program `vsumdata`.
if __name__ == "__main__":
    main()
