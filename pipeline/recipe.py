"""The recipe: the ordered list of stages. READ THIS FIRST.

videos ──> articles ─────────┐
   ├─────> transcripts ──────┤
   └─────> frames ───────────┴──> features ──> summaries (only where asked for)
              ├──────> frame_captions ────────────┘
              └──────> thumbnails (only where asked for)
videos ──> audio (only where asked for)

The group `labels`, only where asked for: duplicates and quality are made of videos, transcripts and frames, and may
tell features which videos to leave out; step_times and pseudo_summaries are made of features, step_frames of articles
(whose pictures it fetches) and frames. segment_features sees the videos once more, where pseudo_summaries is to be
made of it.

To add a stage: write its row function (`vsumdata.stages.stage`), give its table a schema
(`vsumdata.manifests.tables`) and put it into the list below.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import MAX_SIMILARITY, SCORER, SCORER_LAYER, Manifest
from vsumdata.manifests.tables import PARSER_VERSION
from vsumdata.pipeline.stage_options import chat_options, clip_options, resources, segment_options, shot_options
from vsumdata.stages import audio, features
from vsumdata.stages.encoders.models import Models
from vsumdata.stages.encoders.s3d import SETTING
from vsumdata.stages.stage import ALL, PAGES, PICTURE, SOUND, VISITS, WHOLE, Later, Stage

# What `--stage` accepts beside single tables.
GROUPS = {
    "crawl": ("videos", "articles"),
    "asr": ("transcripts",),
    "features": ("frames", "features"),
    "summaries": ("frame_captions", "summaries"),
    "audio": ("audio",),
    "thumbnails": ("thumbnails",),
    "labels": ("duplicates", "quality", "step_times", "step_frames", "segment_features", "pseudo_summaries"),
}
# All tables, in the order in which they can be made.
ORDER = (
    *("videos", "articles", "transcripts", "frames", "duplicates", "quality", "features"),
    *("frame_captions", "summaries", "audio", "thumbnails", "step_times", "step_frames", "segment_features"),
    "pseudo_summaries",
)
# Nobody misses these tables of a root that has none.
EXTRA = GROUPS["summaries"] + GROUPS["audio"] + GROUPS["thumbnails"] + GROUPS["labels"]
# Fields of a source record: the video's own inputs, and the facts that YouTube would give for a channel's video.
OWN_RECORD = ("url", "video", "captions", "article", "article_url", "steps", "title", "description")
# What faster-whisper takes by a word in the model's name, with room for the sound.
SPEECH_GB = {"tiny": 1.0, "base": 1.0, "small": 2.0, "medium": 4.0, "large": 8.0, "turbo": 5.0}
# What a summary without a language model is made of.
JOINED = ("replay_score", "sentence", "sentence_feature", "step", "step_feature")
# What a small model takes; larger ones run on GPUs, whose memory Ray does not count.
LOCAL_MODEL_GB = 4.0
OWN_FACTS = ("view_count", "heatmap", "license")


def recipe(manifest: Manifest, models: Models) -> dict[str, Stage]:
    """Return the stages in order, by the table that each writes."""
    stages = [
        videos_stage(manifest),
        articles_stage(manifest),
        transcripts_stage(manifest, models),
        frames_stage(manifest, models),
        features_stage(manifest, models),
        frame_captions_stage(manifest, models),
        summaries_stage(manifest, models),
        audio_stage(manifest, models),
        thumbnails_stage(manifest),
        quality_stage(manifest, models),
        step_times_stage(manifest, models),
        step_frames_stage(manifest, models),
        segment_features_stage(manifest, models),
        *whole_stages(manifest, models),
    ]
    return dict(sorted(((stage.name, stage) for stage in stages), key=lambda entry: ORDER.index(entry[0])))


def videos_stage(manifest: Manifest) -> Stage:
    return Stage(
        name="videos",
        reads={"source": OWN_RECORD + OWN_FACTS},
        load=Later("videos"),
        # Counts up whenever the same answer or file may give another row, caption or outcome.
        version=2,
        options={"languages": manifest.captions.languages},
        batch=8,
        lane=VISITS,
        workers=manifest.crawl.workers,
        keeps=("info", "caption", "retrieved_at"),
        signal=Later("videos", "signal"),
    )


def articles_stage(manifest: Manifest) -> Stage:
    return Stage(
        name="articles",
        reads={"source": ("article", "article_url", "steps", "title"), "videos": ("article_url",)},
        load=Later("articles"),
        version=PARSER_VERSION,
        batch=8,
        lane=PAGES,
        workers=manifest.crawl.workers,
        keeps=("html", "url", "retrieved_at"),
    )


def transcripts_stage(manifest: Manifest, models: Models) -> Stage:
    return Stage(
        name="transcripts",
        reads={"source": ("video",), "videos": ("url", "caption", "language", "duration_s")},
        load=Later("transcripts"),
        # Counts up whenever the same captions or sound may give other sentences.
        version=3,
        fetch=Later("media", "fetch_sound"),
        needs=SOUND,
        options={
            **manifest.captions.model_dump(),
            "engine": manifest.asr.engine,
            "model": manifest.asr.model,
            "identity": models.asr.identity,
            "location": models.asr.location,
            # Whisper computes in int8 on CPUs and in float16 on GPUs. What `auto` found is in each part's metadata.
            "device": manifest.asr.device,
        },
        batch=4,
        memory_gb=next((size for name, size in SPEECH_GB.items() if name in manifest.asr.model), 2.0),
        **resources(manifest, "transcripts"),
    )


def frames_stage(manifest: Manifest, models: Models) -> Stage:
    settings = manifest.features
    return Stage(
        name="frames",
        reads={"source": ("video",), "videos": ("url", "duration_s")},
        load=Later("frames"),
        # Counts up whenever the same file may give other frames.
        version=2,
        fetch=Later("media", "fetch_picture"),
        needs=PICTURE,
        options={
            "fps": settings.fps,
            "sampling": settings.sampling,
            "hwaccel": settings.hwaccel,
            "precision": settings.precision,
            "clip_model": settings.clip.model,
            "clip_weights": settings.clip.weights,
            "clip_identity": models.clip.identity,
            "clip_location": models.clip.location,
            "frame_dim": models.clip.dim,
            # Only where they are asked for: rows of roots without them keep their fingerprint.
            **shot_options(manifest, models.shots),
        },
        memory_gb=2.0,
        **resources(manifest, "frames"),
    )


def features_stage(manifest: Manifest, models: Models) -> Stage:
    video = ("title", "source", "url", "license", "description", "duration_s", "heatmap", "article_url")
    # What `select` asks of these tables; the rules enter the fingerprint only where there are any.
    rules, judges = label_rules(manifest)
    # The table repeats columns of these two, so their settings are its own too. Else rows of two CLIP or speech models
    # would share a folder: while a run makes them again, and for good where two manifests use one root.
    repeated = (transcripts_stage(manifest, models), frames_stage(manifest, models))
    return Stage(
        name="features",
        reads={
            "videos": video,
            "articles": ("url", "title", "license", "step"),
            "transcripts": ("sentence",),
            "frames": ("frame_time_s", "frame_feature", "shot_start", "shot_stop"),
            **judges,
        },
        load=Later("features"),
        options={
            "text_model": manifest.features.text.model,
            "text_identity": models.text.identity,
            "text_location": models.text.location,
            "text_dim": models.text.dim,
            "frame_dim": models.clip.dim,
            "fps": manifest.features.fps,
            "split": manifest.features.split.model_dump(),
            **{stage.name: stage.settings() for stage in repeated},
            **rules,
        },
        batch=16,
        memory_gb=1.5,
        **resources(manifest, "features"),
    )


def label_rules(manifest: Manifest) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """The rules of `select` that features follow by tables of labels, and what they read of these."""
    select = manifest.select
    rules = {name: value for name in features.FAILS if (value := getattr(select, name)) is not None}
    reads = {"quality": tuple(features.FAILS[name][1] for name in rules)} if rules else {}
    if select.duplicates == "keep":
        return ({"select": rules} if rules else {}), reads
    return {"select": rules | {"duplicates": select.duplicates}}, reads | {"duplicates": ("is_best", "group", "kind")}


def frame_captions_stage(manifest: Manifest, models: Models) -> Stage:
    settings, frames = manifest.summaries, frames_stage(manifest, models)
    return Stage(
        name="frame_captions",
        reads={
            "source": ("video",),
            "videos": ("url", "duration_s"),
            "frames": ("frame_feature",),
        },
        load=Later("frame_captions"),
        fetch=Later("frame_captions", "fetch"),
        needs=PICTURE,
        options={
            **chat_options(settings.captioner, models.captioner),
            **{name: getattr(settings, name) for name in ("same", "picture_px", "min_duration_s", "max_duration_s")},
            # What decides which frame is the k-th, and how like two frames are.
            **{name: frames.options[name] for name in ("fps", "sampling", "clip_identity")},
        },
        memory_gb=0.5 if settings.captioner.local is None else LOCAL_MODEL_GB,
        **resources(manifest, "frame_captions"),
    )


def summaries_stage(manifest: Manifest, models: Models) -> Stage:
    settings = manifest.summaries
    is_llm = settings.method == "llm"
    made_of = (frame_captions_stage if is_llm else features_stage)(manifest, models)
    options = {
        "method": settings.method,
        "fps": manifest.features.fps,
        "model": None,
        **{name: getattr(settings, name) for name in ("min_duration_s", "max_duration_s", "max_ratio")},
    }
    # What makes the columns that are read, and no more: see `features_stage`.
    if is_llm:
        similarity, scorer = settings.similarity, models.scorer
        options |= {
            **chat_options(settings.writer, models.writer),
            **{name: getattr(settings, name) for name in ("share", "window")},
            "scorer": scorer.identity if scorer is not None else "",
            "scorer_location": scorer.location if scorer is not None else "",
            "scorer_layer": similarity.layer or (SCORER_LAYER if similarity.model == SCORER else None),
            "max_similarity": MAX_SIMILARITY if similarity.max is None else similarity.max,
            made_of.name: made_of.settings(),
        }
    else:
        options |= {
            **{name: getattr(settings, name) for name in ("min_replay", "most_sentences")},
            "text_identity": models.text.identity,
            "transcripts": transcripts_stage(manifest, models).settings(),
        }
    return Stage(
        name="summaries",
        reads={"videos": ("duration_s",), made_of.name: ("caption",) if is_llm else JOINED},
        load=Later("summaries"),
        options=options,
        batch=1 if is_llm else 16,
        # BERTScore's encoder, and the writer where it is local.
        memory_gb=is_llm * (2.0 + (settings.writer.local is not None) * LOCAL_MODEL_GB),
        **resources(manifest, "summaries"),
    )


def audio_stage(manifest: Manifest, models: Models) -> Stage:
    encoder = models.audio
    return Stage(
        name=audio.TABLE,
        reads={"source": ("video",), "videos": ("url", "duration_s")},
        load=Later("audio"),
        fetch=Later("media", "fetch_all_sound"),
        needs=SOUND,
        options={
            "audio_model": manifest.features.audio_model,
            "audio_identity": encoder.identity if encoder else "",
            "audio_location": encoder.location if encoder else "",
            "audio_dim": encoder.dim if encoder else 1,
        },
        batch=4,
        memory_gb=1.5,
        **resources(manifest, audio.TABLE),
    )


def thumbnails_stage(manifest: Manifest) -> Stage:
    return Stage(
        name="thumbnails",
        reads={"source": ("video",), "videos": ("url", "duration_s")},
        load=Later("thumbnails"),
        fetch=Later("media", "fetch_picture"),
        needs=PICTURE,
        batch=4,
        memory_gb=0.5,
        # Workers of the same kind as those of `frames`: others would have to start and end in turns with them.
        **resources(manifest, "frames"),
    )


def quality_stage(manifest: Manifest, models: Models) -> Stage:
    return Stage(
        name="quality",
        reads={
            "videos": ("duration_s",),
            "transcripts": ("sentence", "speech_s"),
            "frames": ("frame_feature",),
        },
        load=Later("labels.quality"),
        options={
            **manifest.labels.quality.model_dump(),
            "frame_dim": models.clip.dim,
            **clip_options(manifest, models),
            **measured(manifest, models),
        },
        batch=16,
        memory_gb=1.0,
        **resources(manifest, "quality"),
    )


def step_times_stage(manifest: Manifest, models: Models) -> Stage:
    columns = ("sentence", "sentence_feature", "step", "step_feature", "frame_feature")
    return Stage(
        name="step_times",
        reads={"features": columns},
        load=Later("labels.step_times"),
        options={
            "text_identity": models.text.identity,
            **clip_options(manifest, models),
            **measured(manifest, models),
        },
        batch=16,
        memory_gb=1.0,
        **resources(manifest, "step_times"),
    )


def step_frames_stage(manifest: Manifest, models: Models) -> Stage:
    settings, features, found = manifest.labels.step_frames, manifest.features, models.pictures
    options = {
        **settings.model_dump(exclude={"weights"}),
        **{name: getattr(features, name) for name in ("fps", "precision")},
        **clip_options(manifest, models),
        "picture_dim": models.clip.dim,
    }
    reads = {"articles": ("step", "license"), "frames": ("frame_time_s", "frame_feature", "shot_start", "shot_stop")}
    kind: dict[str, Any] = {"lane": PAGES, "workers": manifest.crawl.workers}
    if found is not None:
        # Another network sees the video once more.
        names = {"clip_model": settings.model, "clip_weights": settings.weights, "clip_identity": found.identity}
        options |= names | {"clip_location": found.location, "picture_dim": found.dim}
        options |= {name: getattr(features, name) for name in ("sampling", "hwaccel")}
        reads |= {"source": ("video",), "videos": ("url", "duration_s")}
        kind = {"needs": PICTURE, "fetch": Later("media", "fetch_picture"), **resources(manifest, "frames")}
    load = Later("labels.step_frames")
    return Stage(name="step_frames", reads=reads, load=load, options=options, batch=8, memory_gb=1.5, **kind)


def segment_features_stage(manifest: Manifest, models: Models) -> Stage:
    return Stage(
        name="segment_features",
        reads={"source": ("video",), "videos": ("url", "duration_s"), "transcripts": ("sentence",)},
        load=Later("labels.segment_features"),
        fetch=Later("media", "fetch_picture"),
        needs=PICTURE,
        options={
            **segment_options(manifest, models.segments),
            "hwaccel": manifest.features.hwaccel,
            "transcripts": transcripts_stage(manifest, models).settings(),
        },
        memory_gb=2.0,
        **resources(manifest, "frames"),
    )


def whole_stages(manifest: Manifest, models: Models) -> list[Stage]:
    """Tables that are made of all videos at once."""
    # Of CLIP's frames, or of what S3D saw where its weights are named.
    shown = {"features": ("title", "task", "article_url", "frame_feature"), "quality": ("spoken_feature",)}
    network = clip_options(manifest, models)
    if manifest.labels.segment_features.weights is not None:
        shown = {"features": (*shown["features"][:3], "frame_time_s")}
        shown |= {"segment_features": ("segment_feature", "spoken_feature")}
        network = segment_options(manifest, models.segments)
    made_of = ("source_id", "url", "title", "duration_s", "view_count", "heatmap")
    return [
        Stage(
            name="duplicates",
            reads={"videos": made_of, "transcripts": ("sentence",), "frames": ("frame_feature",), ALL: ()},
            load=Later("labels.duplicates"),
            options=manifest.labels.duplicates.model_dump() | measured(manifest, models),
            lane=WHOLE,
        ),
        Stage(
            name="pseudo_summaries",
            reads={**shown, ALL: ()},
            load=Later("labels.pseudo_summaries"),
            options=manifest.labels.pseudo_summaries.model_dump()
            | measured(manifest, models)
            | {"text_identity": models.text.identity, "text_location": models.text.location}
            | network,
            lane=WHOLE,
        ),
    ]


def measured(manifest: Manifest, models: Models) -> dict[str, Any]:
    """What made transcripts and frames, for tables that read their columns: see `features_stage`."""
    made = (transcripts_stage(manifest, models), frames_stage(manifest, models))
    return {"fps": manifest.features.fps} | {stage.name: stage.settings() for stage in made}


def media_stage(manifest: Manifest) -> Stage:
    """Return the visit that brings the media of videos whose metadata is known already; it makes no table."""
    return Stage(
        name="media",
        reads={"source": ("video",), "videos": ("url", "caption", "language", "duration_s")},
        load=Later("media", "fetch_ahead"),
        options=manifest.captions.model_dump(),
        lane=VISITS,
        workers=manifest.crawl.workers,
        is_visit=True,
    )


def parse_stages(text: str) -> list[str]:
    """Read `--stage`: groups or single tables, as tables in the recipe's order. Raises UsageError."""
    wanted: set[str] = set()
    for word in (part.strip() for part in text.split(",")):
        if word not in GROUPS and word not in ORDER:
            known = [*GROUPS, *(table for table in ORDER if table not in GROUPS)]
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise UsageError(f"--stage: no stage `{word}`; {hint}known are: {', '.join(known)}")
        wanted.update(GROUPS.get(word, (word,)))
    return [table for table in ORDER if table in wanted]


def wanted_tables(tables: Sequence[str], manifest: Manifest) -> list[str]:
    """The tables of `parse_stages` that this manifest can make.

    A summary by steps or sentences needs no captions, a pseudo-summary no S3D. Raises UsageError where captions or
    S3D's features were asked for by themselves, or features of sound without an encoder.
    """
    if audio.TABLE in tables and manifest.features.audio_model is None:
        raise UsageError(f"{audio.TABLE} needs an encoder: --set features.audio_model={audio.USUAL}")
    if "features" in tables:
        # What `select` asks of these tables must be known first.
        judges = label_rules(manifest)[1]
        tables = [table for table in ORDER if table in tables or table in judges]
    if "segment_features" in tables and manifest.labels.segment_features.weights is None:
        if "pseudo_summaries" not in tables:
            raise UsageError(f"segment_features needs S3D's weights: --set {SETTING}=FOLDER (or for a trial seed:0)")
        tables = [table for table in tables if table != "segment_features"]
    name = "frame_captions"
    if name not in tables or manifest.summaries.captioner.is_given:
        return list(tables)
    if "summaries" in tables:
        return [table for table in tables if table != name]
    raise UsageError(f"{name} needs a model: --set summaries.captioner.endpoint=URL (and .model), or .local=NAME")
