"""The arrays of one video for training, and a padded batch of videos.

Letters: B videos, T frames, D components of a frame's feature, A of its sound's, M sentences, P steps, S components of
a text's feature, Q words of a query, E components of a word's feature, C shots, U users, K key frames of a reference
summary, R moments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

# The shape of each array. A letter is the same size in all arrays of a video; None is any size.
SHAPES = {
    "frame_time_s": ("T",),
    "frame_feature": ("T", "D"),
    "audio_feature": ("T", "A"),
    "query_feature": ("Q", "E"),
    "replay_score": ("T",),
    "shot_start": ("C",),
    "shot_stop": ("C",),
    "sentence_feature": ("M", "S"),
    "step_feature": ("P", "S"),
    "step_span": ("P", 2),
    "description_feature": ("S",),
    "global_feature": ("S",),
    "user_score": ("U", "T"),
    # Not n_frames: published files are up to 14 frames off it.
    "user_summary": ("U", None),
    "change_points": (None, 2),
    "picks": ("T",),
    "gt_score": ("T",),
    "gt_summary": ("T",),
    "sentence_label": ("M",),
    "summary_feature": ("K", "D"),
    "moment": (None, 2),
    "concept": ("T", None),
}

# The arrays of a video that a batch pads to the longest.
PADDED = (
    "frame_feature", "frame_time_s", "audio_feature", "replay_score", "sentence_feature", "step_feature",
    "query_feature",
)  # fmt: skip

# The training targets that benchmarks bring, and the mask in a batch that says which videos have each.
TARGETS = {"gt_score": "score_mask", "gt_summary": "summary_mask", "sentence_label": "label_mask"}


# A summary in words: sentences in the order of time, each {text, time_s}: what it says, and the seconds of its frames.
Summary = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Video:
    """The payload of a `features` row under the same names, and the fields that benchmarks add.

    `sentence` holds {start_s, end_s, text}, `step` {section, headline, text}, `replay_bins` {start_s, end_s, value}.
    `shot_start` and `shot_stop` are half-open and count the T frames. `change_points` are closed (MR.HiSum: half-open)
    and count the `n_frames` original frames. `picks` are the original frames that the T frames are. A field that a
    data set lacks is None; annotations without features have D = 0. A wrong shape raises ValueError.

    A benchmark's reference is each user's score and summary (`user_…`), and what its authors derived from them:
    `gt_…` for each of the T frames; `sentence_label`, `summary_text` and `summary_feature` for summaries of text.

    Where a data set asks for what a `query` means, each query is a Video of its own. `query_feature` embeds its words,
    and `moment` holds the start and end in s of each part that answers it. `concept` says which concepts each frame
    shows.

    Where a data set cuts its videos out of longer ones, `url` is the longer one's, and `offset_s` the second of it at
    which this video begins.

    `summary` is a summary in words and frames, in order: {text, time_s}, a sentence with the moments in s at which its
    frames are on screen, ascending. A sentence without frames has no moments. `caption` has the same form: what single
    frames show, each text with the moments that look alike.
    """

    video_id: str
    frame_time_s: np.ndarray  # [T]
    frame_feature: np.ndarray  # [T,D]
    audio_feature: np.ndarray | None = None  # [T,A]
    query: str | None = None
    query_feature: np.ndarray | None = None  # [Q,E]
    title: str | None = None
    source: str | None = None
    url: str | None = None
    offset_s: float | None = None
    article_url: str | None = None
    license: str | None = None
    duration_s: float | None = None
    task: str | None = None
    split: str | None = None
    replay_score: np.ndarray | None = None  # [T]
    replay_bins: Sequence[Mapping[str, float]] | None = None
    shot_start: np.ndarray | None = None  # [C]
    shot_stop: np.ndarray | None = None  # [C]
    sentence: Sequence[Mapping[str, Any]] = ()
    sentence_feature: np.ndarray | None = None  # [M,S]
    step: Sequence[Mapping[str, Any]] = ()
    step_feature: np.ndarray | None = None  # [P,S]
    step_span: np.ndarray | None = None  # [P,2], seconds; NaN for a step whose time is not known
    description: str | None = None
    description_feature: np.ndarray | None = None  # [S]
    global_text: str | None = None
    global_feature: np.ndarray | None = None  # [S]
    user_score: np.ndarray | None = None  # [U,T]
    user_summary: np.ndarray | None = None  # [U,about n_frames]
    change_points: np.ndarray | None = None  # [C,2]
    picks: np.ndarray | None = None  # [T]
    n_frames: int | None = None
    gt_score: np.ndarray | None = None  # [T]
    gt_summary: np.ndarray | None = None  # [T], 1 where the frame is chosen
    sentence_label: np.ndarray | None = None  # [M], 1 where the sentence is chosen
    summary_text: str | None = None
    summary_feature: np.ndarray | None = None  # [K,D]
    moment: np.ndarray | None = None  # [R,2], seconds
    concept: np.ndarray | None = None  # [T,any], 1 where the frame shows the concept
    summary: Summary | None = None
    caption: Summary | None = None

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {} if self.n_frames is None else {"n_frames": self.n_frames}
        for name, shape in SHAPES.items():
            if getattr(self, name) is not None:
                self._check(name, shape, sizes)
        for name in ("sentence", "step"):
            feature, count = getattr(self, f"{name}_feature"), len(getattr(self, name))
            if feature is not None and len(feature) != count:
                raise ValueError(f"{self.video_id}: {name}_feature is {list(feature.shape)}; expected {count} rows")
        if self.step_span is not None and len(self.step_span) != len(self.step):
            raise ValueError(
                f"{self.video_id}: step_span is {list(self.step_span.shape)}; expected [{len(self.step)}, 2]"
            )
        label = self.sentence_label
        if label is not None and len(label) != len(self.sentence):
            raise ValueError(f"{self.video_id}: sentence_label is {list(label.shape)}; expected [{len(self.sentence)}]")
        self._check_shots()
        if self.moment is not None and not (self.moment[:, 0] <= self.moment[:, 1]).all():
            raise ValueError(f"{self.video_id}: moment is {self.moment.tolist()}; expected start and end in seconds")
        for name in ("summary", "caption"):
            for sentence in getattr(self, name) or ():
                self._check_sentence(sentence, name)

    def _check(self, name: str, shape: tuple[str | int | None, ...], sizes: dict[str, int]) -> None:
        """Check one array, and add the sizes of its letters to `sizes`."""
        value = getattr(self, name)
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{self.video_id}: {name} is {type(value).__name__}; expected a numpy array")
        expected = [sizes.get(size, size) if isinstance(size, str) else size for size in shape]
        # Not strict: an array with another number of axes is reported below, with its shape.
        wrong = [
            want for want, got in zip(expected, value.shape, strict=False) if isinstance(want, int) and want != got
        ]
        if value.ndim != len(shape) or wrong:
            wanted = ", ".join("any" if size is None else str(size) for size in expected)
            raise ValueError(f"{self.video_id}: {name} is {list(value.shape)}; expected [{wanted}]")
        for size, got in zip(shape, value.shape, strict=True):
            if isinstance(size, str):
                sizes[size] = got

    def _check_shots(self) -> None:
        start, stop, total = self.shot_start, self.shot_stop, len(self.frame_time_s)
        if (start is None) != (stop is None):
            raise ValueError(f"{self.video_id}: shot_start and shot_stop come together")
        if start is None or stop is None or not len(start):
            return
        if start[0] != 0 or stop[-1] != total or (start[1:] != stop[:-1]).any() or (start >= stop).any():
            shots = list(zip(start.tolist(), stop.tolist(), strict=True))
            raise ValueError(f"{self.video_id}: shots {shots} do not cut frames 0 to {total} without a gap")

    def _check_sentence(self, sentence: Mapping[str, Any], of: str) -> None:
        if not (isinstance(sentence, Mapping) and sentence.keys() == {"text", "time_s"}):
            raise ValueError(f"{self.video_id}: {sentence!r} in {of}; expected {{text, time_s}}")
        if not (isinstance(sentence["text"], str) and sentence["text"].strip()):
            raise ValueError(f"{self.video_id}: a sentence of {of} has no text")
        time_s = np.asarray(sentence["time_s"], np.float64)
        if time_s.ndim != 1 or not np.isfinite(time_s).all() or (time_s < 0).any() or (np.diff(time_s) < 0).any():
            raise ValueError(f"{self.video_id}: time_s in {of} is {time_s.tolist()}; expected ascending seconds")

    @property
    def sentence_span(self) -> np.ndarray:
        """Start and end of each sentence in seconds: float32 [M,2]."""
        spans = [(sentence["start_s"], sentence["end_s"]) for sentence in self.sentence]
        # Without sentences the array would be [0]; reshaped it is [0,2].
        return np.array(spans, np.float32).reshape(-1, 2)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Videos padded with zeros to the longest. A mask is true where a value is real, not padding.

    A field is None if no video of the batch has it. If only some have it, the mask of the others is false throughout:
    `replay_mask` for `replay_score`, `score_mask` for `gt_score`, `summary_mask` for `gt_summary`, `label_mask` for
    `sentence_label`.
    """

    video_id: tuple[str, ...]
    frame_feature: torch.Tensor  # float32 [B,T,D]
    frame_time_s: torch.Tensor  # float32 [B,T]
    frame_mask: torch.Tensor  # bool [B,T]
    replay_score: torch.Tensor | None  # float32 [B,T]
    replay_mask: torch.Tensor | None  # bool [B,T]
    sentence_feature: torch.Tensor | None  # float32 [B,M,S]
    sentence_span: torch.Tensor | None  # float32 [B,M,2], seconds
    sentence_mask: torch.Tensor | None  # bool [B,M]
    step_feature: torch.Tensor | None  # float32 [B,P,S]
    step_mask: torch.Tensor | None  # bool [B,P]
    description_feature: torch.Tensor | None  # float32 [B,S]
    description_mask: torch.Tensor | None  # bool [B]
    global_feature: torch.Tensor | None  # float32 [B,S]
    global_mask: torch.Tensor | None  # bool [B]
    gt_score: torch.Tensor | None = None  # float32 [B,T]
    score_mask: torch.Tensor | None = None  # bool [B,T]
    gt_summary: torch.Tensor | None = None  # float32 [B,T], 0 or 1
    summary_mask: torch.Tensor | None = None  # bool [B,T]
    sentence_label: torch.Tensor | None = None  # float32 [B,M], 0 or 1
    label_mask: torch.Tensor | None = None  # bool [B,M]
    summary: tuple[Summary | None, ...] = ()  # of each video that has one; empty if none has
    audio_feature: torch.Tensor | None = None  # float32 [B,T,A]
    audio_mask: torch.Tensor | None = None  # bool [B,T]
    query_feature: torch.Tensor | None = None  # float32 [B,Q,E]
    query_mask: torch.Tensor | None = None  # bool [B,Q]
    step_span: torch.Tensor | None = None  # float32 [B,P,2], seconds; NaN for a step whose time is not known
    moment: tuple[np.ndarray | None, ...] = ()  # [R,2] in s of each video that has any; empty if none has

    def to(self, device: str | torch.device) -> Batch:
        """The same batch with its tensors on `device`."""
        # Not `dataclasses.asdict`: it deep-copies every tensor.
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: v.to(device) if hasattr(v, "to") else v for name, v in values.items()}
        return Batch(**moved)

    def parts(self, size: int | None) -> list[Batch]:
        """The batch cut into batches of at most `size` videos; itself if `size` is None."""
        num = len(self.video_id)
        if size is None or size >= num:
            return [self]
        return [self.rows(range(first, min(first + size, num))) for first in range(0, num, size)]

    def rows(self, rows: Sequence[int]) -> Batch:
        """The batch of some of its videos, padded as before."""
        taken: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                taken[field.name] = tuple(value[row] for row in rows) if value else ()
            else:
                taken[field.name] = None if value is None else value[list(rows)]
        return Batch(**taken)


