"""The papers' numbers: well-formed, and beside ours in all that is printed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.datasets.benchmarks.benchmark_files import write_wikihow
from tests.terminal import WIDE, shown

from vsumdata.datasets.benchmarks.registry import DATASETS
from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.pipeline.reports import reference
from vsumdata.train.benchmark import crossmodal, published, table
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.benchmark.published import Line, PaperTable
from vsumdata.train.methods import METHODS

OF_OTHERS = {
    "iptnet", "tldw", "clip-it", "human", "videosage", "segment-cm", "iv-sum", "googlenet", "visp+googlenet",
    "egovlpv2", "summdiff", "cfsum", "joint-va", "sspvs", "chd", "mini-net", "qd-detr", "univtg",
}  # fmt: skip
# Tables on data sets that no loader reads yet, with the metrics that their protocols have.
NO_LOADER = {
    "videos of 70 minutes": {"tau"},
}
# Ranks on Mr. HiSum and texts of VideoXum are of other protocols than our defaults there. No F_CLIP is on VideoXum: it
# has ten references, and the paper does not say which counts. ViSP's numbers on QFVS are ranks.
METRICS = NO_LOADER | {
    "youtube-highlights": set(PROTOCOLS["umt-youtube-highlights"].metrics),
    "mrhisum": {*PROTOCOLS["mrhisum"].metrics, *PROTOCOLS["mr-hisum"].metrics},
    "videoxum": {*PROTOCOLS["own-set"].metrics, "f_clip", "cross_f_clip"},
    "qfvs": {*PROTOCOLS["qfvs"].metrics, *PROTOCOLS["scores-vs-mean"].metrics},
}


@pytest.mark.parametrize("paper", published.everything(), ids=lambda paper: f"{paper.short_source} {paper.data}")
def test_every_number_is_of_a_method_and_metric_that_can_be_compared(paper: PaperTable) -> None:
    assert (paper.data in DATASETS) != (paper.data in NO_LOADER)
    assert set(paper.metrics) <= (METRICS.get(paper.data) or set(PROTOCOLS[paper.data].metrics))
    assert paper.protocol
    assert paper.features
    methods = {row.method for row in paper.rows}
    assert methods - {*METHODS, *crossmodal.NAMES} <= OF_OTHERS
    assert len({row.name for row in paper.rows}) == len(paper.rows)


def test_what_leads_is_there() -> None:
    """Also the rows that no bench shows, for want of a method of ours or of a loader: docs/published.md has them."""
    found = {(paper.data, row.name): row.values for paper in published.everything() for row in paper.rows}
    assert found["mrhisum", "summdiff"] == (0.175, 0.238)
    assert found["mrhisum", "triplesumm"] == (0.258,)
    assert found["youtube-highlights", "umt"] == (0.7493,)
    assert found["umt-tvsum", "umt, DS"] == (0.7963,)
    # The means that are printed are those of the domains.
    for paper in (each for each in published.everything() if each.short_source == "UMT"):
        mean, *domains = [row.values[0] or 0.0 for row in paper.rows]
        assert len(domains) == {"youtube-highlights": 6, "umt-tvsum": 10}[paper.data]
        assert mean == pytest.approx(sum(domains) / len(domains), abs=6e-5)
    (csta,) = [paper for paper in published.beside("mrhisum", ["csta"]) if paper.short_source == "TripleSumm"]
    assert {row.method: row.values for row in csta.rows}["csta"] == (0.178,)
    page = reference.published_page()
    for paper in published.everything():
        assert all(f"| {row.name} |" in page for row in paper.rows)
        assert f"- {paper.source}: {paper.protocol}; features: {paper.features}" in page


@pytest.mark.parametrize("method", ["visp+csta", "csum+vslstm", "csum+dpplstm", "csum+vasnet", "csum+msva"])
@pytest.mark.parametrize("data", ["tvsum", "summe"])
def test_the_papers_of_our_pretrained_rows_are_shown(method: str, data: str) -> None:
    (paper,) = published.beside(data, [method])
    assert paper.short_source == ("ViSP" if method.startswith("visp") else "CSUM")


def test_what_chance_gives_is_above_or_below_what_is_printed() -> None:
    """HierSum's F1 on WikiHow is below the 0.53 to 0.55 that random frames give."""
    papers = {paper.short_source: paper for paper in published.beside("wikihow-summaries", ["hiersum", "frame-cm"])}
    assert all(row.values[0] is not None and row.values[0] < 0.53 for row in papers["HierSum"].rows)
    assert "below what chance gives" in papers["HierSum"].protocol
    assert "test videos included" in published.beside("summe", ["visp+csta"])[0].protocol


@pytest.mark.parametrize(
    ("values", "says"), [((62.5, 0.1), "are not shares"), ((0.1,), "1 values of 2 metrics"), (("x", 0.1), "number")]
)
def test_a_wrong_transcription_is_refused(values: tuple[Any, ...], says: str) -> None:
    paper: dict[str, Any] = {
        "source": "A paper",
        "data": "tvsum",
        "metrics": ("f1", "tau"),
        "protocol": "its own",
        "features": "its own",
    }
    with pytest.raises(ValidationError, match=says):
        PaperTable.model_validate({**paper, "rows": [{"method": "mlp", "values": values}]})


