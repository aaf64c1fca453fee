"""Every method that is trained: its model, its objective, and the settings of its papers as presets.

A preset holds only what differs from `default`, which is meant for our own shards. [P] stated in a paper, [C] read in
official code, [R] our choice where nothing is stated. What a preset leaves open has the defaults of `Settings` and of
the options of model and objective.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vsumdata.pipeline.errors import UsageError

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Method:
    model: str  # module:class, imported when it is asked for
    objective: str
    presets: Mapping[str, Values]
    reads_text: bool = False


def adam(lr: float, weight_decay: float = 0.0) -> Values:
    return {"name": "adam", "lr": lr, "weight_decay": weight_decay}


def cosine(warmup_epochs: int) -> Values:
    return {"name": "cosine", "warmup_epochs": warmup_epochs}


def exponential(decay: float) -> Values:
    return {"name": "exponential", "decay": decay}


def trunk(hidden: int, layers: int, dropout_attn: float, **more: Any) -> Values:
    return {"hidden": hidden, "layers": layers, "heads": 8, "dropout_attn": dropout_attn, **more}


# METHODS.md §1: the size of the large model is D = 512 [P]; 6 layers and r = 4 are [R], as is attention without dropout
# of its weights, for which CPUs have a fused kernel.
HIERSUM: Mapping[str, Values] = {
    "default": {  # as wikihow
        "model": trunk(512, 6, 0.1, drop_weights=False),
        "objective": {"global_step": 2, "w_mse": 1.0, "w_inter": 1.0, "w_intra": 1.0, "ratio": 4},
        "optimizer": adam(1e-3),
        "schedule": cosine(25),
        "batch_size": 32,
        "epochs": 300,
    },
    "wikihow": {},
    "mrhisum": {"objective": {"global_step": 5}, "optimizer": {"lr": 1e-4}, "schedule": {"warmup_epochs": 55}},
    "tvsum": {
        "model": trunk(128, 2, 0.5, drop_weights=True),
        "objective": {"w_mse": 0.0, "w_inter": 0.1, "w_intra": 1.0, "ratio": 16},
        "optimizer": {"weight_decay": 1e-5},  # [C] A2Summ
        "schedule": {"warmup_epochs": 5},
        "batch_size": 2,
        "epochs": 100,
    },
    "bliss": {
        "model": trunk(128, 6, 0.1, segment_rows=200, drop_weights=True),
        "objective": {"w_mse": 0.0, "w_inter": 0.01, "w_intra": 0.001, "ratio": 4},
        "optimizer": {"weight_decay": 1e-7},  # [C] A2Summ
        "schedule": {"name": "none", "warmup_epochs": 0},
        "batch_size": 64,
        "epochs": 50,
    },
}

OFFICIAL_LOSSES = {"focal": "a2summ", "contrast": "a2summ"}
CHILD_ONLY = {"global_step": 0, "w_mse": 0.0}
A2SUMM_BOXES: Values = {
    "model": trunk(128, 2, 0.5, head="boxes", drop_weights=True),
    "optimizer": adam(1e-3, 1e-5),
    "schedule": {"name": "none", "warmup_epochs": 0},
    "batch_size": 4,
    "epochs": 300,
}
# METHODS.md §1, table "A2Summ config" [C].
A2SUMM: Mapping[str, Values] = {
    "default": {**HIERSUM["default"], "objective": {**HIERSUM["default"]["objective"], **CHILD_ONLY}},
    "tvsum": {**A2SUMM_BOXES, "objective": {"w_inter": 0.1, "w_intra": 1.0, "ratio": 16, **OFFICIAL_LOSSES}},
    "summe": {
        **A2SUMM_BOXES,
        "objective": {"w_inter": 0.1, "w_intra": 3.0, "ratio": 16, **OFFICIAL_LOSSES},
        "optimizer": adam(1e-3, 1e-3),
    },
    "bliss": {**HIERSUM["bliss"], "objective": {**HIERSUM["bliss"]["objective"], **OFFICIAL_LOSSES}},
}

# METHODS.md §2, §3 and §6 [C]; the official codes see one video at a time, TVSum and SumMe alike.
VASNET: Values = {"optimizer": adam(5e-5, 1e-5), "batch_size": 1, "epochs": 300}
PGLSUM: Values = {"optimizer": adam(5e-5, 1e-5), "batch_size": 40, "epochs": 200, "clip_norm": 5.0}
CSTA: Values = {"optimizer": adam(1e-3, 1e-7), "batch_size": 1, "epochs": 100}
DSNET: Values = {"optimizer": adam(5e-5, 1e-5), "batch_size": 1, "epochs": 300}
VSLSTM: Values = {"optimizer": adam(1e-3), "batch_size": 10, "epochs": 100}  # [C] Adam and the batch; [R] the rest
SLMODULE: Values = {"optimizer": {"name": "sgd", "lr": 0.05}, "batch_size": 32, "epochs": 50}  # epochs and batch [R]
MRHISUM: Values = {"optimizer": adam(5e-5, 1e-4), "batch_size": 256, "epochs": 200}  # MR.HiSum's code, for all it has
MLP: Values = {"optimizer": adam(1e-3), "batch_size": 32, "epochs": 50}  # [R]
FEW_VIDEOS: Values = {"batch_size": 4}

REGRESSION = "vsumdata.train.objectives:Regression"
SUPERVISED: Mapping[str, Method] = {
    "mlp": Method(
        model="vsumdata.train.models.mlp:MLP",
        objective=REGRESSION,
        presets={"default": MLP, "tvsum": FEW_VIDEOS, "mrhisum": MRHISUM},
    ),
    "vasnet": Method(
        model="vsumdata.train.models.vasnet:VASNet",
        objective=REGRESSION,
        presets={
            "default": {**VASNET, "objective": {"target": "min-max"}},
            "tvsum": {},
            "mrhisum": {**MRHISUM, "schedule": exponential(0.99), "objective": {"target": "raw"}},
        },
    ),
    "pglsum": Method(
        model="vsumdata.train.models.pglsum:PGLSUM",
        objective=REGRESSION,
        presets={
            "default": PGLSUM,
            "tvsum": {},
            "summe": {"batch_size": 20},
            "mrhisum": {**MRHISUM, "schedule": exponential(0.97)},
        },
    ),
    "msva": Method(
        model="vsumdata.train.models.msva:MSVA",
        objective=REGRESSION,
        presets={"default": {**VASNET, "objective": {"target": "min-max"}}, "tvsum": {}},
    ),
    "vslstm": Method(
        model="vsumdata.train.models.vslstm:VsLSTM", objective=REGRESSION, presets={"default": VSLSTM, "tvsum": {}}
    ),
    "dpplstm": Method(
        model="vsumdata.train.models.vslstm:DppLSTM",
        objective="vsumdata.train.objectives:DppRegression",
        presets={"default": VSLSTM, "tvsum": {}},
    ),
    "csta": Method(
        model="vsumdata.train.models.csta:CSTA", objective=REGRESSION, presets={"default": CSTA, "tvsum": {}}
    ),
    "a2summ": Method(
        model="vsumdata.train.models.a2summ:A2Summ",
        objective="vsumdata.train.objectives:HierSum",
        presets=A2SUMM,
        reads_text=True,
    ),
    "hiersum": Method(
        model="vsumdata.train.models.hiersum:HierSum",
        objective="vsumdata.train.objectives:HierSum",
        presets=HIERSUM,
        reads_text=True,
    ),
    "dsnet": Method(
        model="vsumdata.train.models.dsnet:DSNet",
        objective="vsumdata.train.objectives:Proposals",
        presets={"default": DSNET, "tvsum": {}},
    ),
    "slmodule": Method(
        model="vsumdata.train.models.slmodule:SLModule",
        objective=REGRESSION,
        presets={"default": SLMODULE, "mrhisum": {"batch_size": 256, "epochs": 200}},
    ),
}

# Pre-training without labels, METHODS.md §2 and §3: any summarizer, with its own model and optimizer.
PRETRAINING = {"visp": "vsumdata.train.visp:ViSP", "csum": "vsumdata.train.csum:CSUM"}
OWN: Mapping[str, Values] = {
    "visp": {"batch_size": 32, "epochs": 200, "objective": {}},  # [P]
    "csum": {"batch_size": 8, "epochs": 100, "objective": {}},  # [R]
}
USUAL_BACKBONE = {"visp": "csta", "csum": "vasnet"}
OF_THE_BACKBONE = ("model", "optimizer", "schedule", "clip_norm")


def pretraining(name: str, backbone: Method) -> Method:
    presets = {
        preset: {key: value for key, value in values.items() if key in OF_THE_BACKBONE}
        for preset, values in backbone.presets.items()
    }
    presets["default"] |= OWN[name]
    return Method(model=backbone.model, objective=PRETRAINING[name], presets=presets, reads_text=backbone.reads_text)


METHODS: Mapping[str, Method] = {
    **SUPERVISED,
    **{f"{name}+{each}": pretraining(name, SUPERVISED[each]) for name in PRETRAINING for each in SUPERVISED},
}


def method_of(word: str, backbone: str | None) -> str:
    """The name in METHODS of what `vsumdata train WORD --backbone BACKBONE` asks for.

    Raises UsageError for a backbone of what has none; whether the names are known is left to `settings_of`.
    """
    if word in PRETRAINING:
        return f"{word}+{backbone or USUAL_BACKBONE[word]}"
    if backbone is not None:
        raise UsageError(f"--backbone {backbone}: only {' and '.join(PRETRAINING)} have one; {word} is a summarizer")
    return word
