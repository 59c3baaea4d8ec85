"""How many shoppers and days an experiment needs before it can tell a lift from chance.

The fixed sample size is the textbook one (two means, normal approximation). A test that may be looked at every day
needs more: at most ``SEQUENTIAL_MAXIMUM`` times as many, on average ``SEQUENTIAL_MEAN`` times; both factors were
simulated for 28 daily looks and 80 % power (`tests/experiments/test_inference.py` repeats it).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

SEQUENTIAL_MAXIMUM = 1.72
SEQUENTIAL_MEAN = 1.11
ALPHA, POWER = 0.05, 0.8
LIFTS = (0.05, 0.10, 0.20)

_Z = NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)
"""Standard errors by which a lift has to differ from 0, to be found with `POWER` at the two-sided level `ALPHA`."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one lift needs: shoppers in both groups together, and days.

    Attributes:
        lift: relative.
        fixed: shoppers for one look at the end.
        usual, sequential: shoppers for daily looks, on average and at most.
        days: until `sequential` shoppers were exposed.
    """

    lift: float
    fixed: int
    usual: int
    sequential: int
    days: float

    @classmethod
    def of(cls, lift: float, fixed: int, shoppers_a_day: float) -> "Need":
        """What daily looks and days follow from the shoppers of one look."""
        sequential = math.ceil(SEQUENTIAL_MAXIMUM * fixed)
        days = sequential / shoppers_a_day if shoppers_a_day > 0 else math.inf
        return cls(lift, fixed, math.ceil(SEQUENTIAL_MEAN * fixed), sequential, days)


def shoppers_needed(mean: float, sd: float, lift: float, *, share: float = 0.5) -> int:
    """Shoppers in both groups for one two-sided look at the end.

    Args:
        mean, sd: of the metric per shopper. The treatment's variance is taken to grow with its mean.
        share: of shoppers who get the treatment.

    Raises:
        ValueError: a value that no experiment has.
    """
    if mean <= 0 or sd <= 0 or lift == 0 or not 0 < share < 1:
        raise ValueError(f"mean {mean}, sd {sd}, lift {lift}, share {share}: all positive, the share below 1")
    variance = sd**2 * (1 / (1 - share) + (1 + lift) / share)
    return math.ceil(_Z**2 * variance / (mean * lift) ** 2)


def interleaved_needed(mean: float, answering: float, lift: float) -> int:
    """Shoppers with interleaved lists for one two-sided look at the end.

    ``mean * answering`` purchases per shopper go to the places of either version. Where sales as a whole rise by
    ``lift``, those from lists rise by ``lift / answering``, and so does what the better version's places sell over the
    other's. With independent purchases, the logarithm of that ratio has a variance of 4 over their number.
    Products that both versions place carry no information and hide no difference, so that fewer shoppers may do.

    Args:
        mean: purchases per shopper within the window.
        answering: share of purchases that answer a list, within (0, 1].

    Raises:
        ValueError: a value that no shop has.
    """
    if mean <= 0 or not 0 < answering <= 1 or lift <= 0:
        raise ValueError(f"mean {mean}, answering {answering}, lift {lift}: all positive, answering at most 1")
    return math.ceil(4 * _Z**2 / (mean * answering * math.log1p(lift / answering) ** 2))


def needs(mean: float, sd: float, shoppers_a_day: float, *, share: float = 0.5) -> list[Need]:
    """What lifts of 5, 10 and 20 % need in a shop where so many new shoppers are exposed a day."""
    return [Need.of(lift, shoppers_needed(mean, sd, lift, share=share), shoppers_a_day) for lift in LIFTS]


def interleaved_needs(mean: float, answering: float, shoppers_a_day: float) -> list[Need]:
    """The same with interleaved lists; ``answering``: see `interleaved_needed`."""
    return [Need.of(lift, interleaved_needed(mean, answering, lift), shoppers_a_day) for lift in LIFTS]
