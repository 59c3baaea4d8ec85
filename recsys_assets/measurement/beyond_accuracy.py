"""Beyond-accuracy measures of recommended lists: coverage, novelty, diversity, popularity bias, inequality.

With ``L_u`` the products listed for user ``u``, ``C`` the products that could have been listed, ``N`` the users seen
before the window and ``N_i`` those among them with any event on product ``i``:

======================  =============================================================================================
``coverage``            ``|union of L_u| / |C|``. Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy: evaluating
                        recommender systems by coverage and serendipity", RecSys 2010.
``novelty``             mean over ``L_u`` of ``-log2(max(N_i, 1) / N)`` bits: the mean self-information of Zhou et al.,
                        "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 2010; elsewhere
                        called mean inverse user frequency (MIUF).
``diversity``           mean of ``1 - cosine(x_i, x_j)`` over pairs in ``L_u``, with ``x`` from `content_vectors`.
                        Ziegler et al., "Improving recommendation lists through topic diversification", WWW 2005.
``average_popularity``  mean over ``L_u`` of ``N_i / N``. Yin et al., "Challenging the long tail recommendation", VLDB
                        2012, as a share of users rather than a count so that shops of any size compare.
``tail_share``          share of ``L_u`` outside the short head, the head being the most popular products that together
                        hold 80 % of events. Abdollahpouri, Burke and Mobasher, "Managing popularity bias in
                        recommender systems with personalized re-ranking", FLAIRS 2019 (APLT).
``gini``                Gini coefficient of how often each product of ``C`` is listed, 0 if all equally often, near 1 if
                        only a few ever are. Adomavicius and Kwon, "Improving aggregate recommendation diversity using
                        ranking-based techniques", TKDE 2012.
======================  =============================================================================================
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from lambda_api.recommender.csr import offsets
from lambda_api.recommender.ids import IdMap, IndexArray
from recsys_assets.measurement.metrics import FloatArray

HEAD_SHARE = 0.8
"""Share of all events that the short head holds."""

POPULARITY_BANDS: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Where bands of products end, as shares of the catalogue, most popular first: popularity falls off so steeply that
equal bands would put nearly every listed product into the first."""


@dataclass(frozen=True)
class ProductStatistics:
    """What was known of each of ``n`` products when the window opened; products are the task's indices.

    Attributes:
        candidates: bool ``[n]``, products that may be listed.
        users: int64 ``[n]``, distinct users with an event on the product before the window.
        events: int64 ``[n]``, events on the product before the window.
        n_users: distinct users with any event before the window.
        vectors: float64 CSR ``[n, d]`` of `content_vectors`.
        sales: int64 ``[n]``, those of the events that are of a relevant type: purchases, in a shop.
    """

    candidates: NDArray[np.bool_]
    users: NDArray[np.int64]
    events: NDArray[np.int64]
    n_users: int
    vectors: sparse.csr_matrix = field(repr=False)
    sales: NDArray[np.int64] = field(repr=False)

    @property
    def head(self) -> NDArray[np.bool_]:
        """bool ``[n]``: the short head. Ties at its end fall by index, which carries no meaning (see `IdMap`)."""
        order = np.argsort(-self.events, kind="stable")
        before = offsets(self.events[order])[:-1]
        head = np.zeros(len(self.events), dtype=bool)
        head[order] = (before < HEAD_SHARE * self.events.sum()) & (self.events[order] > 0)
        return head


@dataclass(frozen=True)
class BeyondAccuracy:
    """The measures of this module for ``B`` lists.

    Attributes:
        per_user: ``novelty``, ``diversity``, ``average_popularity`` and ``tail_share``, each float64 ``[B]``; NaN for a
            user whose list is too short to have one (empty; for diversity, under two products with content).
        coverage, gini: of all lists together; ``gini`` is NaN when nothing was listed at all.
        exposure: share of all listed places that each band of products got, most popular band first, one
            per entry of `POPULARITY_BANDS`; all zero when nothing was listed.
    """

    per_user: dict[str, FloatArray]
    coverage: float
    gini: float
    exposure: tuple[float, ...]


def beyond_accuracy(recommended: IndexArray, statistics: ProductStatistics) -> BeyondAccuracy:
    """Measure lists int32 ``[B, k]`` (``-1`` for an empty place) against what was known of the products."""
    exposures = np.bincount(recommended[recommended >= 0], minlength=len(statistics.users))
    popularity = statistics.users / max(statistics.n_users, 1)
    return BeyondAccuracy(
        per_user={
            "novelty": _list_mean(recommended, novelty_bits(statistics.users, statistics.n_users)),
            "diversity": intra_list_diversity(recommended, statistics.vectors),
            "average_popularity": _list_mean(recommended, popularity),
            "tail_share": _list_mean(recommended, (~statistics.head).astype(np.float64)),
        },
        coverage=float((exposures[statistics.candidates] > 0).sum() / max(int(statistics.candidates.sum()), 1)),
        gini=gini(exposures[statistics.candidates].astype(np.float64)),
        exposure=tuple(band_shares(exposures, statistics)),
    )


