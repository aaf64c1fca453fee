"""CLIP's image tower with seeded weights: the same as open_clip's, in each process and with little memory."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders import models
from vsumdata.stages.encoders.clip import ClipEncoder, _picture
from vsumdata.stages.encoders.models import resolve_clip


@pytest.fixture(scope="module")
def open_clip() -> ModuleType:
    """Imported here: it takes four seconds, which every collection of the tests would pay."""
    import open_clip

    return open_clip


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return ClipEncoder("ViT-B-32", "seed:0", threads=2)


def pictures(num: int, size: int = 224) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, size, size, 3), dtype=np.uint8)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_seeded_weights_are_the_same_in_each_process(encoder):
    code = """
import numpy as np
from vsumdata.stages.encoders.clip import ClipEncoder
pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
print(ClipEncoder("ViT-B-32", "seed:0", threads=2).encode(pictures).astype(np.float32).tobytes().hex())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    other = np.frombuffer(bytes.fromhex(done.stdout), np.float32).reshape(2, 512)
    assert np.abs(other - encoder.encode(pictures(2)).astype(np.float32)).max() < 1e-3
    assert "seed:0: such features mean nothing" in done.stderr


def test_another_seed_is_another_model_and_leaves_torch_alone(encoder):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    other = ClipEncoder("ViT-B-32", "seed:1", threads=2)
    assert torch.equal(torch.rand(3), expected)
    assert cosine(other.encode(pictures(1)), encoder.encode(pictures(1)))[0] < 0.9


def test_encoder_equals_open_clip(open_clip):
    """Preprocessing and image tower as in open_clip's `encode_image`, here in float32."""
    torch.manual_seed(3)
    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32")
    batch = pictures(3)
    with torch.inference_mode():
        expected = model.eval().encode_image(torch.stack([transform(Image.fromarray(p)) for p in batch]))
    ours = ClipEncoder("ViT-B-32", "seed:3", threads=2, precision="fp32").encode(batch)
    assert cosine(ours, expected.numpy()) == pytest.approx(1, abs=1e-5)


def test_checkpoint_file(tmp_path, open_clip):
    torch.manual_seed(5)
    model = open_clip.create_model("RN50")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    from_file = ClipEncoder("RN50", str(tmp_path / "weights.pt"), threads=2, precision="fp32")
    seeded = ClipEncoder("RN50", "seed:5", threads=2, precision="fp32")
    assert from_file.dim == seeded.dim == resolve_clip("RN50", "seed:5", tmp_path).dim == 1024
    assert cosine(from_file.encode(pictures(2)), seeded.encode(pictures(2))) == pytest.approx(1, abs=1e-5)


def test_checkpoint_of_openai_wants_the_quickgelu_name(tmp_path, open_clip):
    """A file does not name the activation that it was trained with, so the model's name decides."""
    torch.manual_seed(5)
    theirs = open_clip.create_model("ViT-B-32", force_quick_gelu=True).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    transform = open_clip.image_transform(224, is_train=False)
    with torch.inference_mode():
        expected = theirs.encode_image(torch.stack([transform(Image.fromarray(p)) for p in pictures(2)])).numpy()
    quick, plain = (
        ClipEncoder(name, str(tmp_path / "weights.pt"), threads=2, precision="fp32").encode(pictures(2))
        for name in ("ViT-B-32-quickgelu", "ViT-B-32")
    )
    assert cosine(quick, expected) == pytest.approx(1, abs=1e-5)
    assert (cosine(plain, expected) < 0.99998).all()


@pytest.mark.parametrize(
    ("config", "way"),
    [
        ({"size": 224}, (224, "shortest", "bicubic")),
        ({"size": (336, 336), "resize_mode": "squash", "interpolation": "bilinear"}, (336, "squash", "bilinear")),
        ({"size": 224, "interpolation": "random"}, (224, "shortest", "bicubic")),
    ],
)
def test_how_pictures_are_made_is_what_the_weights_ask_for(config, way):
    assert _picture("ViT-B-32", config) == way


@pytest.mark.parametrize("config", [{"size": (224, 336)}, {"size": 224, "resize_mode": "longest"}])
def test_pictures_that_cannot_be_made_are_refused(config):
    with pytest.raises(UsageError, match="choose another model"):
        _picture("ViT-B-32", config)


def test_checkpoint_of_something_else(tmp_path):
    (tmp_path / "words.pt").write_text("not weights\n")
    torch.save({"other": torch.zeros(3)}, tmp_path / "other.pt")
    for name in ("words.pt", "other.pt"):
        with pytest.raises(UsageError, match=f"{name} of RN50 cannot be loaded"):
            ClipEncoder("RN50", str(tmp_path / name))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_gives_nearly_the_same(precision):
    batch = pictures(4)
    full = ClipEncoder("ViT-B-32", "seed:0", threads=2, precision="fp32").encode(batch)
    half = ClipEncoder("ViT-B-32", "seed:0", threads=2, precision=precision)
    assert half.made_on.startswith(f"cpu {precision}, ")
    assert (cosine(half.encode(batch), full) > 0.999).all()


def test_full_memory_halves_the_batch_and_goes_on(encoder, monkeypatch):
    """The tower has room for five pictures, like a GPU that others use too."""
    expected, tower = encoder.encode(pictures(11)), encoder._tower
    sizes: list[int] = []

    def small(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 5:
            raise torch.cuda.OutOfMemoryError("no room")
        sizes.append(len(x))
        return tower(x)

    monkeypatch.setattr(encoder, "_tower", small)
    monkeypatch.setattr(encoder, "batch", 16)
    assert (cosine(encoder.encode(pictures(11)), expected) > 0.999).all()
    assert sizes == [4, 4, 3]
    assert encoder.batch == 4


@pytest.mark.parametrize(
    ("url", "is_checked"),
    [
        ("https://openaipublic.localhost/{full}/w.pt", True),
        ("https://mlfoundations.localhost/v1/rn50-{short}.pt", True),
        ("https://weights.localhost/v1/w-{short}.pt", False),
    ],
)
def test_clip_weights_in_the_cache_are_checked_as_open_clip_does(tmp_path, monkeypatch, url, is_checked):
    """The addresses lead nowhere, so only an intact file of the cache serves."""
    monkeypatch.setenv("HOME", str(tmp_path))
    digest = hashlib.sha256(b"weights").hexdigest()
    url = url.format(full=digest, short=digest[:8])
    cached = tmp_path / ".cache" / "clip" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"weights")
    assert models._pretrained_source("tag", url=url) == ("tag", url)
    cached.write_bytes(b"weigh")
    if is_checked:
        with pytest.raises(UsageError, match=r"^the checksum of .*is wrong, and .*features\.clip\.weights"):
            models._pretrained_source("tag", url=url)
    else:
        assert models._pretrained_source("tag", url=url) == ("tag", url)
