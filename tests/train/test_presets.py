"""The presets against the configurations that official repositories ship, or that papers state where there is no code.

The tables name the repository, its commit and the files that were read. HierSum, CSUM and ViSP have no public code that
could be looked up: their papers alone speak below. `OURS` and `hiersum/both` are ours.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vsumdata.datasets import synthetic
from vsumdata.datasets.video import collate
from vsumdata.train.methods import METHODS, QUERIED, SUPERVISED
from vsumdata.train.settings import class_of, settings_of

# MRHiSum/MR.HiSum@aeb667f: main.py (rate, l2, batch, epochs), model/solver.py (optimizers, schedules, the loss, and no
# clipping), README.md (SL_module's rate)
MRHISUM = {
    "optimizer.name": "adam",
    "optimizer.lr": 5e-5,
    "optimizer.weight_decay": 1e-4,
    "batch_size": 256,
    "epochs": 200,
    "clip_norm": None,
    "schedule.warmup_epochs": 0,
    "objective.target": "raw",
    "objective.reduction": "frames",
}
# boheumd/A2Summ@5c7dcea: config.py, train_videosumm.py, train_msmo.py, models.py (heads, rows of the tables)
A2SUMM = {
    "optimizer.name": "adam",
    "optimizer.lr": 1e-3,
    "schedule.name": "none",
    "clip_norm": None,
    "model.hidden": 128,
    "model.heads": 8,
    "model.ffn_ratio": 4,
    "model.dropout_video": 0.1,
    "model.dropout_text": 0.1,
    "model.dropout_fc": 0.5,
    "model.share_layers": True,
    "model.initial": "a2summ",
    "model.position_rows": 5000,
    "objective.w_mse": 0,
    "objective.global_step": 0,
    "objective.focal": "a2summ",
    "objective.contrast": "a2summ",
}
VIDEOSUMM = {
    "model.layers": 2,
    "model.dropout_attn": 0.5,
    "model.head": "boxes",
    "model.segment_rows": 5000,
    "batch_size": 4,
    "epochs": 300,
    "objective.w_inter": 0.1,
    "objective.ratio": 16,
}
# e-apostolidis/PGL-SUM@81d0d6d: model/configs.py, model/solver.py, model/run_{tvsum,summe}_splits.sh
PGLSUM = {
    "optimizer.name": "adam",
    "optimizer.lr": 5e-5,
    "optimizer.weight_decay": 1e-5,
    "schedule.name": "none",
    "clip_norm": 5,
    "epochs": 200,
    "model.heads": 8,
    "model.segments": 4,
    "model.fusion": "add",
    "model.positions": "absolute",
    "model.dropout": 0.5,
    "objective.target": "raw",
    # `loss.backward()` for each video, then one step, without a division.
    "objective.reduction": "sum",
}
# ok1zjf/VASNet@c378753: config.py, main.py (targets stretched to 0 … 1), vasnet_model.py
ATTENTION = {
    "optimizer.name": "adam",
    "optimizer.lr": 5e-5,
    "optimizer.weight_decay": 1e-5,
    "schedule.name": "none",
    "clip_norm": None,
    "batch_size": 1,
    "epochs": 300,
    "model.dropout": 0.5,
    "objective.target": "min-max",
}
OFFICIAL: dict[tuple[str, str], dict[str, Any]] = {
    ("mlp", "mrhisum"): {**MRHISUM, "schedule.name": "none", "model.hidden": (1024,), "model.dropout": 0},
    ("vasnet", "mrhisum"): {**MRHISUM, "schedule.name": "exponential", "schedule.decay": 0.99, "schedule.every": 1},
    ("pglsum", "mrhisum"): {
        **MRHISUM,
        "schedule.name": "exponential",
        "schedule.decay": 0.97,
        "schedule.every": 1,
        "model.heads": 8,
        "model.segments": 4,
        "model.fusion": "add",
        "model.positions": "absolute",
    },
    ("slmodule", "mrhisum"): {
        **MRHISUM,
        "optimizer.name": "sgd",
        "optimizer.lr": 0.05,
        "optimizer.momentum": 0.9,
        "schedule.name": "exponential",  # StepLR
        "schedule.decay": 0.1,
        "schedule.every": 100,
        "model.layers": 5,
        "model.heads": 8,
        "model.feedforward": 3072,
        "model.dropout": 0.5,
    },
    ("a2summ", "tvsum"): {**A2SUMM, **VIDEOSUMM, "optimizer.weight_decay": 1e-5, "objective.w_intra": 1},
    ("a2summ", "summe"): {**A2SUMM, **VIDEOSUMM, "optimizer.weight_decay": 1e-3, "objective.w_intra": 3},
    ("a2summ", "bliss"): {
        **A2SUMM,
        "optimizer.weight_decay": 1e-7,
        "model.layers": 6,
        "model.dropout_attn": 0.1,
        "model.head": "linear",
        "model.segment_rows": 200,
        "batch_size": 64,
        "epochs": 50,
        "objective.w_inter": 0.01,
        "objective.w_intra": 0.001,
        "objective.ratio": 4,
    },
    ("pglsum", "tvsum"): {**PGLSUM, "batch_size": 40},
    ("pglsum", "summe"): {**PGLSUM, "batch_size": 20},
    ("vasnet", "tvsum"): {**ATTENTION, "model.hidden": 1024},
    # TIBHannover/MSVA@dad26a6: parameters.json, train.py (a step after each video: `train_batch_size` is never read)
    ("msva", "tvsum"): {**ATTENTION, "model.aperture": 250, "model.regressor": (365, 365, 512)},
    # thswodnjs3/CSTA@b070f7d: config.py, train.py, model.py
    ("csta", "tvsum"): {
        "optimizer.name": "adam",
        "optimizer.lr": 1e-3,
        "optimizer.weight_decay": 1e-7,
        "schedule.name": "none",
        "clip_norm": None,
        "batch_size": 1,
        "epochs": 100,
        "model.dropout_attention": 0.6,
        "model.dropout_head": 0.5,
        "model.weights": "imagenet",
        "objective.target": "raw",
    },
    # li-plus/DSNet@1804176: src/helpers/init_helper.py, src/anchor_free/train.py, src/anchor_free/dsnet_af.py
    ("dsnet", "tvsum"): {
        "optimizer.name": "adam",
        "optimizer.lr": 5e-5,
        "optimizer.weight_decay": 1e-5,
        "schedule.name": "none",
        "clip_norm": None,
        "batch_size": 1,
        "epochs": 300,
        "model.hidden": 128,
        "model.heads": 8,
        "model.dropout": 0.5,
        "objective.w_loc": 1,
        "objective.w_ctr": 1,
        "objective.focal": "dsnet",
        "objective.loc": "soft-iou",
    },
}
# TencentARC/UMT@bde05e3: configs/_base_/{models,plugins,datasets,schedules}, configs/{tvsum,youtube}; models/blocks/
# encoder.py and query generator (dropout of the inputs). `over` changes nothing where a batch is one video.
UMT = {
    "optimizer.name": "adam",
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 1e-4,
    "schedule.name": "none",
    "schedule.warmup_epochs": 0,
    "clip_norm": None,
    "model.hidden": 256,
    "model.heads": 8,
    "model.ffn_ratio": 4,
    "model.tokens": 4,
    "model.fusion_layers": 1,
    "model.position_rows": 5000,
    "model.dropout": 0.1,
    "model.dropout_input": 0.5,
    "model.dropout_query": 0.3,
    "objective.target": "score",
}
OFFICIAL |= {
    ("umt", "tvsum"): {**UMT, "batch_size": 1, "epochs": 500},
    ("umt", "youtube-highlights"): {**UMT, "batch_size": 4, "epochs": 100, "objective.over": "umt"},
}
# smkim37/TripleSumm@b7a8e7e: configs/{mosu,mrhisum}.yaml, utils/config.py (100 epochs), solver.py, models/
TRIPLESUMM = {
    "optimizer.name": "adamw",
    "schedule.name": "cosine",
    "schedule.warmup_epochs": 0,
    "clip_norm": None,
    "epochs": 100,
    "model.hidden": 128,
    "model.heads": 4,
    "model.head_hidden": 192,
    "model.layers": 2,
    "model.fusion_blocks": 2,
    "model.windows": (5, 15, 45, 0),
    "model.dropout": 0.1,
    "objective.target": "raw",
    "objective.reduction": "frames",
}
OFFICIAL |= {
    ("triplesumm", "mosu"): {
        **TRIPLESUMM,
        "batch_size": 64,
        "optimizer.lr": 1e-4,
        "optimizer.weight_decay": 1e-5,
    },
    ("triplesumm", "mrhisum"): {
        **TRIPLESUMM,
        "batch_size": 32,
        "optimizer.lr": 5e-4,
        "optimizer.weight_decay": 5e-5,
    },
}
# kezhang-cs/Video-Summarization-with-LSTM@0ee0a09: codes/dppLSTM_main.py, codes/optimizer/adam_opt.py. There one
# iteration is one step on ten videos and 100 of them are the default, where ours are 100 epochs of such steps [R]. Of
# the sizes only the released weights tell, which were not looked up.
LSTM = {
    "optimizer.name": "adam",
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 0,
    "schedule.name": "none",
    "clip_norm": None,
    "batch_size": 10,
    "objective.target": "raw",
    "objective.reduction": "videos",
}
OFFICIAL |= {("vslstm", "tvsum"): LSTM, ("dpplstm", "tvsum"): LSTM}
# jayleicn/moment_detr@b7e553a: moment_detr/config.py, moment_detr/scripts/train.sh, moment_detr/inference.py (AdamW),
# moment_detr/train.py (the epoch, every fifth). Its StepLR would fall at epoch 400 of 200.
OFFICIAL["moment-detr", "qvhighlights"] = {
    "optimizer.name": "adamw",
    "optimizer.lr": 1e-4,
    "optimizer.weight_decay": 1e-4,
    "schedule.name": "none",
    "batch_size": 32,
    "epochs": 200,
    "clip_norm": 0.1,
    "select_on": "mr_map",
    "validate_every": 5,
    "model.hidden": 256,
    "model.heads": 8,
    "model.encoder_layers": 2,
    "model.decoder_layers": 2,
    "model.feedforward": 1024,
    "model.slots": 10,
    "model.projections": 2,
    "model.endpoints": True,
    "model.dropout": 0.1,
    "model.dropout_input": 0.5,
    "objective.w_l1": 10,
    "objective.w_giou": 1,
    "objective.w_label": 4,
    "objective.w_background": 0.1,
    "objective.w_saliency": 1,
    "objective.margin": 0.2,
    "objective.most": 5,
    "objective.earlier": True,
}
# HierSum, arXiv 2504.18689, its table of hyper-parameters; w_mse, ratio, warm-up in epochs and depth are not in it.
HIERSUM: dict[tuple[str, str], dict[str, Any]] = {
    ("hiersum", "paper"): {
        "batch_size": 32,
        "epochs": 300,
        "optimizer.lr": 1e-3,
        "model.hidden": 512,
        "model.text": "subtitles",
        "objective.global_step": 2,
        "objective.parent_text": "global",
        "objective.w_inter": 1,
        "objective.w_intra": 1,
    },
    ("hiersum", "tvsum"): {
        "batch_size": 2,
        "epochs": 100,
        "optimizer.lr": 1e-3,
        "schedule.name": "cosine",
        "objective.global_step": 2,
        "objective.w_inter": 0.1,
        "objective.w_intra": 1,
    },
    ("hiersum", "bliss"): {
        "batch_size": 64,
        "epochs": 50,
        "optimizer.lr": 1e-3,
        "schedule.name": "none",
        "objective.global_step": 2,
        "objective.w_inter": 0.01,
        "objective.w_intra": 0.001,
    },
    ("hiersum", "mrhisum"): {
        "batch_size": 32,
        "epochs": 300,
        "optimizer.lr": 1e-4,
        "schedule.name": "cosine",
        "schedule.warmup_epochs": 55,
        "model.hidden": 512,
        "objective.global_step": 5,
        "objective.w_inter": 1,
        "objective.w_intra": 1,
    },
    ("hiersum", "wikihow"): {
        "batch_size": 32,
        "epochs": 300,
        "optimizer.lr": 1e-3,
        "schedule.name": "cosine",
        "schedule.warmup_epochs": 25,
        "model.hidden": 512,
        "objective.global_step": 2,
        "objective.w_inter": 1,
        "objective.w_intra": 1,
    },
}
OURS = {("mlp", "tvsum"), *((method, "synthetic") for method in ("mlp", "a2summ", "hiersum"))}


@pytest.mark.parametrize(("method", "preset"), [*OFFICIAL, *HIERSUM], ids="/".join)
def test_a_preset_is_its_repositorys_or_papers_configuration(method: str, preset: str) -> None:
    expected = {**OFFICIAL, **HIERSUM}[method, preset]
    values = settings_of(method, preset).model_dump()
    found = {}
    for name in expected:
        section, _, key = name.rpartition(".")
        found[name] = (values[section] if section else values)[key]
    assert found == expected


def test_every_preset_is_held_against_a_source() -> None:
    every = {**SUPERVISED, **QUERIED}
    named = {(name, preset) for name, method in every.items() for preset in method.presets if preset != "default"}
    assert named == {*OFFICIAL, *HIERSUM, *OURS}


@pytest.mark.parametrize("method", ["a2summ", "hiersum"])
def test_a_first_table_on_planted_videos_takes_a_hundredth_of_the_default_models_arithmetic(method: str) -> None:
    batch = collate(synthetic.load("videos=4"))
    cost = []
    for preset in ("synthetic", "default"):
        options = settings_of(method, preset).model
        summarizer = class_of(method, "model")(options, synthetic.FRAME_DIM, synthetic.TEXT_DIM)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            summarizer(batch)
        cost.append(counter.get_total_flops())
    assert 100 * cost[0] < cost[1]


def test_training_without_labels_keeps_the_optimizer_of_the_backbone_and_the_papers_batches() -> None:
    """ViSP's batch and epochs are the paper's; CSUM's paper states neither."""
    settings = settings_of("visp+csta", "tvsum")
    assert (settings.batch_size, settings.epochs) == (32, 200)
    assert settings.optimizer == settings_of("csta", "tvsum").optimizer
    assert settings_of("csum+pglsum", "mrhisum").clip_norm is None


