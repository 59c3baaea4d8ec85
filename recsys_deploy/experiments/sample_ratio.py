"""Sequential test for a sample-ratio mismatch: whether shoppers reach the groups in the shares that the route says.

Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022, arXiv 2011.03567): a Bayes
factor with a Dirichlet prior centred on the expected shares. It may be looked at after every shopper; under the right
shares it reaches ``1 / alpha`` with probability ``alpha`` at most.
"""

import math
from collections.abc import Sequence

CONCENTRATION = 1_000.0
"""Weight of the expected shares in the prior, in shoppers: looks for small deviations."""

ALPHA = 0.01


def log_bayes_factor(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Logarithm of the evidence against ``shares`` (sum 1, all above 0) after ``counts`` shoppers per group.

    Raises:
        ValueError: lengths differ, or shares are not a distribution.
    """
    if len(counts) != len(shares) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"counts {counts} do not fit the shares {shares}; shares are positive and sum to 1")
    prior = [CONCENTRATION * share for share in shares]
    posterior = [weight + count for weight, count in zip(prior, counts, strict=True)]
    expected = sum(count * math.log(share) for count, share in zip(counts, shares, strict=True))
    return _log_beta(posterior) - _log_beta(prior) - expected


def is_mismatch(counts: Sequence[int], shares: Sequence[float]) -> bool:
    """Whether the shares that arrived contradict those of the route."""
    return log_bayes_factor(counts, shares) >= -math.log(ALPHA)


def _log_beta(parameters: Sequence[float]) -> float:
    return sum(math.lgamma(one) for one in parameters) - math.lgamma(sum(parameters))
