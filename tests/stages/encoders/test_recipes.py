"""Recipes of features: GoogLeNet's pool5 as torchvision computes it, colour histograms by hand, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.pipeline.media_kit import TALK, lavfi
from torchvision.models import GoogLeNet_Weights, ResNet50_Weights, googlenet, resnet50

from vsumdata.manifests.errors import UsageError
from vsumdata.stages import frames
from vsumdata.stages.encoders import recipes
from vsumdata.stages.encoders.clip import ClipText
from vsumdata.stages.encoders.colours import ColourEncoder
from vsumdata.stages.encoders.googlenet import RESNET50, GoogLeNetEncoder, ResNetEncoder, resolve
from vsumdata.stages.encoders.models import resolve_clip
from vsumdata.stages.encoders.recipes import COLOURS, GOOGLENET, PICTURES, TEXTS
from vsumdata.stages.stage import Context, Row

OPTIONS = {"sampling": "exact", "hwaccel": "none", "precision": "auto"}


def network() -> torch.nn.Module:
    """torchvision's own, with random weights as its file would hold them: with all its classifiers."""
    torch.manual_seed(4)
    made = googlenet(weights=None, aux_logits=True, init_weights=False, transform_input=True).eval()
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):  # else all pictures would give nearly the same
                layer.running_var.fill_(0.05)
    return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "googlenet.pth"
    torch.save(network().state_dict(), path)
    return path


def pictures(num: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (num, 8, 8, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC)) for each in coarse]
    )


def row_of(model: str, weights: str, path: Path, folder: Path, fps: float) -> Row:
    """What the stage `frames` makes of a file by a recipe."""
    found = resolve_clip(model, weights, folder)
    chosen = {"clip_model": model, "clip_weights": weights, "clip_location": found.location, "frame_dim": found.dim}
    function = frames.load({**OPTIONS, **chosen, "fps": fps}, Context(root=str(folder), scratch=str(folder)))
    return function({"video_id": "v", "media": str(path)})


def test_pool5_is_what_torchvision_computes(weights: Path) -> None:
    """By its own transforms, and a hook on its pooling."""
    batch, held, theirs = pictures(3, 256), [], network()
    theirs.avgpool.register_forward_hook(lambda _, __, out: held.append(out.flatten(1)))
    transform = GoogLeNet_Weights.IMAGENET1K_V1.transforms()
    with torch.inference_mode():
        theirs(torch.stack([transform(Image.fromarray(each)) for each in batch]))
    expected = torch.nn.functional.normalize(held[0], dim=1).numpy()
    found = GoogLeNetEncoder(str(weights)).encode(batch)
    assert (found.shape, found.dtype) == ((3, 1024), np.float16)
    np.testing.assert_allclose(found.astype(np.float32), expected, atol=2e-4)
    assert (expected[0] @ expected[1]) < 0.999, "the pictures must differ, or the test would show nothing"


def test_resnet_is_what_torchvision_computes(tmp_path: Path) -> None:
    torch.manual_seed(4)
    theirs, held, batch = resnet50(weights=None).eval(), [], pictures(2, 256)
    torch.save(theirs.state_dict(), tmp_path / "resnet.pth")
    theirs.avgpool.register_forward_hook(lambda _, __, out: held.append(out.flatten(1)))
    transform = ResNet50_Weights.IMAGENET1K_V1.transforms()
    with torch.inference_mode():
        theirs(torch.stack([transform(Image.fromarray(each)) for each in batch]))
    location, identity = resolve("resnet.pth", tmp_path, RESNET50)
    assert identity.split()[:2] == ["resnet50", "content"]
    found = ResNetEncoder("resnet.pth", location=location).encode(batch)
    expected = torch.nn.functional.normalize(held[0], dim=1).numpy()
    np.testing.assert_allclose(found.astype(np.float32), expected, atol=2e-4)
    assert np.abs(expected[0] - expected[1]).max() > 2e-3, "the pictures must differ, or the test would show nothing"
    with pytest.raises(UsageError, match=r"torchvision's resnet50 weights with --set labels.step_frames.weights=FILE"):
        resolve("openai", tmp_path, RESNET50)


def test_weights_as_safetensors_are_the_same(weights: Path, tmp_path: Path) -> None:
    held = {name: value.contiguous() for name, value in torch.load(weights, weights_only=True).items()}
    save_file(held, tmp_path / "googlenet.safetensors")
    one, other = GoogLeNetEncoder(str(weights)), GoogLeNetEncoder(str(tmp_path / "googlenet.safetensors"))
    np.testing.assert_array_equal(one.encode(pictures(2, 256)), other.encode(pictures(2, 256)))


