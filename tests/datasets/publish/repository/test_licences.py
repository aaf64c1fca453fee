"""Which stated licences let a text be passed on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.datasets.publish.repository.licences import licence_of

SHARED = [
    ("CC BY-NC-SA 3.0", "cc-by-nc-sa-3.0", "https://creativecommons.org/licenses/by-nc-sa/3.0/"),
    ("cc-by-4.0", "cc-by-4.0", "https://creativecommons.org/licenses/by/4.0/"),
    ("https://creativecommons.org/licenses/by-sa/4.0/deed.de", "cc-by-sa-4.0", None),
    ("Creative Commons Attribution license (reuse allowed)", "cc", None),
    ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "cc-by-nc-sa-4.0", None),
    ("CC  BY 4.0 International", "cc-by-4.0", None),
    ("CC0", "cc0-1.0", None),
    ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0", None),
    ("Public Domain", "other", None),
]


@pytest.mark.parametrize(("stated", "hub_id", "url"), SHARED)
def test_what_may_be_passed_on(stated: str, hub_id: str, url: str | None) -> None:
    found = licence_of(stated)
    assert (found.may_be_shared, found.hub_id) == (True, hub_id)
    assert url in (None, found.url)
    assert licence_of(found.name) == found, "its short name is a statement, too"


@pytest.mark.parametrize(
    "stated",
    [
        None,
        "",
        "Standard YouTube License",
        "All rights reserved, not CC BY 4.0",
        "CC BY-ND 4.0",
        "Creative Commons Attribution-NoDerivatives 4.0 International",
        "ask me; CC0 for friends",
        "Apache-2.0",
        "🥚",
    ],
)
def test_what_may_not(stated: str | None) -> None:
    assert not licence_of(stated).may_be_shared


WORDS = st.sampled_from(
    "cc by nc sa nd - 4.0 / creative commons attribution not licence creativecommons.org CC0 é".split()
)


@given(st.one_of(st.text(), st.lists(WORDS, max_size=30).map(" ".join), st.lists(WORDS, max_size=30).map("".join)))
def test_any_text_is_a_licence_or_none(stated: str) -> None:
    found = licence_of(stated)
    assert found.name
    assert "\n" not in found.name
    if found.may_be_shared:
        assert "not" not in stated.split()
        assert "nd" not in found.name.lower().split("-")


def test_an_unknown_licence_keeps_its_words() -> None:
    assert licence_of("  Ask\nZoë ").name == "Ask Zoë"
    assert licence_of(None).name == "none stated"
