"""Index arithmetic of compressed sparse rows (CSR): row ``i`` owns ``values[indptr[i]:indptr[i + 1]]``."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Integer = TypeVar("Integer", bound=np.integer[Any])


def offsets(lengths: NDArray[Any] | Sequence[int]) -> IntArray:
    """``indptr`` of rows of ``lengths`` (``[n]``): int64 ``[n + 1]``, from 0 to their sum."""
    indptr = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def offsets_of_rows(row_of_value: NDArray[np.integer[Any]], rows: int) -> IntArray:
    """``indptr`` of values that belong to ``row_of_value`` (``[v]``, ascending): int64 ``[rows + 1]``."""
    return offsets(np.bincount(row_of_value, minlength=rows))


def run_starts(values: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Where a run of equal values begins, bool ``[n]``; the first element always does.

    Ten times faster than ``np.diff`` with ``prepend``, which matters within a request.
    """
    starts = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=starts[1:])
    return starts


def distinct(values: NDArray[Integer]) -> NDArray[Integer]:
    """The distinct values, ascending: ``np.unique``, which takes ten times as long for millions (NumPy 2.4)."""
    ascending = np.sort(values)
    return ascending[run_starts(ascending)]


def session_starts(
    shopper: NDArray[np.integer[Any]], seconds: NDArray[np.int64], gap_seconds: float
) -> NDArray[np.bool_]:
    """Which events start a session, bool ``[E]``; events by shopper, oldest first. A longer pause ends a session."""
    starts = run_starts(shopper)
    starts[1:] |= np.diff(seconds) > gap_seconds
    return starts


def ranges(starts: NDArray[np.integer[Any]], lengths: NDArray[np.integer[Any]]) -> IntArray:
    """``starts[i], starts[i] + 1, ...`` (``lengths[i]`` numbers) one row after another; int64 ``[sum(lengths)]``."""
    indptr = offsets(lengths)
    return np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])


def find_sorted(ascending: NDArray[Any], wanted: NDArray[Any]) -> tuple[IntArray, NDArray[np.bool_]]:
    """Where each of ``wanted`` (any shape) lies in ``ascending`` (``[n]``), and whether it is there.

    Returns:
        Places int64 and flags bool, both of the shape of ``wanted``. Places are inside ``ascending`` unless that is
        empty; those whose flag is false are arbitrary.
    """
    if len(ascending) == 0:
        return np.zeros(wanted.shape, dtype=np.int64), np.zeros(wanted.shape, dtype=bool)
    places = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return places, ascending[places] == wanted
