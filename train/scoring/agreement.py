"""How well a video's users agree: human rows of a table, and the best that a single score per frame can reach."""

from __future__ import annotations

import numpy as np
from scipy import stats

from vsumdata.train.scoring.metrics import f1_per_user, kendall_tau, spearman_rho


def pairwise(user_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """τ-b and ρ between all users of [U,T], each float64 [U,U]. The diagonal is 1; a constant user's row is nan."""
    tau = np.stack([kendall_tau(row, user_score) for row in user_score])
    ranks = stats.rankdata(user_score, axis=1) - (user_score.shape[1] + 1) / 2
    norm = np.sqrt(np.einsum("un,un->u", ranks, ranks))
    product = np.outer(norm, norm)
    rho = np.divide(ranks @ ranks.T, product, out=np.full_like(product, np.nan), where=product > 0)
    return tau, rho


def between_users(user_score: np.ndarray) -> tuple[float, float]:
    """Mean τ-b and ρ over all pairs of different users. A pair with a constant user counts as 0."""
    # Without self-pairs, as published for TVSum (.177, .204); with them it would be .2185 and .2440.
    one, other = np.triu_indices(len(user_score), 1)
    tau, rho = pairwise(user_score)
    return float(np.nan_to_num(tau[one, other]).mean()), float(np.nan_to_num(rho[one, other]).mean())


def against_the_others(user_score: np.ndarray) -> tuple[float, float]:
    """Mean τ-b and ρ of each user with the mean of all other users."""
    # Sums rank like means, and sums of integers are exact: no rounding can turn a tie into an order.
    total = user_score.sum(0, dtype=np.int64 if user_score.dtype.kind in "iu" else np.float64)
    tau = [kendall_tau(row, total - row)[0] for row in user_score]
    rho = [spearman_rho(row, total - row)[0] for row in user_score]
    return float(np.nan_to_num(tau).mean()), float(np.nan_to_num(rho).mean())


def mean_against_users(user_score: np.ndarray) -> tuple[float, float]:
    """Mean τ-b and ρ of the users' mean with each user: close to the maximum of per-user protocols."""
    total = user_score.sum(0, dtype=np.int64 if user_score.dtype.kind in "iu" else np.float64)
    tau, rho = kendall_tau(total, user_score), spearman_rho(total, user_score)
    return float(np.nan_to_num(tau).mean()), float(np.nan_to_num(rho).mean())


def summary_f1(user_summary: np.ndarray) -> tuple[float, float, float]:
    """Minimum, mean and maximum F1 of each user's summary against the others', averaged over the users."""
    others = ~np.eye(len(user_summary), dtype=bool)
    f1 = np.stack([f1_per_user(row, user_summary)[keep] for row, keep in zip(user_summary, others, strict=True)])
    return float(f1.min(1).mean()), float(f1.mean(1).mean()), float(f1.max(1).mean())