def test_seeded_weights_leave_torch_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, two, other = (GoogLeNetEncoder(f"seed:{seed}") for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    batch = pictures(2, 256)
    np.testing.assert_array_equal(one.encode(batch), two.encode(batch))
    assert np.abs(one.encode(batch) - other.encode(batch)).max() > 1e-3


def test_the_stage_makes_pool5_at_two_frames_a_second(weights: Path, tmp_path: Path) -> None:
    made = row_of(GOOGLENET, str(weights), TALK, tmp_path, PICTURES[GOOGLENET].fps or 0)
    time_s, feature = made["frame_time_s"], made["frame_feature"]
    assert feature.shape == (len(time_s), 1024)
    assert np.diff(time_s)[:5] == pytest.approx(0.5, abs=0.05)
    assert np.linalg.norm(feature.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)
    assert (made["clip_model"], made["shot_stop"][-1]) == (GOOGLENET, len(time_s))
    assert "256 px shortest bilinear, centre 224 px" in made["decoder"]


def test_a_histogram_by_hand() -> None:
    """The left half red, the right half black."""
    frame = np.zeros((1, 64, 64, 3), np.uint8)
    frame[:, :, :32, 0] = 255
    found = ColourEncoder().encode(frame)[0].astype(np.float64).reshape(4, 3, 16) ** 2
    red_left, red_right = found[[0, 2], 0], found[[1, 3], 0]
    assert red_left[:, 15] == pytest.approx(1 / 12, rel=1e-2)
    assert red_right[:, 0] == pytest.approx(1 / 12, rel=1e-2)
    assert found[:, 1:, 0] == pytest.approx(1 / 12, rel=1e-2)
    assert found.sum() == pytest.approx(1, rel=1e-2)


def test_histograms_find_the_cuts_of_a_film(tmp_path: Path) -> None:
    scenes = ["color=c=red:s=96x64:r=10:d=6", "testsrc2=s=96x64:r=10:d=8", "color=c=navy:s=96x64:r=10:d=7"]
    graph = "[0:v][1:v][2:v]concat=n=3:v=1:a=0"
    film = lavfi(tmp_path / "film.mp4", *scenes, args=("-filter_complex", graph))
    made = row_of(COLOURS, "none", film, tmp_path, 1)
    assert made["frame_feature"].shape == (21, 192)
    assert {6, 14} <= set(made["shot_start"].tolist())
    assert len(made["shot_start"]) <= 4


@pytest.mark.parametrize(
    ("model", "weights", "said"),
    [
        (recipes.INCEPTION, "imagenet", "Inception of YouTube-8M cannot be made here: they need Google's TensorFlow"),
        (recipes.BLISS_CLIP, "openai", "do not say which CLIP"),
        (COLOURS, "openai", "write features.clip.weights=none"),
        (GOOGLENET, "openai", "give imagenet or seed:0, or a file of torchvision's googlenet weights with --set"),
        (GOOGLENET, "./nothing.pth", "nothing.pth does not exist"),
        ("googlenet", "imagenet", "no model googlenet; did you mean googlenet-pool5?"),
    ],
)
def test_what_cannot_be_made_is_one_line(tmp_path: Path, model: str, weights: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_clip(model, weights, tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imagenets_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address leads nowhere, so only the cache could serve, and the file there is another one."""
    value = GoogLeNet_Weights.IMAGENET1K_V1.value
    monkeypatch.setattr(value, "__dict__", value.__dict__ | {"url": "http://127.0.0.1:9/googlenet-1378be20.pth"})
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"googlenet-1378be20.pth cannot be had .*--set features.clip.weights=FILE"):
        resolve_clip(GOOGLENET, "imagenet", tmp_path)
    cached = tmp_path / "hub" / "checkpoints" / "googlenet-1378be20.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"cut off")
    with pytest.raises(UsageError, match="the checksum of .* is wrong"):
        resolve_clip(GOOGLENET, "imagenet", tmp_path)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    torch.save({"conv1.conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "words.pth").write_text("not weights\n")
    with pytest.raises(UsageError, match="other.pth is not a state dict of torchvision's googlenet"):
        GoogLeNetEncoder(str(tmp_path / "other.pth"))
    with pytest.raises(UsageError, match=r"words.pth cannot be read as weights"):
        GoogLeNetEncoder(str(tmp_path / "words.pth"))


def test_no_text_tower() -> None:
    with pytest.raises(UsageError, match="googlenet-pool5 has no text tower"):
        ClipText(GOOGLENET, "seed:0")


def test_another_content_is_another_identity(weights: Path, tmp_path: Path) -> None:
    torch.save({"other": torch.zeros(1)}, tmp_path / "googlenet.pth")
    found = resolve_clip(GOOGLENET, str(weights), tmp_path)
    assert found.identity != resolve_clip(GOOGLENET, "googlenet.pth", tmp_path).identity
    assert (found.dim, found.identity.split()[:2]) == (1024, ["googlenet", "content"])


def test_every_recipe_says_how_far_it_is_known() -> None:
    for name, recipe in {**PICTURES, **TEXTS}.items():
        assert recipe.name == name
        assert all((recipe.known, recipe.pooling, recipe.normalisation, recipe.preprocessing, recipe.weights_from))
    clip = recipes.of_pictures("ViT-B-32", "openai")
    assert (clip.name, recipes.title_of("ViT-B-32", "openai")) == ("ViT-B-32 openai", "CLIP ViT-B-32 openai")
