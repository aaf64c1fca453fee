"""`vsumdata summarize`: keyshots and key sentences of one video, as film, captions, picture and JSON."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program, ffmpeg_version
from vsumdata.train.loop import runs
from vsumdata.train.loop.predict import Prediction, TextTask, predict, shown_text, text_of
from vsumdata.train.loop.runs import Trained
from vsumdata.train.summarize import clips, highlights, picture, summary, vtt
from vsumdata.train.summarize.featurize import Found, Kind, Recipe, kind_of, of_file, of_root
from vsumdata.train.summarize.summary import Highlight, Summary

# What the user asks for -> what the model is asked to write.
TASKS: dict[str, TextTask | None] = {"video": None, "text": "t", "both": "b"}
FILES = VIDEO, CAPTIONS, PICTURE, DATA = ("summary.mp4", "summary.vtt", "summary.png", "summary.json")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `vsumdata summarize`.

    `video` is a media file, or a video_id of `root` (by default the run's own root). `budget` is the summary's share of
    the video. `captions` belong to a media file; without them the run's speech model listens. `text` is the text that
    the model is shown, by default as in training. `device` is auto, cpu or cuda. `highlight` is the threshold of the
    one best stretch, or auto: tuned on the run's validation videos. `task` is video, or what a language model writes
    as well: text, or both (a text that refers to frames).
    """

    video: str
    checkpoint: str
    output: str = "out"
    root: str | None = None
    budget: float = 0.15
    captions: str | None = None
    text: str | None = None
    device: str = "auto"
    highlight: str | None = None
    task: str = "video"


def summarize(request: Request, recipe: Recipe) -> Summary:
    """Write FILES into the folder `request.output`, all together at the end. Returns the content of summary.json.

    `recipe` gives the stages that make the features of a media file. Without the media file, `summarize` writes no
    summary.mp4. Raises UsageError with the remedy for a request that cannot be fulfilled.
    """
    _checked(request)
    device = _device(request.device)
    trained = shown_text(runs.load(request.checkpoint, device), request.text)
    if request.task != "video" and not hasattr(trained.model, "write"):
        raise UsageError(f"--task {request.task}: {trained.settings.method} writes no text; v2xum does")
    kind = kind_of(trained.info.origin, trained.path)
    found = _find(request, kind, recipe, trained, device)
    prediction = next(predict(trained, [found.video], words=TASKS[request.task]))
    made = describe(found, prediction, trained, kind, request.budget)
    if request.task != "video":
        end_s = np.append(found.video.frame_time_s, made.duration_s)
        written = summary.written_of(prediction.summary, end_s, kind.fps)
        made = made.model_copy(update={"task": request.task, "written": written})
    if request.highlight is not None:
        made = made.model_copy(update={"highlight": highlight_of(made, highlights.tuned(request.highlight, trained))})
    output = _folder(request.output)
    # In the same folder, because a rename is atomic within one file system only.
    with tempfile.TemporaryDirectory(dir=output, prefix=".summary-") as folder:
        write(made, found, Path(folder))
        for name in FILES:
            # A film left by an earlier summary would show another video, so it is removed.
            if name in made.files or name == DATA:
                os.replace(Path(folder) / name, output / name)
            else:
                (output / name).unlink(missing_ok=True)
    return made


def _checked(request: Request) -> None:
    """Raise UsageError for a wrong request before any work is done."""
    if not 0 < request.budget <= 1:
        raise UsageError(f"--budget {request.budget:g} is no share of the video; give one above 0 and up to 1")
    if request.task not in TASKS:
        raise UsageError(f"--task {request.task}: it is one of {', '.join(TASKS)}")
    if request.highlight not in (None, "auto"):
        highlights.checked(str(request.highlight))
    if request.captions and not _is_file(request):
        raise UsageError(f"--captions is for a media file; {request.video} has its text in its root")
    if Path(request.output).is_file():
        raise UsageError(f"--output {request.output} is a file; give a folder")


def _folder(path: str) -> Path:
    """Create the folder to write to. Called late, so that a failed request leaves no empty folder."""
    output = Path(path)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--output {output} is a file; give a folder") from None
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}") from error
    return output


def _is_file(request: Request) -> bool:
    """Whether `video` is a media file. With --root it is always an id."""
    return request.root is None and Path(request.video).exists()


def _device(name: str) -> str:
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {name}: it is one of auto, cpu, cuda")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return "cuda" if name != "cpu" and there else "cpu"


def _find(request: Request, kind: Kind, recipe: Recipe, trained: Trained, device: str) -> Found:
    if _is_file(request):
        # A broken ffmpeg is an error now. Otherwise it would look as if the video could not be read.
        ffmpeg_version(ffmpeg_program())
        return of_file(request.video, request.captions, kind, recipe, shown=text_of(trained), device=device)
    origin = trained.info.origin
    root = request.root or origin.features_root or origin.path
    if not request.root and not Path(root).exists() and "://" not in root:
        raise UsageError(f"{request.video}: there is no such file; for a video_id give its root with --root")
    # A name with a folder or an extension is a mistyped file. "No such video in the root" would mislead.
    if not request.root and ("/" in request.video or Path(request.video).suffix):
        raise UsageError(f"{request.video}: there is no such file")
    return of_root(request.video, root, kind)


def describe(found: Found, prediction: Prediction, trained: Trained, kind: Kind, budget: float) -> Summary:
    """The summary of one video."""
    video, rule = found.video, summary.rule_of(budget)
    score = prediction.frame_score
    chosen, selection = summary.choose(score, video, rule)
    duration_s = found.media.info.duration_s if found.media else video.duration_s
    time_s = summary.boundaries(len(score), kind.fps, duration_s, float(found.media.rate) if found.media else None)
    shots = summary.shots_of(video, score, chosen, time_s)
    segments = summary.segments_of(shots)
    # A model that is shown only the global text scores that text, and no sentence.
    from_model = prediction.sentence_score if text_of(trained) in ("subtitles", "both") else None
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
        method=trained.settings.method,
        checkpoint=str(trained.path),
        text=text_of(trained),
        features=kind.names,
        files=[name for name in FILES[:-1] if found.media or name != VIDEO],
        remarks=remarks_on(found, trained, selection),
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


def remarks_on(found: Found, trained: Trained, selection: str) -> list[str]:
    """What a reader must know before trusting the summary."""
    remarks = [*trained.info.notes, *found.remarks]
    if selection == "window":
        remarks.append("no shot fits into the budget, so the summary is the best stretch of that length")
    if not found.video.sentence and text_of(trained) in ("subtitles", "both"):
        remarks.append("no sentences are known: the model scored the video by its frames alone")
    # The run's notes and the video's remarks may agree, as on random CLIP weights.
    return list(dict.fromkeys(remarks))


def rounded(values: np.ndarray) -> list[float]:
    return [round(value, 6) for value in np.asarray(values, np.float64).tolist()]


def write(made: Summary, found: Found, folder: Path) -> None:
    """Write all files of the summary into `folder`."""
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
    (folder / DATA).write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")
