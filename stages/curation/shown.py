"""Which frames are on screen in a span of time, and what they show. Letters: T frames, M spans, D components."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def frames_shown(start_s: float, end_s: float, num_frames: int, fps: float) -> np.ndarray:
    """The frames of a time, at least the one on screen at its start. There must be a frame."""
    first = min(max(0, int(np.ceil(start_s * fps))), num_frames - 1)
    stop = min(int(np.ceil(end_s * fps)), num_frames)
    if first < stop:
        return np.arange(first, stop)
    return np.array([min(max(0, int(start_s * fps)), num_frames - 1)])


def mean_shown(feature: np.ndarray, spans: Iterable[tuple[float, float]], fps: float) -> np.ndarray:
    """The mean of the frames' features [T,D] in each span, at unit norm: float32 [M,D]."""
    feature = np.asarray(feature, np.float32)
    means = [feature[frames_shown(start_s, end_s, len(feature), fps)].mean(0) for start_s, end_s in spans]
    return unit(np.array(means, np.float32).reshape(-1, feature.shape[1]))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [M,D] at unit norm; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
