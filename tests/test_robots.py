import pytest

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
