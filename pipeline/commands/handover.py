"""The commands that hand data over to others: publications and exports. Options in, calls out, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.commands.train import Root, err, out

app = typer.Typer()


@app.command()
def publish(
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="The folder to write")],
    root: Root = "./data",
    text: Annotated[
        str,
        typer.Option(
            metavar="none|links|licensed|full",
            help="Which texts go along: none; links: addresses and times; licensed: those whose licence allows it; "
            "full: all",
        ),
    ] = "licensed",
    repo: Annotated[
        str | None,
        typer.Option(
            metavar="USER/NAME",
            help="Also upload it to this data set repository of the Hugging Face hub; a new one is private",
        ),
    ] = None,
    contact: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE", help="Where removal requests go, for the card; default: the repository's discussions"
        ),
    ] = None,
) -> None:
    """Publish a root in the layout of Hugging Face's data set repositories: Parquet files by split, a card (README.md)
    and croissant.json. An earlier publication in DIR is replaced."""
    from vsumdata.datasets.publish.repository import columns, hub
    from vsumdata.datasets.publish.repository.card import CHOICES
    from vsumdata.datasets.publish.repository.folder import publish
    from vsumdata.manifests.store import Store
    from vsumdata.pipeline.reports.publication import about

    if text not in columns.MODES:
        raise UsageError(f"--text: no choice `{text}`; known are: {', '.join(columns.MODES)}")
    if repo is not None:
        hub.check(repo)
    store = Store(root)
    account, remarks = about(store)
    for remark in remarks:
        err.print(remark, style="yellow", highlight=False, markup=False, soft_wrap=True)
    done = publish(store, output, account, text, hub.address(repo) if repo else None, contact)
    for line in (f"texts: {text}: {CHOICES[text]}", *columns.in_lines(done.tally)):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    videos = ", ".join(f"{split.num_rows} {split.name}" for split in done.splits)
    out.print(f"{videos} videos in {output} ({done.size_bytes / 1e6:.1f} MB)", highlight=False, markup=False)
    if repo is not None:
        out.print(hub.upload(Path(output), repo), highlight=False, markup=False, soft_wrap=True)


@app.command("export")
def export_root(
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The file to write; for mosu-h5 a folder")
    ],
    root: Root = "./data",
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="eccv16-h5, mosu-h5 (a folder), instruct-v2xum, ids: a list to rebuild from, or availability: which "
            "videos could be had and which are gone",
        ),
    ] = "eccv16-h5",
) -> None:
    """Write a root for others: its features in the HDF5 layout that other summarization code reads (eccv16-h5) or in
    that of MoSu (mosu-h5), its summaries as training records of V2Xum-LLM (instruct-v2xum), the ids of its videos as a
    list that a manifest takes (ids), or each video of its list with outcome, reason and date (availability)."""
    from vsumdata.datasets.publish import availability, eccv16_h5, ids, instruct_v2xum, mosu_h5

    exports = {
        eccv16_h5.FORMAT: export_features,
        mosu_h5.FORMAT: export_mosu,
        instruct_v2xum.FORMAT: export_summaries,
        ids.FORMAT: export_ids,
        availability.FORMAT: export_availability,
    }
    if format_ not in exports:
        raise UsageError(f"--format: no format `{format_}`; known are: {', '.join(exports)}")
    exports[format_](output, root)


def export_availability(output: str, root: str) -> None:
    """`export --format availability`."""
    from vsumdata.datasets.publish.availability import export
    from vsumdata.manifests.store import Store
    from vsumdata.pipeline.reports.availability import availability, in_words

    found, remarks = availability(Store(root))
    for remark in remarks:
        err.print(remark, highlight=False, markup=False, soft_wrap=True)
    number = export(found, output)
    out.print(f"{number} videos in {output}: {in_words(found)}", highlight=False, markup=False, soft_wrap=True)


def export_features(output: str, root: str) -> None:
    """`export --format eccv16-h5`."""
    from vsumdata.datasets.publish.eccv16_h5 import export
    from vsumdata.datasets.shards import open_shards

    done = export(open_shards(root), output)
    for video_id, reason in done.left_out.items():
        err.print(f"{video_id} is left out: {reason}", highlight=False, markup=False)
    out.print(f"{len(done.names)} videos in {output}, {len(done.left_out)} left out", highlight=False, markup=False)


def export_summaries(output: str, root: str) -> None:
    """`export --format instruct-v2xum`."""
    from vsumdata.datasets.publish.instruct_v2xum import export
    from vsumdata.datasets.shards import open_shards

    done = export(open_shards(root), output)
    for video_id, reason in done.left_out.items():
        err.print(f"{video_id} is left out: {reason}", highlight=False, markup=False)
    out.print(f"{done.number} videos in {output}, {len(done.left_out)} left out", highlight=False, markup=False)


def export_mosu(output: str, root: str) -> None:
    """`export --format mosu-h5`."""
    from vsumdata.datasets.publish.mosu_h5 import export
    from vsumdata.datasets.shards import open_shards
    from vsumdata.manifests.store import Store
    from vsumdata.pipeline.reports.publication import audio_model, text_model

    store = Store(root)
    done = export(open_shards(root), output, *text_model(store), audio_model=audio_model(store))
    for video_id, reason in done.left_out.items():
        err.print(f"{video_id} is left out: {reason}", highlight=False, markup=False)
    out.print(f"{len(done.names)} videos in {output}, {len(done.left_out)} left out", highlight=False, markup=False)


def export_ids(output: str, root: str) -> None:
    """`export --format ids`."""
    from vsumdata.datasets.publish.ids import export
    from vsumdata.datasets.shards import open_shards

    done = export(open_shards(root), output)
    for video_id in done.left_out:
        err.print(f"{video_id} is left out: a file of your own", highlight=False, markup=False)
    out.print(f"{done.number} videos in {output}, {len(done.left_out)} left out", highlight=False, markup=False)
