"""`vsumdata summarize`: keyshots and key sentences of one video, as film, page, captions, picture and JSON."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsumdata.manifests.errors import FailVideo, UsageError
from vsumdata.manifests.terminal import clock
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program, ffmpeg_version
from vsumdata.stages.pictures.probe import probe
from vsumdata.train.benchmark import crossmodal
from vsumdata.train.loop import runs
from vsumdata.train.loop.predict import Prediction, TextTask, predict, shown_text, text_of
from vsumdata.train.loop.runs import Trained
from vsumdata.train.summarize import clips, highlights, picture, summary, untrained, vtt
from vsumdata.train.summarize.beside import beside
from vsumdata.train.summarize.featurize import Featurizer, Found, Recipe, of_root
from vsumdata.train.summarize.kinds import Kind, kind_of, kind_of_root, kind_of_settings
from vsumdata.train.summarize.pages import page
from vsumdata.train.summarize.summary import Highlight, Summary

# What the user asks for -> what the model is asked to write.
TASKS: dict[str, TextTask | None] = {"video": None, "text": "t", "both": "b"}
FILES = VIDEO, CAPTIONS, PICTURE, PAGE, DATA = (
    "summary.mp4", "summary.vtt", "summary.png", "summary.html", "summary.json",
)  # fmt: skip
# Of such a video it is said beforehand how much there is to do.
LONG_S = 2 * 3600
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `vsumdata summarize`.

    `video` is a media file, or a video_id of `root` (by default the run's own root). `checkpoint` is a training run;
    without one, `method` says how frames are scored (`untrained.METHODS`; None: the best that is possible here).
    `budget` is the summary's share of the video. `captions` belong to a media file; without them those that lie beside
    it count, else the speech model listens. `text` is the text that the model is shown, by default as in training.
    `device` is auto, cpu or cuda. `highlight` is the threshold of the one best stretch, or auto: tuned on the run's
    validation videos. `task` is video, or what a language model writes as well: text, or both (a text that refers to
    frames). `sets` change settings `A.B=C`: of a manifest, or `crossmodal.NAME=C`.
    """

    video: str
    checkpoint: str | None = None
    method: str | None = None
    output: str = "out"
    root: str | None = None
    budget: float = summary.BUDGET
    captions: str | None = None
    text: str | None = None
    device: str = "auto"
    highlight: str | None = None
    task: str = "video"
    sets: tuple[str, ...] = ()


def summarize(request: Request, recipe: Recipe, tell: Tell = lambda _: None) -> Summary:
    """Write FILES into the folder `request.output`, all together at the end. Returns the content of summary.json.

    `recipe` gives the stages that make the features of a media file. Without the media file, `summarize` writes no
    summary.mp4. `tell` is called with lines for a person before long work. Raises UsageError with the remedy for a
    request that cannot be fulfilled.
    """
    with summarizer(request, recipe, tell) as work:
        return work.one(request.video, Path(request.output))


@contextlib.contextmanager
def summarizer(request: Request, recipe: Recipe, tell: Tell = lambda _: None) -> Iterator[Summarizer]:
    """What summarizes one video after another by the same options; models are loaded once."""
    check(request)
    with contextlib.ExitStack() as stack:
        yield Summarizer(request, recipe, tell, stack)


def check(request: Request) -> None:
    """Raise UsageError for a wrong request before any work is done."""
    if not 0 < request.budget <= 1:
        raise UsageError(f"--budget {request.budget:g} is no share of the video; give one above 0 and up to 1")
    if request.task not in TASKS:
        raise UsageError(f"--task {request.task}: it is one of {', '.join(TASKS)}")
    if request.highlight not in (None, "auto"):
        highlights.checked(str(request.highlight))
    if request.captions and not is_file(request):
        raise UsageError(f"--captions is for a media file; {request.video} has its text in its root")
    check_output(Path(request.output))
    untrained.checked(request.method)
    if request.checkpoint is None:
        needed = {"--text": request.text, "--highlight auto": request.highlight == "auto" or None}
        needed["--task"] = None if request.task == "video" else request.task
        for flag, value in needed.items():
            if value is not None:
                raise UsageError(f"{flag} needs a trained model: --checkpoint RUN")
    elif request.method is not None:
        raise UsageError("--method is for summaries without a trained model: give it or --checkpoint, not both")


