"""The table of yt-dlp's messages, on messages that people have seen."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from tests.stages.youtube.message_kit import SEEN

from vsumdata.manifests import tables
from vsumdata.stages.youtube.messages import MESSAGES, NO_ANSWER, REMEDIES, classify, normalised

FINAL = {"private", "members_only", "age_restricted", "region", "removed", "live", "upcoming", "no_formats"}
NOT_FINAL = sorted({message for message, kind, _ in SEEN if kind not in FINAL})


@pytest.mark.parametrize(("message", "kind"), [seen[:2] for seen in SEEN])
def test_messages_that_were_seen(message: str, kind: str) -> None:
    assert classify(message) == kind
    assert classify(message.replace("'", "’")) == classify(message.replace("’", "'")) == kind
    assert classify(f"\x1b[0;31mERROR:\x1b[0m {message.upper()}") == kind
    assert classify("  " + message.replace(" ", "\u00a0 \n")) == kind


def test_the_table_has_a_source_in_each_row_and_no_row_in_vain() -> None:
    assert len({message for message, _, source in SEEN if source != "made up"}) >= 60
    assert all(row.source for row in MESSAGES)
    assert {row.kind for row in MESSAGES} <= tables.REASONS | set(REMEDIES) | {NO_ANSWER}
    # Each row is the first one for a message that was seen.
    used = {next((row for row in MESSAGES if re.search(row.pattern, normalised(text))), None) for text, _, _ in SEEN}
    assert [row.pattern for row in MESSAGES if row not in used] == []


@pytest.mark.parametrize(
    "more", [" on this app", " in your network", " right now", ". Please try again", "!?", " to you"]
)
def test_removed_is_said_by_exact_sentences_only(more: str) -> None:
    for sentence in ("This video is unavailable", "This video is not available"):
        assert classify(f"Video unavailable. {sentence}") == classify(f"{sentence}.") == "removed"
        assert classify(f"Video unavailable. {sentence}{more}") == "unavailable"
        assert classify(f"{sentence}{more}") != "removed"


@with_settings(deadline=None)
@given(st.text(), st.sampled_from(["", "Video unavailable. ", "ERROR: [youtube] abcdefghijk: "]))
def test_what_nobody_has_seen_is_not_final(message: str, head: str) -> None:
    kind = classify(head + message)
    assert kind in tables.REASONS | set(REMEDIES) | {NO_ANSWER}
    known = any(re.search(row.pattern, normalised(head + message)) for row in MESSAGES if row.kind in FINAL)
    assert known or kind not in FINAL


@with_settings(deadline=None)
@given(st.sampled_from(NOT_FINAL), st.text(alphabet=st.characters(categories=["L", "Zs", "N"]), max_size=30))
def test_trouble_with_more_words_behind_it_stays_trouble(message: str, more: str) -> None:
    assert classify(f"{message} {more}") not in FINAL - {"no_formats"}
