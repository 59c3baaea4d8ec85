"""Building the inverted file that finds products of a very large catalogue by their vectors.

Put the clustering and the layout of lists here. Keep searching in ``lambda_api.recommender.vector_index``.
"""

import math

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.vector_index import VectorIndex

INDEX_ABOVE = 100_000
"""Products above which a model of factors gets an index; below, looking at every product takes a millisecond or two."""

SHARE = 0.05
"""Share of the products a search looks at: recall of the best 100 is then 0.99 on a million vectors like a shop's."""

SAMPLE_PER_LIST = 64
ROUNDS = 10
ROWS_PER_CHUNK = 16_384


def build_index(
    vectors: NDArray[np.float32], lists: int | None = None, share: float = SHARE, seed: int = 0
) -> VectorIndex:
    """Cluster ``vectors`` (float32 ``[n, f]``) by k-means and lay them out list by list.

    The vectors are clustered as they are, not scaled to one length: the many of a shop's products that are hardly ever
    bought have short vectors, gather in few lists and are rarely looked at.

    Args:
        vectors: one per product, in product order.
        lists: number of lists; twice the square root of ``n`` unless given. Empty ones are left out.
        share: of the products a search will look at.
        seed: of the sample and the first centroids; the same input gives the same index.

    Raises:
        ValueError: there are no vectors.
    """
    if len(vectors) == 0:
        raise ValueError("an index needs at least one vector")
    lists = min(len(vectors), max(1, round(2 * math.sqrt(len(vectors))) if lists is None else lists))
    own = _nearest(vectors, _centroids(vectors, lists, seed))
    members = np.argsort(own, kind="stable").astype(np.int32)
    sizes = np.bincount(own, minlength=lists)
    sizes = sizes[sizes > 0]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    laid = np.ascontiguousarray(vectors[members], dtype=np.float32)
    centroids = np.add.reduceat(laid, starts[:-1], axis=0, dtype=np.float64) / sizes[:, None]
    squares = np.einsum("nf,nf->n", laid, laid, dtype=np.float64)
    # Mean square around the mean: the mean of the squares less the square of the mean.
    variance = np.add.reduceat(squares, starts[:-1]) / sizes - (centroids**2).sum(axis=1)
    spread = np.sqrt(np.maximum(variance, 0.0) / vectors.shape[1])
    return VectorIndex(
        laid,
        members,
        starts,
        centroids.astype(np.float32),
        spread.astype(np.float32),
        np.sqrt(squares).astype(np.float32),
        share,
    )


def _centroids(vectors: NDArray[np.float32], lists: int, seed: int) -> NDArray[np.float32]:
    """Cluster centres found on a sample, float32 ``[lists, f]``."""
    from sklearn.cluster import KMeans

    generator = np.random.default_rng(seed)
    size = min(len(vectors), lists * SAMPLE_PER_LIST)
    sample = vectors[np.sort(generator.choice(len(vectors), size=size, replace=False))]
    # Spread-out starting points (k-means++) cost more than they gain with thousands of lists.
    model = KMeans(lists, init="random", n_init=1, max_iter=ROUNDS, algorithm="lloyd", random_state=seed)
    return model.fit(sample).cluster_centers_.astype(np.float32)


def _nearest(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """The centroid nearest to each vector (Euclidean), int64 ``[n]``."""
    half = 0.5 * (centroids**2).sum(axis=1)
    nearest = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), ROWS_PER_CHUNK):
        part = slice(start, start + ROWS_PER_CHUNK)
        nearest[part] = np.argmax(vectors[part] @ centroids.T - half, axis=1)
    return nearest
