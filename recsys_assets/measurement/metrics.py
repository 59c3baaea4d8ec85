"""Ranking metrics of top-k lists, vectorised over users, with the options on which libraries differ.

With ``rel`` a user's set of relevant products, ``hit_r = 1`` if rank ``r`` (from 1) holds one of them, and
``n_hits = sum(hit_r for r <= k)``:

=================  ==================================================================================================
``ndcg``           ``sum(hit_r / log2(r + 1)) / sum(1 / log2(r + 1) for r <= min(k, |rel|))``. Binary gain. Järvelin and
                   Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002.
``recall``         ``n_hits / |rel|``. Manning, Raghavan and Schütze, "Introduction to Information Retrieval", ch. 8.
``capped_recall``  ``n_hits / min(k, |rel|)``: recall with the ceiling of a k-list taken out, so 1 is reachable. Liang
                   et al., "Variational autoencoders for collaborative filtering", WWW 2018, section 4.2.
``precision``      ``n_hits / k``; empty places count against it. Manning et al., ch. 8.
``hit_rate``       ``1`` if ``n_hits > 0`` else ``0``. Deshpande and Karypis, "Item-based top-N recommendation
                   algorithms", TOIS 2004.
``mrr``            ``1 / (rank of the first hit)``, ``0`` without one. Voorhees, "The TREC-8 question answering track
                   report", 1999.
``map``            ``sum(hit_r * (hits up to r) / r) / min(k, |rel|)``. Manning et al., ch. 8, cut at k
                   as in Kaggle's MAP@k.
=================  ==================================================================================================

Libraries disagree about denominators (Tamm, Damdinov and Vasilev, "Quality metrics in recommender systems: do we
calculate metrics consistently?", RecSys 2021); `MetricOptions` names each choice so that any peer can be reproduced.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.csr import find_sorted
from lambda_api.recommender.histories import Ragged
from lambda_api.recommender.ids import IndexArray

FloatArray = NDArray[np.float64]

RANKING_METRICS: tuple[str, ...] = ("ndcg", "recall", "capped_recall", "precision", "hit_rate", "mrr", "map")
"""Keys of `ranking_metrics`, in the order reports show them."""


@dataclass(frozen=True, slots=True)
class MetricOptions:
    """The choices on which libraries differ. The defaults are this project's own.

    Attributes:
        ndcg_ideal: the ideal list holds ``min(k, |rel|)`` hits (``"achievable"``: irspack, implicit, RePlay, sklearn,
            RecTools with ``divide_by_achievable``) or always ``k`` (``"full"``: RecTools' default).
        map_denominator: ``min(k, |rel|)`` (``"achievable"``: implicit, RePlay), ``|rel|`` (``"relevant"``: irspack,
            RecTools' default, sklearn's ``average_precision_score`` when the list is the whole catalogue) or ``k``
            (``"k"``: RecTools with ``divide_by_k``).
    """

    ndcg_ideal: Literal["achievable", "full"] = "achievable"
    map_denominator: Literal["achievable", "relevant", "k"] = "achievable"


DEFAULT_OPTIONS = MetricOptions()


def ranking_metrics(
    recommended: IndexArray, truth: Ragged, k: int, options: MetricOptions = DEFAULT_OPTIONS
) -> dict[str, FloatArray]:
    """The seven metrics of this module for each of ``B`` users.

    Args:
        recommended: int32 ``[B, width]``, best first, ``-1`` for an empty place, no product twice in a row. Columns
            beyond ``k`` are ignored; a list narrower than ``k`` has empty places at its end.
        truth: the relevant products of each user, row-aligned with ``recommended``, distinct within a row.
        k: the cut-off, at least 1.
        options: see `MetricOptions`.

    Returns:
        ``RANKING_METRICS`` -> float64 ``[B]`` in ``[0, 1]``. A user without recommendations scores 0. A user without
        relevant products cannot be judged and is NaN in every metric, never 0, so that a mean over them by mistake is
        visible.

    Raises:
        ValueError: ``k`` < 1, the row counts differ, or a row of either side names a product twice.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    hits = hit_matrix(recommended, truth, k)
    relevant = np.diff(truth.indptr).astype(np.float64)
    judged = np.where(relevant > 0, relevant, np.nan)
    achievable = np.minimum(judged, k)
    ranks = np.arange(1, k + 1, dtype=np.float64)
    found = hits.sum(axis=1).astype(np.float64)
    ideal = achievable if options.ndcg_ideal == "achievable" else np.where(relevant > 0, float(k), np.nan)
    precision_at_hits = _row_sums(hits * (np.cumsum(hits, axis=1) / ranks))
    map_denominator = {"achievable": achievable, "relevant": judged, "k": np.where(relevant > 0, float(k), np.nan)}
    any_hit = np.where(relevant > 0, (found > 0).astype(np.float64), np.nan)
    return {
        "ndcg": _row_sums(hits * _discounts(k)) / _ideal_gain(ideal, k),
        "recall": found / judged,
        "capped_recall": found / achievable,
        "precision": np.where(relevant > 0, found / k, np.nan),
        "hit_rate": any_hit,
        "mrr": any_hit / (np.argmax(hits, axis=1) + 1),
        "map": precision_at_hits / map_denominator[options.map_denominator],
    }


def hit_matrix(recommended: IndexArray, truth: Ragged, k: int) -> NDArray[np.bool_]:
    """bool ``[B, k]``: whether the product at each place is relevant to that row's user.

    Raises:
        ValueError: the row counts differ, or a row of either side names a product twice.
    """
    if recommended.ndim != 2 or len(recommended) != len(truth):
        raise ValueError(f"recommended has shape {recommended.shape}; expected ({len(truth)}, k), one row per user")
    listed = recommended[:, :k].astype(np.int64)
    _refuse_repeats(listed)
    span = 1 + max(int(listed.max(initial=-1)), int(truth.values.max(initial=-1)))
    truth_keys = np.sort(truth.row_of_value * span + truth.values)
    if (truth_keys[1:] == truth_keys[:-1]).any():
        raise ValueError("truth names a product twice for one user; relevant products must be distinct within a row")
    keys = np.arange(len(truth), dtype=np.int64)[:, None] * span + listed
    hits = np.zeros((len(truth), k), dtype=bool)
    hits[:, : listed.shape[1]] = find_sorted(truth_keys, keys)[1] & (listed >= 0)
    return hits


def _refuse_repeats(listed: NDArray[np.int64]) -> None:
    ordered = np.sort(listed, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if repeated.any():
        row = int(np.argmax(repeated.any(axis=1)))
        raise ValueError(f"row {row} of recommended names a product twice; a hit must not be counted twice")


def _row_sums(terms: FloatArray) -> FloatArray:
    """Sums float64 ``[B]`` from left to right, so that a user's value is the same bits in any batch (a matrix product's
    are not), equal lists tie exactly in paired comparisons, and a perfect list scores exactly 1."""
    return np.cumsum(terms, axis=1)[:, -1]


@cache
def _discounts(k: int) -> FloatArray:
    return 1.0 / np.log2(np.arange(2, k + 2, dtype=np.float64))


def _ideal_gain(ideal_hits: FloatArray, k: int) -> FloatArray:
    gain = np.cumsum(_discounts(k))
    judged = ~np.isnan(ideal_hits)
    ideal = np.full(len(ideal_hits), np.nan)
    ideal[judged] = gain[ideal_hits[judged].astype(np.int64) - 1]
    return ideal
