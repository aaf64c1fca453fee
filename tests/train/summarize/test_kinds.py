"""Runs that were trained on a benchmark's own features summarize any video, by the recipe of these features."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from tests.datasets.benchmarks.benchmark_files import write_eccv16
from tests.train.summarize.film_kit import CAPTIONS, LENGTH_S, command, film, without_hub
from tests.train.summarize.summary_kit import TINY, drawn_run
from tests.train.training_kit import videos, write_root
from torchvision.models import GoogLeNet_Weights, googlenet

from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.commands import main as cli
from vsumdata.stages.encoders.googlenet import GoogLeNetEncoder
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.train.data.origin import Origin, frames_by, recipes_of
from vsumdata.train.loop import runs
from vsumdata.train.loop.predict import predict
from vsumdata.train.summarize.kinds import kind_of
from vsumdata.train.summarize.summary import Summary

MLP = ("--set", "model.hidden=[8]", "--set", "epochs=1", "--set", "batch_size=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    return film(folder / "film.mp4")


@pytest.fixture(scope="module")
def weights(folder: Path) -> Path:
    """A state dict as torchvision's file has it, with random numbers."""
    torch.manual_seed(4)
    torch.save(googlenet(weights=None, aux_logits=True, init_weights=False).state_dict(), folder / "googlenet.pth")
    return folder / "googlenet.pth"


@pytest.fixture(scope="module")
def tvsum(folder: Path) -> Path:
    """TVSum's file with features of the released size."""
    path = write_eccv16(folder / "eccv16_dataset_tvsum_google_pool5.h5", 50)
    rng = np.random.default_rng(0)
    with h5py.File(path, "a") as file:
        for group in file.values():
            num = len(group["picks"])
            del group["features"], group["gtscore"]
            group["features"] = rng.random((num, 1024), np.float32)
            group["gtscore"] = np.linspace(0, 1, num, dtype=np.float32)
    return path