def novelty_bits(users: NDArray[np.int64], n_users: int) -> FloatArray:
    """``-log2(max(users, 1) / n_users)`` bits per product; a product nobody has seen is as novel as one seen once."""
    information: FloatArray = np.log2(max(n_users, 1)) - np.log2(np.maximum(users, 1))
    return information


def intra_list_diversity(recommended: IndexArray, vectors: sparse.csr_matrix) -> FloatArray:
    """Mean cosine distance over the pairs of each list, float64 ``[B]``; NaN with fewer than two usable products.

    Args:
        recommended: int32 ``[B, k]``, ``-1`` for an empty place.
        vectors: CSR ``[n, d]``, rows of length one, or empty where nothing is known. A product with an empty row takes
            part in no pair: counting the unknown as different would reward missing data.
    """
    usable = (np.diff(vectors.indptr) > 0)[recommended] & (recommended >= 0)
    rows = np.nonzero(usable)[0]
    shape = (len(recommended), vectors.shape[0])
    chosen = sparse.csr_matrix((np.ones(len(rows)), (rows, recommended[usable])), shape=shape)
    # ||sum of n unit vectors||^2 = n + 2 * sum of the pairwise cosines: no need to visit the pairs.
    summed = chosen @ vectors
    squared = np.asarray(summed.multiply(summed).sum(axis=1)).ravel()
    count = usable.sum(axis=1).astype(np.float64)
    pairs = np.where(count > 1, count * (count - 1), np.nan)
    return np.clip(1.0 - (squared - count) / pairs, 0.0, 2.0)


def gini(amounts: FloatArray) -> float:
    """Gini coefficient of non-negative amounts ``[n]``: ``sum((2 j - n - 1) x_(j)) / (n sum(x))``, ``x_(j)`` ascending.

    NaN when there are no amounts or all are zero.
    """
    total = amounts.sum()
    if total == 0:
        return float("nan")
    n = len(amounts)
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(amounts) / (n * total))


def popularity_bands(statistics: ProductStatistics) -> list[NDArray[np.int64]]:
    """The candidates in each of the `POPULARITY_BANDS`, ranked by events."""
    candidates = np.flatnonzero(statistics.candidates)
    order = candidates[np.argsort(-statistics.events[candidates], kind="stable")]
    ends = np.ceil(np.array(POPULARITY_BANDS) * len(order)).astype(np.int64)
    return np.split(order, ends[:-1])


def band_shares(amounts: NDArray[np.int64], statistics: ProductStatistics) -> list[float]:
    """Share of ``amounts`` (int64 ``[n]``) on each of the `popularity_bands`."""
    total = max(int(amounts[statistics.candidates].sum()), 1)
    return [float(amounts[band].sum() / total) for band in popularity_bands(statistics)]


def content_vectors(products: pa.Table, product_map: IdMap) -> sparse.csr_matrix:
    """Unit vectors that say how alike products are, float64 CSR ``[n, d]``, row ``i`` for index ``i`` of the map.

    Category and brand as one-hot parts of equal weight where the catalogue has either (so that the distance of two
    fully described products is 0, 1/2 or 1); otherwise the words of the name, weighted
    ``log(n / products with the word)``. A product without content has an empty row.

    Args:
        products: canonical products; ids the map does not know are skipped.
    """
    rows = product_map.indices(products["product_id"].to_pylist())
    columns = {
        name: products[name].to_pylist() for name in ("category", "brand", "name") if name in products.column_names
    }
    labels = [name for name in ("category", "brand") if any(columns.get(name, ()))]
    if labels:
        features = [[(name, columns[name][i]) for name in labels if columns[name][i]] for i in range(len(rows))]
        weights: dict[tuple[str, str], float] = {feature: 1.0 for row in features for feature in row}
    else:
        names = columns.get("name", [None] * len(rows))
        features = [[("word", word) for word in sorted(set((name or "").lower().split()))] for name in names]
        frequency = Counter(feature for row in features for feature in row)
        weights = {feature: float(np.log(len(rows) / count)) for feature, count in frequency.items()}
    numbers = {feature: number for number, feature in enumerate(weights)}
    entries = [
        (int(index), numbers[feature], weights[feature])
        for index, row in zip(rows, features, strict=True)
        for feature in row
        if index >= 0 and weights[feature] > 0
    ]
    return _unit_rows(entries, (len(product_map), max(len(numbers), 1)))


def _unit_rows(entries: list[tuple[int, int, float]], shape: tuple[int, int]) -> sparse.csr_matrix:
    row, column, value = zip(*entries, strict=True) if entries else ((), (), ())
    matrix = sparse.csr_matrix((np.array(value, dtype=np.float64), (row, column)), shape=shape)
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix.data /= np.repeat(lengths, np.diff(matrix.indptr))
    return matrix


def _list_mean(recommended: IndexArray, value: FloatArray) -> FloatArray:
    listed = recommended >= 0
    count = listed.sum(axis=1)
    total = np.where(listed, value[recommended], 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(recommended), np.nan), where=count > 0)
