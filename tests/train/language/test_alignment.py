"""Stage 1, `align`: texts beside the frames that show what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.datasets.benchmarks.benchmark_files import write_llava_pretrain
from tests.train.language.language_kit import DIM, TINY, fitted, planted, tiny
from tests.train.training_kit import losses, start

from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store
from vsumdata.train.data.origin import Origin
from vsumdata.train.data.training import Data, Wanted, open_data
from vsumdata.train.loop import runs
from vsumdata.train.loop.job import prepared

ARCH = "ViT-S-32-alt"
ALIGN = ("objective.stage=align", "model.tuning=adapter")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small CLIP, random but kept, so that both towers are of one model."""
    import open_clip

    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        torch.save(open_clip.create_model(ARCH).state_dict(), path)
    return path


def root_by(folder: Path, weights: object) -> Path:
    """A root without videos that says which CLIP made its frames."""
    settings = {
        "name": "x",
        "sources": [{"files": "x.jsonl"}],
        "features": {"clip": {"model": ARCH, "weights": str(weights)}},
    }
    manifest = {"name": "x", "file": "x.yaml", "folder": str(folder), "settings": settings}
    Store(folder).write_json("dataset.json", {"manifest": manifest, "tables": {}})
    return folder


def data_of(train: list[Video], root: Path | None = None) -> Data:
    origin = Origin(data_set="shards", path=str(root)) if root else Origin()
    return Data(train=train, val=(), protocol=protocol("scores-vs-mean"), origin=origin, checked=True)


def test_captions_of_frames_come_before_what_is_said(tmp_path: Path) -> None:
    videos = planted(4, words=True)
    caption = ({"text": "A hand.", "time_s": [0.0, 1.0]}, {"text": "A pan.", "time_s": [5.0]})
    videos[0] = replace(videos[0], caption=caption)
    for pairs, expected in (("auto", [2, 1]), ("captions", [2, 0]), ("sentences", [1, 1])):
        train = prepared(tiny(*ALIGN, f"objective.pairs={pairs}"), data_of(videos), tmp_path, None).train
        found = [train.prepare(each).summary or () for each in videos[:2]]
        texts = [{each["text"] for each in its} for its in found]
        assert texts[0] == (
            {"A hand.", "A pan."} if expected[0] == 2 else {each["text"] for each in videos[0].sentence}
        )
        assert bool(texts[1]) == bool(expected[1])
    its = prepared(tiny(*ALIGN, "objective.pairs=captions"), data_of(videos), tmp_path, None)
    assert any("3 of 4 training videos have no text (captions): left out" in note for note in its.info.notes)
    with pytest.raises(UsageError, match="none of 4 training videos has texts of captions"):
        prepared(tiny(*ALIGN, "objective.pairs=captions"), data_of(planted(4, words=True)), tmp_path, None)


def test_it_needs_no_labels_and_the_last_epoch_counts(tmp_path: Path) -> None:
    bare = [replace(each, gt_score=None, gt_summary=None) for each in planted(4, words=True)]
    data = replace(data_of(bare), val=planted(2, seed=5))
    assert prepared(tiny(*ALIGN), data, tmp_path, None).validation is None
    trained = fitted(tmp_path / "run", tiny(*ALIGN), bare)
    assert "without labels, so the last epoch counts" in trained.info.notes
    assert not any(seen.labelled for seen in trained.info.seen)
    assert all(loss > 0 for _, loss in losses(tmp_path / "run"))


def test_spoken_sentences_about_the_picture_are_kept(tmp_path: Path, clip: Path) -> None:
    from vsumdata.train.data.clip import text_tower

    root = root_by(tmp_path / "root", clip)
    texts = ["Cut the onion.", "Please subscribe!", "Fry it in oil.", "My week was fine.", "Serve on a plate."]
    embedded, rng = text_tower(str(root))(texts), np.random.default_rng(0)
    # What the frames show while it is said: the sentence, or nothing of the kind.
    noise = rng.normal(size=embedded.shape).astype(np.float32)
    shown = [embedded[at] if at in (0, 2, 4) else noise[at] for at in range(5)]
    sentence = [{"start_s": 2.0 * at, "end_s": 2.0 * at + 2, "text": text} for at, text in enumerate(texts)]
    video = replace(
        planted(1, frames=10)[0],
        frame_feature=np.repeat(np.stack(shown), 2, 0).astype(np.float32),
        sentence=sentence,
    )
    for sets, expected in (((), {0, 2, 4}), (("objective.about_picture=false",), set(range(5)))):
        its = prepared(tiny(*ALIGN, *sets), data_of([video] * 2, root), tmp_path, None)
        said = [each["text"] for each in its.train.prepare(video).summary or ()]
        assert said == [texts[at] for at in sorted(expected)]
        assert not any("not compared" in note for note in its.info.notes)


