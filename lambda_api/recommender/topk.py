"""Exact, deterministic selection of the k best scores of each row."""

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.ids import IndexArray

BLOCK = 64
"""Neighbouring scores whose maximum is compared first."""


def empty_lists(rows: int, k: int) -> tuple[IndexArray, NDArray[np.float32]]:
    """Lists of padding, to be filled: columns int32 ``[rows, k]``, all -1, and scores float32 ``[rows, k]``, -inf."""
    return np.full((rows, k), -1, dtype=np.int32), np.full((rows, k), -np.inf, dtype=np.float32)


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
    chosen, values = empty_lists(rows, k)
    if width == 0:
        return chosen, values
    for row, line in enumerate(scores):
        bound = _lower_bound(line, width)
        contenders = np.flatnonzero(line >= bound) if bound > -np.inf else np.flatnonzero(line > -np.inf)
        best = contenders[np.argsort(-line[contenders], kind="stable")[:width]]
        chosen[row, : len(best)] = best
        values[row, : len(best)] = line[best]
    return chosen, values


def _lower_bound(line: NDArray[np.float32], k: int) -> np.float32:
    """A value that at least ``k`` scores of ``line`` reach: the ``k``-th largest score, or somewhat less.

    argpartition alone would pick arbitrary columns among those tied at the ``k``-th score; comparing with a value
    brings all of them in. On long lines the ``k``-th largest of the maxima of blocks is found much faster than that of
    all scores (30 times at a million), and few scores lie above it.
    """
    blocks = len(line) // BLOCK
    if blocks >= 2 * k:
        line = line[: blocks * BLOCK].reshape(blocks, BLOCK).max(axis=1)
    bound: np.float32 = np.partition(line, len(line) - k)[len(line) - k]
    return bound
