"""Sequential tests that a challenger breaks something: e-values that may be looked at as often as one likes.

An e-value is a mixture of likelihood ratios. Where the challenger is no worse than the tolerated ratio, its
expectation is at most 1 at any look, so that it reaches 100 with probability .01 at most (Ville's inequality).
"""

import math
from dataclasses import dataclass

E_VALUE_LIMIT = 100.0
TOLERATED_RATIO = 1.5
"""A challenger may be this many times as bad as the champion before it counts as broken."""

_ALTERNATIVES = (1.5, 2.0, 4.0, 8.0)
"""Odds of the alternatives over the tolerated odds; the mixture finds small breaches late and large ones at once."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One guardrail at one look.

    Attributes:
        name: of the guardrail.
        e_value: evidence of a breach; ``inf`` is printed for plain breakage.
        broken: whether the rollout has to go back.
        detail: the counts, as a phrase.
    """

    name: str
    e_value: float
    broken: bool
    detail: str


def share_e_value(bad: int, bad_of_challenger: int, share: float) -> float:
    """Evidence that bad answers come from the challenger more often than `TOLERATED_RATIO` times its ``share``.

    Args:
        bad: shoppers with a bad answer in both groups.
        bad_of_challenger: those of them who met the challenger.
        share: of shoppers that the challenger has, within (0, 1).
    """
    tolerated = share * TOLERATED_RATIO
    return binomial_e_value(bad, bad_of_challenger, tolerated / (tolerated + 1 - share))


def binomial_e_value(n: int, k: int, tolerated: float) -> float:
    """Evidence that a probability exceeds ``tolerated`` after ``k`` of ``n`` independent trials.

    Raises:
        ValueError: ``k`` is not within 0 and ``n``, or ``tolerated`` not within (0, 1).
    """
    if not 0 <= k <= n or not 0 < tolerated < 1:
        raise ValueError(f"{k} of {n} trials with a tolerated probability of {tolerated} is no question")
    odds = tolerated / (1 - tolerated)
    logs = []
    for factor in _ALTERNATIVES:
        alternative = factor * odds / (1 + factor * odds)
        logs.append(k * math.log(alternative / tolerated) + (n - k) * math.log((1 - alternative) / (1 - tolerated)))
    largest = max(logs)
    if largest > 700:
        return math.inf
    return sum(math.exp(value) for value in logs) / len(logs)


def breach(name: str, e_value: float, detail: str) -> Breach:
    """The guardrail ``name`` at this look."""
    return Breach(name, e_value, e_value >= E_VALUE_LIMIT, detail)
