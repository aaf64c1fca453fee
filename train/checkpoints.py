"""Checkpoints: tensors and a position in one safetensors file, written at once or not at all. No pickle is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from vsumdata.manifests.files import put_local
from vsumdata.pipeline.errors import StorageError, UsageError

ANEW = "delete it and run the same command: it begins anew"


@dataclass(kw_only=True)
class Position:
    """How far a run has come; with weights and optimizer it is all that the next step depends on."""

    step: int = 0  # optimizer steps done
    epoch: int = 0  # epochs finished, with their validation
    metric: str | None = None  # that chooses the epoch
    best: float | None = None  # its best value so far
    best_epoch: int | None = None  # after so many epochs
    log_bytes: int = 0  # what log.jsonl held then


def save(
    path: Path, run: str, learner: nn.Module, position: Position, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Write one checkpoint, at once or not at all; StorageError where the disk takes it not."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learner.state_dict().items()}
    if optimizer is not None:
        tensors |= optimizer_tensors(learner, optimizer)
    put(path, to_bytes(tensors, {"run": run, "position": json.dumps(asdict(position))}))


def resume(path: Path, run: str, learner: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Put a checkpoint back into `learner` and `optimizer`; UsageError where it is damaged or of another run."""
    tensors, position = read(path, run)
    states = {key: tensors.pop(key) for key in list(tensors) if key.startswith("optimizer.")}
    fill(learner, tensors, path)
    parameters = dict(learner.named_parameters())
    for key, tensor in states.items():
        _, state, name = key.split(".", 2)
        # Also the count of steps, which only optimizers that are not fused keep on the CPU.
        optimizer.state[parameters[name]][state] = tensor.to(parameters[name].device)
    return position


def optimizer_tensors(learner: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """`optimizer.<state>.<parameter>` of what the optimizer remembers."""
    return {
        f"optimizer.{key}.{name}": value.detach().cpu().contiguous()
        for name, parameter in learner.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def read(path: Path, run: str) -> tuple[dict[str, Tensor], Position]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise UsageError(f"{path} is damaged or no checkpoint ({str(error).splitlines()[0]}); {ANEW}") from error
    if metadata.get("run") != run:
        raise UsageError(f"{path} belongs to another run than the run.json beside it; {ANEW}")
    return tensors, Position(**json.loads(metadata["position"]))


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load all of a module's tensors; UsageError where names or shapes are others."""
    wanted = module.state_dict()
    wrong = sorted(wanted.keys() ^ tensors.keys())
    wrong += [name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape]
    if wrong:
        raise UsageError(f"{path} was made by another version of the model: {wrong[0]} differs; train again")
    module.load_state_dict(dict(tensors))


def put(path: Path, data: bytes) -> None:
    try:
        put_local(path, data)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; what was saved before is kept, "
            "make room and run the same command again"
        ) from error
