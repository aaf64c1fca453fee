"""Lists in every format that people publish or write them in: encodings, separators, quotes, arrays, plain text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.manifests.errors import ManifestError
from vsumdata.manifests.lists.formats import entries
from vsumdata.manifests.manifest import load
from vsumdata.manifests.sources import Record, read_list, read_lists

A, B, C = "aaaaaaaaaaa", "-bbbbbbbbb_", "ccccccccccc"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]  # all but the first begin with a mark


def ids(path: Path, column: str | None = None) -> list[tuple[int, str, str | None]]:
    found = read_list(path, "ids:list", own_files=False, id_column=column)
    return [(number, record.video_id, record.title) for number, record in found]


def mistakes(path: Path, column: str | None = None, *, own_files: bool = False) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        list(read_list(path, "ids:list", own_files=own_files, id_column=column))
    return str(caught.value).replace(f"{path}:", "").splitlines()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.jsonl", f'{{"video_id": "{A}", "title": "Tée"}}\r\n{{"youtube_id": "{B}", "title": "Two"}}\r\n'),
        ("list.json", f'[{{"video_id": "{A}", "title": "Tée"}},\r\n{{"youtube_id": "{B}", "title": "Two"}}]\r\n'),
        ("list.csv", f"youtube_id,title\r\n{A},Tée\r\n{B},Two\r\n"),
        ("list.tsv", f"title\tyoutube_id\nTée\t{A}\nTwo\t{B}\n"),
    ],
)
def test_a_list_reads_the_same_in_every_encoding(
    tmp_path: Path, name: str, text: str, encoding: str, packed: bool
) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    body = text.encode(encoding)
    path.write_bytes(gzip.compress(body) if packed else body)
    assert [row[1:] for row in ids(path)] == [(A, "Tée"), (B, "Two")]


def test_a_mark_in_the_middle_of_joined_files_is_no_part_of_a_line(tmp_path: Path) -> None:
    lines = [f'{{"video_id": "{one}"}}\n'.encode("utf-8-sig") for one in (A, B)]
    (tmp_path / "list.jsonl").write_bytes(b"".join(lines))
    assert [row[1] for row in ids(tmp_path / "list.jsonl")] == [A, B]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_ones_own_list_may_have_a_mark_too(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "videos.jsonl").write_text('{"video": "talk.mp4"}\n', encoding=encoding)
    (tmp_path / "mine.yaml").write_text("sources: [{files: videos.jsonl}]")
    (record,), _ = read_lists(load(str(tmp_path / "mine.yaml")))
    assert record.video == str(tmp_path.resolve() / "talk.mp4")


# CSV


def test_a_data_sets_own_names_are_not_taken_for_ids(tmp_path: Path) -> None:
    """The columns of Mr. HiSum's and MoSu's metadata."""
    (tmp_path / "metadata.csv").write_text(
        "video_id,yt8m_file,random_id,youtube_id,duration,views,labels\n"
        f'video_1,train0093,AbCd,{A},120,56000,"[1, 2]"\nvideo_2,train0094,EfGh,{B},200,78000,[3]\n',
        encoding="utf-8-sig",
    )
    assert [row[1] for row in ids(tmp_path / "metadata.csv")] == [A, B]
    (tmp_path / "list.jsonl").write_text(json.dumps({"video_id": "video_1", "youtube_id": A}))
    assert [row[1] for row in ids(tmp_path / "list.jsonl")] == [A]


def test_an_empty_better_column_gives_way_to_the_other(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text(json.dumps({"video_id": A, "youtube_id": None}))
    (tmp_path / "list.csv").write_text(f"youtube_id,video_id\n,{A}\n")
    assert [row[1] for row in ids(tmp_path / "list.jsonl") + ids(tmp_path / "list.csv")] == [A, A]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "header", ["video_id", "Video_ID", " VIDEO ID ", "Video-Id", '"video_id"', "videoId", "YouTubeID"]
)
def test_separators_and_spellings_of_the_header(tmp_path: Path, separator: str, header: str) -> None:
    rows = [["Title", header, "note"], ['"One, two; three"', A, ""], ["Four", f" {B} ", "x"]]
    (tmp_path / "list.csv").write_text("\n".join(separator.join(row) for row in rows))
    assert ids(tmp_path / "list.csv") == [(2, A, "One, two; three"), (3, B, "Four")]


def test_titles_may_have_line_breaks_quotes_and_separators(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(
        f'title,video_id\r\n"Tie, ""fast"",\r\na knot\r\n\r\n",{A}\r\n\r\nThen,{B}\r\nwrong,x\r\n'.encode()
    )
    assert mistakes(tmp_path / "list.csv") == [
        "8: video_id: 'x' is no YouTube id (11 letters, digits, `-`, `_`); if the ids stand in another column, name it "
        "in the manifest: `id_column`"
    ]
    text = (tmp_path / "list.csv").read_bytes().replace(b"wrong,x\r\n", b"")
    (tmp_path / "list.csv").write_bytes(text)
    assert ids(tmp_path / "list.csv") == [(2, A, 'Tie, "fast",\r\na knot'), (7, B, "Then")]


@pytest.mark.parametrize("column", ["yt", "YT", "video"])
def test_the_manifest_names_another_column(tmp_path: Path, column: str) -> None:
    (tmp_path / "list.csv").write_text(f"youtube_id,{column},title\nnone,{A},One\n")
    (tmp_path / "mine.yaml").write_text(f"sources: [{{ids: list.csv, id_column: {column}}}]")
    (record,), _ = read_lists(load(str(tmp_path / "mine.yaml")))
    assert (record.video_id, record.source, record.title) == (A, "ids:list.csv", "One")
    (tmp_path / "list.jsonl").write_text(json.dumps({"video_id": "video_1", column: A}))
    assert [row[1] for row in ids(tmp_path / "list.jsonl", column)] == [A]


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("id,title\nx,y\n", None, "1: no column youtube_id or video_id in the header (id, title); name the column"),
        ("\n\nid,title\nx,y\n", "ytid", "3: no column ytid in the header (id, title)"),
        (f"video_id,video_id\n{A},{B}\n", None, "1: the column video_id stands twice in the header"),
        ('"' * 400_000, None, "1: the header is not readable as CSV: field larger than field limit"),
        ("", None, "1: no column youtube_id or video_id in the header ()"),
        (f"title,video_id\nOne,\nTwo,{A}\n", None, "2: video_id: Field required"),
        (f"title,video_id\n{A},One\n", None, "2: video_id: 'One' is no YouTube id"),
        (f'title,video_id\n"One,{A}\n' + f"x,{A}\n" * 300, None, "2: a row of 301 lines: is a quote not closed?"),
        (f'title,video_id\n"One,{A}\n' + "x" * 200_000, None, "2: not readable as CSV: field larger than field limit"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_line(
    tmp_path: Path, text: str, column: str | None, says: str
) -> None:
    (tmp_path / "list.csv").write_text(text)
    assert mistakes(tmp_path / "list.csv", column)[0].startswith(says)


def test_a_row_with_cells_too_many_is_read_and_reported(tmp_path: Path) -> None:
    """A published list is not the user's to mend: titles whose commas nobody quoted."""
    (tmp_path / "list.csv").write_text(f"video_id,title\n{A},One, two\n{B},Three\n")
    (tmp_path / "mine.yaml").write_text("sources: [{ids: list.csv}]")
    records, remarks = read_lists(load(str(tmp_path / "mine.yaml")))
    assert [record.video_id for record in records] == [A, B]
    assert [remark.rpartition("/")[2] for remark in remarks] == [
        f"list.csv:2: {A}: 3 cells, the header has 2: its texts may be shifted or cut"
    ]