def check_output(output: Path) -> None:
    """Raise UsageError if nothing can be written there: before hours of work, and without making the folder."""
    # By os.path: pathlib raises for folders that may not be entered.
    if os.path.isfile(output):
        raise UsageError(f"--output {output} is a file; give a folder")
    there = next((place for place in (output, *output.parents) if os.path.isdir(place)), Path())
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise UsageError(f"--output {output}: no permission to write in {there}; give another folder")


def is_file(request: Request) -> bool:
    """Whether `video` is a media file. With --root it is always an id."""
    if request.root is not None:
        return False
    try:
        return Path(request.video).exists()
    except PermissionError as error:
        raise UsageError(f"{request.video}: no permission to read it; `chmod +r` gives it") from error
    # Of a name that is longer than any file's.
    except OSError:
        return False


class Summarizer:
    """Summarizes videos by the options of one request. Made by `summarizer`."""

    def __init__(self, request: Request, recipe: Recipe, tell: Tell, stack: contextlib.ExitStack) -> None:
        self.request, self.recipe, self.tell, self._stack = request, recipe, tell, stack
        self.device = device_of(request.device)
        self.settings = tuple(each for each in request.sets if not each.startswith(crossmodal.PREFIX))
        self.options = crossmodal.options_of([each for each in request.sets if each.startswith(crossmodal.PREFIX)])
        self.trained = None
        if request.checkpoint is not None:
            self.trained = shown_text(runs.load(request.checkpoint, self.device), request.text)
            if request.task != "video" and not hasattr(self.trained.model, "write"):
                method = self.trained.settings.method
                raise UsageError(f"--task {request.task}: {method} writes no text; v2xum does")
        self._featurizers: dict[str, Featurizer] = {}

    def one(self, video: str, output: Path) -> Summary:
        """Summarize one video into the folder `output`."""
        made, found = self._trained(video) if self.trained else self._untrained(video)
        if self.request.highlight is not None:
            tuned = (
                highlights.tuned(self.request.highlight, self.trained)
                if self.trained
                else highlights.given(self.request.highlight)
            )
            made = made.model_copy(update={"highlight": highlight_of(made, tuned)})
        return keep(made, found, output)

    def _trained(self, video: str) -> tuple[Summary, Found]:
        assert self.trained is not None
        trained, info, request = self.trained, self.trained.info, self.request
        text_dim = None if text_of(trained) == "none" else info.text_dim
        kind = kind_of(info.origin, trained.path, self.settings, (info.frame_dim, text_dim))
        if is_file(request):
            self._readable(video, kind)
            featurizer = self._featurizer("trained", kind, text_of(trained), hears=info.audio_dim is not None)
            found = featurizer.of_file(video, request.captions)
        else:
            found = of_root(video, self._root(video), kind)
        prediction = next(predict(trained, [found.video], words=TASKS[request.task]))
        made = describe(found, prediction, Way.of_run(trained, kind.random("the scores")), kind, request.budget)
        if request.task != "video":
            end_s = np.append(found.video.frame_time_s, made.duration_s)
            written = summary.written_of(prediction.summary, end_s, kind.fps)
            made = made.model_copy(update={"task": request.task, "written": written})
        return made, found

    def _untrained(self, video: str) -> tuple[Summary, Found]:
        request = self.request
        if is_file(request):
            found, kind, choice = self._of_file(video)
        else:
            root = self._root(video)
            kind = kind_of_root(root)
            found = of_root(video, root, kind)
            replayed = found.video.replay_score is not None
            choice = untrained.choice(
                request.method, kind, self.options, replayed=replayed, worded=bool(found.video.sentence)
            )
        scored = untrained.score(found.video, choice)
        way = Way(
            method=scored.method,
            checkpoint=None,
            text="subtitles" if scored.method in untrained.COMPARING else "none",
            notes=(*(f"not by {why}" for why in scored.left_out), *kind.random("the shots")),
        )
        return describe(found, scored.prediction, way, kind, request.budget), found

    def _of_file(self, video: str) -> tuple[Found, Kind, untrained.Choice]:
        """The features of a media file, by the recipe that the best possible method needs."""
        request = self.request
        kind = kind_of_settings(self.settings, colours=False)
        self._readable(video, kind)
        near = beside(video, kind.loaded.manifest.captions.languages)
        worded = True if request.captions or near.captions else None if hears(video) else False
        choice = untrained.choice(request.method, kind, self.options, replayed=near.heatmap is not None, worded=worded)
        # Histograms need no weights and are fast; whoever names a CLIP gets its shots.
        if choice.encode is None and not any(each.startswith("features.clip.") for each in self.settings):
            kind = kind_of_settings(self.settings, colours=True)
        fetches = request.method in untrained.COMPARING
        featurizer = self._featurizer(kind.names["clip"], kind, "none", fetches=fetches)
        return featurizer.of_file(video, request.captions, near), kind, choice

    def _featurizer(self, key: str, kind: Kind, shown: str, *, fetches: bool = True, hears: bool = False) -> Featurizer:
        if key not in self._featurizers:
            made = Featurizer(kind, self.recipe, shown=shown, device=self.device, fetches=fetches, hears=hears)
            self._featurizers[key] = self._stack.enter_context(made)
        return self._featurizers[key]

    def _readable(self, video: str, kind: Kind) -> None:
        """Announce a long video. Raises UsageError if ffmpeg does not work."""
        # A broken ffmpeg is an error now. Otherwise it would look as if the video could not be read.
        ffmpeg_version(ffmpeg_program())
        # What is wrong with the file is told where its features are made.
        with contextlib.suppress(FailVideo):
            length_s = probe(video).duration_s or 0.0
            if length_s > LONG_S:
                film, frames = clock(length_s * self.request.budget), f"{int(length_s * kind.fps):,}"
                self.tell(f"{video} lasts {clock(length_s)}: {frames} frames to look at, up to {film} of film to cut")

    def _root(self, video: str) -> str:
        """The root that has the video id. Raises UsageError if there is none."""
        request, origin = self.request, self.trained.info.origin if self.trained else None
        root = request.root or (origin and (origin.features_root or origin.path)) or ""
        if not request.root and (not root or (not Path(root).exists() and "://" not in root)):
            raise UsageError(f"{video}: there is no such file; for a video_id give its root with --root")
        # A name with a folder or an extension is a mistyped file. "No such video in the root" would mislead.
        if not request.root and ("/" in video or Path(video).suffix):
            raise UsageError(f"{video}: there is no such file")
        return root


