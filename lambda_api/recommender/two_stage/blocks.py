"""Splits a batch into blocks of shoppers and answers several blocks at once where there are cores for it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

MOST_THREADS = 4

Block = tuple[int, int]
"""First shopper, and the one after the last."""


def blocks_of(shoppers: int, size: int) -> list[Block]:
    """``shoppers`` in blocks of at most ``size``."""
    return [(start, min(start + size, shoppers)) for start in range(0, shoppers, size)]


def for_each(answer: Callable[[int, int], None], blocks: Sequence[Block]) -> None:
    """Call ``answer`` with every block, in threads where there are many: numpy releases the GIL."""
    threads = 1 if len(blocks) < 4 else min(MOST_THREADS, cores(), len(blocks) // 2)  # counting cores is slow
    if threads < 2:
        for start, stop in blocks:
            answer(start, stop)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(answer, start, stop) for start, stop in blocks]:
            done.result()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