def test_ours_and_theirs_stand_in_everything_that_is_printed(tmp_path: Path) -> None:
    write_wikihow(tmp_path)
    request = Request(on="wikihow-summaries", data=str(tmp_path), seeds=1, methods=("frame-cm",))
    found = bench(request)
    assert [paper.short_source for paper in found.published] == ["TL;DW"]

    theirs = json.loads(table.as_json(found))["published"]
    assert len(theirs) == 7 * 3
    (tau,) = [each for each in theirs if (each["method"], each["metric"]) == ("step-cm", "tau")]
    assert tau == {
        "method": "step-cm",
        "variant": "",
        "metric": "tau",
        "value": 0.037,
        "source": "TL;DW (ECCV 2022)",
        "protocol": "the top 55 % of the frames, test part",
        "features": "S3D MIL-NCE (512) and its text; frame-cm CLIP ViT-B/32",
        "note": "",
    }
    _, second = table.markdown(found).split(table.PUBLISHED)
    assert "| method | f1 | tau | rho | source |" in second
    assert "| clip-it, with ASR, off the shelf | 0.272 | 0.055 | 0.088 | TL;DW |" in second
    assert "- TL;DW (ECCV 2022): the top 55 % of the frames, test part" in second
    ours, drawn = shown(table.terminal(found), WIDE).split(table.PUBLISHED)
    assert "step-cm" not in ours
    assert ["step-cm", "0.583", "0.037", "0.061", "TL;DW"] in [line.split() for line in drawn.splitlines()]

    without = bench(replace(request, methods=()))
    assert not without.published
    assert "published" not in json.loads(table.as_json(without))
    assert table.PUBLISHED not in table.markdown(without)


def test_what_a_paper_does_not_print_is_a_dash_and_no_record() -> None:
    paper = PaperTable(
        source="A paper (2020)",
        data="tvsum",
        metrics=("f1", "tau"),
        protocol="its own",
        features="GoogLeNet",
        rows=(
            Line(method="mlp", values=(0.6, None), note="odd"),
            Line(method="mlp", variant="big", values=(None, 0.1)),
        ),
    )
    assert published.cells([paper]) == [["mlp", "0.6", "–", "A paper"], ["mlp, big", "–", "0.1", "A paper"]]
    assert [(each["metric"], each["value"]) for each in published.records([paper])] == [("f1", 0.6), ("tau", 0.1)]
    assert published.notes([paper]) == ["A paper (2020): its own; features: GoogLeNet", "A paper, mlp: odd"]


def test_the_tables_of_other_data_sets_are_as_printed() -> None:
    """TripleSumm's on MoSu, ViSP's second on QFVS, CSUM's rows with labels on YouTube Highlights."""
    (mosu,) = published.beside("mosu", ["csta"])
    assert mosu.metrics == ("tau", "rho", "map50", "map15")
    assert {row.method: row.values for row in mosu.rows}["triplesumm"] == (0.351, 0.472, 0.747, 0.444)
    assert "CLIP" in mosu.features
    (qfvs,) = published.beside("qfvs", ["visp+csta"])
    assert [row.values for row in qfvs.rows] == [(0.030, 0.036), (0.084, 0.075)]
    (highlights,) = published.beside("youtube-highlights", ["slmodule"])
    with_labels = {row.variant: row.values for row in highlights.rows if row.method == "csum+umt"}
    assert with_labels["with labels, no audio"] == (0.733,)


def test_v2xum_llms_tables() -> None:
    (videoxum,) = published.beside("videoxum", ["v2xum"])
    found = {row.name: dict(zip(videoxum.metrics, row.values, strict=True)) for row in videoxum.rows}
    assert (found["v2xum, 7B"]["tau"], found["v2xum, 13B"]["f1"], found["human"]["rho"]) == (0.204, 0.316, 0.305)
    assert "the other way round" in next(row.note for row in videoxum.rows if row.method == "human")
    (instruct,) = published.beside("instruct-v2xum", ["v2xum"])
    assert dict(zip(instruct.metrics, instruct.rows[1].values, strict=True))["cider"] == 0.008
    for data, values in (("tvsum", (0.222, 0.293)), ("summe", (0.296, 0.378))):
        own = next(paper for paper in published.beside(data, ["v2xum"]) if paper.short_source == "V2Xum-LLM")
        assert own.rows[0].values == values
        assert own.protocol.startswith("unknown")


def test_chance_stands_beside_every_paper_on_summe() -> None:
    tables = [paper for paper in published.everything() if paper.data == "summe"]
    assert tables
    assert all(paper.chance is not None for paper in tables)
    lines = published.cells(tables)
    assert ["(chance)", "0.405", "0.097", "0.107", "measured here, csta-summe"] in [
        [line[0], *(line[published.metrics_of(tables).index(metric) + 1] for metric in ("f1", "tau", "rho")), line[-1]]
        for line in lines
    ]
    assert any("100 seeds" in note for note in published.notes(tables))
    assert {record["chance"] for record in published.records(tables) if record["metric"] == "tau"} == {0.097}
    wrong = tables[0].model_dump() | {"chance": tables[0].chance.model_dump() | {"values": (0.1,) * 5}}  # type: ignore[union-attr]
    with pytest.raises(ValidationError, match="5 values of chance"):
        published.PaperTable.model_validate(wrong)