def device_of(name: str) -> str:
    """`cpu` or `cuda`. Raises UsageError for another word, or without a GPU."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {name}: it is one of auto, cpu, cuda")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return "cuda" if name != "cpu" and there else "cpu"


def hears(video: str) -> bool:
    """Whether the file has sound. What is wrong with it is told where its features are made."""
    try:
        return bool(probe(video).audio)
    except FailVideo:
        return False


@dataclass(frozen=True, kw_only=True)
class Way:
    """How frames were scored: the method, the run (None: without training), the text that it was shown, and remarks."""

    method: str
    checkpoint: str | None
    text: str
    notes: tuple[str, ...]

    @classmethod
    def of_run(cls, trained: Trained, remarks: tuple[str, ...]) -> Way:
        """The way of a trained run."""
        method, notes = trained.settings.method, (*trained.info.notes, *remarks)
        return cls(method=method, checkpoint=str(trained.path), text=text_of(trained), notes=notes)


def describe(found: Found, prediction: Prediction, way: Way, kind: Kind, budget: float) -> Summary:
    """The summary of one video."""
    video, rule = found.video, summary.rule_of(budget)
    score = prediction.frame_score
    chosen, selection = summary.choose(score, video, rule, evenly=way.method == untrained.UNIFORM)
    duration_s = found.media.info.duration_s if found.media else video.duration_s
    time_s = summary.boundaries(len(score), kind.fps, duration_s, float(found.media.rate) if found.media else None)
    shots = summary.shots_of(video, score, chosen, time_s)
    segments = summary.segments_of(shots)
    # A model that is shown only the global text scores that text, and no sentence.
    from_model = prediction.sentence_score if way.text in ("subtitles", "both") else None
    said = summary.sentence_scores(video, score, from_model, kind.fps)
    by_model = "model" if from_model is not None else "frames"
    return Summary(
        video_id=video.video_id,
        title=video.title,
        source=found.source,
        duration_s=float(time_s[-1]),
        fps=kind.fps,
        frame_time_s=rounded(video.frame_time_s),
        frame_score=rounded(score),
        replay_score=None if video.replay_score is None else rounded(video.replay_score),
        shots=shots,
        segments=segments,
        summary_s=sum(segment.length_s for segment in segments),
        sentences=summary.sentences_of(video, said, budget),
        sentence_scores_from=by_model if len(said) else "none",
        budget=budget,
        selection=selection,
        protocol=rule.name,
        method=way.method,
        checkpoint=way.checkpoint,
        text=way.text,
        features=kind.names,
        files=[name for name in FILES[:-1] if found.media or name != VIDEO],
        remarks=remarks_on(found, way, selection),
    )


def highlight_of(made: Summary, tuned: highlights.Tuned) -> Highlight:
    """The one best stretch of a summarized video."""
    found = np.flatnonzero(highlights.highlight(np.array(made.frame_score), tuned.threshold))
    return Highlight(
        start_s=float(found[0] / made.fps),
        end_s=min(float((found[-1] + 1) / made.fps), made.duration_s),
        threshold=tuned.threshold,
        num_videos=tuned.num_videos,
        overlap=tuned.overlap,
    )


def remarks_on(found: Found, way: Way, selection: str) -> list[str]:
    """What a reader must know before trusting the summary."""
    remarks = [*way.notes, *found.remarks]
    if selection == "window":
        remarks.append("no shot fits into the budget, so the summary is the best stretch of that length")
    if selection == "stretches":
        remarks.append("no shot fits into the budget, so the summary is stretches at equal distances")
    if not found.video.sentence and way.text in ("subtitles", "both"):
        remarks.append("no sentences are known: the model scored the video by its frames alone")
    # The run's notes and the video's remarks may agree, as on random CLIP weights.
    return list(dict.fromkeys(remarks))


def keep(made: Summary, found: Found, folder: Path) -> Summary:
    """Write all files of the summary into `folder`, all together at the end."""
    output = make_folder(folder)
    # In the same folder, because a rename is atomic within one file system only.
    with tempfile.TemporaryDirectory(dir=output, prefix=".summary-") as scratch:
        write(made, found, Path(scratch), output)
        for name in FILES:
            # A film left by an earlier summary would show another video, so it is removed.
            if name in made.files or name == DATA:
                os.replace(Path(scratch) / name, output / name)
            else:
                (output / name).unlink(missing_ok=True)
    return made


def make_folder(output: Path) -> Path:
    """Create the folder to write to. Called late, so that a failed request leaves no empty folder."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        # Known now, not after an hour of work on a video of a folder.
        with tempfile.TemporaryFile(dir=output):
            pass
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--output {output} is a file; give a folder") from None
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}; give another folder") from error
    return output


