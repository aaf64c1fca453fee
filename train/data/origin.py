"""Where the videos of a training run come from, and how their features were made."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from vsumdata.datasets.partition import Pool
from vsumdata.manifests.manifest import Manifest
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.manifests.store import Store
from vsumdata.train.settings import Section


class Origin(Section):
    """The source of a run's videos, as run.json keeps it."""

    data_set: str = Field("", description="name of the data set: tvsum, …, or `shards` for a root of ours")
    path: str = Field("", description="file or folder of the data set, or the options of `synthetic`")
    features_root: str | None = Field(
        None, description="root whose features replace the data set's own; `null`: the data set's own features"
    )
    features: dict[str, Any] | None = Field(
        None, description="how the root's features were made (see `features_of`); `null`: unknown"
    )
    # run.json is read by others, and copied. Whoever opens the root again has keys of his own.
    _no_keys = field_validator("path", "features_root")(lambda text: text and hide_keys(text))

    split: str = Field("", description="name of the split and number of the fold")
    test: tuple[str, ...] = Field(
        (), description="ids of the videos held out: neither trained on nor used to select an epoch"
    )
    pool: Pool = Field(
        "fold",
        description="videos of training without labels. `fold`: the training part; `transductive`: the test videos too",
    )


def features_of(root: str) -> dict[str, Any]:
    """How a root's features were made: the sections `features`, `asr` and `captions` of its manifest.

    Also `folder`, which relative paths in them start from, and `models`, the versions of the models. {} if the root
    keeps no manifest.
    """
    stored = Store(root).dataset()["manifest"]
    if "settings" not in stored:
        return {}
    manifest = Manifest.model_validate(stored["settings"])
    found = {name: getattr(manifest, name).model_dump(mode="json") for name in ("features", "asr", "captions")}
    # The split does not change features: with another one they are still of the same kind.
    del found["features"]["split"]
    return {**found, "folder": stored["folder"], "models": Store(root).read_json("models.json") or {}}
