"""The section `labels` of a manifest: how the tables of the group `labels` are made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vsumdata.manifests.sections.section import Section


class Duplicates(Section):
    """When two videos count as one."""

    title_s: float = Field(
        2, ge=0, description="videos of one title are one where their lengths differ by no more (seconds)"
    )
    min_frames: float = Field(
        0.83,
        gt=0,
        le=1,
        description="least correlation of their frames in the course of time; a cut of a video needs .05 more, one "
        "with few changes .95",
    )
    min_words: float = Field(
        0.6, gt=0, le=1, description="least share of the shorter transcript's runs of words that the other has"
    )


class Quality(Section):
    """What the columns of `quality` count."""

    still: float = Field(
        0.98,
        gt=0,
        le=1,
        description="a frame whose cosine with the one before is this or more counts as standing still",
    )


class StepFrames(Section):
    """How an article's pictures are fetched and matched."""

    model: Literal["clip", "resnet50"] = Field(
        "clip",
        description="compares pictures and frames: clip, what `features.clip` names, by the features that are there; "
        "resnet50, as in the paper, by frames that are decoded again",
    )
    weights: str = Field("imagenet", description="of resnet50: imagenet, a path or seed:N")
    max_pictures: int = Field(64, ge=1, description="pictures of one article that are fetched; the first ones")
    max_picture_mb: float = Field(10, gt=0, description="largest picture or clip (MB); a larger one is left out")
    hosts: list[str] = Field(
        [], description="hosts that pictures of your own articles may come from, beside those of wikiHow and eHow"
    )
    keep_pictures: bool = Field(False, description="keep the files in `picture_file`; their licence is yours to check")
    min_confidence: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="a picture is shown if it fits its frame better; 0: as half of the frames, 1: the same",
    )
    margin: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="frames beside it in its shot show the picture, too, if they fit less well by no more",
    )


class SegmentFeatures(Section):
    """The network of `segment_features`; `pseudo_summaries` is made of them where it is named."""

    weights: str | None = Field(
        None,
        min_length=1,
        description="S3D's of MIL-NCE: a folder with s3d_howto100m.pth and s3d_dict.npy, the first file beside the "
        "second, or seed:N; null: `pseudo_summaries` is made of CLIP's frames",
    )


class PseudoSummaries(Section):
    """TL;DW's pseudo-summaries."""

    segment_s: float = Field(
        4, gt=0, description="length of a segment (seconds); TL;DW: 32 frames at 8 fps; of S3D always these"
    )
    merge: float = Field(
        0.9, ge=0, le=1, description="a segment joins the step before it above this share of the video's largest cosine"
    )
    choice: Literal["share", "max"] = Field(
        "share",
        description="what is chosen. `share`: the best segments, up to a share of the time (the paper); `max`: steps "
        "that reach `least` of the largest score (the public code)",
    )
    share: float = Field(0.55, gt=0, le=1, description="share of the time that `choice: share` fills")
    least: float = Field(0.85, gt=0, le=1, description="share of the video's largest score that `choice: max` asks for")
    titles_alike: float = Field(
        0.85,
        gt=0,
        le=1,
        description="videos without an article have one task where the cosine of their titles is this or more; 1: only "
        "equal titles",
    )
    compat: bool = Field(
        False,
        description="repeat the public code: largest similarity by rows, sums instead of means for the task, a last "
        "step of one segment left out; its choice is `choice: max`",
    )


class Labels(Section):
    duplicates: Duplicates = Duplicates()
    quality: Quality = Quality()
    step_frames: StepFrames = StepFrames()
    segment_features: SegmentFeatures = SegmentFeatures()
    pseudo_summaries: PseudoSummaries = PseudoSummaries()
