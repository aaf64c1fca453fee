"""TVSum's real annotations give the figures of the literature.

The published human agreement (τ 0.177, ρ 0.204) is from Otani et al., "Rethinking the Evaluation of Video Summaries"
(CVPR 2019), Table 2. The other figures come from the field's official code, see the golden packs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vsumdata.train.scoring import agreement
from vsumdata.train.scoring.metrics import kendall_tau, spearman_rho

pytestmark = pytest.mark.recorded


@pytest.fixture(scope="module")
def users(recordings: Path) -> dict[str, np.ndarray]:
    """Each video's scores, int64 [20,n]."""
    # The file holds the 20 users of a video one after the other.
    rows = pq.read_table(recordings / "tvsum_annotations.parquet")
    names = rows["video_id"].to_pylist()
    scores = [row.values.to_numpy().astype(np.int64) for row in rows["scores"]]
    videos = {name: np.stack([scores[at] for at in range(len(names)) if names[at] == name]) for name in names[::20]}
    assert len(videos) == 50
    assert {len(scores) for scores in videos.values()} == {20}
    return videos


@pytest.mark.parametrize(("step", "tau", "rho"), [(1, 0.177409, 0.204172), (15, 0.177445, 0.204224)])
def test_agreement_of_all_pairs(users: dict[str, np.ndarray], step: int, tau: float, rho: float) -> None:
    means = np.mean([agreement.between_users(scores[:, ::step]) for scores in users.values()], 0)
    assert means == pytest.approx([tau, rho], abs=5e-7)


@pytest.mark.parametrize(
    ("video_id", "tau", "rho"),
    [
        ("AwmHb44_ouw", 0.236873, 0.274063),
        ("EE-bNr36nyA", 0.181151, 0.208437),
        ("-esJrBWj2d8", 0.120079, 0.137441),
    ],
)
def test_agreement_on_single_videos(users: dict[str, np.ndarray], video_id: str, tau: float, rho: float) -> None:
    assert agreement.between_users(users[video_id]) == pytest.approx([tau, rho], abs=5e-7)


def test_a_user_with_himself_would_count_as_agreement(users: dict[str, np.ndarray]) -> None:
    with_self = [[table.mean() for table in agreement.pairwise(scores[:, ::15])] for scores in users.values()]
    assert np.mean(with_self, 0) == pytest.approx([0.2185, 0.2440], abs=1e-4)


def test_users_against_the_mean(users: dict[str, np.ndarray]) -> None:
    others = np.mean([agreement.against_the_others(scores[:, ::15]) for scores in users.values()], 0)
    ceiling = np.mean([agreement.mean_against_users(scores[:, ::15]) for scores in users.values()], 0)
    assert others == pytest.approx([0.3139, 0.3957], abs=1e-4)
    assert ceiling == pytest.approx([0.3782, 0.4732], abs=1e-4)


def test_random_scores_correlate_with_nobody(users: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    values = []
    for scores in users.values():
        seen = scores[:, ::15]
        random = rng.random(size=seen.shape[1:])
        values.append([kendall_tau(random, seen).mean(), spearman_rho(random, seen).mean()])
    assert np.abs(np.mean(values, 0)).max() < 0.01
