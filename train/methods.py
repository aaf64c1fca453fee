"""The trainable methods: model, objective, and presets with the settings of their papers.

The preset `default` is for our own shards; the others hold only what differs from it. Where no preset says anything,
the defaults of `Settings` and of the options of model and objective hold. Sources: [P] stated in a paper, [C] read in
official code, [R] our choice where neither says anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vsumdata.manifests.errors import UsageError

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method. `model` and `objective` are written `module:class`."""

    # Names instead of classes: importing them imports torch, which takes seconds.
    model: str
    objective: str
    presets: Mapping[str, Values]
    reads_text: bool = False
    reads_audio: bool = False
    reads_query: bool = False


def adam(lr: float, weight_decay: float = 0.0) -> Values:
    return {"name": "adam", "lr": lr, "weight_decay": weight_decay}


def cosine(warmup_epochs: float) -> Values:
    return {"name": "cosine", "warmup_epochs": warmup_epochs}


def exponential(decay: float, every: int = 1) -> Values:
    return {"name": "exponential", "decay": decay, "every": every}


def trunk(hidden: int, layers: int, dropout_attn: float, **more: Any) -> Values:
    return {"hidden": hidden, "layers": layers, "heads": 8, "dropout_attn": dropout_attn, **more}


# The paper: the large model has D = 512 [P]. The paper states neither its depth nor r: 6 layers and r = 4 are [R].
# So are warm-ups, w_mse, and attention without dropout of its weights, for which PyTorch has a fused kernel on CPUs.
LARGE = trunk(512, 6, 0.1, drop_weights=False)
# Parent steps see the global text alone, and videos are scored with their subtitles [P].
SCHEDULE: Values = {
    "model": {"text": "subtitles", "global_tokens": "description", "initial": "a2summ"},
    "objective": {"global_step": 2, "parent_text": "global"},
}
# For the made-up videos of `--on synthetic`: a first table in minutes on two cores. All of it is [R].
SMALL: Values = {"batch_size": 4, "epochs": 20}
SMALL_TRUNK: Values = {
    "model": trunk(64, 2, 0.1, drop_weights=False, heads=4, initial="xavier", dropout_fc=0.3),
    "objective": {"w_inter": 0.01, "w_intra": 0.001},
    "optimizer": {"lr": 3e-3},
    "schedule": {"warmup_epochs": 1},
    **SMALL,
}
HIERSUM: Mapping[str, Values] = {
    # Not the paper's schedule: every step shows subtitles and steps, and so does scoring. It learns more (results.md).
    "default": {
        "model": {**LARGE, "text": "both", "global_tokens": "steps", "initial": "xavier"},
        "objective": {
            "global_step": 1,
            "parent_text": "both",
            "w_mse": 1.0,
            "w_inter": 1.0,
            "w_intra": 1.0,
            "ratio": 4,
        },
        "optimizer": adam(1e-3),
        "schedule": cosine(25),
        "batch_size": 32,
        "epochs": 300,
    },
    "paper": SCHEDULE,  # on how-to videos
    "wikihow": SCHEDULE,
    # In the paper's ablation on Mr.HiSum, a global step of 5 is better than 2 and 10 [P].
    "mrhisum": {
        "model": SCHEDULE["model"],
        "objective": {**SCHEDULE["objective"], "global_step": 5},
        "optimizer": {"lr": 1e-4},
        "schedule": {"warmup_epochs": 55},
    },
    "tvsum": {
        "model": {**SCHEDULE["model"], **trunk(128, 2, 0.5, drop_weights=True)},
        "objective": {**SCHEDULE["objective"], "w_mse": 0.0, "w_inter": 0.1, "w_intra": 1.0, "ratio": 16},
        # Weight decay is not stated by the paper: A2Summ's [C].
        "optimizer": {"weight_decay": 1e-5},
        "schedule": {"warmup_epochs": 5},
        "batch_size": 2,
        "epochs": 100,
    },
    # The paper's small model for BLiSS: A2Summ's size, with 200 rows for segments [C]. Key sentences are the global
    # text [P], each a token of its own [R].
    "bliss": {
        "model": {
            **SCHEDULE["model"],
            **trunk(128, 6, 0.1, segment_rows=200, drop_weights=True, global_tokens="steps"),
        },
        "objective": {**SCHEDULE["objective"], "w_mse": 0.0, "w_inter": 0.01, "w_intra": 0.001, "ratio": 4},
        "optimizer": {"weight_decay": 1e-7},  # [C] A2Summ
        "schedule": {"name": "none", "warmup_epochs": 0},
        "batch_size": 64,
        "epochs": 50,
    },
    "synthetic": SMALL_TRUNK,
}