def test_an_id_that_comes_twice_counts_once_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"video_id,title\n{A},One\n{B},Two\n{A},Three\n")
    (tmp_path / "mine.yaml").write_text("sources: [{ids: list.csv}]")
    records, remarks = read_lists(load(str(tmp_path / "mine.yaml")))
    assert [(record.video_id, record.title) for record in records] == [(A, "One"), (B, "Two")]
    assert len(remarks) == 1
    assert "list.csv:4: " in remarks[0]


def test_excels_line_with_the_separator_is_none_of_the_rows(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"sep=;\nvideo_id;title, with comma, and another\n{A};x\n{B};y\n")
    assert [row[:2] for row in ids(tmp_path / "list.csv")] == [(3, A), (4, B)]


def test_ones_own_videos_in_a_table(tmp_path: Path) -> None:
    text = "Video;Title;view_count;article\nclips/a.mp4;One;12;https://www.wikihow.com/X\nclips/b.mp4;;;\n"
    (tmp_path / "videos.csv").write_text(text)
    found: list[Record] = [record for _, record in read_list(tmp_path / "videos.csv", "files:v", own_files=True)]
    assert [(one.video_id, one.title, one.view_count, one.article_url) for one in found] == [
        ("a", "One", 12, "https://www.wikihow.com/X"),
        ("b", None, None, None),
    ]
    (tmp_path / "videos.csv").write_text("video,tilte\na.mp4,One\n")
    assert mistakes(tmp_path / "videos.csv", own_files=True) == ["2: tilte: unknown key"]


