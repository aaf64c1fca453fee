"""CLIP's vision transformers in int8: near float32, the same in each process, and refused where they cannot be had."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders.clip import INT8_INSTRUCTIONS, ClipEncoder, check_int8
from vsumdata.stages.pictures.decode import Wanted, read_frames

ABLE = any(torch.cpu.get_capabilities().get(name) for name in INT8_INSTRUCTIONS)
needs_vnni = pytest.mark.skipif(not ABLE, reason="this CPU has neither VNNI nor AMX")
SMALL = "ViT-S-32-alt"


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.astype(np.float64) * b.astype(np.float64)).sum(1)


@needs_vnni
@pytest.mark.parametrize("model", [SMALL, "ViT-B-32-quickgelu"])
def test_features_are_near_those_of_float32(model, caplog):
    """With both activations that towers of open_clip have."""
    with caplog.at_level(logging.INFO):
        encoder = ClipEncoder(model, "seed:0", threads=2, precision="int8")
    assert f"{model} seed:0 in int8: cosine with float32 on" in caplog.text
    assert encoder.made_on.startswith("cpu int8 with ")
    full = ClipEncoder(model, "seed:0", threads=2, precision="fp32")
    found = cosine(encoder.encode(pictures()), full.encode(pictures()))
    assert (found > 0.999).all()
    # Not float32 under another name.
    assert (found < 1 - 1e-6).all()


@needs_vnni
@pytest.mark.recorded
def test_features_of_recorded_footage_are_near_those_of_float32(recordings):
    encoder, full = (ClipEncoder(SMALL, "seed:0", threads=2, precision=kind) for kind in ("int8", "fp32"))
    with read_frames(str(recordings / "media" / "nasa_13013.mp4"), Wanted(size=224, fps=1.0)) as reader:
        frames = np.stack([picture for _, picture in reader])
    assert cosine(encoder.encode(frames), full.encode(frames)).min() > 0.999


@needs_vnni
def test_the_same_in_each_process():
    code = f"""
import numpy as np
from vsumdata.stages.encoders.clip import ClipEncoder
pictures = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8)
print(ClipEncoder({SMALL!r}, "seed:0", precision="int8").encode(pictures).tobytes().hex())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = ClipEncoder(SMALL, "seed:0", precision="int8").encode(pictures())
    assert done.stdout.strip() == ours.tobytes().hex()


@needs_vnni
def test_large_single_channels_do_not_spoil_it(tmp_path):
    """As trained transformers have them: a norm that makes a few channels 100 times as large, which weights undo."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model(SMALL)
    state = model.state_dict()
    for block in range(len(model.visual.transformer.resblocks)):
        at = f"visual.transformer.resblocks.{block}."
        for norm, layer in (("ln_1", "attn.in_proj_weight"), ("ln_2", "mlp.c_fc.weight")):
            state[f"{at}{norm}.weight"][:3] *= 100
            state[f"{at}{norm}.bias"][:3] *= 100
            state[f"{at}{layer}"][:, :3] /= 100
    torch.save(state, tmp_path / "weights.pt")
    encoder, full = (
        ClipEncoder(SMALL, str(tmp_path / "weights.pt"), threads=2, precision=kind) for kind in ("int8", "fp32")
    )
    assert (cosine(encoder.encode(pictures()), full.encode(pictures())) > 0.999).all()


@needs_vnni
def test_weights_that_int8_cannot_hold_are_told(tmp_path, caplog):
    """A few weights of the MLP's second layer set its scale alone: the others round to nothing."""
    import open_clip

    torch.manual_seed(0)
    state = open_clip.create_model(SMALL).state_dict()
    for name in [name for name in state if name.startswith("visual.") and name.endswith("c_proj.weight")]:
        state[name][:, :2] *= 300
    torch.save(state, tmp_path / "weights.pt")
    ClipEncoder(SMALL, str(tmp_path / "weights.pt"), threads=2, precision="int8")
    assert [record.levelname for record in caplog.records if "below 0.999" in record.message] == ["WARNING"]


@needs_vnni
def test_a_model_without_such_blocks_is_refused():
    with pytest.raises(UsageError, match=r"^features\.precision=int8 is for the vision transformers"):
        ClipEncoder("RN50", "seed:0", precision="int8")


def test_a_gpu_is_refused():
    with pytest.raises(UsageError, match=r"is for CPUs: .*resources\.frames\.gpus=0"):
        check_int8("cuda")


def test_a_cpu_without_the_instructions_is_refused(monkeypatch):
    """There oneDNN's sums saturate: other features, not an error."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(UsageError, match=r"needs a CPU with VNNI or AMX"):
        check_int8("cpu")


def test_the_calibration_pictures_are_in_the_package():
    from vsumdata.stages.encoders import int8

    folder = Path(str(int8.ASSETS)) / "media"
    assert all((folder / f"{name}.mp4").is_file() for name in int8.VIDEOS)
    found = int8.pictures(64, "shortest", "bicubic")
    assert found.shape[1:] == (64, 64, 3)
    assert len(found) >= 16
