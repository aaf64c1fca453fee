"""Commands that show what a root holds: options in, calls out, no logic."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.commands.train import Root, err, out

app = typer.Typer(pretty_exceptions_enable=False)
DEFAULT_ROOT = "./data"

Checkpoint = Annotated[
    str | None, typer.Option(metavar="RUN", help="Also draw the scores and keyshots of this run of `vsumdata train`")
]
Open = Annotated[bool, typer.Option("--open", help="Open it in your browser")]


@app.command()
def report(
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The page to write")] = "report.html",
    root: Root = DEFAULT_ROOT,
    videos: Annotated[
        str, typer.Option(metavar="N|all", help="How many videos get a part of the page, the most viewed first")
    ] = "200",
    checkpoint: Checkpoint = None,
    open_: Open = False,
) -> None:
    """Write one HTML page that shows a root: its funnel, distributions, sources, and each video on a clock."""
    from vsumdata.pipeline.reports.page import page

    if videos != "all" and not videos.isdecimal():
        raise UsageError(f"--videos {videos}: give a number, or all")
    number = None if videos == "all" else int(videos)
    path = page.report(root, output, videos=number, checkpoint=checkpoint, told=tell)
    out.print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)", highlight=False, markup=False, soft_wrap=True)
    if open_:
        show(path.as_uri())


@app.command()
def view(
    root: Root = DEFAULT_ROOT,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free")] = 0,
    checkpoint: Checkpoint = None,
    open_: Open = False,
) -> None:
    """Show a root in the browser until Ctrl-C: the pages of `report`, up to date, and the videos kept here."""
    from vsumdata.pipeline.reports.page import serve

    serve.view(root, port, checkpoint=checkpoint, told=tell, ready=show if open_ else lambda address: None)


@app.command()
def inspect(
    video_id: Annotated[str, typer.Argument(help="As listed, e.g. a YouTube id")],
    root: Root = DEFAULT_ROOT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as without a terminal")] = False,
) -> None:
    """Show everything known about one video: a card on a terminal, else JSON."""
    from vsumdata.manifests.store import Store
    from vsumdata.pipeline.reports.card import card
    from vsumdata.pipeline.reports.status import inspect

    store = Store(root)
    found = inspect(store, video_id)
    if as_json or not out.is_terminal:
        print_json(found)
    else:
        out.print(card(store, found, out.width))


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    # Not through rich, which wraps lines at the width of the terminal.
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def tell(line: str) -> None:
    err.print(line, highlight=False, markup=False, soft_wrap=True)


def show(address: str) -> None:
    """Open an address in the browser, or say that there is none."""
    import webbrowser

    if not webbrowser.open(address):
        err.print(f"no browser was found; open {address}", highlight=False, markup=False, soft_wrap=True)
    sys.stdout.flush()