# Text and arrays


def test_a_text_has_an_id_or_an_address_a_line(tmp_path: Path) -> None:
    lines = [
        "# my list",
        A,
        "",
        f"https://www.youtube.com/watch?v={B}&t=3s",
        f"youtu.be/{C}?si=x",
        f"https://www.youtube.com/watch?list=PL1&v={'d' * 11}",
        f"https://www.youtube.com/shorts/{'e' * 11}",
        f"youtube {'f' * 11}",
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-16")
    assert [row[:2] for row in ids(tmp_path / "list.txt")] == [
        *((2, A), (4, B), (5, C), (6, "d" * 11), (7, "e" * 11), (8, "f" * 11)),
    ]
    for wrong in (f"https://evil.example/watch?v={A}", f"https://youtube.com.evil.example/watch?v={A}", f"{A}a"):
        (tmp_path / "list.txt").write_text(wrong)
        assert "is no YouTube id" in mistakes(tmp_path / "list.txt")[0]


def test_elements_of_an_array_are_named_by_their_lines(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(f'[\n "{A}",\n\n {{"video_id":\n "{B}"}}, {{"title": "x"}}\n]\n')
    assert mistakes(tmp_path / "list.json") == ["5: video_id: Field required"]
    found = [(entry.line, entry.value) for entry in entries(tmp_path / "list.json", ["video_id"])]
    assert found == [(2, A), (4, {"video_id": B}), (5, {"title": "x"})]
    (tmp_path / "list.json").write_text(f'[\n "{A}",\n {{"video_id": "{B}"')
    assert mistakes(tmp_path / "list.json")[0].startswith("3: not readable as JSON: ")
    (tmp_path / "list.json").write_text(f'[\n "{A}",\n')
    assert mistakes(tmp_path / "list.json") == ["3: not valid JSON: the array has no end; the file is cut off"]


cells = st.sampled_from(
    [
        "video_id",
        "youtube_id",
        "title",
        A,
        B,
        ",",
        ";",
        "\t",
        '"',
        '""',
        "\n",
        "\r\n",
        "[",
        "]",
        "{",
        "}",
        ":",
        "\0",
        "\ufeff",
    ]
)


@given(st.lists(cells | st.text(max_size=4), max_size=40).map("".join), st.sampled_from(["csv", "txt", "json", "tsv"]))
def test_whatever_a_list_holds_it_is_read_or_its_mistakes_are_told(
    tmp_path_factory: pytest.TempPathFactory, text: str, ending: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{ending}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for own_files in (True, False):
        try:
            for number, record in read_list(path, "ids:any", own_files=own_files):
                assert 1 <= number <= text.count("\n") + text.count("\r") + 1
                assert record.video_id
        except ManifestError as error:
            assert str(path) in str(error)


# What a line may say under another name


def test_an_article_may_stand_under_either_name(tmp_path: Path) -> None:
    url = "https://www.wikihow.life/Fold-Paper"
    lines = [
        {"video_id": A, "article": url},
        {"video_id": B, "article_url": url},
        {"video_id": C, "article": {"text": 1}},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = read_list(tmp_path / "list.jsonl", "ids:list", own_files=False)
    assert [record.article_url for _, record in found] == [url, url, None]
    own = [
        {"video": "a.mp4", "article_url": url},
        {"video": "b.mp4", "article": url},
        {"video": "c.mp4", "article": "c.html"},
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, own)))
    records = [record for _, record in read_list(tmp_path / "own.jsonl", "files:own", own_files=True)]
    assert [(one.article_url, one.article) for one in records] == [
        (url, None),
        (url, None),
        (None, str(tmp_path / "c.html")),
    ]


def test_id_column_goes_with_ids(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("sources: [{files: videos.csv, id_column: yt}]")
    with pytest.raises(ManifestError, match="id_column goes with ids"):
        load(str(tmp_path / "mine.yaml"))
