"""What is to be said of a published root, in sentences: the card shows them, and Croissant has fields for them.

The fields are the eight that NeurIPS asks for (Evaluations and Datasets track, 2026): limitations, biases, personal
information, use cases, social impact, synthetic data, sources and the activities that made the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vsumdata.datasets.publish.repository.about import About, Tally
from vsumdata.datasets.publish.repository.columns import FULL, LICENSED, LINKS, NONE

REPLAY = "YouTube's “most replayed” curve"


@dataclass(frozen=True)
class Statements:
    """The sentences on one publication, each list by its subject."""

    limitations: list[str]
    biases: list[str]
    personal: list[str]
    uses: list[str]
    impact: list[str]
    by_models: list[str]  # what in the data a model wrote, features aside
    is_synthetic: bool
    removal: list[str]


def statements(about: About, tally: Tally, text: str, contact: str) -> Statements:
    """The sentences that hold for these rows."""
    return Statements(
        limitations=limitations(about, tally, text),
        biases=biases(about, tally),
        personal=personal(text),
        uses=[
            "Training and comparing models that summarize videos or find their highlights, with text beside the "
            "pictures.",
            "It was not validated for anything else: not for judging people, channels or products, and not for "
            "identifying anyone.",
        ],
        impact=[
            "Public, documented data makes results in video summarization comparable.",
            "A summarizer that learns from replays learns what holds attention, not what is correct or safe; a summary "
            "of instructions may leave out a step that matters.",
            "People shown or heard in the videos were not asked. So no pictures and no sound are here, and rows are "
            "removed on request.",
        ],
        by_models=by_models(tally),
        # A transcript is what somebody said; a language model's summary is nobody's.
        is_synthetic=bool(tally.summaries.get("llm")),
        removal=[
            "Whoever made a video or an article, or is shown or named in one, may ask for the removal of its row. The "
            f"`video_id` is enough. Ask here: {contact}.",
            "The row is left out of the next version, and older versions are deleted where the host can.",
        ],
    )


def limitations(about: About, tally: Tally, text: str) -> list[str]:
    found = [
        "The videos themselves are not here: rebuilding needs them from their site, and some will be gone by then.",
        f"Importance is {REPLAY}, not a human's summary; {tally.videos - tally.with_replay:,} of {tally.videos:,} "
        "videos have no curve.",
        "Frames are features of one picture model at a fixed rate: what happens between two of them, and all sound but "
        "speech, is lost.",
    ]
    if about.is_random:
        found.insert(0, "The picture model has random weights: the frame features mean nothing.")
    if text != FULL:
        found.append("Texts that may not be passed on are left out; their embeddings are here.")
    if about.pending:
        found.append(f"The crawl had not ended; videos waited for their rows: {about.pending}.")
    if tally.speech.get("asr") or tally.speech.get("automatic"):
        found.append("Automatic captions and Whisper's transcripts have errors.")
    return found


def biases(about: About, tally: Tally) -> list[str]:
    found = [
        f"The videos are of chosen sources ({len(about.sources)}), no sample of a site.",
        "The picture, text and speech models bring what their own training data over- and under-represents.",
    ]
    if tally.with_replay:
        found.insert(
            1,
            f"{REPLAY} is made by the viewers that the site counts: it favours beginnings and spectacle.",
        )
    if (views := about.filters.get("min_views", "0")).isdecimal() and int(views):
        found.insert(1, f"Only videos with more than {views} views: popular ones, of popular channels.")
    if about.filters.get("require_heatmap") == "yes":
        found.append("Only videos with a curve: the site gives none to new or rarely seen videos.")
    # A site's word for a language may be anything.
    if spoken := [name for name, _ in tally.languages.most_common(3) if re.fullmatch(r"[A-Za-z-]{2,12}", name)]:
        found.append(f"Languages are those of the sources, mostly {', '.join(spoken)}.")
    return found


def personal(text: str) -> list[str]:
    found = [
        "No pictures, no sound, no faces, and no names or ids of channels as columns. `source` holds the sources that "
        "the collector named, which may be channels.",
        "A `video_id` or an address leads to the video's page, and with it to whoever published it.",
        "Features of frames and of sentences were computed of people's pictures and words. No attempt was made to "
        "identify anyone by them.",
    ]
    texts = {
        NONE: "There are no texts.",
        LINKS: "There are no texts.",
        LICENSED: "Titles, and the texts that go along, may name people or give contact addresses; they were not "
        "searched for these.",
        FULL: "Titles, descriptions, speech and articles may name people or give contact addresses; they were not "
        "searched for these.",
    }
    return [*found, texts[text]]


def by_models(tally: Tally) -> list[str]:
    found = []
    if tally.summaries.get("llm"):
        found.append(f"A language model wrote the summaries of {tally.summaries['llm']} videos.")
    if tally.speech.get("asr"):
        found.append(f"Whisper wrote the sentences of {tally.speech['asr']} videos from their sound.")
    return found


def derived_from(about: About) -> list[dict[str, Any]]:
    """The sources, as PROV entities."""
    return [{"@type": "prov:Entity", "prov:label": source, **address(source)} for source in about.sources]


def address(source: str) -> dict[str, str]:
    """The page of a source that is a channel."""
    kind, _, name = source.partition(":")
    if kind != "channel":
        return {}
    return {"url": name if "://" in name else f"https://www.youtube.com/{name}"}


def activities(about: About) -> list[dict[str, Any]]:
    """What made the data, as PROV activities."""
    agent = {"@type": "prov:SoftwareAgent", "prov:label": f"vsumdata {about.versions.get('vsumdata', '')}".strip()}
    models = ", ".join(about.models.values())
    steps: Mapping[str, str] = {
        "Collection": f"Metadata, captions, articles and media of the listed sources were read: "
        f"{', '.join(about.sources)}. Kept were videos that fit the rules: {in_words(about.filters)}.",
        "Preprocessing": f"Frames, speech and texts became features ({in_words(about.settings)}; models: {models}).",
        "Annotation": f"No person annotated. The importance of a frame is {REPLAY} at its second.",
    }
    return [
        {"@type": "prov:Activity", "prov:label": label, "description": text, "prov:wasAssociatedWith": agent}
        for label, text in steps.items()
    ]


def in_words(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "none"
