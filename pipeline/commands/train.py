"""The commands that train, evaluate and summarize: options in, calls out, no logic."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer()
out = Console()
err = Console(stderr=True)

Root = Annotated[str, typer.Option("--root", help="The dataset's folder, or its URL (s3://…)")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="RAY",
        help="A running Ray cluster: auto or HOST:PORT; local starts one on this machine (default: $RAY_ADDRESS, "
        "else local)",
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change a setting of the preset; may be repeated")
]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Also write the table as JSON")]
Markdown = Annotated[str | None, typer.Option("--markdown", metavar="FILE", help="Also write the table as Markdown")]
Csv = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Also write the table as CSV")]
DATA_SETS = (
    "Data set: tvsum, summe, ovp, youtube, mrhisum, mosu, sm-mrhisum, sm-videoxum, bliss, wikihow-summaries, "
    "tldw-pseudo, videoxum, instruct-v2xum, "
    "qvhighlights, youtube-highlights, umt-tvsum, cosum, hirest, qfvs, shards or synthetic"
)
On = Annotated[str, typer.Option(help=DATA_SETS)]
ItsData = Annotated[str, typer.Option(help="The data set's file or folder; for synthetic: videos=50,noise=0.3,seed=1")]
BenchData = Annotated[
    str,
    typer.Option(
        help="The data set's file or folder; for synthetic: videos=50,noise=0.3,seed=1; or several data sets, of which "
        "--on is tested and all are trained on: tvsum:A+summe:B+ovp:C"
    ),
]
ItsProtocol = Annotated[str | None, typer.Option(help="How to score, e.g. ca-sum; default: the data set's own")]
ItsFeatures = Annotated[
    str | None,
    typer.Option(
        metavar="ROOT",
        help="Take the features from this vsumdata root, with text:ROOT its texts alone; i3d:FOLDER adds MSVA's I3D",
    ),
]
ItsSplit = Annotated[
    str | None,
    typer.Option(
        help="A published split by name, or a split file; `val`: test the data set's own val part; with several data "
        "sets also canonical, augmented or transfer, alone or after it (pgl-sum/transfer)"
    ),
]
Init = Annotated[str | None, typer.Option(metavar="RUN", help="Start from the weights of another run")]
SaveScores = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Keep the scores of each test video as DIR/METHOD/seed-S-fold-F.h5, for `score`"),
]
POOLS = "Videos for visp and csum: fold (its training videos; default) or transductive (test videos too)"
Pool = Annotated[str, typer.Option(help=POOLS)]


@app.command()
def train(  # noqa: PLR0913 - its parameters are the command's flags
    method: Annotated[
        str,
        typer.Argument(
            help="hiersum, a2summ, vasnet, pglsum, csta, msva, vslstm, dpplstm, dsnet, slmodule, umt, triplesumm or "
            "mlp; visp and csum train one of these (--backbone) without labels; v2xum trains a language model"
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="A vsumdata root, or a data set as NAME:PATH (tvsum:FILE, synthetic), or several, of which the first "
            "is split (tvsum:A+summe:B); for v2xum's preset align also llava-pretrain:FOLDER"
        ),
    ],
    output: Annotated[str, typer.Option("--out", metavar="RUN", help="Folder of the run; the same command resumes it")],
    preset: Annotated[str, typer.Option(help="default, or another that the method has, such as tvsum or mrhisum")] = (
        "default"
    ),
    set_: Set = None,
    init: Init = None,
    backbone: Annotated[
        str | None, typer.Option(help="The summarizer to train with visp (default: csta) or csum (vasnet)")
    ] = None,
    pool: Pool = "fold",
    search: Annotated[int, typer.Option(min=0, metavar="N", help="For visp: try N random settings, keep the best")] = 0,
    features: ItsFeatures = None,
    split: ItsSplit = None,
    fold: Annotated[int, typer.Option(min=1, help="Fold of the split, from 1")] = 1,
    protocol: Annotated[str | None, typer.Option(help="How to validate; default: the data set's own")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes that train together, on Ray")] = 1,
    address: Address = None,
    track: Annotated[
        str | None, typer.Option(metavar="TRACKER", help="Also log to tensorboard (RUN/tensorboard), trackio or wandb")
    ] = None,
) -> None:
    """Train a summarizer. You can stop it at any moment; the same command resumes it."""
    from vsumdata.datasets.partition import pool_of
    from vsumdata.pipeline.workers.address import ray_address
    from vsumdata.pipeline.workers.cluster import training_session
    from vsumdata.train import methods
    from vsumdata.train import search as trials
    from vsumdata.train.data.training import Wanted
    from vsumdata.train.train import TrainRequest, train

    wanted = Wanted(data=data, protocol=protocol, features=features, split=split, fold=fold, pool=pool_of(pool))
    request = TrainRequest(
        method=methods.method_of(method, backbone),
        data=wanted,
        out=output,
        preset=preset,
        sets=tuple(set_ or ()),
        init=init,
        workers=workers,
        track=track,
    )
    ray_session = partial(training_session, ray_address(address))
    trained = trials.search(request, search, out, ray_session) if search else train(request, out, ray_session)
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
        str | None,
        typer.Option(
            help="test (default), val, train or all, by the run's split if it has these videos, else the data's"
        ),
    ] = (None),
    text: Annotated[str | None, typer.Option(help="Text for the model: subtitles, global, both or none")] = None,
    save_scores: SaveScores = None,
    json_: Json = None,
    markdown: Markdown = None,
    csv: Csv = None,
) -> None:
    """Measure a trained model on a data set, also on one that it was not trained on."""
    from vsumdata.train.benchmark import evaluation, table

    files = {"json": json_, "markdown": markdown, "csv": csv}
    table.check_writable(files)
    found = evaluation.evaluate_run(
        evaluation.Request(
            run=run,
            on=on,
            data=data,
            protocol=protocol,
            features=features,
            split=split,
            text=text,
            save_scores=save_scores,
        )
    )
    table.write(found, files)
    out.print(table.terminal(found))


@app.command()
def bench(  # noqa: PLR0913 - its parameters are the command's flags
    on: Annotated[str | None, typer.Option(help=f"{DATA_SETS}; default: the recipe's")] = None,
    data: BenchData = "",
    methods: Annotated[
        str,
        typer.Option(
            metavar="A,B,C",
            help="Methods to compare; random and uniform are always there. Settings of one row stand in brackets, "
            "quoted for the shell: 'hiersum\\[preset=paper,epochs=50]', also init=RUN and search=N; run:RUN measures a "
            "trained run as it is",
        ),
    ] = "",
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Make the table of a paper, or of a file of yours; see docs/benchmarks.md"
        ),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the recipe; may be repeated")
    ] = None,
    protocol: ItsProtocol = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Repeat each method with seeds 0 to N-1 (default: 3)")
    ] = None,
    features: ItsFeatures = None,
    split: ItsSplit = None,
    baseline: Annotated[str | None, typer.Option(help="Compare all others with this row (default: random)")] = None,
    preset: Annotated[str | None, typer.Option(help="Preset of trained methods; default: the data set's own")] = None,
    set_: Set = None,
    runs: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Keep the trained runs here; default: in your cache, until the table is made"),
    ] = None,
    init: Init = None,
    train_on: Annotated[
        str | None, typer.Option(metavar="ROOT|NAME:PATH", help="Train on this data instead, and test on all of --on")
    ] = None,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Select on the test videos, as much official code does")
    ] = False,
    pool: Annotated[str | None, typer.Option(help=POOLS)] = None,
    save_scores: SaveScores = None,
    json_: Json = None,
    markdown: Markdown = None,
    csv: Csv = None,
) -> None:
    """Make a benchmark table: methods beside chance and human scores, under one named protocol."""
    from vsumdata.datasets.partition import pool_of
    from vsumdata.train.benchmark import bench as benchmark
    from vsumdata.train.benchmark import table
    from vsumdata.train.benchmark.asked import recipes, variants

    files = {"json": json_, "markdown": markdown, "csv": csv}
    table.check_writable(files)
    given = {
        "on": on,
        "data": data,
        "methods": tuple(variants.split(methods)),
        "protocol": protocol,
        "seeds": seeds,
        "features": features,
        "split": split,
        "baseline": baseline,
        "preset": preset,
        "sets": tuple(set_ or ()),
        "runs": runs,
        "init": init,
        "train_on": train_on,
        "legacy": legacy,
        "pool": pool and pool_of(pool),
        "save_scores": save_scores,
    }
    found = benchmark.bench(recipes.request_by(recipe, param or (), given), err)
    table.write(found, files)
    out.print(table.terminal(found))
    if found.failed:
        raise typer.Exit(1)


@app.command()
def score(
    predictions: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PATH",
            help="Scores by video: HDF5, .npz, .npy, JSON or JSON lines, or a folder of --save-scores; "
            "files of one NAME are runs of one method",
        ),
    ],
    on: On,
    data: ItsData = "",
    protocol: Annotated[
        str, typer.Option(metavar="A,B,C", help="How to score, once or several times; default: the data set's own")
    ] = "",
    json_: Json = None,
    markdown: Markdown = None,
    csv: Csv = None,
) -> None:
    """Measure scores that others predicted, or that --save-scores kept, under one protocol or several."""
    from vsumdata.train.benchmark import score as scoring
    from vsumdata.train.benchmark import table

    files = {"json": json_, "markdown": markdown, "csv": csv}
    table.check_writable(files)
    found = scoring.score(
        scoring.Request(predictions=tuple(predictions), on=on, data=data, protocols=tuple(listed(protocol)))
    )
    table.write(found, files)
    out.print(table.terminal(found))
    if found.failed:
        raise typer.Exit(1)


def listed(words: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in words.split(",") if word.strip()]


@app.command()
def summarize(  # noqa: PLR0913 - its parameters are the command's flags
    video: Annotated[
        str, typer.Argument(metavar="VIDEO|FOLDER|ID", help="A media file, a folder of them, or a video id of a root")
    ],
    checkpoint: Annotated[
        str | None, typer.Option(metavar="RUN", help="A folder that `vsumdata train` made; without one see --method")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="Without a checkpoint: replay, step-cm, frame-cm or uniform; default: the first of these that is "
            "possible with the weights on this machine",
        ),
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Folder for the summary")] = "out",
    root: Annotated[str | None, typer.Option(help="The root that has the video id; default: the run's own")] = None,
    budget: Annotated[float, typer.Option(help="Length of the summary, as a share of the video")] = 0.15,
    captions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Captions of the media file; default: those of its name beside it, else Whisper transcribes it",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Text for the model: subtitles, global, both or none")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    highlight: Annotated[
        str | None,
        typer.Option(
            metavar="auto|SCORE",
            help="Also find the highlight: frames above SCORE around the peak; auto tunes SCORE on validation",
        ),
    ] = None,
    task: Annotated[
        str, typer.Option(help="video; or with a run of v2xum text or both: a summary in words as well")
    ] = "video",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A.B=C",
            help="Change how features are made (features.clip.weights=FILE), or crossmodal.NAME; may be repeated",
        ),
    ] = None,
) -> None:
    """Summarize any video: summary.mp4, summary.html, summary.json, summary.vtt and a picture of the importance curve.
    Of a folder, all its videos, and an index.html."""
    from vsumdata.pipeline.recipe import recipe
    from vsumdata.train.summarize import folders
    from vsumdata.train.summarize import summarize as summaries

    request = summaries.Request(
        video=video,
        checkpoint=checkpoint,
        method=method,
        output=output,
        root=root,
        budget=budget,
        captions=captions,
        text=text,
        device=device,
        highlight=highlight,
        task=task,
        sets=tuple(set_ or ()),
    )
    tell = partial(err.print, style="yellow", highlight=False, markup=False, soft_wrap=True)
    say = partial(out.print, highlight=False, markup=False, soft_wrap=True)
    if folders.is_folder(request):
        done = folders.summarize_folder(request, recipe, tell)
        say(done.line)
        raise typer.Exit(0 if done.made else 1)
    made = summaries.summarize(request, recipe, tell)
    for remark in made.remarks:
        tell(remark)
    for line in summaries.lines_of(made):
        say(line)
    say(f"{', '.join([*made.files, 'summary.json'])} in {output}")
