import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.stages.robots import read_robots


@pytest.mark.parametrize(
    ("rules", "url", "allowed"),
    [
        ("", "/a", True),
        ("User-agent: *\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow:", "/a", True),
        ("User-agent: other\nDisallow: /", "/a", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: VSUMDATA\nDisallow: /x", "/a", True),
        ("User-agent: other\nUser-agent: vsumdata # us\nDisallow: /a", "/a", False),
        ("User-agent: *\nDisallow: /x\n\nUser-agent: vsumdata/1.0\nDisallow: /a", "/a", False),
        ("User-agent: *\nDisallow: /*.php$", "/index.php", False),
        ("User-agent: *\nDisallow: /*.php$", "/index.php?a=1", True),
        ("User-agent: *\nDisallow: /*action=", "/A?b&action=edit", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "/a/b", True),
        ("User-agent: *\nDisallow: /Special%3AX", "/Special:X", False),
        ("User-agent: *\nDisallow: /a*b*c", "/abxcy", False),
        ("User-agent: *\nDisallow: /ab$", "/abc", True),
        ("nonsense\nDisallow: /", "/a", True),
    ],
)
def test_robots_rules(rules, url, allowed):
    assert read_robots(rules, "vsumdata").allows(f"https://site.invalid{url}") is allowed


@pytest.mark.parametrize(
    ("rules", "delay_s"),
    [
        ("User-agent: *\nCrawl-delay: 2.5\nDisallow: /x", 2.5),
        ("User-agent: other\nCrawl-delay: 9\n\nUser-agent: *\nCrawl-delay: 1", 1.0),
        ("User-agent: *\nCrawl-delay: 9\n\nUser-agent: vsumdata\nDisallow: /x", 0.0),
        ("User-agent: *\nCrawl-delay: soon", 0.0),
        ("User-agent: *\nCrawl-delay: -1", 0.0),
    ],
)
def test_crawl_delay(rules, delay_s):
    assert read_robots(rules, "vsumdata").delay_s == delay_s


@given(st.text(), st.text())
def test_arbitrary_rules_raise_nothing(text, path):
    rules = read_robots(f"User-agent: *\nDisallow: /{text}\n{text}", "vsumdata")
    assert rules.allows(f"https://site.invalid/{path}") in (True, False)
