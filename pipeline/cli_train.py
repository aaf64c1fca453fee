"""The commands of the trainer; no logic."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from vsumdata.pipeline.errors import UsageError

app = typer.Typer()
out = Console()
err = Console(stderr=True)

Root = Annotated[str, typer.Option("--root", help="Folder or pyarrow.fs URL (s3://…) of the dataset")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting of the preset")]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the table as JSON")]
Markdown = Annotated[str | None, typer.Option("--markdown", metavar="FILE", help="… as Markdown")]
Csv = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="… as CSV")]
On = Annotated[str, typer.Option(help="tvsum, summe, mrhisum, bliss, wikihow-summaries, shards or synthetic")]
ItsData = Annotated[str, typer.Option(help="Its file or folder; for synthetic videos=50,noise=0.3,seed=1")]
ItsProtocol = Annotated[str | None, typer.Option(help="How to score, e.g. ca-sum; the data set's own if none")]
ItsFeatures = Annotated[str | None, typer.Option(metavar="ROOT", help="Take the features from a root of ours")]
ItsSplit = Annotated[str | None, typer.Option(help="A published split's source, or its file")]
Init = Annotated[str | None, typer.Option(metavar="RUN", help="Begin with the weights of another run")]
Pool = Annotated[
    str, typer.Option(help="Without labels: fold, its training videos alone; transductive: test videos too")
]


@app.command()
def train(  # noqa: PLR0913 - its parameters are the command's flags
    method: Annotated[
        str,
        typer.Argument(
            help="hiersum, a2summ, vasnet, pglsum, csta, msva, vslstm, dpplstm, dsnet, slmodule or mlp; "
            "visp and csum train one of these without labels"
        ),
    ],
    data: Annotated[str, typer.Option(help="A root of ours, or a data set as NAME:PATH (tvsum:FILE, synthetic)")],
    output: Annotated[str, typer.Option("--out", metavar="RUN", help="Folder of the run; the same command resumes it")],
    preset: Annotated[str, typer.Option(help="default, or tvsum, bliss, mrhisum, wikihow where the method has it")] = (
        "default"
    ),
    set_: Set = None,
    init: Init = None,
    backbone: Annotated[
        str | None, typer.Option(help="The summarizer that visp (csta) or csum (vasnet) trains")
    ] = None,
    pool: Pool = "fold",
    search: Annotated[int, typer.Option(min=0, metavar="N", help="Random settings of visp, the best of N trials")] = 0,
    features: ItsFeatures = None,
    split: ItsSplit = None,
    fold: Annotated[int, typer.Option(min=1, help="Which fold of the split")] = 1,
    protocol: Annotated[str | None, typer.Option(help="How to validate; the data set's own if none")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train together, on Ray")] = 1,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster (auto, HOST:PORT)")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write RUN/tensorboard as well")] = False,
) -> None:
    """Train a summarizer. Safe to stop at any moment: the same command goes on where it stopped."""
    from vsumdata.train import methods
    from vsumdata.train import search as trials
    from vsumdata.train.partition import pool_of
    from vsumdata.train.train import TrainRequest, train
    from vsumdata.train.training_data import Wanted

    wanted = Wanted(data=data, protocol=protocol, features=features, split=split, fold=fold, pool=pool_of(pool))
    request = TrainRequest(
        method=methods.method_of(method, backbone),
        data=wanted,
        out=output,
        preset=preset,
        sets=tuple(set_ or ()),
        init=init,
        workers=workers,
        address=address,
        tensorboard=tensorboard,
    )
    trained = trials.search(request, search, out) if search else train(request, out)
    at = trained.position
    best = "" if at.best is None else f", {at.metric} {at.best:.3f}"
    seen = "" if trained.settings.needs_targets else f", pool {trained.info.origin.pool}"
    out.print(f"{output}: weights of epoch {at.epoch}{best}{seen}", highlight=False, markup=False, soft_wrap=True)


@app.command("eval")
def evaluate(  # noqa: PLR0913 - its parameters are the command's flags
    run: Annotated[str, typer.Argument(metavar="RUN", help="A folder that `vsumdata train` made")],
    on: On,
    data: ItsData = "",
    protocol: ItsProtocol = None,
    features: ItsFeatures = None,
    split: Annotated[
        str | None, typer.Option(help="test, val, train or all: of the run where it knows the videos, else of the data")
    ] = (None),
    text: Annotated[str | None, typer.Option(help="What it is shown: subtitles, global, both or none")] = None,
    json_: Json = None,
    markdown: Markdown = None,
    csv: Csv = None,
) -> None:
    """Measure a trained model on a data set, also on one that it was not trained for."""
    from vsumdata.train import evaluation, table

    files = {"json": json_, "markdown": markdown, "csv": csv}
    table.check_writable(files)
    found = evaluation.evaluate_run(
        evaluation.Request(run=run, on=on, data=data, protocol=protocol, features=features, split=split, text=text)
    )
    table.write(found, files)
    out.print(table.terminal(found))


@app.command()
def bench(  # noqa: PLR0913 - its parameters are the command's flags
    on: On,
    data: ItsData = "",
    methods: Annotated[str, typer.Option(metavar="A,B,C", help="Methods beside the rows that are always there")] = "",
    protocol: ItsProtocol = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often, with seeds 0 to N-1")] = 3,
    features: ItsFeatures = None,
    split: ItsSplit = None,
    baseline: Annotated[str, typer.Option(help="The method that all are compared with")] = "random",
    preset: Annotated[str | None, typer.Option(help="Settings of trained methods; the data set's own if none")] = None,
    set_: Set = None,
    runs: Annotated[str | None, typer.Option(metavar="DIR", help="Keep what is trained, and use it again")] = None,
    init: Init = None,
    legacy: Annotated[bool, typer.Option("--legacy", help="Select on the test videos, as much official code")] = False,
    pool: Pool = "fold",
    json_: Json = None,
    markdown: Markdown = None,
    csv: Csv = None,
) -> None:
    """The benchmark table: methods beside chance and people, under one named protocol."""
    from vsumdata.train import benchmark, table
    from vsumdata.train.partition import pool_of

    files = {"json": json_, "markdown": markdown, "csv": csv}
    table.check_writable(files)
    found = benchmark.bench(
        benchmark.Request(
            on=on,
            data=data,
            methods=tuple(word.strip() for word in methods.split(",") if word.strip()),
            protocol=protocol,
            seeds=seeds,
            features=features,
            split=split,
            baseline=baseline,
            preset=preset,
            sets=tuple(set_ or ()),
            runs=runs,
            init=init,
            legacy=legacy,
            pool=pool_of(pool),
        )
    )
    table.write(found, files)
    out.print(table.terminal(found))


@app.command()
def summarize(  # noqa: PLR0913 - its parameters are the command's flags
    video: Annotated[str, typer.Argument(metavar="VIDEO_OR_ID", help="A media file, or a video_id of a root")],
    checkpoint: Annotated[str, typer.Option(metavar="RUN", help="A folder that `vsumdata train` made")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Where the summary goes")] = "out",
    root: Annotated[str | None, typer.Option(help="Where an id is looked up; the run's own root if none")] = None,
    budget: Annotated[float, typer.Option(help="Share of the video")] = 0.15,
    captions: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of a media file; else it is listened to")
    ] = None,
    text: Annotated[str | None, typer.Option(help="What it is shown: subtitles, global, both or none")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    highlight: Annotated[
        str | None,
        typer.Option(metavar="auto|SCORE", help="Also the one best stretch: above a score, or one tuned on validation"),
    ] = None,
) -> None:
    """A summary of any video: summary.mp4, summary.json, summary.vtt and a picture with the importance curve."""
    from vsumdata.train.summarize import Request, summarize

    made = summarize(
        Request(
            video=video,
            checkpoint=checkpoint,
            output=output,
            root=root,
            budget=budget,
            captions=captions,
            text=text,
            device=device,
            highlight=highlight,
        )
    )
    for remark in made.remarks:
        err.print(remark, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if made.highlight:
        best = made.highlight
        out.print(f"highlight: {best.start_s:g} to {best.end_s:g} s (above {best.threshold:g})", highlight=False)
    files = ", ".join([*made.files, "summary.json"])
    out.print(f"{files} in {output}", highlight=False, markup=False, soft_wrap=True)


@app.command("export")
def export_root(
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The file to write")],
    root: Root = "./data",
    format_: Annotated[str, typer.Option("--format", help="eccv16-h5")] = "eccv16-h5",
) -> None:
    """Our shards in the layout that the field's other code reads."""
    from vsumdata.datasets.export import FORMAT, export
    from vsumdata.datasets.shards import open_shards

    if format_ != FORMAT:
        raise UsageError(f"--format: no format `{format_}`; known is: {FORMAT}")
    done = export(open_shards(root), output)
    for video_id, reason in done.left_out.items():
        err.print(f"{video_id} is left out: {reason}", highlight=False, markup=False)
    out.print(f"{len(done.names)} videos in {output}, {len(done.left_out)} left out", highlight=False, markup=False)
