"""Figures of a split: the size of its parts, and the share of their shoppers and products that are new."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.splits.temporal import TemporalSplit


@dataclass(frozen=True, slots=True)
class PartStats:
    """One part of a split.

    Attributes:
        part: ``train``, ``validation`` or ``test``.
        start, end: half-open period, aware, UTC.
        interactions: events in the period.
        users, products: different ids among them.
        cold_user_share: share of these users without any event in an earlier part, 0 to 1; None for train, where
            nothing is earlier, and for a part without events. For test, earlier means train and validation together:
            that is what the final model has learnt from.
        cold_product_share: likewise for products.
    """

    part: str
    start: datetime
    end: datetime
    interactions: int
    users: int
    products: int
    cold_user_share: float | None
    cold_product_share: float | None


def describe_split(interactions: pa.Table, split: TemporalSplit) -> list[PartStats]:
    """Figures of the three parts in time order; the order of rows does not matter.

    Args:
        interactions: columns ``user_id``, ``product_id`` and ``timestamp``, no nulls.
        split: the periods; events outside them are not counted.
    """
    parts = split.parts(interactions["timestamp"])
    users, products = (_first_and_present(interactions[name], parts) for name in ("user_id", "product_id"))
    return [
        PartStats(
            part=part,
            start=start,
            end=end,
            interactions=int((parts == number).sum()),
            users=users[number][0],
            products=products[number][0],
            cold_user_share=users[number][1],
            cold_product_share=products[number][1],
        )
        for number, (part, start, end) in enumerate(split.periods())
    ]


def as_markdown(stats: Sequence[PartStats]) -> str:
    """A Markdown table of the parts, for people."""

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    lines = [
        "| part | from (UTC) | to (exclusive) | interactions | users | products | cold users | cold products |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    total = sum(part.interactions for part in stats)
    for part in stats:
        lines.append(
            f"| {part.part} | {part.start:%Y-%m-%d %H:%M} | {part.end:%Y-%m-%d %H:%M} "
            f"| {part.interactions:,} ({share(part.interactions / total if total else None)}) "
            f"| {part.users:,} | {part.products:,} | {share(part.cold_user_share)} | {share(part.cold_product_share)} |"
        )
    return "\n".join(lines)


def _first_and_present(ids: pa.ChunkedArray, parts: npt.NDArray[np.int8]) -> list[tuple[int, float | None]]:
    """Per part: how many ids it has, and the share of them that no earlier part has."""
    encoded = ids.combine_chunks().dictionary_encode()
    codes = np.asarray(encoded.indices)
    seen = np.zeros(len(encoded.dictionary), dtype=bool)
    result: list[tuple[int, float | None]] = []
    for number in range(3):
        present = np.zeros_like(seen)
        present[codes[parts == number]] = True
        count = int(present.sum())
        cold = int((present & ~seen).sum()) / count if number and count else None
        result.append((count, cold))
        seen |= present
    return result
