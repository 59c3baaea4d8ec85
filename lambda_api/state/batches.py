"""Groups records into requests that keep a service's limits of count and bytes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from lambda_api.state.encoding import MAX_WRITES
from lambda_api.state.table import Write

T = TypeVar("T")

MAX_BATCH_BYTES = 3 * 1024 * 1024
"""Estimated bytes of one transaction, of DynamoDB's 4 MB."""


def batches(groups: Iterable[tuple[Sequence[T], int]], most: int, most_bytes: int) -> Iterator[list[T]]:
    """Groups (records that stay together, and their bytes) in order, as many at once as both limits allow."""
    batch: list[T] = []
    size = 0
    for group, bytes_of_group in groups:
        if batch and (len(batch) + len(group) > most or size + bytes_of_group > most_bytes):
            yield batch
            batch, size = [], 0
        batch += group
        size += bytes_of_group
    if batch:
        yield batch


def transactions(groups: Iterable[tuple[Sequence[Write], int]]) -> Iterator[list[Write]]:
    """`batches` of writes for `Table.write`."""
    return batches(groups, MAX_WRITES, MAX_BATCH_BYTES)