def rounded(values: np.ndarray) -> list[float]:
    return [round(value, 6) for value in np.asarray(values, np.float64).tolist()]


def write(made: Summary, found: Found, folder: Path, home: Path) -> None:
    """Write all files of the summary into `folder`, from where they will move to `home`."""
    thumbnails: dict[float, np.ndarray] = {}
    if found.media:
        rate = found.media.rate
        parts = [(round(segment.start_s * rate), round(segment.end_s * rate)) for segment in made.segments]
        clips.cut(found.media, parts, folder / VIDEO)
        for shot in picture.numbered_shots(made.shots):
            image = clips.thumbnail(found.media, (shot.start_s + shot.end_s) / 2, picture.THUMBNAIL_HEIGHT)
            # A truncated file has no picture for its last shots. The others keep their thumbnails.
            thumbnails |= {} if image is None else {shot.start_s: image}
    (folder / CAPTIONS).write_text(vtt.captions(made), encoding="utf-8")
    picture.draw(made, thumbnails, folder / PICTURE)
    original = found.media.path if found.media else None
    (folder / PAGE).write_text(page.summary_page(made, thumbnails, original, home), encoding="utf-8")
    (folder / DATA).write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")


def lines_of(made: Summary) -> Iterator[str]:
    """What a person is told of a summary: how it was made, its highlight, and what was written."""
    yield page.told(made)
    if best := made.highlight:
        yield f"highlight: {best.start_s:g} to {best.end_s:g} s (above {best.threshold:g})"
    for written in made.written:
        span = "" if written.start_s is None else f"{written.start_s:g} to {written.end_s:g} s: "
        yield f"{span}{written.text}"
