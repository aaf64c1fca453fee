"""`--init`: start a run with another run's weights, except for the layers that depend on the features' size."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vsumdata.manifests.errors import UsageError
from vsumdata.train.loop import checkpoints, runs
from vsumdata.train.loop.runs import BEST_OF, Info
from vsumdata.train.methods import METHODS

SIZES = ("frame_dim", "text_dim", "audio_dim", "query_dim")


def start_from(model: nn.Module, info: Info, path: str | Path) -> list[str]:
    """Copy the weights of the run at `path` into `model`. Returns notes on what was copied.

    If the features differ in size, or only one of the two runs has text, the layers that read the features keep their
    random weights. Any other difference raises UsageError.
    """
    path = Path(path)
    there = runs.read_info(path)
    theirs_is, ours_is = there.settings.method, info.settings.method
    if METHODS[theirs_is].model != METHODS[ours_is].model:
        raise UsageError(f"--init {path} is a run of {theirs_is}, not of {ours_is}")
    _, tensors, _ = runs.weights(path, there)
    theirs = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    if different := runs.difference(there.models, info.models, "models"):
        raise UsageError(f"--init {path} builds on another model: {different}")
    check_same_model(model, theirs, info, there, path)
    ours = checkpoints.own_state(model)
    resized = {name for name in ours if name not in theirs or ours[name].shape != theirs[name].shape}
    # A bias keeps its shape when the input grows, but means nothing without its weights: replace whole layers.
    layers = {layer_of(name) for name in resized}
    fresh = [name for name in ours if name in resized or layer_of(name) in layers]
    # Only norms and biases would be taken over, so --init would have no effect.
    if not any(ours[name].dim() > 1 for name in ours.keys() - set(fresh)):
        raise UsageError(f"--init {path}: all of its weights depend on the features' size, so none can be taken over")
    model.load_state_dict({name: theirs[name] for name in ours.keys() - set(fresh)}, strict=False)
    notes = [f"begins with the weights of {path}" + (f", a run of {theirs_is}" if theirs_is != ours_is else "")]
    # The best of N trials is a selection: a number that builds on it must say so.
    notes += [f"{path} is {note}" for note in there.notes if note.startswith(BEST_OF)]
    # Such as LoRA's, where the adapter alone was trained before.
    if added := [name for name in fresh if name not in theirs and hasattr(model, "may_differ")]:
        notes.append(f"trains {len(added)} tensors that {path} did not")
    if fresh := [name for name in fresh if name not in added]:
        sizes = f"{size(there)} there, {size(info)} here"
        notes.append(
            f"begins afresh, for the features' sizes are {sizes}: {', '.join(sorted({*map(layer_of, fresh)}))}"
        )
    elif there.origin.features != info.origin.features:
        # Two CLIP models may share a size and nothing else: no shape check finds that.
        notes.append(f"the features of {path} were made in another way than these, though their sizes agree")
    return notes


def check_same_model(model: nn.Module, theirs: dict[str, Tensor], info: Info, there: Info, path: Path) -> None:
    """Raise UsageError unless our settings, with the other run's feature sizes, make the other run's model.

    Where the model names options that may differ (`may_differ`), tensors that only ours has begin afresh.
    """
    theirs_is, ours_is = (each.settings.model.model_dump(mode="json") for each in (there, info))
    if may_differ := getattr(model, "may_differ", None):
        free = set(may_differ(there.settings.model))
        theirs_is, ours_is = ({k: v for k, v in its.items() if k not in free} for its in (theirs_is, ours_is))
        why = runs.difference(theirs_is, ours_is, "model")
        if why is None and (beyond := theirs.keys() - checkpoints.own_state(model).keys()):
            why = f"it trained {min(beyond)}, which this run does not"
        if why:
            raise UsageError(f"--init {path} is another model: {why}; --set the same")
        return
    sized = info.model_copy(update={name: getattr(there, name) for name in SIZES})
    # This model is only compared. Without the fork, building it would change the random weights drawn afterwards.
    with torch.random.fork_rng():
        model = runs.build(runs.without_downloads(sized))
    ours = {name: tensor.shape for name, tensor in model.state_dict().items()}
    # `weights` (CSTA's ImageNet weights) changes no shape, yet another value is another model.
    same_weights = theirs_is.get("weights") == ours_is.get("weights")
    if same_weights and ours == {name: tensor.shape for name, tensor in theirs.items()}:
        return
    why = runs.difference(theirs_is, ours_is, "model") or "its code is another version"
    raise UsageError(f"--init {path} is another model: {why}; --set the same")


def layer_of(name: str) -> str:
    """The layer that a weight belongs to: its name without the last part."""
    return name.rpartition(".")[0] or name


def size(info: Info) -> str:
    """A run's feature sizes, in words."""
    more = {"sound": info.audio_dim, "query": info.query_dim}
    told = "".join(f", {what} {size}" for what, size in more.items() if size)
    return f"{info.frame_dim} (text {info.text_dim or 'none'}{told})"
