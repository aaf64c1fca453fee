import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.stages.web.fetch import AGENT, read_robots


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
        ("\ufeffUser-agent: *\nDisallow: /a", "/a", False),
        ("USER-AGENT: *\r\nDISALLOW: /a\r\n", "/a", False),
        ("User-agent: *\nSitemap: https://x.invalid/y\nDisallow: /a", "/a", False),
        ("User-agent: vsumdata\nDisallow: /a\n\nUser-agent: vsumdata\nDisallow: /b", "/a", False),
        ("User-agent: vsumdata\n\nUser-agent: *\nDisallow: /a", "/a", False),
        ("User-agent: data\nAllow: /\n\nUser-agent: *\nDisallow: /a", "/a", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
        ("User-agent: *\nDisallow: /%7ejoe", "/~joe/x", False),
        ("User-agent: *\nDisallow: /é", "/%C3%A9", False),
        ("User-agent: *\nDisallow: /a b", "/a%20b", False),
        ("User-agent: *\nDisallow: /a=b", "/a%3Db", False),
        ("User-agent: *\nDisallow: /a?b", "/a?b=c", False),
        ("User-agent: *\nDisallow: /a$b", "/a$b", False),
        ("User-agent: *\nDisallow: /*/edit", "/x/y/edit", False),
        ("User-agent: *\nDisallow: *a", "/ba", False),
        ("User-agent: *\nDisallow: /a%2Fb", "/a/b", True),
        ("User-agent: *\nDisallow: /" + "a*" * 500 + "b", "/" + "a" * 5000, True),
    ],
)
def test_robots_rules(rules, url, allowed):
    assert read_robots(rules).can_fetch(f"https://site.invalid{url}", AGENT) is allowed


@pytest.mark.parametrize(
    ("rules", "delay_s"),
    [
        ("User-agent: *\nCrawl-delay: 2.5\nDisallow: /x", 2.5),
        ("User-agent: other\nCrawl-delay: 9\n\nUser-agent: *\nCrawl-delay: 1", 1.0),
        ("User-agent: *\nCrawl-delay: 9\n\nUser-agent: vsumdata\nDisallow: /x", 0.0),
        ("User-agent: *\nCrawl-delay: soon", 0.0),
        ("User-agent: *\nCrawl-delay: -1", 0.0),
        ("User-agent: *\nCrawl-delay: inf", 0.0),
    ],
)
def test_crawl_delay(rules, delay_s):
    assert (read_robots(rules).crawl_delay(AGENT) or 0.0) == delay_s


@given(st.text(), st.text())
def test_arbitrary_rules_raise_nothing(text, path):
    rules = read_robots(f"User-agent: *\nDisallow: /{text}\n{text}")
    assert rules.can_fetch(f"https://site.invalid/{path}", AGENT) in (True, False)
