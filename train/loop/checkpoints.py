"""Checkpoints: tensors and a position in one safetensors file, written atomically. Nothing here reads a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.manifests.store import put_local

START_AGAIN = "delete it and run the same command: training starts again from the beginning"


@dataclass(kw_only=True)
class Position:
    """How far a run has come. The next step depends on the position, the weights and the optimizer, and nothing else.

    `step` counts finished optimizer steps. `epoch` counts finished epochs, validation included. `metric` is the
    validation metric that selects the epoch, `best` its best value so far, and `best_epoch` the number of epochs done
    when it was reached.
    """

    step: int = 0
    epoch: int = 0
    metric: str | None = None
    best: float | None = None
    best_epoch: int | None = None
    # A resumed run repeats the steps after its checkpoint. The journal is cut to this size first, or those steps would
    # be in the log twice.
    log_bytes: int = 0


def save(
    path: Path, run: str, learner: nn.Module, position: Position, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Write one checkpoint atomically. Raises StorageError if the disk refuses it."""
    # safetensors refuses a tensor that is not contiguous.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in own_state(learner).items()}
    if optimizer is not None:
        tensors |= optimizer_tensors(learner, optimizer)
    put(path, to_bytes(tensors, {"run": run, "position": json.dumps(asdict(position))}))


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module that a checkpoint holds: all but those that a part of it calls `borrowed`.

    A part that can be had elsewhere again, such as a frozen language model of many gigabytes, is not written.
    """
    state = module.state_dict()
    for prefix, part in module.named_modules():
        for name in part.borrowed() if hasattr(part, "borrowed") else ():
            state.pop(f"{prefix}.{name}" if prefix else name)
    return state


def resume(path: Path, run: str, learner: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Load a checkpoint into `learner` and `optimizer`. Raises UsageError if it is damaged or of another run."""
    tensors, position = read(path, run)
    states = {key: tensors.pop(key) for key in list(tensors) if key.startswith("optimizer.")}
    fill(learner, tensors, path)
    parameters = dict(learner.named_parameters())
    for key, tensor in states.items():
        _, state, name = key.split(".", 2)
        # Adam's step count moves to the device as well: the fused optimizers expect it there, unlike the others.
        optimizer.state[parameters[name]][state] = tensor.to(parameters[name].device)
    return position


def optimizer_tensors(learner: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state, under the names `optimizer.<state>.<parameter>`."""
    # torch numbers parameters by their order. Names survive a change of that order, and `resume` needs no pickle.
    return {
        f"optimizer.{key}.{name}": value.detach().cpu().contiguous()
        for name, parameter in learner.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def read(path: Path, run: str) -> tuple[dict[str, Tensor], Position]:
    """The tensors and the position of a checkpoint. Raises UsageError if it is damaged, or not of `run` (a digest)."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise UsageError(f"{path} is damaged or no checkpoint ({str(error).splitlines()[0]}); {START_AGAIN}") from error
    # A copied or mixed-up file could fit by its shapes, and would train on without a word.
    if metadata.get("run") != run:
        raise UsageError(f"{path} belongs to another run than the run.json beside it; {START_AGAIN}")
    return tensors, Position(**json.loads(metadata["position"]))


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load all of a module's tensors. Raises UsageError if a name or a shape differs."""
    # `load_state_dict` would raise a paragraph that lists every difference. An error here is one line with one name.
    wanted = own_state(module)
    wrong = sorted(wanted.keys() ^ tensors.keys())
    wrong += [name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape]
    if wrong:
        raise UsageError(f"{path} was made by another version of the model: {wrong[0]} differs; train again")
    module.load_state_dict(dict(tensors), strict=False)


def put(path: Path, data: bytes) -> None:
    """Write a file atomically. Raises StorageError with the remedy if the disk refuses it."""
    try:
        put_local(path, data)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; what was saved before is kept: "
            "make room and run the same command again"
        ) from error
