"""Converts timestamps to the NumPy arrays that the splitters work on."""

from datetime import UTC, datetime
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Timestamps: TypeAlias = pa.Array | pa.ChunkedArray | npt.NDArray[np.datetime64]
"""Moments in UTC, any order, no nulls: an Arrow timestamp column, or a NumPy ``datetime64`` array of any unit."""


def as_microseconds(timestamps: Timestamps) -> npt.NDArray[np.datetime64]:
    """``timestamps`` as ``datetime64[us]``, UTC, shape ``[n]``. Raises ``ValueError`` when a value is missing."""
    if isinstance(timestamps, pa.Array | pa.ChunkedArray):
        if timestamps.null_count:
            raise ValueError(f"{timestamps.null_count} of {len(timestamps)} timestamps are missing; a split needs all")
        moments = np.asarray(timestamps.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())).view("datetime64[us]")
    else:
        moments = np.asarray(timestamps).astype("datetime64[us]")
    if np.isnat(moments).any():
        raise ValueError(f"{int(np.isnat(moments).sum())} of {len(moments)} timestamps are missing; a split needs all")
    return moments


def to_datetime(moment: np.datetime64) -> datetime:
    """An aware UTC datetime."""
    converted: datetime = moment.astype("datetime64[us]").item()
    return converted.replace(tzinfo=UTC)
