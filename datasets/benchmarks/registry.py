"""The data sets by name, and the module that reads each.

Each module has `NAME`, `PROTOCOL` and `load(path)`. Some have `WHERE` (how to get the files),
`FRAME_MODEL` and `TEXT_MODEL` (what made the features that the files bring), `FRAME_RECIPE` and
`TEXT_RECIPE` (how they are made for another video), `open_shards` (a root of
ours, read piece by piece), `ceilings(path)` (known best scores, as for synthetic data) or
`TEST_ONLY` (nothing is trained on it).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

from vsumdata.manifests.errors import UsageError

# Names, not modules: importing all of them would load scipy and the store for a run that needs one.
DATASETS = {
    "tvsum": "vsumdata.datasets.benchmarks.tvsum",
    "summe": "vsumdata.datasets.benchmarks.summe",
    "ovp": "vsumdata.datasets.benchmarks.ovp",
    "youtube": "vsumdata.datasets.benchmarks.youtube",
    "mrhisum": "vsumdata.datasets.benchmarks.mrhisum",
    "mosu": "vsumdata.datasets.benchmarks.mosu",
    "sm-mrhisum": "vsumdata.datasets.benchmarks.scripted.sm_mrhisum",
    "sm-videoxum": "vsumdata.datasets.benchmarks.scripted.sm_videoxum",
    "bliss": "vsumdata.datasets.benchmarks.bliss",
    "wikihow-summaries": "vsumdata.datasets.benchmarks.wikihow_summaries",
    "tldw-pseudo": "vsumdata.datasets.benchmarks.tldw_pseudo",
    "videoxum": "vsumdata.datasets.benchmarks.videoxum",
    "instruct-v2xum": "vsumdata.datasets.benchmarks.instruct_v2xum",
    "youtube-highlights": "vsumdata.datasets.benchmarks.highlights.youtube_highlights",
    "umt-tvsum": "vsumdata.datasets.benchmarks.highlights.umt_tvsum",
    "cosum": "vsumdata.datasets.benchmarks.cosum",
    "hirest": "vsumdata.datasets.benchmarks.hirest",
    "qfvs": "vsumdata.datasets.benchmarks.qfvs",
    "qvhighlights": "vsumdata.datasets.benchmarks.highlights.qvhighlights",
    "shards": "vsumdata.datasets.shards",
    "synthetic": "vsumdata.datasets.synthetic",
}
NEEDS_NO_FILE = frozenset({"synthetic"})


def data_set(name: str) -> ModuleType:
    """The module of a data set. Raises UsageError for an unknown name."""
    return importlib.import_module(DATASETS[pick(name, DATASETS, "data set")])


def need_path(module: ModuleType, path: str) -> None:
    """Raise UsageError if the data set needs a file and `path` is empty."""
    if not path and module.NAME not in NEEDS_NO_FILE:
        raise UsageError(f"{module.NAME} needs --data PATH; get it from {getattr(module, 'WHERE', '`vsumdata run`')}")


def pick(word: str, known: Iterable[str], what: str) -> str:
    """`word`, if it is in `known`. Else raises UsageError with the nearest known word and all of them."""
    names = list(known)
    if word not in names:
        near = difflib.get_close_matches(word, names, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise UsageError(f"no {what} `{word}`; {hint}known are: {', '.join(names)}")
    return word
