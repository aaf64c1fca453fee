"""A protocol is a value with a name; what it asks for can be measured."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from vsumdata.datasets.protocol import PROTOCOLS, Protocol, protocol
from vsumdata.manifests.errors import UsageError
from vsumdata.train.scoring.evaluate import METRICS

NAMED = (
    "ca-sum pgl-sum csta csta-summe vasnet msva dsnet a2summ mr-hisum bliss wikihow-summaries cosum "
    "umt-youtube-highlights umt-tvsum videoxum videoxum-released own-set instruct-v2xum tvsum summe mrhisum synthetic"
)


@pytest.mark.parametrize("name", NAMED.split())
def test_presets_have_their_name(name: str) -> None:
    assert protocol(name).name == name


@pytest.mark.parametrize("preset", PROTOCOLS.values(), ids=lambda preset: preset.name)
def test_every_metric_of_a_preset_is_known(preset: Protocol) -> None:
    assert preset.metrics
    assert set(preset.metrics) <= METRICS.keys()


def test_no_two_presets_are_the_same_but_for_the_name() -> None:
    ours = [preset for preset in PROTOCOLS.values() if preset.name not in ("csta",)]  # CSTA took CA-SUM's
    assert len({replace(preset, name="", note="") for preset in ours}) == len(ours)
    assert replace(protocol("csta"), name="ca-sum") == protocol("ca-sum")


def test_a_model_that_chooses_frames_is_judged_by_them_where_the_protocol_says_so() -> None:
    assert {name for name, preset in PROTOCOLS.items() if preset.own_summary} == {"own-set", "instruct-v2xum"}
    text = ("bleu4", "meteor", "rouge_l", "cider")
    same = replace(protocol("own-set"), name="videoxum", metrics=("f1", "tau", "rho"), own_summary=False)
    assert same == protocol("videoxum")
    assert protocol("own-set").metrics[3:] == protocol("instruct-v2xum").metrics[3:] == text


def test_a_wrong_name_is_answered_with_near_ones() -> None:
    with pytest.raises(UsageError, match=r"'tvsumm'; try tvsum"):
        protocol("tvsumm")
    with pytest.raises(UsageError, match="try tvsum, summe, mrhisum"):
        protocol("@@@")


def test_a_protocol_cannot_be_changed_or_contradict_itself() -> None:
    with pytest.raises(FrozenInstanceError):
        protocol("tvsum").budget = 0.5  # type: ignore[misc]
    with pytest.raises(ValueError, match="tau and rho need a rank"):
        Protocol(name="mine", metrics=("tau",))
    with pytest.raises(ValueError, match=r"budget 15 is not a share"):
        Protocol(name="mine", metrics=("f1",), budget=15)
