"""What a trained run makes of a root's videos: its scores and the summary that it chooses, for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vsumdata.datasets.shards import READ_AT_ONCE, Shards
from vsumdata.manifests.store import Store
from vsumdata.pipeline.reports.page.shown import FEATURES, Scores, done, length_of, scores_of
from vsumdata.pipeline.state.dataset import stages_of
from vsumdata.pipeline.state.plan import fingerprint
from vsumdata.train.loop import runs
from vsumdata.train.loop.job import device
from vsumdata.train.loop.predict import predict
from vsumdata.train.summarize.featurize import same_kind
from vsumdata.train.summarize.kinds import kind_of


class Scorer:
    """A run, loaded once. Raises UsageError if it is none, or was trained on features of another kind."""

    def __init__(self, run: str, store: Store) -> None:
        self.trained, self.store = runs.load(run, device()), store
        same_kind(store.location, kind_of(self.trained.info.origin, self.trained.path))

    def of(self, video_ids: Sequence[str]) -> Iterator[tuple[str, Scores]]:
        """(video_id, scores) of those that have features, in the order of `video_ids`."""
        _, stages = stages_of(self.store)
        at = fingerprint(stages, FEATURES)
        where = done(self.store, FEATURES, at)
        found = [(video_id, where[video_id]) for video_id in video_ids if video_id in where]
        shards = Shards(self.store.location, FEATURES, at, found)
        for first in range(0, len(found), READ_AT_ONCE):
            videos = shards.read(found[first : first + READ_AT_ONCE])
            for video, answer in zip(videos, predict(self.trained, videos), strict=True):
                name = self.trained.settings.method
                yield video.video_id, scores_of(name, answer.frame_score, video, length_of(video))