def collate(videos: Sequence[Video]) -> Batch:
    """Pad `videos` into one batch; serves as a DataLoader's `collate_fn`.

    Raises ValueError for no videos, and where D or S differs between them.
    """
    # Here, not at the top: most users of Video need no torch, and importing it takes seconds.
    import torch

    if not videos:
        raise ValueError("a batch needs at least one video")
    columns: dict[str, np.ndarray | None] = {}
    for name in PADDED:
        columns[name], columns[mask_name(name)] = pad([getattr(video, name) for video in videos], name)
    for name in ("description_feature", "global_feature"):
        columns[name], columns[mask_name(name)] = stack([getattr(video, name) for video in videos], name)
    for name, mask in TARGETS.items():
        columns[name], columns[mask] = pad([getattr(video, name) for video in videos], name)
    # Sentences without features would give spans without a mask to go with them.
    spans = [None if video.sentence_feature is None else video.sentence_span for video in videos]
    columns["sentence_span"], _ = pad(spans, "sentence_span")
    if any(video.step_span is not None for video in videos):
        columns["step_span"], _ = pad([step_span(video) for video in videos], "step_span")
    tensors: dict[str, Any] = {
        name: None if array is None else torch.from_numpy(array) for name, array in columns.items()
    }
    summaries = tuple(video.summary for video in videos)
    moments = tuple(video.moment for video in videos)
    return Batch(
        video_id=tuple(video.video_id for video in videos),
        summary=summaries if any(summaries) else (),
        moment=moments if any(moment is not None for moment in moments) else (),
        **tensors,
    )


