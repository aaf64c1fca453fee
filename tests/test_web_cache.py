from vsumdata.stages.web_cache import WebCache, decode_html


def test_a_remote_root_has_no_cache():
    assert WebCache("s3://bucket/root").read("https://www.wikihow.com/A") is None


def test_pages_are_decoded_by_what_fits():
    assert decode_html("é".encode(), "text/html; charset=iso-8859-1") == "é"
    assert decode_html("é".encode("latin-1"), "text/html; charset=iso-8859-1") == "é"
    assert decode_html('<meta charset="windows-1251">я'.encode("cp1251")).endswith("я")
    assert isinstance(decode_html(b"\xff\xfe\x00\xd8", "text/html; charset=nonsense"), str)
