"""Rows of trained runs that are measured as they are (`run:RUN`), on the test videos of the other rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from vsumdata.datasets import partition
from vsumdata.datasets.partition import Run
from vsumdata.datasets.protocol import Protocol
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import making
from vsumdata.train.benchmark.asked.variants import Variant
from vsumdata.train.benchmark.held_out import check_kind, check_unseen, first_tested
from vsumdata.train.benchmark.predictions import Scores, save
from vsumdata.train.benchmark.trained import add_answers, encode_for, noted, what_to_say, words_for
from vsumdata.train.benchmark.videos import BenchData
from vsumdata.train.loop import runs
from vsumdata.train.loop.job import device
from vsumdata.train.loop.predict import fitting, predict, shown_text
from vsumdata.train.loop.runs import Trained
from vsumdata.train.scoring.measure import BREAKS, Found


def opened(variants: Sequence[Variant], data: BenchData) -> dict[str, Trained]:
    """The runs of the rows, by name.

    Raises UsageError if one is damaged, has seen labels of test videos, or takes other features.
    """
    found = {}
    for each in variants:
        assert each.run is not None
        try:
            check_unseen("it", each.run, data)
            trained = shown_text(runs.load(each.run, device()), each.text)
            fitting(first_tested(data), trained.info)
            check_kind(trained, data, f"{each.name}[text=none]")
        except UsageError as error:
            raise UsageError(f"{each.name}: {error}") from error
        found[each.name] = trained
    return found


def add_rows(
    given: dict[str, Trained], data: BenchData, rules: Protocol, found: Found, scores_in: str | None = None
) -> list[str]:
    """Measure each run on the test videos of every fold. Returns the table's remarks on them.

    `scores_in` is the folder that keeps the scores.
    """
    remarks = []
    for name, trained in given.items():
        scores: dict[Run, dict[str, Scores]] = {}
        try:
            # Once, for all seeds and folds: the run is the same in each of them.
            videos = partition.pick(data.videos, data.partition.tested)
            answers = {each.video_id: each for each in predict(trained, videos, words=words_for(rules))}
            encode = encode_for(rules, data)
            for run, fold in data.partition.runs:
                its = (answers[video_id] for video_id in fold.test if video_id in answers)
                add_answers(name, noted(its, scores.setdefault(run, {})), rules, found, run, encode)
            if scores_in:
                save(scores_in, name, scores, data)
        except BREAKS as error:
            found.fail(name, error)
            continue
        remarks.append(f"{name}: {told(trained)}")
        found.made[name] = [making.record([replace(trained, model=nn.Identity())])]
    return remarks


def told(trained: Trained) -> str:
    """What the run is, in words: it was trained elsewhere, and nothing of this table changed it."""
    origin = trained.info.origin
    where = f"{origin.data_set} {origin.path}".strip() or "videos"
    seed = trained.settings.seed
    notes = "; ".join(dict.fromkeys(what_to_say(trained)))
    return (
        f"measured as it is, one run of seed {seed}: trained on {where} ({origin.split}), "
        f"epoch {trained.position.epoch}; {notes}"
    )
