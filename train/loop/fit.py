"""The training loop: the same for every method, in one process or in several.

A step depends only on the weights, the optimizer and the position. Seed and epoch determine the order of the videos;
the step determines the learning rate and the random numbers of dropout. A killed run therefore resumes from its last
checkpoint and reaches exactly the weights that it would have reached without the interruption.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import Diverged
from vsumdata.train.data.batches import Batches
from vsumdata.train.loop import checkpoints
from vsumdata.train.loop.checkpoints import Position
from vsumdata.train.loop.journal import Journal
from vsumdata.train.loop.preparation import LONGEST_WARMUP
from vsumdata.train.loop.runs import BEST, LAST, Info, Trained
from vsumdata.train.loop.stopping import Stop
from vsumdata.train.loop.validation import Validation
from vsumdata.train.settings import Optimizer, Settings


@dataclass(frozen=True, kw_only=True)
class Team:
    """The processes that train together. Rank 0 validates and writes; `join` makes them average their gradients.

    `add` replaces each tensor by its sum over the processes.
    """

    rank: int = 0
    world: int = 1
    device: torch.device
    join: Callable[[nn.Module], nn.Module] = lambda learner: learner
    add: Callable[[Sequence[Tensor]], None] = lambda tensors: None


class Learner(nn.Module):
    """Model and objective in one module: an objective may have weights of its own, which the optimizer must see."""

    def __init__(self, model: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.objective(self.model, batch, step)
        return found


class Fit:
    """One run, from the position stored in the folder `out` to the last epoch."""

    def __init__(
        self, out: Path, info: Info, learner: Learner, train: Batches, validation: Validation | None, team: Team
    ) -> None:
        self.out, self.info, self.settings, self.train, self.team = out, info, info.settings, train, team
        self.validation = validation
        self.learner = learner.to(team.device)
        self.optimizer = make_optimizer(learner, info.settings.optimizer)
        self.position = Position()
        if (out / LAST).exists():
            self.position = checkpoints.resume(out / LAST, info.digest, learner, self.optimizer)
        # DDP copies rank 0's weights to all workers when it wraps the module, so the checkpoint must be loaded before.
        # Only the wrapper is called; weights are saved from `self.learner`, whose names have no "module." prefix.
        # DDP's mean would not do where losses are weighted: workers differ in weights and in number of micro-batches.
        self.adds_up = team.world > 1 and getattr(info.settings.objective, "adds_up", False)
        self.joined = learner if self.adds_up else team.join(learner)
        self.autocast = torch.autocast(
            team.device.type, torch.bfloat16, enabled=is_bfloat16(info.settings, team.device)
        )

    def run(self, journal: Journal, stop: Stop) -> None:
        """Train to the end. After a request to stop, saves the position and raises KeyboardInterrupt."""
        at, saved_at = self.position, time.monotonic()
        while at.epoch < self.settings.epochs:
            # Validation has left the model in eval mode.
            self.learner.train()
            # A checkpoint from the middle of an epoch skips the batches that it has seen.
            first = at.step - at.epoch * len(self.train)
            for batch in self.train.epoch(at.epoch, first, self.team.rank, self.team.world):
                journal.write({"step": at.step, "epoch": at.epoch, **self.step(batch)})
                at.step += 1
                if stop.asked or time.monotonic() - saved_at > self.settings.save_every_s:
                    self.save(LAST, journal)
                    saved_at = time.monotonic()
                    # Inside this `if`: a signal that arrives after the test above must not end the run unsaved.
                    stop.check()
            at.epoch += 1
            self.choose(journal)
            self.save(LAST, journal)
            saved_at = time.monotonic()

    def step(self, batch: Batch) -> dict[str, float]:
        """Make one optimizer step. Returns the loss, its parts and the learning rate."""
        step = self.position.step
        # Seeding at every step spares the checkpoint a generator's state: dropout repeats after a resume from any step.
        torch.manual_seed(seed_of(self.settings.seed, step, self.team.rank))
        rate = self.settings.optimizer.lr * rate_at(step, len(self.train), self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        parts = batch.parts(self.settings.micro_batch)
        is_one_of_many = len(parts) > 1 or self.adds_up
        done = [self.gradient(part, step, is_one_of_many=is_one_of_many) for part in parts]
        # 0 where no video of the batch has anything to learn from.
        total = sum(weight for _, weight in done)
        values = {name: sum(found[name] * weight for found, weight in done) / (total or 1.0) for name in done[0][0]}
        if is_one_of_many:
            self.average(total)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.learner.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        return {**values, "lr": rate}

    def gradient(self, batch: Batch, step: int, *, is_one_of_many: bool) -> tuple[dict[str, float], float]:
        """Add the gradient of a micro-batch, times its weight if it is one of many. Returns its losses and weight."""
        with self.autocast:
            losses = self.joined(batch.to(self.team.device), step)
        # A mean over tokens counts as many times as it has tokens, else small micro-batches would count too much.
        weight = float(losses.pop("weight", torch.tensor(float(len(batch.video_id)))))
        values = {name: float(value.detach()) for name, value in losses.items()}
        # Before `backward`: one NaN gradient would turn all weights, and then the checkpoint, into NaN.
        if not math.isfinite(values["loss"]):
            raise Diverged(
                f"step {step}: the loss is {values['loss']} for {', '.join(batch.video_id)}; "
                "use a lower optimizer.lr, or clip_norm=1"
            )
        (losses["loss"] * weight if is_one_of_many else losses["loss"]).backward()
        return values, weight

    def average(self, total: float) -> None:
        """Divide gradients that are sums over micro-batches of the weight `total` by that weight, over all workers."""
        trained = [each for each in self.learner.parameters() if each.requires_grad]
        if self.adds_up:
            weight = torch.tensor(total, dtype=torch.float64, device=self.team.device)
            for each in trained:
                # All workers must add the same tensors, also one whose videos have nothing to learn from.
                each.grad = torch.zeros_like(each) if each.grad is None else each.grad
            self.team.add([weight, *(each.grad for each in trained if each.grad is not None)])
            total = float(weight)
        for each in trained:
            if total and each.grad is not None:
                each.grad /= total
            else:
                each.grad = None

    def choose(self, journal: Journal) -> None:
        """Validate the epoch that has just ended. Keep its weights if they are the best so far."""
        at, last, values = self.position, self.position.epoch == self.settings.epochs, {}
        if self.validation and not self.team.rank and (last or at.epoch % self.settings.validate_every == 0):
            self.learner.eval()
            values = self.validation(Trained(model=self.learner.model, info=self.info, path=self.out, position=at))
            at.metric = self.validation.metric
            value = values[at.metric]
            # A metric may be undefined (NaN) at first. Any epoch then beats having no best.safetensors, and any number
            # beats that epoch. JSON has no NaN, so `best` is null meanwhile.
            if at.best_epoch is None or value > (-math.inf if at.best is None else at.best):
                at.best, at.best_epoch = None if math.isnan(value) else value, at.epoch
                self.save(BEST, journal)
        if self.validation is None and last:
            self.save(BEST, journal)
        journal.write({"step": at.step, "epoch": at.epoch, **values})

    def save(self, name: str, journal: Journal) -> None:
        """Write LAST, to resume from, or BEST, to use: the latter without optimizer and objective."""
        if self.team.rank:
            return
        self.position.log_bytes = journal.num_bytes
        optimizer = self.optimizer if name == LAST else None
        learner = self.learner if name == LAST else only_model(self.learner)
        checkpoints.save(self.out / name, self.info.digest, learner, copy(self.position), optimizer)


def only_model(learner: Learner) -> nn.Module:
    """The learner without its objective, under the same weight names.

    Only training needs the objective's weights. ViSP's second network is as large as the model itself.
    """
    return nn.ModuleDict({"model": learner.model})


def make_optimizer(learner: nn.Module, options: Optimizer) -> torch.optim.Optimizer:
    """The optimizer that the settings name, for all weights of model and objective."""
    # Fused optimizers pass over the weights once instead of about six times, also on a CPU: Adam takes 4 ms instead
    # of 13 for 6 million weights.
    # Frozen weights, as of a language model of which an adapter alone is trained, get no state.
    parameters, decay = [each for each in learner.parameters() if each.requires_grad], options.weight_decay
    if options.name == "sgd":
        return torch.optim.SGD(parameters, options.lr, momentum=options.momentum, weight_decay=decay, fused=True)
    kind = torch.optim.Adam if options.name == "adam" else torch.optim.AdamW
    return kind(parameters, options.lr, weight_decay=decay, fused=True)


def rate_at(step: int, steps_per_epoch: int, settings: Settings) -> float:
    """The learning rate of a step as a share of `optimizer.lr`: a linear warm-up, then the schedule."""
    total = settings.epochs * steps_per_epoch
    warmup = min(settings.schedule.warmup_epochs, LONGEST_WARMUP * settings.epochs) * steps_per_epoch
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if settings.schedule.name == "none":
        return 1.0
    if settings.schedule.name == "exponential":
        return float(settings.schedule.decay ** (step // steps_per_epoch // settings.schedule.every))
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def seed_of(seed: int, step: int, rank: int) -> int:
    """The seed of torch's generator for one step of one worker."""
    # SeedSequence mixes the three numbers. A plain sum would give step 1 of seed 0 and step 0 of seed 1 the same
    # dropout.
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def is_bfloat16(settings: Settings, device: torch.device) -> bool:
    """Whether autocast computes in bfloat16."""
    # On a CPU bfloat16 halved the speed of small models, even with AMX, so `auto` keeps float32 there.
    if settings.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return settings.precision == "bfloat16"
