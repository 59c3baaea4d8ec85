"""Independent random number generators, one for each purpose: a new mechanism does not change the draws of another."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Stream(IntEnum):
    """Purpose of a generator. Append new ones at the end: the numbers decide every shop's draws."""

    CATEGORIES = 1
    BRANDS = 2
    SLOTS = 3
    PRODUCTS = 4
    SHOPPERS = 5
    TASTE_SHIFT = 6
    CATALOGUE_SHIFT = 7
    LISTING = 8
    EPISODES = 9
    RESTOCKS = 10
    DAY = 11
    TRACKING_BUG = 12


def generator(seed: int, stream: Stream, *path: int) -> np.random.Generator:
    """The generator of ``stream`` at ``path`` (non-negative numbers such as a day), independent of every other.

    PCG64 seeded through ``SeedSequence``: https://numpy.org/doc/stable/reference/random/parallel.html
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, int(stream), *path])))
