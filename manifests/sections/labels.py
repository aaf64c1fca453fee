"""The section `labels` of a manifest: how the tables of the group `labels` are made."""

from __future__ import annotations

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


class PseudoSummaries(Section):
    """TL;DW's pseudo-summaries."""


class Labels(Section):
    duplicates: Duplicates = Duplicates()
    quality: Quality = Quality()
    step_frames: StepFrames = StepFrames()
    pseudo_summaries: PseudoSummaries = PseudoSummaries()
