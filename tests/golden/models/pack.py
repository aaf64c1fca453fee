"""One parity pack: weights and inputs made by the rule of its README, its arrays, and the comparison with ours.

Letters: B videos, T frames, F components of a feature.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": lambda z: z,
    "one_plus": lambda z: 1 + z,
    "one_plus_abs": lambda z: 1 + np.abs(z),
    "exp_normal": np.exp,
}

EXACT = 1e-9  # how near float64 comes where nothing is computed in float32


@dataclass(frozen=True)
class Ours:
    """Our value of one array. `name` is the official one without its case: `out_score`, `mid_embed`, `grad_CLS`.

    The float64 run uses the same names; the pack calls its results `out64_…`. `valid` broadcasts to the array from the
    left; where it is false, the official value belongs to padding and is not compared.
    """

    name: str
    value: Any
    valid: Any = None


@dataclass(frozen=True)
class Verdict:
    """The comparison of one array; `difference` is the largest of its elements."""

    array: str
    difference: float
    ok: bool
    remark: str = ""


@dataclass(frozen=True)
class Pack:
    """The JSON of a pack and the arrays beside it."""

    content: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @classmethod
    def read(cls, path: Path) -> Pack:
        return cls(json.loads(path.read_text()), dict(np.load(path.with_suffix(".npz"))))

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    @property
    def cls(self) -> str:
        """The official class, the first word of `cls`, which selects the check."""
        return str(self["cls"].split()[0])

    @property
    def is_step(self) -> bool:
        """Whether the pack holds one training step."""
        return str(self["mode"]).startswith("train")

    def values(self, key: str, shape: Sequence[int], rule: str, scale: float) -> np.ndarray:
        """Make the float32 numbers of one entry, by the rule of the packs' README."""
        if rule == "zero":
            return np.zeros(shape, np.int64)
        drawn = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()) + self["SEED"]))
        if rule == "uniform":
            return drawn.random(tuple(shape)).astype(np.float32)
        normal = np.asarray(drawn.standard_normal(tuple(shape))) * scale
        return RULES[rule](normal).astype(np.float32)

    def weights(
        self, dtype: torch.dtype, as_built: Mapping[str, Callable[[Sequence[int]], np.ndarray]] | None = None
    ) -> dict[str, torch.Tensor]:
        """Make the official `state_dict`; `as_built` makes from their shapes the entries that are not random."""
        found: dict[str, torch.Tensor] = {}
        for name, shape, _, rule in self["state_dict"]:
            if rule.startswith("alias:"):
                found[name] = found[rule.removeprefix("alias:")]
                continue
            if rule == "as_built":
                array = (as_built or {})[name](shape)
            else:
                array = self.values(name, shape, rule, self._scale(name))
                self._check(name, array)
            tensor = torch.from_numpy(np.asarray(array))
            found[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        return found

    def _scale(self, name: str) -> float:
        prefixes = [prefix for prefix in self["scale_overrides"] if name.startswith(prefix)]
        return float(self["scale_overrides"][max(prefixes, key=len)] if prefixes else self["scale"])

    def _check(self, name: str, array: np.ndarray) -> None:
        # Weights that are made wrongly would show up as a difference of every array: say so at once.
        known = self["check"].get(name)
        ours = [float(array.flat[0]), float(array.sum(dtype=np.float64))] if array.size else []
        if known is not None and not np.allclose(ours, known, rtol=1e-6, atol=1e-6):
            raise ValueError(f"{name} is made wrongly: first element and sum are {ours}, the pack says {known}")

    def inputs(self, case: Mapping[str, Any], dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Make the inputs of a case by name, unpadded as the pack lists them."""
        return {
            each["name"]: torch.from_numpy(
                self.values(each["key"], each["shape"], each["kind"], each.get("scale", 1.0))
            ).to(dtype)
            for each in case["inputs"]
        }

    def compare(self, case: str, ours: Ours, dtype: torch.dtype) -> Iterator[Verdict]:
        """Compare ours with the pack's array of that name and precision, if it has one."""
        kind, _, rest = ours.name.partition("_")
        if dtype == torch.float64:
            kind = f"{kind}64"
        name = f"{case}_{kind}_{rest}"
        if name in self.arrays:
            yield self._verdict(name, kind, rest, ours, self._precision(case))

    def _precision(self, case: str) -> float:
        """Return how near our float64 values come: fixed tables are float32, and where not stored, they are ours."""
        if "CSTA" in self.cls or "PGL_SUM" in self.cls:
            return 1e-6
        is_built = any(rule == "as_built" for *_, rule in self["state_dict"])
        return 5e-6 if is_built and table_name(case) not in self.arrays else EXACT

    def _verdict(self, name: str, kind: str, rest: str, ours: Ours, precision: float) -> Verdict:
        theirs, value = self.arrays[name], as_array(ours.value)
        if value.size == theirs.size == 0:
            return Verdict(name, 0.0, True)
        if value.shape != theirs.shape:
            return Verdict(name, np.inf, False, f"our shape is {list(value.shape)}, theirs {list(theirs.shape)}")
        skip = np.zeros(theirs.shape, bool)
        if ours.valid is not None:
            valid = as_array(ours.valid).astype(bool)
            skip |= ~valid.reshape(valid.shape + (1,) * (theirs.ndim - valid.ndim))
        # A gradient that is zero by theory (key biases under softmax) holds rounding noise alone.
        noise = set(self["extra"].get("gradients_analytically_zero", []))
        skip |= kind == "grad" and rest in noise
        # These arrays have one number for each parameter.
        if rest == "grad_norm" or rest.endswith("_delta_norm"):
            skip |= np.array([parameter in noise for parameter in self["extra"]["param_names"]])
        same_nan = np.isnan(value) & np.isnan(theirs)
        difference = np.where(skip | same_nan, 0, np.abs(value - theirs))
        with np.errstate(invalid="ignore"):
            ok = (
                bool((difference <= self._allowed(kind, rest, theirs, precision)).all())
                and not np.isnan(difference).any()
            )
        return Verdict(name, float(np.nanmax(difference)), ok)

    def _allowed(self, kind: str, rest: str, theirs: np.ndarray, precision: float) -> np.ndarray | float:
        """Return the README's tolerances, element by element."""
        size = np.abs(np.nan_to_num(theirs))
        if np.issubdtype(theirs.dtype, np.integer):
            return 0.0
        # A first Adam step is nearly lr·sign(gradient), so rounding may turn small elements.
        if rest.endswith("_delta_norm"):
            return (1e-6 if kind.endswith("64") and precision == EXACT else 1e-2) * size
        if kind.endswith("64"):
            return precision * np.maximum(1, size)
        if rest == "grad_norm" or kind == "grad":
            # A full gradient is held to its largest element. CSTA's goes through GoogLeNet with batch statistics, which
            # float32 blurs.
            of = size if rest == "grad_norm" else size.max()
            return (2e-2 if "CSTA" in self.cls else 1e-4) * of + 1e-7
        return 2e-5 * np.maximum(1, size)


def as_array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    return np.atleast_1d(np.asarray(value))


def table_name(case: str) -> str:
    """The array with the rows of a fixed position table as the official code built them."""
    return f"{case}_mid_pe"


def step_norms(
    named: Mapping[str, torch.nn.Parameter], order: Sequence[str], optimizer: torch.optim.Optimizer
) -> Iterator[Ours]:
    """After `backward`, yield each parameter's gradient, their norms, and the length of one step of Adam."""
    yield from gradients(named, order)
    yield Ours("out_adam_delta_norm", step_lengths(named, order, optimizer))


def gradients(named: Mapping[str, torch.nn.Parameter], order: Sequence[str], rows: int | None = None) -> Iterator[Ours]:
    """Yield each parameter's gradient, of learnt position tables the first `rows`, and the norms of all."""
    for name in order:
        gradient = named[name].grad
        if gradient is not None:
            yield Ours(f"grad_{name}", gradient[0, :rows] if rows and name.endswith("pos_enc.pe") else gradient)
    norms = [float("nan") if (g := named[name].grad) is None else float(g.double().norm()) for name in order]
    yield Ours("out_grad_norm", norms)


def step_lengths(
    named: Mapping[str, torch.nn.Parameter], order: Sequence[str], optimizer: torch.optim.Optimizer
) -> list[float]:
    """The length of one optimizer step for each parameter. The parameters are what they were afterwards."""
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    optimizer.step()
    lengths = [float((named[name].detach() - before[name]).double().norm()) for name in order]
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(before[name])
    return lengths
