"""Exact, deterministic selection of the k best scores of each row.

Put selection primitives here. Keep what the scores mean out.
"""

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.ids import IndexArray


def top_k(scores: NDArray[np.float32], k: int) -> tuple[IndexArray, NDArray[np.float32]]:
    """The ``k`` largest scores of each row, best first, ties by ascending column.

    Args:
        scores: float32 ``[B, n]``; ``-inf`` marks a column that must not be chosen. No NaN.
        k: at least 1; may exceed ``n``.

    Returns:
        Columns int32 ``[B, k]`` (``-1`` padding) and their scores float32 ``[B, k]`` (``-inf`` beside padding).
    """
    rows, columns = scores.shape
    width = min(k, columns)
    chosen = np.full((rows, k), -1, dtype=np.int32)
    values = np.full((rows, k), -np.inf, dtype=np.float32)
    if width == 0:
        return chosen, values
    # argpartition alone picks arbitrary columns among those tied at the k-th score; the threshold brings all in.
    threshold = np.partition(scores, columns - width, axis=1)[:, columns - width]
    for row in range(rows):
        line = scores[row]
        contenders = (
            np.flatnonzero(line >= threshold[row]) if threshold[row] > -np.inf else np.flatnonzero(line > -np.inf)
        )
        order = np.argsort(-line[contenders], kind="stable")[:width]
        best = contenders[order]
        chosen[row, : len(best)] = best
        values[row, : len(best)] = line[best]
    return chosen, values
