"""What a run of a language model builds on: the model's revision, the run it begins with, the texts of a root."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from tests.stages.encoders.model_hub import OLD_REVISION, REVISION, put_in_cache
from tests.train.language.language_kit import fitted, planted, save_llm, tiny
from tests.train.training_kit import losses, same_weights, stopped_at_save

from vsumdata.datasets.protocol import protocol
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data.origin import Origin
from vsumdata.train.data.training import Data
from vsumdata.train.loop import runs
from vsumdata.train.loop.job import prepared
from vsumdata.train.loop.predict import predict

NAME = "someone/tiny-llm"
HUB = (f"model.llm={NAME}", "model.template=vicuna", "model.tuning=lora", "model.lora_rank=2")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache that holds the first revision of a language model, and no hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    put_in_cache(tmp_path / "hub", NAME, OLD_REVISION, save_llm(tmp_path / "old", "llama"))
    return tmp_path / "hub"


def test_a_run_keeps_the_revision_of_a_hubs_model(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, settings = planted(6, words=True), tiny(*HUB, "save_every_s=1e-9")
    whole = fitted(tmp_path / "whole", settings, videos)
    assert whole.info.models == {"llm": f"{NAME}@{OLD_REVISION}"}
    before = [each.frame_score for each in predict(whole, videos)]
    with stopped_at_save(0, monkeypatch):
        fitted(tmp_path / "run", settings, videos)
    # The branch moves: another model, of the same name.
    put_in_cache(cache, NAME, REVISION, save_llm(tmp_path / "new", "qwen2"))
    again = runs.load(tmp_path / "whole")
    assert all((one == each.frame_score).all() for one, each in zip(before, predict(again, videos), strict=True))
    resumed = fitted(tmp_path / "run", settings, videos)
    assert resumed.info.models == whole.info.models
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert same_weights(tmp_path / "run" / "best.safetensors", tmp_path / "whole" / "best.safetensors")
    second = fitted(tmp_path / "two", tiny(*HUB), videos, init=str(tmp_path / "whole"))
    assert second.info.models == whole.info.models
    assert fitted(tmp_path / "fresh", tiny(*HUB), videos).info.models == {"llm": f"{NAME}@{REVISION}"}


def test_a_revision_that_has_gone_is_one_line(tmp_path: Path, cache: Path) -> None:
    fitted(tmp_path / "run", tiny(*HUB), planted(4))
    put_in_cache(cache, NAME, REVISION, save_llm(tmp_path / "new", "qwen2"))
    shutil.rmtree(cache / "models--someone--tiny-llm" / "snapshots" / OLD_REVISION)
    with pytest.raises(UsageError, match=f"the run began with revision {OLD_REVISION}, which is not on this machine"):
        runs.load(tmp_path / "run")


def test_a_run_that_began_with_other_weights_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos, init = planted(6, words=True), str(tmp_path / "one")
    fitted(tmp_path / "one", tiny("model.tuning=adapter"), videos)
    settings = tiny("save_every_s=1e-9")
    fitted(tmp_path / "done", settings, videos, init=init)
    with stopped_at_save(0, monkeypatch):
        fitted(tmp_path / "half", settings, videos, init=init)
    assert fitted(tmp_path / "done", settings, videos, init=init).info.init_weights == runs.fingerprint(Path(init))
    # The same settings and videos, on another machine perhaps: run.json is the same, the weights are not.
    best = tmp_path / "one" / "best.safetensors"
    whole = best.read_bytes()
    best.write_bytes(whole[:-4] + bytes([whole[-4] ^ 1]) + whole[-3:])
    for out in ("done", "half"):
        with pytest.raises(UsageError, match="began with other weights than .* has now"):
            fitted(tmp_path / out, settings, videos, init=init)
    best.write_bytes(whole)
    fitted(tmp_path / "half", settings, videos, init=init)
    assert same_weights(tmp_path / "half" / "best.safetensors", tmp_path / "done" / "best.safetensors")


def test_a_run_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """It did not keep the hash of the weights that it began with."""
    videos, init = planted(4), str(tmp_path / "one")
    fitted(tmp_path / "one", tiny("model.tuning=adapter"), videos)
    fitted(tmp_path / "two", tiny(), videos, init=init)
    info = runs.read_info(tmp_path / "two")
    (tmp_path / "two" / "run.json").write_text(info.model_copy(update={"init_weights": None}).model_dump_json())
    assert fitted(tmp_path / "two", tiny(), videos, init=init).position.epoch == 1


def test_run_json_says_how_the_texts_of_a_root_were_made(tmp_path: Path) -> None:
    made = {"fingerprint": "5a", "method": "llm", "chat_identity": "m, prompts 1", "prompts": 1}
    data = Data(train=planted(4), val=(), protocol=protocol("scores-vs-mean"), origin=Origin(), texts=made)
    for sets, expected in (((), made), (("objective.answers=given",), made), (("objective.answers=none",), None)):
        assert prepared(tiny(*sets), data, tmp_path, None).info.texts == expected
    info = prepared(tiny(), data, tmp_path, None).info
    assert runs.Info.model_validate_json(info.model_dump_json()).texts == made
    other = prepared(tiny(), replace(data, texts=made | {"prompts": 2}), tmp_path, None).info
    assert runs.difference(info.identity(), other.identity()) == "texts.prompts is 1 there, 2 now"
