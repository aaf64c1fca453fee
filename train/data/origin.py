"""Where the videos of a training run come from, and how their features were made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field, field_validator

from vsumdata.datasets.benchmarks.registry import DATASETS, data_set
from vsumdata.datasets.join import TEXT_ALONE, replaces_frames
from vsumdata.datasets.partition import Pool
from vsumdata.datasets.shards import SUMMARIES
from vsumdata.manifests.manifest import Manifest
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.manifests.store import Store
from vsumdata.stages.encoders.recipes import title_of
from vsumdata.train.settings import Section


class Other(Section):
    """Another data set of a pool, which was only trained on."""

    data_set: str = Field(description="name of the data set")
    path: str = Field("", description="its file or folder")
    _no_keys = field_validator("path")(hide_keys)


class Origin(Section):
    """The source of a run's videos, as run.json keeps it."""

    data_set: str = Field("", description="name of the data set: tvsum, …, or `shards` for a root of ours")
    path: str = Field("", description="file or folder of the data set, or the options of `synthetic`")
    features_root: str | None = Field(
        None,
        description="root whose features replace the data set's own, or `text:ROOT` or `i3d:FOLDER`, whose texts or "
        "features of motion stand beside them; "
        "`null`: the data set's own features",
    )
    features: dict[str, Any] | None = Field(
        None, description="how the root's features were made (see `features_of`); `null`: unknown"
    )
    recipes: dict[str, str] = Field(
        {},
        description="recipes that the data set's own features follow, by `frames` and `text` "
        "(stages/encoders/recipes.py): what `summarize` does with a new video",
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
    labels: str | None = Field(
        None,
        description="the root's table that the targets come from, and its fingerprint; `null`: the videos' own labels, "
        "or their replay scores",
    )
    others: tuple[Other, ...] = Field(
        (), description="the other data sets of a pool; the ids of their videos begin with their name (`ovp/video_1`)"
    )

    @property
    def where(self) -> str:
        """All data sets with their paths, in words."""
        return " + ".join(" ".join(each).strip() for each in self.members)

    @property
    def data(self) -> str:
        """What opens the same data again: the path, or all data sets of the pool with their paths."""
        if not self.others:
            return self.path
        return "+".join(f"{name}:{path}" for name, path in self.members)

    @property
    def members(self) -> list[tuple[str, str]]:
        """All data sets of the run with their paths, the one that was split first."""
        return [(self.data_set, self.path), *((each.data_set, each.path) for each in self.others)]

    def by_data_set(self, video_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The ids of each data set of the run's pool, as the data set itself has them; its own data set comes first."""
        found: dict[str, list[str]] = {name: [] for name, _ in self.members}
        for video_id in video_ids:
            name, _, rest = video_id.partition("/")
            # An id of our own roots may hold a slash.
            is_other = any(each.data_set == name for each in self.others)
            found[name if is_other else self.data_set].append(rest if is_other else video_id)
        return {name: tuple(ids) for name, ids in found.items() if ids or name == self.data_set}


def features_of(root: str) -> dict[str, Any] | None:
    """How a root's features were made: the sections `features`, `asr` and `captions` of its manifest.

    Also `folder`, which relative paths in them start from, and `models`, the versions of the models. {} if the root
    keeps no manifest. None for `text:ROOT` and `i3d:FOLDER`: the frames' features then are the data set's own, or
    begin with them.
    """
    if not replaces_frames(root):
        return None
    stored = Store(root).dataset()["manifest"]
    if "settings" not in stored:
        return {}
    manifest = Manifest.model_validate(stored["settings"])
    found = {name: getattr(manifest, name).model_dump(mode="json") for name in ("features", "asr", "captions")}
    # The split does not change features: with another one they are still of the same kind.
    del found["features"]["split"]
    return {**found, "folder": stored["folder"], "models": Store(root).read_json("models.json") or {}}


def summaries_of(root: str) -> dict[str, Any] | None:
    """How the summaries of a root were made: the fingerprint of their table, and the options of its stage.

    The options are the method and, where one was asked, the model with its revision and the version of the prompts.
    None where the root's last run made no summaries.
    """
    store = Store(root)
    fingerprint = store.tables().get(SUMMARIES)
    if fingerprint is None:
        return None
    options = store.made_by(SUMMARIES, fingerprint).get("options", {})
    # What other tables were made with is in the fingerprint; where a model's files lie says nothing elsewhere.
    told = {name: value for name, value in options.items() if not (isinstance(value, dict) or "location" in name)}
    return {"fingerprint": fingerprint, **told}


def recipes_of(name: str, features: str | None) -> dict[str, str]:
    """The recipes that a data set's own features follow, by `frames` and `text`; {} where `features` replace or widen
    those of the frames."""
    if name not in DATASETS or (features and not features.startswith(TEXT_ALONE)):
        return {}
    module = data_set(name)
    found = {"frames": getattr(module, "FRAME_RECIPE", None), "text": getattr(module, "TEXT_RECIPE", None)}
    return {what: str(made) for what, made in found.items() if made and not (what == "text" and features)}


def frames_by(origin: Origin) -> str | None:
    """The model that made the frames' features; None if it is not recorded."""
    made = (origin.features or {}).get("features", {}).get("clip")
    return title_of(made["model"], made["weights"]) if made else None


def text_by(origin: Origin) -> str | None:
    """The model that made the texts' features, as recorded or as the data set's authors say; None if unknown."""
    made = (origin.features or {}).get("features", {}).get("text")
    if made:
        return str(made["model"])
    if origin.features is not None or origin.features_root or origin.data_set not in DATASETS:
        return None
    return getattr(data_set(origin.data_set), "TEXT_MODEL", None)


def other_kind(ours: Origin, theirs: Origin, *, reads_text: bool) -> str | None:
    """Why features of `theirs` mean nothing to a model that was trained on `ours`; None if nothing is known against it.

    Two models' features may share a size and nothing else.
    """
    pairs = [("frames'", frames_by(ours), frames_by(theirs))]
    if reads_text:
        pairs.append(("texts'", text_by(ours), text_by(theirs)))
    for what, trained_on, there in pairs:
        if trained_on and there and trained_on != there:
            return f"the {what} features are by {there}, the run was trained on those by {trained_on}"
    locked, found = ((each.features or {}).get("models", {}) for each in (ours, theirs))
    for key in sorted(locked.keys() & found.keys()):
        of_frames, of_text = key.startswith("clip "), key.startswith("text ")
        if (of_frames or (of_text and reads_text)) and locked[key].get("identity") != found[key].get("identity"):
            return f"the features were made by another version of {key} than those that the run was trained on"
    return None
