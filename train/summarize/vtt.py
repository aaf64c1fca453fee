"""summary.vtt: the sentences of the summary's segments as WebVTT captions, on the summary's clock."""

from __future__ import annotations

import html

from vsumdata.train.summarize.summary import Segment, Sentence, Summary, Written

# A piece of a sentence that is shown for less than this only flickers.
LEAST_S = 0.3
MILLISECOND = 0.001


def captions(summary: Summary) -> str:
    """The text of the file. Key sentences have the class `key`; a note at the top lists those of the whole video.

    A text that a model wrote is a note as well, and those of its sentences that tell of frames are cues of class
    `summary` while a segment shows them.
    """
    blocks = ["WEBVTT"]
    if summary.written:
        blocks.append("\n".join(["NOTE The summary in words", *(plain(each.text) for each in summary.written)]))
    if key := [sentence for sentence in summary.sentences if sentence.chosen]:
        listed = [f"{clock(sentence.start_s)} {plain(sentence.text)}" for sentence in key]
        blocks.append("\n".join(["NOTE Key sentences of the whole video, and when they are said there", *listed]))
    for segment in summary.segments:
        blocks += [cue for sentence in summary.sentences if (cue := cue_of(sentence, segment))]
        blocks += [cue for each in summary.written if (cue := cue_of_written(each, segment))]
    return "\n\n".join(blocks) + "\n"


def cue_of(sentence: Sentence, segment: Segment) -> str | None:
    """The cue for the part of a sentence inside a segment; None if there is none, or if it would only flicker."""
    start_s, end_s = max(sentence.start_s, segment.start_s), min(sentence.end_s, segment.end_s)
    whole = start_s == sentence.start_s and end_s == sentence.end_s
    # A whole sentence stays however short it is, but WebVTT counts in milliseconds and a cue must not end at its start.
    if end_s - start_s < (2 * MILLISECOND if whole else LEAST_S):
        return None
    shift_s = segment.at_s - segment.start_s
    text = plain(sentence.text)
    return f"{clock(start_s + shift_s)} --> {clock(end_s + shift_s)}\n" + (
        f"<c.key>{text}</c>" if sentence.chosen else text
    )


def cue_of_written(written: Written, segment: Segment) -> str | None:
    """The cue for the part of a written sentence's span inside a segment; None if there is none."""
    if written.start_s is None or written.end_s is None:
        return None
    start_s, end_s = max(written.start_s, segment.start_s), min(written.end_s, segment.end_s)
    if end_s - start_s < LEAST_S:
        return None
    shift_s = segment.at_s - segment.start_s
    return f"{clock(start_s + shift_s)} --> {clock(end_s + shift_s)}\n<c.summary>{plain(written.text)}</c>"


def plain(text: str) -> str:
    """One line without markup."""
    # `>` is escaped too: a player would read a line with "-->" as the times of a cue. A blank line would end the cue.
    return html.escape(" ".join(text.split()), quote=False)


def clock(time_s: float) -> str:
    """Seconds as HH:MM:SS.mmm."""
    total_ms = round(time_s * 1000)
    seconds, milliseconds = divmod(total_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"
