"""Bad input through the whole program: a clear outcome for each, and nothing lost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.media_kit import (
    lavfi,
    needs_models,
    noise,
    read_tables,
    rotated,
    run,
    spoken_sound,
    truncated,
    write_manifest,
)

from vsumdata.datasets.shards import open_shards
from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import ManifestError
from vsumdata.manifests.store import Store

ODD_IDS = ["two words", "100%", "%2e%2e", "größe 日本語", ".hidden", "..", "a/b", "-rf", "quote'\"s", "長" * 200]
HOW_TO = """<html><head><title>How to Boil Water</title><script type="application/ld+json">{"@context":
"http://schema.org", "@type": "HowTo", "name": "How to Boil Water", "step": [{"@type": "HowToStep", "text":
"Fill a pot."}, {"@type": "HowToStep", "text": "Heat it."}]}</script></head><body></body></html>"""


# Wrong manifests and lists


def test_two_files_of_one_name_are_named_with_their_lines(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [{"video": "a/clip.mp4"}, {"video": "x.mp4"}, {"video": "b/clip.mp4"}])
    with pytest.raises(ManifestError) as caught:
        run(manifest, tmp_path / "root")
    for line in (1, 3):
        assert f"videos.jsonl:{line}" in str(caught.value)
    assert "`clip`" in str(caught.value)
    assert not list(tmp_path.rglob("part-*"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sources: [{files: videos.jsonl}]\nselect: {min_veiws: 5}\n",
            "manifest.yaml:2: select.min_veiws: unknown key",
        ),
        ("sources: [{files: videos.jsonl}]\nfeatures:\n  fps: often\n", "manifest.yaml:3: features.fps: "),
        ("sources: [{files: videos.jsonl}]\nlimits:\n  max_attempts: 0\n", "manifest.yaml:3: limits.max_attempts: "),
        ("sources:\n  - {files: videos.jsonl, ids: x}\n", "manifest.yaml:2: sources.0: a source is exactly one"),
        ("sources: [\n", "manifest.yaml: not valid YAML"),
        ("- 1\n", "manifest.yaml:1: a manifest is a mapping"),
        ("name: x\n", "manifest.yaml:1: sources: Field required"),
        ("sources: [{files: gone.jsonl}]\n", "there is no list "),
    ],
)
def test_wrong_manifest_names_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "videos.jsonl").write_text('{"video": "clip.mp4"}\n')
    (tmp_path / "manifest.yaml").write_text(text)
    with pytest.raises(ManifestError) as caught:
        run(tmp_path / "manifest.yaml", tmp_path / "root", "videos")
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"video": "b.mp4", "titel": "B"}', "titel: unknown key"),
        ('{"video": "b.mp4", "view_count": "many"}', "view_count: "),
        ('{"video": "b.mp4", "video_id": "b\\n"}', "video_id: "),
        ('{"video": "b.mp4", "heatmap": [{"start_s": 0, "end_s": 1, "value": 2}]}', "heatmap.0.value: "),
        ('{"title": "B"}', "video: Field required"),
        ('{"video": "b.mp4"', "not valid JSON"),
        ("[1]", "a line is a JSON object"),
    ],
)
def test_wrong_line_of_a_list_names_file_line_and_key(tmp_path: Path, line: str, said: str) -> None:
    manifest = write_manifest(tmp_path, [{"video": "a.mp4"}])
    with (tmp_path / "videos.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(ManifestError) as caught:
        run(manifest, tmp_path / "root", "videos")
    assert f"{tmp_path / 'videos.jsonl'}:3: {said}" in str(caught.value)


# The table of bad inputs: one run over all of them


@dataclass(frozen=True)
class Done:
    """What the run left."""

    root: Path
    code: int
    shown: str
    tables: dict[str, dict[str, dict[str, Any]]]

    def outcome(self, table: str, video_id: str) -> str:
        row = self.tables[table].get(video_id)
        return ": ".join(filter(None, [row["outcome"], row["reason"]])) if row else "no row"


def render_inputs(folder: Path) -> list[dict[str, Any]]:
    """The files, and the list's lines."""
    noise(folder / "corrupt.mp4")
    (folder / "zero-bytes.mp4").touch()
    (folder / "text.mp4").write_text("no video at all\n" * 50)
    spoken_sound(folder / "sound-only.m4a")
    pictures, tone = "testsrc=s=96x64:r=25:d=2", "sine=f=330:d=2:r=16000"
    lavfi(folder / "picture-only.mp4", pictures)
    lavfi(folder / "silence.mp4", pictures, "anullsrc=r=16000:d=2")
    chord = "aevalsrc='0.2*(sin(2*PI*262*t)+sin(2*PI*330*t)+sin(2*PI*392*t))*(1-mod(t,0.5))':d=6:s=16000"
    lavfi(folder / "music.mp4", pictures, chord)
    truncated(folder / "truncated.mp4")
    lavfi(folder / "one-frame.mp4", pictures, args=("-frames:v", 1))
    lavfi(folder / "portrait.mp4", "testsrc=s=64x160:r=25:d=2", tone)
    rotated(folder / "rotated.mp4")
    slower = ("-vf", "setpts=N*N*0.01/TB", "-fps_mode", "passthrough")
    lavfi(folder / "variable-rate.mp4", "testsrc=s=96x64:r=25:d=0.8", args=slower)
    (folder / "how-to.html").write_text(HOW_TO)
    (folder / "blog.html").write_text("<html><head><title>My day</title></head><body><p>It rained.</p></body></html>")
    (folder / "broken.vtt").write_bytes(b"\x00\xff\x00 not captions")
    good = {"video": "portrait.mp4"}
    return [
        *({"video": path.name} for path in sorted(folder.iterdir()) if path.suffix in {".mp4", ".m4a"}),
        {"video": "missing.mp4"},
        good | {"video_id": "captions-missing", "captions": "gone.vtt"},
        {"video": "sound-only.m4a", "video_id": "captions-broken", "captions": "broken.vtt"},
        good | {"video_id": "with-article", "article": "how-to.html"},
        good | {"video_id": "article-gone", "article": "gone.html", "description": "A pot."},
        good | {"video_id": "not-a-how-to", "article": "blog.html"},
        *(good | {"video_id": video_id} for video_id in ODD_IDS),
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Done:
    folder = tmp_path_factory.mktemp("bad")
    manifest = write_manifest(folder, render_inputs(folder))
    code, shown = run(manifest, folder / "root", settings=("limits.row_timeout_s=120",))
    return Done(folder / "root", code, shown, read_tables(folder / "root"))


# videos, articles, transcripts, frames, features
NOTHING = "skipped: no_article"
UNREADABLE = ("done", NOTHING, "failed: unreadable", "failed: unreadable", "skipped: no_frames")
MISSING = ("failed: file_missing", "no row", "no row", "no row", "no row")
FINE = ("done", NOTHING, "done", "done", "done")
OUTCOMES = {
    "corrupt": UNREADABLE,
    "zero-bytes": UNREADABLE,
    "text": UNREADABLE,
    "missing": MISSING,
    "captions-missing": MISSING,
    "sound-only": ("done", NOTHING, "done", "skipped: no_video", "skipped: no_frames"),
    "captions-broken": ("done", NOTHING, "done", "skipped: no_video", "skipped: no_frames"),
    "picture-only": FINE,
    "silence": FINE,
    "music": FINE,
    "truncated": FINE,
    "one-frame": FINE,
    "portrait": FINE,
    "rotated": FINE,
    "variable-rate": FINE,
    "with-article": ("done", "done", "done", "done", "done"),
    "article-gone": ("done", "skipped: article_gone", "done", "done", "done"),
    "not-a-how-to": ("done", "failed: no_steps", "done", "done", "done"),
    **dict.fromkeys(ODD_IDS, FINE),
}

WORDS = {
    "corrupt": r"\w.+ · \w",  # ffmpeg's own
    "text": r"\w.+ · \w",
    "zero-bytes": "the file is empty$",
    "missing": r"video: /.+/missing\.mp4$",
    "captions-missing": r"captions: /.+/gone\.vtt$",
}

one_run = [pytest.mark.slow, pytest.mark.ray, needs_models]


def marked(test: Any) -> Any:
    for mark in one_run:
        test = mark(test)
    return test


@marked
@pytest.mark.parametrize("video_id", OUTCOMES)
def test_each_input_has_its_outcome(done: Done, video_id: str) -> None:
    tables = ("videos", "articles", "transcripts", "frames", "features")
    assert tuple(done.outcome(table, video_id) for table in tables) == OUTCOMES[video_id]


@marked
def test_every_video_is_accounted_for(done: Done) -> None:
    assert done.code == 0, "videos that fail are normal life"
    assert set(done.tables["videos"]) == set(OUTCOMES)
    assert "nothing pending" in done.shown
    for reason in ("unreadable", "file_missing", "no_video", "no_frames", "article_gone", "no_steps"):
        assert reason in done.shown
    assert upkeep.verify(Store(done.root)).problems == []


@marked
@pytest.mark.parametrize("video_id", WORDS)
def test_a_failure_says_why(done: Done, video_id: str) -> None:
    table = "videos" if OUTCOMES[video_id] == MISSING else "frames"
    detail = done.tables[table][video_id]["detail"]
    assert re.match(WORDS[video_id], detail)


@marked
@pytest.mark.parametrize("video_id", ["sound-only", "captions-broken"])
def test_sound_alone_is_transcribed(done: Done, video_id: str) -> None:
    row = done.tables["transcripts"][video_id]
    assert (row["kind"], row["language"]) == ("asr", "en")
    assert "dressing" in " ".join(sentence["text"] for sentence in row["sentence"]).lower()
    assert ("caption" in row["detail"]) == (video_id == "captions-broken")


@marked
@pytest.mark.parametrize("video_id", ["picture-only", "silence", "music"])
def test_without_speech_there_is_no_sentence(done: Done, video_id: str) -> None:
    row = done.tables["transcripts"][video_id]
    assert (row["kind"], row["sentence"]) == ("none", [])
    assert done.tables["features"][video_id]["sentence_feature"].shape == (0, 384)


@marked
def test_truncated_is_used_up_to_the_break(done: Done) -> None:
    row = done.tables["frames"]["truncated"]
    assert 2 <= len(row["frame_time_s"]) < 8
    assert row["detail"].startswith(f"decoded up to {row['frame_time_s'][-1]:.1f} s of 8.0 s: ")


@marked
@pytest.mark.parametrize(
    ("video_id", "num_frames", "size"),
    [
        ("one-frame", 1, (96, 64)),
        ("portrait", 2, (64, 160)),
        ("rotated", 2, (64, 96)),
        ("variable-rate", 4, (96, 64)),
    ],
)
def test_unusual_pictures_are_done(done: Done, video_id: str, num_frames: int, size: tuple[int, int]) -> None:
    row = done.tables["frames"][video_id]
    assert (row["width"], row["height"]) == size
    assert row["frame_feature"].shape == (num_frames, 256)
    assert np.linalg.norm(row["frame_feature"].astype(float), axis=1) == pytest.approx(1, abs=1e-2)
    assert row["detail"] == ""


@marked
def test_an_article_that_failed_does_not_hold_the_video_back(done: Done) -> None:
    rows = done.tables["features"]
    assert [step["text"] for step in rows["with-article"]["step"]] == ["Fill a pot.", "Heat it."]
    assert rows["with-article"]["detail"] == ""
    for video_id in ("article-gone", "not-a-how-to"):
        assert rows[video_id]["detail"] == "no article"
        assert rows[video_id]["step"] == []
    assert rows["article-gone"]["global_text"] == "A pot."


@marked
def test_odd_ids_come_back_as_they_are(done: Done) -> None:
    found = {video.video_id for video in open_shards(str(done.root))}
    assert found == {video_id for video_id, outcomes in OUTCOMES.items() if outcomes[-1] == "done"}
    assert set(ODD_IDS) <= found


@marked
def test_a_second_run_leaves_bad_input_alone(done: Done) -> None:
    manifest = done.root.parent / "manifest.yaml"
    code, shown = run(manifest, done.root, settings=("limits.row_timeout_s=120",))
    assert (code, "0 rows made" in shown) == (0, True), shown


@marked
def test_a_repaired_file_is_done_again(tmp_path: Path, ray_session: None) -> None:
    manifest = write_manifest(tmp_path, [{"video": noise(tmp_path / "clip.mp4").name}])
    code, _ = run(manifest, tmp_path / "root", "videos,transcripts")
    assert (code, read_tables(tmp_path / "root")["transcripts"]["clip"]["reason"]) == (0, "unreadable")
    lavfi(tmp_path / "clip.mp4", "testsrc=s=96x64:r=25:d=2")
    run(manifest, tmp_path / "root", "videos,transcripts")
    row = read_tables(tmp_path / "root")["transcripts"]["clip"]
    assert (row["outcome"], row["version"], row["kind"]) == ("done", 2, "none")
