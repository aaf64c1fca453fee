"""Manifests and lists: mistakes name file, line and key before any work starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vsumdata.manifests.errors import ManifestError, UsageError
from vsumdata.manifests.manifest import Manifest, built_in, load
from vsumdata.manifests.sources import read_lists
from vsumdata.pipeline.state.dataset import stored_manifest


def manifest(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sources:\n  - channel: '@x'\nselct: {}\n", "mine.yaml:3: selct: unknown key; did you mean `select`?"),
        ("sources:\n  - chanel: '@x'\n", "mine.yaml:2: sources.0.chanel: unknown key; did you mean `channel`?"),
        ("sources:\n  - {channel: '@x', ids: l.jsonl}\n", "mine.yaml:2: sources.0: a source is exactly one of"),
        ("sources: []\n", "mine.yaml:1: sources: List should have at least 1 item"),
        ("name: x\n", "mine.yaml:1: sources: Field required"),
        (
            "sources: [{channel: '@x'}]\nselect:\n  min_views: many\n",
            "mine.yaml:3: select.min_views: Input should be a valid integer",
        ),
        (
            "sources: [{channel: '@x'}]\nresources:\n  frames:\n    gpus: -1\n",
            "mine.yaml:4: resources.frames.gpus: Input should be greater than or equal to 0",
        ),
        (
            "sources: [{channel: '@x'}]\nfeatures:\n  split: {train: 0.9}\n",
            "mine.yaml:3: features.split: train + val + test must be 1, not 1.1",
        ),
        (
            "sources: [{channel: '@x'}]\nasr: {device: cuda}\nresources: {transcripts: {gpus: 0}}\n",
            "mine.yaml:1: manifest: asr.device is cuda, but resources.transcripts.gpus is 0: leave gpus at `auto`",
        ),
        (
            "sources: [{channel: '@x'}]\nasr: {device: cpu}\nresources: {transcripts: {gpus: 0.5}}\n",
            "mine.yaml:1: manifest: asr.device is cpu, but resources.transcripts.gpus is 0.5",
        ),
        ("sources: [\n", "mine.yaml: not valid YAML"),
        (
            "sources: [{channel: '@x'}]\nsummaries:\n  method: llm\n",
            "mine.yaml:2: summaries: the method llm needs summaries.captioner: give its `endpoint` or `local`",
        ),
        (
            "sources: [{channel: '@x'}]\nsummaries: {captioner: {endpoint: 'http://h/v1', model: m, local: n}}\n",
            "mine.yaml:2: summaries.captioner: a model is at an endpoint or local, not both",
        ),
        (
            "sources: [{channel: '@x'}]\nsummaries: {writer: {endpoint: 'http://h/v1'}}\n",
            "mine.yaml:2: summaries.writer: `endpoint` needs `model`",
        ),
        (
            "sources: [{channel: '@x'}]\nsummaries: {writer: {endpoint: 'ftp://h/v1', model: m}}\n",
            "mine.yaml:2: summaries.writer: an endpoint is an http or https address",
        ),
        (
            "sources: [{channel: '@x'}]\nsummaries: {writer: {model: m}}\n",
            "mine.yaml:2: summaries.writer: name an endpoint or a local model",
        ),
        (
            "sources: [{channel: '@x'}]\nsummaries: {similarity: {model: other}}\n",
            "mine.yaml:2: summaries.similarity: `max` is missing: 0.93 is on the scale of roberta-large alone",
        ),
        (
            "sources: [{channel: '@x'}]\nsummaries: {captioner: {key: sk-1}}\n",
            "mine.yaml:2: summaries.captioner.key: unknown key; known are: endpoint",
        ),
        ("- channel\n", "mine.yaml:1: a manifest is a mapping"),
    ],
)
def test_mistakes_name_file_line_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ManifestError) as error:
        load(manifest(tmp_path, text))
    assert says in str(error.value)


def test_settings_override_and_are_checked() -> None:
    found = load("sample", ["select.min_views=7", "features.clip.weights=seed:3", "captions.languages=[en, de]"])
    assert found.manifest.select.min_views == 7
    assert found.manifest.features.clip.weights == "seed:3"
    assert found.manifest.captions.languages == ["en", "de"]
    with pytest.raises(ManifestError, match=r"--set: select\.min_views"):
        load("sample", ["select.min_views=few"])
    with pytest.raises(UsageError, match="write it as section.key=value"):
        load("sample", ["min_views"])


def test_settings_reach_into_lists() -> None:
    found = load("sample", ["sources.1.channel=@x", "captions.languages=[en, de]", "captions.languages.1=fr"])
    assert [source.channel for source in found.manifest.sources] == ["https://sample.invalid/@kitchen", "@x"]
    assert found.manifest.captions.languages == ["en", "fr"]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("sources.2.channel=@x", r"`2` stands where a list has its indices \(0 to 1\)"),
        ("sources.-1.channel=@x", "`-1` stands where a list has its indices"),
        ("sources.first.channel=@x", "`first` stands where a list has its indices"),
        ("sources.two=@x", "`two` stands where a list has its indices"),
        ("sources.0.channel.x=1", "`channel` is not a section"),
        ("select.min_views=[", "the value is not valid YAML"),
    ],
)
def test_a_setting_that_leads_nowhere(setting: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load("sample", [setting])


def test_a_wrong_setting_of_a_source_names_the_setting() -> None:
    with pytest.raises(ManifestError, match=r"^--set: sources\.0\.chanel: unknown key; did you mean `channel`\?$"):
        load("sample", ["sources.0.chanel=@x"])


def test_built_in_manifests_are_valid() -> None:
    assert built_in() == ["sample", "wikihow_ehow", "wikihow_summaries"]
    real = load("wikihow_ehow").manifest
    assert (real.select.min_views, real.select.require_heatmap) == (50_000, True)
    assert (real.features.clip.model, real.features.clip.weights, real.features.fps) == ("ViT-B-32", "openai", 1)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"vidio": "a.mp4"}', "list.jsonl:2: video: Field required"),
        ('{"video": "a.mp4", "tilte": "x"}', "list.jsonl:2: tilte: unknown key"),
        ('{"video": "a.mp4", "view_count": "many"}', "list.jsonl:2: view_count: Input should be a valid integer"),
        ('{"video": ', "list.jsonl:2: not valid JSON"),
        ('["a.mp4"]', "list.jsonl:2: a line is a JSON object"),
    ],
)
def test_mistakes_of_a_list(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "list.jsonl").write_text('{"video": "good.mp4"}\n' + line + "\n")
    with pytest.raises(ManifestError) as error:
        read_lists(load(manifest(tmp_path, "sources: [{files: list.jsonl}]")))
    assert says in str(error.value)


def test_a_clash_names_both_lines(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"video": "a/x.mp4"}\n\n{"video": "b/x.avi"}\n')
    with pytest.raises(ManifestError, match=r"list\.jsonl:3: video_id `x` is taken by .*list\.jsonl:1"):
        read_lists(load(manifest(tmp_path, "sources: [{files: list.jsonl}]")))


def test_paths_are_relative_to_the_list(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    record = {"video": "a.mp4", "article": "page.html", "heatmap": [{"start_time": 0, "end_time": 1, "value": 1}]}
    (tmp_path / "lists" / "list.jsonl").write_text(json.dumps(record))
    ((found,), _) = read_lists(load(manifest(tmp_path, "sources: [{files: lists/list.jsonl}]")))
    assert found.video == str(tmp_path.resolve() / "lists" / "a.mp4")
    assert found.article == str(tmp_path.resolve() / "lists" / "page.html")
    assert found.heatmap == ({"start_s": 0.0, "end_s": 1.0, "value": 1.0},)
    assert found.video_id == "a"


def test_secrets_do_not_reach_dataset_json() -> None:
    found = load("sample", ["crawl.yt_dlp={cookiefile: /home/me/cookies.txt, proxy: 'http://me:pw@host'}"])
    text = json.dumps(stored_manifest(found))
    assert "cookies.txt" not in text
    assert "pw@host" not in text


@pytest.mark.parametrize(
    "text",
    [
        "name: 2001-99-99",
        "name: 0x_",
        "name: !!bool x",
        "name: !!timestamp x",
        "name: !!int ''",
        f"name: {'9' * 5000}",
        "sources: " + "[" * 5000,
    ],
    ids=["date", "number", "bool", "timestamp", "empty", "digits", "brackets"],
)
def test_what_only_looks_like_yaml_is_no_yaml(tmp_path: Path, text: str) -> None:
    """PyYAML raises ValueError, KeyError, AttributeError, IndexError and RecursionError for these."""
    with pytest.raises(ManifestError, match=r"mine\.yaml: not valid YAML: "):
        load(manifest(tmp_path, text))


def test_a_setting_that_only_looks_like_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the value is not valid YAML"):
        load("sample", ["name=2001-99-99"])


def test_a_manifest_that_refers_to_itself_is_refused(tmp_path: Path) -> None:
    """It could be loaded, and not written to dataset.json."""
    with pytest.raises(ManifestError, match="line 2 refers to itself"):
        load(manifest(tmp_path, "sources: [{channel: '@x'}]\ncrawl: {yt_dlp: &a {b: [*a]}}\n"))


def test_aliases_that_stand_for_millions_of_values_are_refused(tmp_path: Path) -> None:
    anchors = "".join(f"    {n}: &{n} [{', '.join([f'*{n - 1}'] * 10 if n else ['1'] * 10)}]\n" for n in range(8))
    with pytest.raises(ManifestError, match="stand for more than"):
        load(manifest(tmp_path, f"sources: [{{channel: '@x'}}]\ncrawl:\n  yt_dlp:\n{anchors}"))


def test_aliases_serve(tmp_path: Path) -> None:
    text = "sources: [{channel: '@x'}]\ncrawl: {yt_dlp: {a: &a [1, 2], b: *a}}\n"
    assert load(manifest(tmp_path, text)).manifest.crawl.yt_dlp == {"a": [1, 2], "b": [1, 2]}


def test_ages_count_hours_and_days() -> None:
    given = {"sources": [{"channel": "@x"}], "refresh": {"live": "2h", "no_heatmap": "3d"}}
    ages = Manifest.model_validate(given).refresh.ages_s()
    assert (ages["live"], ages["no_heatmap"]) == (7200, 259_200)


@pytest.mark.parametrize("address", ["http://me:sk-secret@h/v1", "https://h/v1?key=sk-secret", "http://h:sk-secret/v1"])
def test_an_endpoint_with_a_key_in_its_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load("sample", ["summaries.writer.model=m", f"summaries.writer.endpoint={address}"])
    assert "summaries.writer" in str(caught.value)
    assert "secret" not in str(caught.value)