# A2Summ's numbers were made with its code, whose focal loss has no α and whose intra scale lacks the exponential.
OFFICIAL_LOSSES = {"focal": "a2summ", "contrast": "a2summ"}
# Without parent steps and replay loss, HierSum is A2Summ.
CHILD_ONLY = {"global_step": 0, "w_mse": 0.0}
A2SUMM_BOXES: Values = {
    "model": trunk(128, 2, 0.5, head="boxes", drop_weights=True),
    "optimizer": adam(1e-3, 1e-5),
    "schedule": {"name": "none", "warmup_epochs": 0},
    "batch_size": 4,
    "epochs": 300,
}
# The configuration files of A2Summ's repository [C].
A2SUMM: Mapping[str, Values] = {
    "default": {
        **HIERSUM["default"],
        "model": LARGE,
        "objective": {"w_inter": 1.0, "w_intra": 1.0, "ratio": 4, **CHILD_ONLY},
    },
    "tvsum": {**A2SUMM_BOXES, "objective": {"w_inter": 0.1, "w_intra": 1.0, "ratio": 16, **OFFICIAL_LOSSES}},
    "summe": {
        **A2SUMM_BOXES,
        "objective": {"w_inter": 0.1, "w_intra": 3.0, "ratio": 16, **OFFICIAL_LOSSES},
        "optimizer": adam(1e-3, 1e-3),
    },
    "bliss": {
        **HIERSUM["bliss"],
        "model": trunk(128, 6, 0.1, segment_rows=200, drop_weights=True),
        "objective": {"w_inter": 0.01, "w_intra": 0.001, "ratio": 4, **OFFICIAL_LOSSES},
    },
    "synthetic": SMALL_TRUNK,
}

# The official repositories [C]. On TVSum and SumMe the official codes take one video at a time; PGL-SUM makes a step
# after 40, or 20, of them.
VASNET: Values = {"optimizer": adam(5e-5, 1e-5), "batch_size": 1, "epochs": 300}
PGLSUM: Values = {"optimizer": adam(5e-5, 1e-5), "batch_size": 40, "epochs": 200, "clip_norm": 5.0}
CSTA: Values = {"optimizer": adam(1e-3, 1e-7), "batch_size": 1, "epochs": 100}
DSNET: Values = {"optimizer": adam(5e-5, 1e-5), "batch_size": 1, "epochs": 300}
# Adam and the batch are [C], the rest is [R].
VSLSTM: Values = {"optimizer": adam(1e-3), "batch_size": 10, "epochs": 100}
# The optimizer is [C]; epochs and batch are [R].
SGD: Values = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}
SLMODULE: Values = {"optimizer": SGD, "batch_size": 32, "epochs": 50}
# MR.HiSum's code uses these for all of its models. It does not clip, and averages over the frames of a batch.
MRHISUM: Values = {
    "optimizer": adam(5e-5, 1e-4),
    "batch_size": 256,
    "epochs": 200,
    "clip_norm": None,
    "objective": {"target": "raw", "reduction": "frames"},
}
# PGL-SUM's code adds up the gradients of a batch, and clips their sum.
SUMMED: Values = {"objective": {"reduction": "sum"}}
MLP: Values = {"optimizer": adam(1e-3), "batch_size": 32, "epochs": 50}  # [R]
# TVSum has 50 videos: a batch of 32 would make one or two steps an epoch.
FEW_VIDEOS: Values = {"batch_size": 4}