def test_where_they_cannot_be_compared_the_run_says_why(tmp_path: Path) -> None:
    videos = planted(2, words=True)
    for data, why in (
        (data_of(videos, root_by(tmp_path / "root", "seed:0")), r"CLIP's weights are random (seed:0)"),
        (data_of(videos), "the frames' features are none of a root of ours"),
    ):
        its = prepared(tiny(*ALIGN), data, tmp_path, None)
        assert any(f"spoken sentences are not compared with the pictures: {why}" in note for note in its.info.notes)
        assert len(its.train.prepare(videos[0]).summary or ()) == len(videos[0].sentence)


def test_pictures_align_an_adapter_that_stage_two_begins_with(tmp_path: Path) -> None:
    folder, root = write_llava_pretrain(tmp_path / "pairs", 6), root_by(tmp_path / "root", "seed:0")
    (folder / "00005" / "000000005.jpg").write_bytes(b"no picture")
    (folder / "00004" / "000000004.jpg").unlink()
    out = tmp_path / "one"
    sets = ["model.llm=seed:0", "model.template=plain", "batch_size=2", "epochs=2", *TINY]
    words = ["train", "v2xum", "--preset", "align", "--data", f"llava-pretrain:{folder}", "--features", str(root)]
    process = start(*words, "--out", str(out), *(word for each in sets for word in ("--set", each)))
    said, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert "1 pairs without a picture are left out" in said
    info = runs.read_info(out)
    assert info.train == tuple(f"{at:09}" for at in (0, 1, 2, 3, 5))
    assert (info.origin.data_set, info.val, info.frame_dim) == ("llava-pretrain", (), 256)
    assert any("1 of 5 training videos have no text (auto): left out" in note for note in info.notes)
    assert "000000005.jpg cannot be read and teaches nothing" in complaint
    assert all(loss > 0 for _, loss in losses(out))
    held = load_file(out / "best.safetensors")
    assert {name.removeprefix("model.") for name in held} == {"adapter.weight", "adapter.bias", "mean", "scale"}
    wide = [
        replace(each, frame_feature=np.repeat(each.frame_feature, 256 // DIM, 1)) for each in planted(4, words=True)
    ]
    two = fitted(tmp_path / "two", tiny("model.tuning=lora", "model.train_adapter=false"), wide, init=str(out))
    assert two.model.state_dict()["adapter.weight"].equal(held["model.adapter.weight"])


def test_features_of_pictures_align_as_well(tmp_path: Path) -> None:
    folder = write_llava_pretrain(tmp_path / "pairs", 3, pictures=False)
    (folder / "stage1").mkdir()
    for at in range(3):
        np.save(folder / "stage1" / f"{at:09}.npy", np.random.default_rng(at).normal(size=768).astype(np.float16))
    data = open_data(Wanted(data=f"llava-pretrain:{folder}"), 0, captions=True)
    assert (len(data.train), data.train[0].frame_feature.shape) == (3, (1, 768))
    its = prepared(tiny(*ALIGN), data, tmp_path / "run", None)
    assert not any("have no text" in note for note in its.info.notes)


def test_pictures_are_for_this_stage_alone(tmp_path: Path) -> None:
    usual = Wanted(data=f"llava-pretrain:{write_llava_pretrain(tmp_path, 1)}")
    for wanted, captions, says in (
        (usual, False, "for the stage before videos alone: train v2xum --preset align"),
        (replace(usual, data="llava-pretrain"), True, "needs its folder: --data llava-pretrain:PATH"),
        (replace(usual, fold=2), True, "all pairs are trained on; leave out"),
        (replace(usual, features="text:/root"), True, "for pictures give a root"),
    ):
        with pytest.raises(UsageError, match=says):
            open_data(wanted, 0, captions=captions)