def test_csum_pre_trains_umt_for_the_table_of_highlights_as_long_as_its_paper_says() -> None:
    settings = settings_of("csum+umt", "youtube-highlights")
    assert (settings.epochs, settings.optimizer.lr) == (20, 1e-3)
    assert settings_of("csum+umt").epochs == 100
    assert settings_of("umt", "youtube-highlights", ["epochs=50"]).optimizer == settings.optimizer


def test_pre_training_reads_what_the_backbone_reads() -> None:
    for name in ("visp+umt", "csum+umt", "visp+triplesumm", "csum+triplesumm"):
        method, backbone = METHODS[name], METHODS[name.partition("+")[2]]
        assert method.reads_audio
        for kind in ("reads_text", "reads_audio", "reads_query"):
            assert getattr(method, kind) == getattr(backbone, kind)


@pytest.mark.parametrize(
    ("method", "name", "paper", "ours"),
    [
        ("visp+csta", "likeness", "inner", "scaled"),
        ("csum+vasnet", "alpha", 400, 20),
        ("csum+vasnet", "compared", "embeddings", "features"),
    ],
)
def test_the_papers_choice_is_a_preset_where_another_learns_more(method: str, name: str, paper: Any, ours: Any) -> None:
    found = [getattr(settings_of(method, preset).objective, name) for preset in ("paper", "default", "tvsum")]
    assert found == [paper, ours, ours]


def test_hiersums_default_learns_more_and_the_papers_schedule_is_the_preset_of_each_data_set() -> None:
    """tests/bench/learn.py has the figures."""
    default = settings_of("hiersum").model_dump()
    assert (default["model"]["text"], default["objective"]["parent_text"]) == ("both", "both")
    assert default["objective"]["global_step"] == 1
    for preset in ("paper", "wikihow", "mrhisum", "tvsum", "bliss"):
        found = settings_of("hiersum", preset).model_dump()
        assert (found["model"]["text"], found["objective"]["parent_text"]) == ("subtitles", "global"), preset
        assert found["objective"]["global_step"] in (2, 5)
        assert found["model"]["initial"] == "a2summ"
