"""TransNetV2: its parts against plain restatements, its files, and shots of a film by planted weights."""

from __future__ import annotations

import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Loaded, Manifest
from vsumdata.pipeline.recipe import recipe
from vsumdata.pipeline.state.plan import fingerprint
from vsumdata.stages import frames
from vsumdata.stages.encoders import transnet
from vsumdata.stages.encoders.models import Model, Models, model_keys, resolve_models, resolve_shots
from vsumdata.stages.encoders.transnet import Cell, ShotEnds, TransNetV2, histograms, similarities
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.stage import Context

MODELS = Models(asr=Model("w", "", "w"), clip=Model("c", "", "c", dim=4), text=Model("s", "", "s", dim=3))


def manifest(**features: Any) -> Manifest:
    return Manifest.model_validate({"sources": [{"channel": "@x"}], "features": features})


def pictures(num: int, seed: int = 0) -> np.ndarray:
    """Pictures that change every 20."""
    rng = np.random.default_rng(seed)
    looks = rng.integers(0, 256, (-(-num // 20), 27, 48, 3)).repeat(20, 0)[:num]
    return np.clip(looks + rng.integers(-9, 10, looks.shape), 0, 255).astype(np.uint8)


def planted() -> dict[str, torch.Tensor]:
    """Weights that know one thing: a shot ends where the colours of the next picture are others."""
    given = {name: torch.zeros_like(value) for name, value in TransNetV2().state_dict().items()}
    given["color_hist_layer.fc.weight"][0, 50:52] = torch.tensor([1.0, -1.0])  # its own similarity, 1, less the next's
    given["fc1.weight"][0, 0] = 20
    given["cls_layer1.weight"][0, 0] = 1
    given["cls_layer1.bias"][0] = -8
    return given


def test_a_cell_restated() -> None:
    torch.manual_seed(0)
    cell = Cell(3, 2).eval()
    with torch.no_grad():
        for value in (cell.bn.running_mean, cell.bn.running_var, cell.bn.weight, cell.bn.bias):
            assert value is not None
            value.uniform_(0.5, 1.5)
    weights = {name: value.double().numpy() for name, value in cell.state_dict().items()}
    x = np.random.default_rng(1).normal(size=(3, 20, 4, 5))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    made = []
    for far in (1, 2, 4, 8):
        wide = weights[f"Conv3D_{far}.layers.0.weight"][:, :, 0]
        flat = sum(
            np.einsum("oc,cthw->othw", wide[:, :, i, j], padded[:, :, i : i + 4, j : j + 5])
            for i in range(3)
            for j in range(3)
        )
        in_time = weights[f"Conv3D_{far}.layers.1.weight"][..., 0, 0]
        late = np.pad(flat, ((0, 0), (far, far), (0, 0), (0, 0)))
        at = [late[:, k * far : k * far + 20] for k in range(3)]
        made.append(sum(np.einsum("oc,cthw->othw", in_time[:, :, k], at[k]) for k in range(3)))
    mean, var, scale, shift = (
        weights[f"bn.{name}"][:, None, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    expected = (np.concatenate(made) - mean) / np.sqrt(var + 1e-3) * scale + shift
    with torch.inference_mode():
        found = cell(torch.from_numpy(x[None]).float())[0].numpy()
    assert np.abs(found - expected).max() < 1e-5


def test_histograms_and_similarities_restated() -> None:
    given = pictures(60)[:, :5, :6]
    counts = np.zeros((60, 8, 8, 8))
    for at, picture in enumerate(given):
        for red, green, blue in picture.reshape(-1, 3) // 32:
            counts[at, red, green, blue] += 1
    found = histograms(torch.from_numpy(given[None]))
    assert (found[0].numpy() == counts.reshape(60, 512)).all()
    unit = counts.reshape(60, 512) / np.linalg.norm(counts.reshape(60, 512), axis=1, keepdims=True)
    near = similarities(found)[0].numpy()
    assert near.shape == (60, 101)
    for at in (0, 7, 59):
        for place in range(101):
            other = at + place - 50
            expected = unit[at] @ unit[other] if 0 <= other < 60 else 0
            assert near[at, place] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("num", [1, 24, 25, 26, 49, 50, 51, 74, 75, 76, 100, 124, 125, 126, 240])
def test_windows_of_any_length(num: int) -> None:
    """Each picture is in the middle once, between its neighbours, or the first and last where there are none."""
    numbered = np.zeros((num, 27, 48, 3), np.uint8)
    numbered[:] = np.arange(num, dtype=np.uint8)[:, None, None, None]
    found = list(transnet._windows(iter(numbered)))
    assert [own for _, own in found] == [50] * (num // 50) + [num % 50] * (num % 50 > 0)
    for at, (window, _) in enumerate(found):
        assert window[:, 0, 0, 0].tolist() == np.clip(np.arange(100) + 50 * at - 25, 0, num - 1).tolist()
    for size in (1, 2, 7):
        batches = list(transnet._batches(iter(found), size))
        assert sum(own for _, own in batches) == num
        assert (np.concatenate([windows for windows, _ in batches]) == np.stack([window for window, _ in found])).all()


def test_the_batch_changes_nothing() -> None:
    model, given = ShotEnds("seed:0", threads=2), pictures(60)
    model.batch = 2
    found = model.probabilities(iter(given))
    assert (found.shape, found.dtype) == ((60,), np.float32)
    assert found.std() > 0
    second = np.concatenate([given[25:], given[-1:].repeat(65, 0)])
    assert np.abs(found[50:] - model._forward(second[None])[0, :10]).max() < 1e-6
    assert model.probabilities(iter(())).shape == (0,)


def test_files_of_weights(tmp_path: Path) -> None:
    """The same network from each form, and one line for everything else that a person may give."""
    given = planted()
    torch.save(given, tmp_path / "w.pth")
    # As other programs write them: without counters.
    save_file({k: v for k, v in given.items() if "num_batches" not in k}, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        loaded = ShotEnds(name, location=resolve_shots(name, tmp_path).location)._network.state_dict()
        assert all((loaded[key] == value).all() for key, value in given.items())
    torch.save({"state_dict": given}, tmp_path / "nested.pth")
    torch.save({k: v for k, v in given.items() if k != "fc1.bias"}, tmp_path / "missing.pth")
    torch.save({**given, "fc2.bias": torch.zeros(3)}, tmp_path / "more.pth")
    torch.save({**given, "fc1.bias": torch.zeros(3)}, tmp_path / "shape.pth")
    torch.save({**given, "fc1.bias": torch.full((1024,), torch.nan)}, tmp_path / "nan.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Path("x"), protocol=2))
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><title>404</title>")
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html><title>404</title>")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:100_000])
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:b8\nsize 30516656\n")
    for name, words in (
        ("nested.pth", "does not hold tensors by name"),
        ("missing.pth", r"not a state dict of TransNetV2 .*Missing.*fc1\.bias"),
        ("more.pth", r"not a state dict of TransNetV2 .*fc2\.bias"),
        ("shape.pth", r"not a state dict of TransNetV2 .*size mismatch for fc1\.bias"),
        ("nan.pth", r"fc1\.bias holds values that are not finite"),
        *((name, "cannot be read as weights") for name in ("code.pth", "page.pth", "page.safetensors")),
        *((name, "cannot be read as weights") for name in ("empty.pth", "cut.pth", "pointer.pth")),
    ):
        with pytest.raises(UsageError, match=words) as error:
            ShotEnds(name, location=resolve_shots(name, tmp_path).location)
        assert "\n" not in str(error.value)
        assert f"features.shots={name}" in str(error.value)
        assert str(error.value).endswith("--set features.shots=FILE")


def test_weights_are_known_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"a")
    (tmp_path / "b.pth").write_bytes(b"a")
    first = resolve_shots("a.pth", tmp_path)
    assert first.location == str((tmp_path / "a.pth").resolve())
    assert first.identity == resolve_shots(str(tmp_path / "b.pth"), "/").identity
    loaded = Loaded(manifest=manifest(shots="a.pth", clip={"weights": "seed:0"}), folder=tmp_path, file="m.yaml")
    key = model_keys(loaded.manifest)["shots"]
    lock = {key: {"name": first.name, "location": "", "identity": first.identity, "dim": None}}
    assert resolve_models(loaded, lock, {"frames"}).shots == first
    (tmp_path / "a.pth").write_bytes(b"b")
    assert resolve_shots("a.pth", tmp_path).identity != first.identity
    with pytest.raises(UsageError, match=r"not the model that models\.json locks"):
        resolve_models(loaded, lock, {"frames"})
    (tmp_path / "folder").mkdir()
    for name in ("none.pth", "folder"):
        with pytest.raises(UsageError, match=rf"features\.shots: {name} is no file; give TransNetV2's"):
            resolve_shots(name, tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        resolve_shots("./none.pth", tmp_path)


def test_only_roots_that_ask_for_them_get_other_fingerprints() -> None:
    """`frames` and the tables made of it; without the setting nothing says that there is one."""
    plain = recipe(manifest(), MODELS)
    assert not any(name.startswith("shots") for name in plain["frames"].options)
    assert "shots" not in model_keys(manifest(shots=None))

    def learnt(identity: str) -> dict[str, str]:
        models = Models(asr=MODELS.asr, clip=MODELS.clip, text=MODELS.text, shots=Model("t", "/here", identity))
        stages = recipe(manifest(shots="t.pth"), models)
        return {name: fingerprint(stages, name) for name in stages}

    before, one, other = {name: fingerprint(plain, name) for name in plain}, learnt("one"), learnt("other")
    # Tables that read columns of frames keep those of several settings apart.
    made_of_frames = {"frames", "features", "duplicates", "quality", "step_times", "pseudo_summaries"}
    assert {name for name in before if before[name] != one[name]} == made_of_frames
    assert {name for name in before if one[name] != other[name]} == made_of_frames


def test_a_film_with_two_hard_cuts(tmp_path: Path) -> None:
    """From the file to the table: every picture is decoded, and the cuts between two sampled frames are found."""
    colours = "color=c={}:s=96x64:r=16:d={}"
    parts = [colours.format("red", 1.25), colours.format("green", 0.75), colours.format("blue", 1)]
    inputs = [word for part in parts for word in ("-f", "lavfi", "-i", part)]
    film = tmp_path / "film.mp4"
    joined = ["-filter_complex", "concat=n=3", "-pix_fmt", "yuv420p", "-c:v", "libx264", str(film)]
    subprocess.run([ffmpeg_program(), "-v", "error", *inputs, *joined], check=True)
    save_file(planted(), tmp_path / "planted.safetensors")
    options = {"fps": 4, "sampling": "exact", "hwaccel": "none", "precision": "auto", "frame_dim": 192}
    options |= {"clip_model": "colour-histograms", "clip_weights": "none"}
    context = Context(root=str(tmp_path), scratch=str(tmp_path), threads=2)

    def shots(weights: str, location: str, **changes: Any) -> tuple[list[int], list[int]]:
        chosen = options | {"shots_weights": weights, "shots_location": location} | changes
        made = frames.load(chosen, context)({"video_id": "film", "media": str(film)})
        assert made["decoder"].endswith(f"; shots by TransNetV2 {weights}")
        assert made["shot_start"].dtype == made["shot_stop"].dtype == np.int32
        return made["shot_start"].tolist(), made["shot_stop"].tolist()

    location = str(tmp_path / "planted.safetensors")
    assert shots("planted.safetensors", location) == ([0, 5, 8], [5, 8, 12])
    start, stop = shots("seed:0", "seed:0", sampling="keyframes")
    assert (start[0], stop[-1], start[1:]) == (0, 12, stop[:-1])


def test_the_network_has_the_official_layout() -> None:
    """Names and sizes of the official file (soCzech/TransNetV2@05546d7)."""
    state = {name: tuple(value.shape) for name, value in TransNetV2().state_dict().items()}
    assert len(state) == 90
    assert state["SDDCNN.0.DDCNN.0.Conv3D_1.layers.0.weight"] == (32, 3, 1, 3, 3)
    assert state["SDDCNN.2.DDCNN.1.Conv3D_8.layers.1.weight"] == (64, 128, 3, 1, 1)
    assert state["SDDCNN.1.DDCNN.0.bn.running_var"] == (128,)
    assert state["frame_sim_layer.projection.weight"] == (128, 448)
    assert state["frame_sim_layer.fc.weight"] == state["color_hist_layer.fc.weight"] == (128, 101)
    assert state["fc1.weight"] == (1024, 4864)
    assert state["cls_layer1.weight"] == state["cls_layer2.weight"] == (1, 1024)