def step_span(video: Video) -> np.ndarray | None:
    """Start and end of each step that has a feature: [P,2]; NaN where they are not known."""
    if video.step_feature is None or video.step_span is not None:
        return None if video.step_feature is None else video.step_span
    return np.full((len(video.step_feature), 2), np.nan, np.float32)


def mask_name(name: str) -> str:
    """The name of a field's mask: `frame_feature` and `frame_time_s` share `frame_mask`."""
    return f"{name.split('_')[0]}_mask"


Padded = tuple[np.ndarray | None, np.ndarray | None]


def pad(arrays: Sequence[np.ndarray | None], name: str) -> Padded:
    """Arrays [n, …] as float32 [B, longest n, …], and their mask, bool [B, longest n]; both None without arrays."""
    present = [array for array in arrays if array is not None]
    if not present:
        return None, None
    shape = (len(arrays), max(map(len, present)), *one_size(present, name, skip=1))
    padded, mask = np.zeros(shape, np.float32), np.zeros(shape[:2], bool)
    for i, array in enumerate(arrays):
        if array is not None:
            padded[i, : len(array)], mask[i, : len(array)] = array, True
    return padded, mask


def stack(arrays: Sequence[np.ndarray | None], name: str) -> Padded:
    """Vectors [S] as float32 [B,S], zeros for None, and their mask, bool [B]; both None without vectors."""
    present = [array for array in arrays if array is not None]
    if not present:
        return None, None
    nothing = np.zeros(one_size(present, name, skip=0), np.float32)
    stacked = np.stack([nothing if array is None else array.astype(np.float32) for array in arrays])
    return stacked, np.array([array is not None for array in arrays])


def one_size(arrays: Sequence[np.ndarray], name: str, skip: int) -> tuple[int, ...]:
    """The shape of all arrays after their first `skip` dimensions. Raises ValueError if they differ."""
    sizes = {array.shape[skip:] for array in arrays}
    if len(sizes) > 1:
        raise ValueError(f"{name} differs between the videos of a batch: sizes {sorted(sizes)}")
    return sizes.pop()
