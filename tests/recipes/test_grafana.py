"""recipes/cluster/grafana.json shows exactly the metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vsumdata.pipeline.reports import metrics
from vsumdata.pipeline.workers import meters

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "recipes/cluster/grafana.json").read_text())
RAYS_OWN = {"ray_node_gpus_utilization"}


def exported() -> set[str]:
    counters = {*metrics.COUNTERS, *meters.COUNTERS}
    return {f"ray_{name}_total" for name in counters} | {f"ray_{name}" for name in metrics.GAUGES}


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_it_uses_exactly_these_names() -> None:
    assert set(re.findall(r"ray_\w+", " ".join(expressions()))) == exported() | RAYS_OWN


def test_labels_are_those_of_the_metrics() -> None:
    labels = {
        label for of in (metrics.COUNTERS, metrics.GAUGES, meters.COUNTERS) for _, tags in of.values() for label in tags
    }
    by = {
        label.strip()
        for text in expressions()
        for group in re.findall(r"by \(([^)]*)\)", text)
        for label in group.split(",")
    }
    assert by <= labels | {"NodeAddress", "WorkerId"}


def test_docs_name_each_metric() -> None:
    page = (ROOT / "docs/cluster.md").read_text()
    assert [name for name in exported() | RAYS_OWN if f"`{name}`" not in page] == []


def test_a_counter_is_shown_by_its_rate_or_its_sum() -> None:
    for text in expressions():
        assert "_total" not in text or "rate(" in text or text.startswith("sum by (table, outcome)")


def test_panels_are_whole() -> None:
    assert [panel["id"] for panel in DASHBOARD["panels"]] == list(range(1, len(DASHBOARD["panels"]) + 1))
    assert all(panel["title"] and panel["description"] for panel in DASHBOARD["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