@pytest.fixture(scope="module")
def run(folder: Path, tvsum: Path) -> Path:
    """Trained by the command line."""
    with pytest.MonkeyPatch.context() as patch:
        words = ["vsumdata", "train", "mlp", "--data", f"tvsum:{tvsum}", "--out", str(folder / "run"), *MLP]
        patch.setattr("sys.argv", words)
        assert cli.guarded(cli.app) == 0
    return folder / "run"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    without_hub(monkeypatch, tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return lambda *words: command(monkeypatch, *words)


def test_a_run_on_tvsums_file_summarizes_any_video(call, run, source, weights, tmp_path, capsys) -> None:
    assert runs.read_info(run).origin.recipes == {"frames": "googlenet-pool5", "text": "roberta-a2summ"}
    chosen = ("--set", f"features.clip.weights={weights}")
    assert call(source, "--checkpoint", run, "-o", tmp_path / "out", "--budget", "0.5", *chosen) == 0
    said = capsys.readouterr()
    assert said.out.startswith("mlp: ")
    assert "features as GoogLeNet pool5: " in said.err
    assert "Caffe's bvlc_googlenet" in said.err
    made = Summary.model_validate_json((tmp_path / "out" / "summary.json").read_bytes())
    assert (made.fps, made.features["clip"]) == (2, f"googlenet-pool5 {weights}")
    assert len(made.frame_score) == 2 * LENGTH_S
    # The same by hand: frames at 2 fps through the encoder and the model.
    encoder = GoogLeNetEncoder(str(weights))
    with read_frames(source, Wanted(size=256, fps=2, interpolation="bilinear")) as reader:
        feature = encoder.encode(np.stack([frame for _, frame in reader]))
    bare = Video(video_id="film", frame_time_s=np.arange(len(feature), dtype=np.float32) / 2, frame_feature=feature)
    (expected,) = predict(runs.load(run), [bare])
    assert made.frame_score == pytest.approx(expected.frame_score.tolist(), abs=1e-3)


def test_weights_that_are_missing_are_one_line(call, run, source, tmp_path, capsys, monkeypatch) -> None:
    value = GoogLeNet_Weights.IMAGENET1K_V1.value
    monkeypatch.setattr(value, "__dict__", value.__dict__ | {"url": "http://127.0.0.1:9/googlenet-1378be20.pth"})
    cases = [
        ((), "the weights googlenet-1378be20.pth cannot be had"),
        (("--set", "features.clip.weights=./gone.pth"), "gone.pth does not exist"),
        (("--set", "features.clip.model=ViT-B-32"), "was trained on features with googlenet-pool5; leave it out"),
        (("--set", "features.fps=1"), "was trained on features with 2.0; leave it out"),
    ]
    for words, said in cases:
        assert call(source, "--checkpoint", run, "-o", tmp_path / "out", *words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out").exists()
    assert call(source, "--checkpoint", run, "-o", tmp_path / "out") == 2
    assert "--set features.clip.weights=FILE" in capsys.readouterr().err


def test_the_recipes_of_data_sets() -> None:
    assert recipes_of("ovp", None) == {"frames": "googlenet-pool5"}
    assert recipes_of("mrhisum", None) == {"frames": "inception-yt8m"}
    assert recipes_of("tvsum", "text:/root") == {"frames": "googlenet-pool5"}
    assert recipes_of("tvsum", "/root") == recipes_of("tvsum", "i3d:here") == recipes_of("synthetic", None) == {}


def test_a_run_of_before_has_its_recipe_by_its_data_set(tmp_path: Path) -> None:
    """run.json did not name it, and it changes neither the run's identity nor its digest."""
    kind = kind_of(Origin(data_set="summe", path="x.h5"), tmp_path, sizes=(1024, None))
    assert (kind.fps, kind.names["clip"]) == (2, "googlenet-pool5 imagenet")
    settings = {"path": tmp_path / "one", "root": tmp_path, "method": "mlp", "sets": ("model.hidden=[16]",)}
    old = drawn_run(**settings, sizes=(1024, None), origin=Origin(data_set="tvsum"))  # type: ignore[arg-type]
    info = runs.read_info(old)
    new = info.model_copy(update={"origin": Origin(data_set="tvsum", recipes=recipes_of("tvsum", None))})
    assert (new.digest, new.identity()) == (info.digest, info.identity())


@pytest.mark.parametrize(
    ("origin", "sizes", "said"),
    [
        (Origin(data_set="mrhisum", path="x"), (1024, None), "Inception of YouTube-8M.*inception-2015-12-05.*train on"),
        (Origin(data_set="bliss", path="x"), (512, 768), "do not say which CLIP"),
        (Origin(data_set="tvsum", path="x"), (512, None), "they have 512 numbers, not 1024"),
        (Origin(data_set="tvsum", path="x", features_root="i3d:y"), (3072, None), "vsumdata cannot compute them"),
        (Origin(data_set="synthetic"), (8, None), "the features that synthetic brings; vsumdata cannot"),
    ],
)
def test_features_that_cannot_be_made_here(tmp_path: Path, origin: Origin, sizes: tuple, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        kind_of(origin, tmp_path / "run", sizes=sizes)


def test_texts_as_a2summs(call, source, weights, tmp_path, capsys) -> None:
    """A run that read A2Summ's captions: RoBERTa is needed, or the run is shown no text."""
    origin = Origin(data_set="tvsum", path="x.h5", recipes=recipes_of("tvsum", None))
    trained = drawn_run(tmp_path / "run", tmp_path, sizes=(1024, 768), origin=origin, sets=TINY)
    (tmp_path / "said.vtt").write_text(CAPTIONS)
    words = (source, "--checkpoint", trained, "--set", f"features.clip.weights={weights}")
    assert call(*words, "-o", tmp_path / "out", "--captions", tmp_path / "said.vtt") == 2
    assert "the model FacebookAI/roberta-base cannot be fetched" in capsys.readouterr().err
    assert call(*words, "-o", tmp_path / "out", "--text", "none") == 0
    said = capsys.readouterr().err
    assert "features as GoogLeNet pool5" in said
    assert "RoBERTa" not in said
    small = ("--set", f"features.text.model={roberta(tmp_path / 'roberta')}", "--captions", tmp_path / "said.vtt")
    assert call(*words, "-o", tmp_path / "out", *small) == 0
    assert "RoBERTa as A2Summ's: 768 numbers" in capsys.readouterr().err
    made = Summary.model_validate_json((tmp_path / "out" / "summary.json").read_bytes())
    assert (made.text, made.sentence_scores_from, len(made.sentences)) == ("subtitles", "model", 2)


def roberta(path: Path) -> Path:
    """RoBERTa of one layer and random weights, in roberta-base's size and layout."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    words = ByteLevelBPETokenizer()
    words.train_from_iterator(
        ["stir it well"], vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    path.mkdir()
    words.save_model(str(path))
    RobertaTokenizerFast.from_pretrained(str(path), model_max_length=64).save_pretrained(path)
    config = RobertaConfig(
        vocab_size=300, num_hidden_layers=1, intermediate_size=64, max_position_embeddings=80, pad_token_id=1
    )
    RobertaModel(config).save_pretrained(path)
    return path


def test_the_texts_of_a_root_beside_a_benchmarks_frames(tmp_path: Path) -> None:
    root = write_root(tmp_path / "root", videos(4, frames=20), ["train"])
    stored = json.loads((root / "dataset.json").read_text())
    settings = {"sources": [{"channel": "@x"}], "features": {"text": {"model": "some/sbert"}}, "asr": {"model": "tiny"}}
    stored["manifest"] = {"settings": settings, "folder": "/corpus", "file": "m.yaml"}
    (root / "dataset.json").write_text(json.dumps(stored))
    origin = Origin(data_set="tvsum", path="x.h5", features_root=f"text:{root}")
    kind = kind_of(origin, "run", sizes=(1024, 384))
    assert kind.names == {"clip": "googlenet-pool5 imagenet", "text": "some/sbert"}
    assert kind.loaded.manifest.asr.model == "tiny"


def test_settings_of_a_run_on_a_root(tmp_path: Path) -> None:
    """Another CLIP is refused; the same one in a file is compared by what the root locked."""
    sections = {"features": {"clip": {"model": "ViT-B-32", "weights": "openai"}}, "asr": {}, "captions": {}}
    known = {"clip ViT-B-32 openai": {"identity": "open_clip ViT-B-32 openai timm/x@1"}}
    (tmp_path / "clip.pt").touch()
    for models, name, said in (
        (known, "features.clip.model=RN50", "was trained on features with ViT-B-32; leave it out"),
        (known, "features.fps=2", "was trained on features with 1"),
        ({}, f"features.clip.weights={tmp_path / 'clip.pt'}", "was trained on features with openai"),
    ):
        origin = Origin(data_set="shards", path="r", features={**sections, "folder": "/x", "models": models})
        with pytest.raises(UsageError, match=said):
            kind_of(origin, "run", (name,))
    origin = Origin(data_set="shards", path="r", features={**sections, "folder": "/x", "models": known})
    kind = kind_of(origin, "run", (f"features.clip.weights={tmp_path / 'clip.pt'}",))
    assert kind.known[f"clip ViT-B-32 {tmp_path / 'clip.pt'}"] == known["clip ViT-B-32 openai"]
    assert kind_of(origin, "run", ("asr.model=tiny",)).loaded.manifest.asr.model == "tiny"


def test_a_root_of_googlenet_features_is_no_clip() -> None:
    made = {"features": {"clip": {"model": "googlenet-pool5", "weights": "imagenet"}, "text": {"model": "s"}}}
    assert frames_by(Origin(features={**made, "models": {}})) == "GoogLeNet pool5 imagenet"
