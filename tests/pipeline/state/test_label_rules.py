"""The rules of `select` on tables of labels: what they add to a run, and that without one nothing changes."""

from __future__ import annotations

import pytest
from tests.pipeline.state.test_plan import manifest, models

from vsumdata.manifests.manifest import Manifest
from vsumdata.pipeline.recipe import label_rules, parse_stages, recipe, wanted_tables
from vsumdata.pipeline.state.plan import fingerprint
from vsumdata.stages.features import FAILS


def features_of(asked: Manifest) -> str:
    return fingerprint(recipe(asked, models()), "features")


def test_without_a_rule_features_know_nothing_of_labels() -> None:
    assert label_rules(manifest()) == ({}, {})
    stage = recipe(manifest(), models())["features"]
    assert "select" not in stage.options
    assert not {"quality", "duplicates"} & set(stage.reads)
    # Another measure of quality makes no features again.
    assert features_of(manifest(labels={"quality": {"still": 0.9}})) == features_of(manifest())


@pytest.mark.parametrize("rule", FAILS)
def test_a_rule_has_its_column_made_first_and_read(rule: str) -> None:
    asked = manifest(select={rule: 0.5})
    stage = recipe(asked, models())["features"]
    assert stage.options["select"] == {rule: 0.5}
    assert stage.reads["quality"] == (FAILS[rule][1],)
    made = wanted_tables(parse_stages("features"), asked)
    assert made.index("quality") < made.index("features")
    assert features_of(asked) != features_of(manifest(select={rule: 0.25})) != features_of(manifest())


def test_texts_need_no_gpu_unless_it_is_asked_for() -> None:
    stages = recipe(manifest(), models())
    assert (stages["frames"].gpus, stages["quality"].gpus, stages["step_times"].gpus) == (-1, 0, 0)
    assert recipe(manifest(resources={"quality": {"gpus": 1}}), models())["quality"].gpus == 1
