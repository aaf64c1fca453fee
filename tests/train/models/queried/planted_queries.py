"""Videos in which a query's words decide which part is relevant; without the query nothing tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vsumdata.datasets.video import Video

TOPICS, DIM, WORDS, CLIP_S = 6, 12, 3, 2.0
LEAST, MOST = 3, 7  # clips of a part


def planted(num: int, seed: int = 0, parts: int = 4) -> list[Video]:
    """Videos of `parts` parts, each of another topic; one word of the query names the topic of one part."""
    topics = np.random.default_rng(99).normal(size=(2, TOPICS, DIM))
    return [_video(np.random.default_rng([seed, at]), f"planted-{seed}-{at}", topics, parts) for at in range(num)]


def _video(rng: np.random.Generator, video_id: str, topics: np.ndarray, parts: int) -> Video:
    shown = rng.permutation(TOPICS)[:parts]
    edges = np.concatenate([[0], np.cumsum(rng.integers(LEAST, MOST + 1, parts))])
    of_clip = np.repeat(shown, np.diff(edges))
    asked = int(rng.integers(parts))
    words = 0.3 * rng.normal(size=(WORDS, DIM))
    words[rng.integers(WORDS)] += topics[1, shown[asked]]
    relevant = of_clip == shown[asked]
    rating = np.where(relevant, rng.integers(2, 5, (3, len(of_clip))), 0)
    return Video(
        video_id=video_id,
        frame_time_s=np.arange(len(of_clip), dtype=np.float32) * np.float32(CLIP_S),
        frame_feature=(topics[0, of_clip] + 0.5 * rng.normal(size=(len(of_clip), DIM))).astype(np.float32),
        duration_s=len(of_clip) * CLIP_S,
        query=f"topic {shown[asked]}",
        query_feature=words.astype(np.float32),
        user_score=rating.astype(np.float32),
        gt_score=(rating.mean(0) / 4).astype(np.float32),
        gt_summary=relevant.astype(np.uint8),
        moment=np.array([edges[asked : asked + 2]], np.float32) * np.float32(CLIP_S),
    )


def misled(videos: Sequence[Video]) -> list[Video]:
    """The videos, each with the query of the next one."""
    return [
        replace(video, query=other.query, query_feature=other.query_feature)
        for video, other in zip(videos, [*videos[1:], videos[0]], strict=True)
    ]