# TencentARC/UMT [C]: a model for each domain. There the epoch is chosen on the videos that it is measured on. Of the
# default, batch and epochs are [R].
UMT: Mapping[str, Values] = {
    "default": {"optimizer": adam(1e-3, 1e-4), "batch_size": 8, "epochs": 50},
    "tvsum": {"batch_size": 1, "epochs": 500},
    "youtube-highlights": {"batch_size": 4, "epochs": 100, "objective": {"over": "umt"}},
}
# smkim37/TripleSumm [C]. Its rate falls by the epoch, ours by the step. It stops after ten epochs without a better
# tau + rho; our runs go on, and the best tau counts. The default is its setting for Mr. HiSum, which takes small data
# sets further than the one for MoSu [R].
TRIPLESUMM: Mapping[str, Values] = {
    "default": {
        "optimizer": {"name": "adamw", "lr": 5e-4, "weight_decay": 5e-5},
        "schedule": cosine(0),
        "batch_size": 32,
        "epochs": 100,
        "objective": {"reduction": "frames"},
    },
    "mosu": {"optimizer": {"lr": 1e-4, "weight_decay": 1e-5}, "batch_size": 64},
    "mrhisum": {},
}

REGRESSION = "vsumdata.train.objectives.supervised:Regression"
SUPERVISED: Mapping[str, Method] = {
    "mlp": Method(
        model="vsumdata.train.models.mlp:MLP",
        objective=REGRESSION,
        presets={"default": MLP, "tvsum": FEW_VIDEOS, "mrhisum": MRHISUM, "synthetic": SMALL},
    ),
    "vasnet": Method(
        model="vsumdata.train.models.vasnet:VASNet",
        objective=REGRESSION,
        presets={
            "default": {**VASNET, "objective": {"target": "min-max"}},
            "tvsum": {},
            "mrhisum": {**MRHISUM, "schedule": exponential(0.99)},
        },
    ),
    "pglsum": Method(
        model="vsumdata.train.models.pglsum:PGLSUM",
        objective=REGRESSION,
        presets={
            "default": PGLSUM,
            "tvsum": SUMMED,
            "summe": {**SUMMED, "batch_size": 20},
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
        objective="vsumdata.train.objectives.supervised:DppRegression",
        presets={"default": VSLSTM, "tvsum": {}},
    ),
    "csta": Method(
        model="vsumdata.train.models.csta:CSTA", objective=REGRESSION, presets={"default": CSTA, "tvsum": {}}
    ),
    "a2summ": Method(
        model="vsumdata.train.models.a2summ:A2Summ",
        objective="vsumdata.train.objectives.supervised:HierSum",
        presets=A2SUMM,
        reads_text=True,
    ),
    "hiersum": Method(
        model="vsumdata.train.models.hiersum:HierSum",
        objective="vsumdata.train.objectives.supervised:HierSum",
        presets=HIERSUM,
        reads_text=True,
    ),
    "dsnet": Method(
        model="vsumdata.train.models.dsnet:DSNet",
        objective="vsumdata.train.objectives.supervised:Proposals",
        presets={"default": DSNET, "tvsum": {}},
    ),
    "slmodule": Method(
        model="vsumdata.train.models.slmodule:SLModule",
        objective=REGRESSION,
        presets={
            "default": SLMODULE,
            "mrhisum": {
                **MRHISUM,
                "optimizer": SGD,
                "schedule": exponential(0.1, every=100),
            },
        },
    ),
    "umt": Method(
        model="vsumdata.train.models.umt:UMT",
        objective="vsumdata.train.objectives.supervised:Saliency",
        presets=UMT,
        reads_audio=True,
        reads_query=True,
    ),
    "triplesumm": Method(
        model="vsumdata.train.models.triplesumm:TripleSumm",
        objective=REGRESSION,
        presets=TRIPLESUMM,
        reads_text=True,
        reads_audio=True,
    ),
}

# Moment-DETR's released configuration [C], which has the paper's sizes and weights [P]. The official code chooses the
# epoch by the mean AP of moments, looked at every fifth epoch [C]; on other data there may be none [R].
MOMENT_DETR: Mapping[str, Values] = {
    "default": {
        "optimizer": {"name": "adamw", "lr": 1e-4, "weight_decay": 1e-4},
        "batch_size": 32,
        "epochs": 200,
        "clip_norm": 0.1,
    },
    "qvhighlights": {"select_on": "mr_map", "validate_every": 5},
}
# They read a query. Pre-training without labels has none, so there is no `visp+moment-detr`.
QUERIED: Mapping[str, Method] = {
    "moment-detr": Method(
        model="vsumdata.train.models.queried.moment_detr:MomentDETR",
        objective="vsumdata.train.objectives.moments:Moments",
        presets=MOMENT_DETR,
        reads_query=True,
    )
}

# V2Xum-LLM: [P] the paper, [C] its code, else [R]. `seed:0` learns planted videos at 3e-3.
LORA: Values = {"optimizer": {"name": "adamw", "lr": 1e-4}, "clip_norm": 1.0}
V2XUM: Mapping[str, Values] = {
    "default": {**LORA, "schedule": cosine(0.09), "batch_size": 32, "epochs": 3, "micro_batch": 4},
    "released": {"batch_size": 128, "epochs": 2, "schedule": cosine(0.06), "model": {"train_adapter": False}},
    "paper": {"batch_size": 128, "epochs": 5, "schedule": cosine(0.15), "model": {"tuning": "full", "adapter": "mlp"}},
    "align": {
        "optimizer": {"lr": 1e-3},
        "batch_size": 128,
        "epochs": 1,
        "schedule": cosine(0.03),
        "model": {"tuning": "adapter"},
        "objective": {"stage": "align"},
    },
    "tiny": {
        "optimizer": {"lr": 3e-3},
        "batch_size": 16,
        "epochs": 50,
        "micro_batch": None,
        "model": {"tuning": "full", "llm": "seed:0", "frames": 16, "template": "plain"},
    },
}
WRITERS: Mapping[str, Method] = {
    "v2xum": Method(
        model="vsumdata.train.language.model:V2Xum",
        objective="vsumdata.train.language.objectives:Instruct",
        presets=V2XUM,
    )
}

# Pre-training without labels (ViSP, CSUM) takes any summarizer, and keeps its model and optimizer.
PRETRAINING = {"visp": "vsumdata.train.objectives.visp:ViSP", "csum": "vsumdata.train.objectives.csum:CSUM"}
OWN: Mapping[str, Values] = {
    "visp": {"batch_size": 32, "epochs": 200, "objective": {}},  # [P]
    "csum": {"batch_size": 8, "epochs": 100, "objective": {}},  # [R]
}
# What the papers have, where on planted videos something else learned more, and that is the default. The paper states
# no α: 400 is what its figure of the error of top-k takes.
PAPER: Mapping[str, Values] = {
    "visp": {"objective": {"likeness": "inner"}},
    "csum": {"objective": {"alpha": 400.0, "compared": "embeddings"}},
}
# ViSP's paper builds on CSTA. CSUM's has several backbones; VASNet among them is our choice.
USUAL_BACKBONE = {"visp": "csta", "csum": "vasnet"}
# CSUM's table of YouTube Highlights: UMT learns 20 epochs without labels, then 50 with them (`--set epochs=50`) [P].
OF_A_TABLE: Mapping[str, Mapping[str, Values]] = {"csum+umt": {"youtube-highlights": {"epochs": 20}}}
OF_THE_BACKBONE = ("model", "optimizer", "schedule", "clip_norm")


def pretraining(name: str, backbone: str) -> Method:
    """The method that pre-trains `backbone`, one of SUPERVISED, without labels, by ViSP or CSUM."""
    # Batch size and epochs of the backbone do not apply: a contrast needs several videos per step.
    method = SUPERVISED[backbone]
    presets = {
        preset: {key: value for key, value in values.items() if key in OF_THE_BACKBONE}
        for preset, values in method.presets.items()
    }
    presets["default"] |= OWN[name]
    presets["paper"] = dict(PAPER[name])
    for preset, values in OF_A_TABLE.get(f"{name}+{backbone}", {}).items():
        presets[preset] |= values
    return replace(method, objective=PRETRAINING[name], presets=presets)


# No gradient reaches the scores of a language model, so ViSP and CSUM cannot train one.
METHODS: Mapping[str, Method] = {
    **SUPERVISED,
    **QUERIED,
    **WRITERS,
    **{f"{name}+{each}": pretraining(name, each) for name in PRETRAINING for each in SUPERVISED},
}


def method_of(word: str, backbone: str | None) -> str:
    """The name in METHODS that `vsumdata train WORD --backbone BACKBONE` asks for.

    Raises UsageError for a backbone of a method that takes none. It does not check the names: `settings_of` does.
    """
    if word in PRETRAINING:
        return f"{word}+{backbone or USUAL_BACKBONE[word]}"
    if backbone is not None:
        raise UsageError(f"--backbone {backbone}: only {' and '.join(PRETRAINING)} have one; {word} is a summarizer")
    return word
