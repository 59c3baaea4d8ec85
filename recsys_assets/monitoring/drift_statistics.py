"""Compares a column of two samples of shoppers: test, effect size, and the statistic's own history.

A small p-value alone says little: with thousands of shoppers every shop differs from its own past. A column has
*drifted* when three things hold together: Holm-corrected p < .01 over all columns; an effect of at least `MIN_EFFECT`;
and an effect above mean + 3 sd of the statistic's own past. Samples below `MIN_SHOPPERS` get no verdict. Inputs hold
one value per shopper.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from recsys_assets.evaluation.fairness import holm
from recsys_assets.measurement.metrics import FloatArray

SIGNIFICANCE: Final = 0.01
MIN_EFFECT: Final = 0.1
MIN_PSI: Final = 0.2
MIN_SHOPPERS: Final = 500
MIN_HISTORY: Final = 8
"""Earlier values of a statistic from which on it is compared with its own past."""

MIN_BIN: Final = 0.01
"""Categories below this share in both samples are one, for PSI: rare ones make it explode."""

State = Literal["drifted", "stable", "too few"]


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column, now and in the reference.

    Attributes:
        column: name; ``kind``: ``numeric``, ``deciles`` (numeric, compared in the reference's deciles as well) or
            ``categorical``.
        reference, current: shoppers with a value.
        statistic: Kolmogorov-Smirnov D, or chi-square; ``p_value`` of that test.
        effect: KS D (numeric, deciles) or the largest difference of shares, L-infinity (categorical), in [0, 1].
        second_effect: Wasserstein distance over the reference's standard deviation (numeric), or PSI.
        limit: mean + 3 sd of ``effect`` in the past; ``None`` with fewer than `MIN_HISTORY` values.
        state: the verdict.
    """

    column: str
    kind: Literal["numeric", "categorical", "deciles"]
    reference: int
    current: int
    statistic: float
    p_value: float
    effect: float
    second_effect: float
    limit: float | None = None
    state: State = "stable"

    @property
    def is_large(self) -> bool:
        """Whether one of the effects reaches its threshold."""
        second = MIN_EFFECT if self.kind == "numeric" else MIN_PSI
        return self.effect >= MIN_EFFECT or self.second_effect >= second


def compare_numeric(column: str, reference: FloatArray, current: FloatArray) -> ColumnDrift:
    """Two-sample Kolmogorov-Smirnov test and Wasserstein distance; NaN is left out."""
    from scipy import stats

    reference, current = reference[~np.isnan(reference)], current[~np.isnan(current)]
    if min(len(reference), len(current)) < 2:
        return ColumnDrift(column, "numeric", len(reference), len(current), 0.0, 1.0, 0.0, 0.0)
    test = stats.ks_2samp(reference, current, method="asymp")
    spread = float(reference.std())
    distance = float(stats.wasserstein_distance(reference, current))
    scaled = distance / spread if spread > 0 else float(distance > 0)
    d = float(test.statistic)
    return ColumnDrift(column, "numeric", len(reference), len(current), d, float(test.pvalue), d, scaled)


def compare_deciles(column: str, reference: FloatArray, current: FloatArray) -> ColumnDrift:
    """`compare_numeric` with the PSI over the reference's deciles as second effect; equal deciles are one bin."""
    found = replace(compare_numeric(column, reference, current), kind="deciles", second_effect=0.0)
    if min(found.reference, found.current) < 2:
        return found
    edges = np.unique(np.quantile(reference, np.linspace(0.1, 0.9, 9)))
    shares = [
        np.bincount(np.searchsorted(edges, one, side="right"), minlength=len(edges) + 1) / len(one)
        for one in (reference, current)
    ]
    return replace(found, second_effect=population_stability_index(shares[0], shares[1]))


def compare_categorical(
    column: str,
    reference: Sequence[str | None] | NDArray[np.object_],
    current: Sequence[str | None] | NDArray[np.object_],
) -> ColumnDrift:
    """Chi-square test of homogeneity, L-infinity and PSI; a missing value is a category."""
    from scipy import stats

    names = sorted({str(one) for one in reference} | {str(one) for one in current})
    place = {name: number for number, name in enumerate(names)}
    counts = np.array(
        [np.bincount([place[str(one)] for one in sample], minlength=len(names)) for sample in (reference, current)],
        dtype=np.float64,
    )
    sizes = counts.sum(axis=1)
    if len(names) < 2 or sizes.min() == 0:
        return ColumnDrift(column, "categorical", int(sizes[0]), int(sizes[1]), 0.0, 1.0, 0.0, 0.0)
    shares = counts / sizes[:, None]
    test = stats.chi2_contingency(counts, correction=False)
    return ColumnDrift(
        column,
        "categorical",
        int(sizes[0]),
        int(sizes[1]),
        float(test.statistic),
        float(test.pvalue),
        float(np.abs(shares[1] - shares[0]).max()),
        population_stability_index(shares[0], shares[1]),
    )


def population_stability_index(reference: FloatArray, current: FloatArray) -> float:
    """``sum((c - r) ln(c / r))`` over shares ``[n]``; categories below `MIN_BIN` in both are merged, others floored."""
    rare = (reference < MIN_BIN) & (current < MIN_BIN)
    merged = [np.append(one[~rare], one[rare].sum()) for one in (reference, current)]
    r, c = (np.maximum(one, 1e-4) for one in merged)
    return float(((c - r) * np.log(c / r)).sum())


def judge(columns: Sequence[ColumnDrift], history: Mapping[str, Sequence[float]]) -> tuple[ColumnDrift, ...]:
    """Give every column its state.

    Args:
        columns: of one comparison, as `compare_numeric` and `compare_categorical` return them.
        history: earlier effects by column, of comparisons before the current window.
    """
    significant = holm([column.p_value for column in columns], SIGNIFICANCE)
    judged = []
    for column, reject in zip(columns, significant, strict=True):
        limit = own_limit(history.get(column.column, ()))
        drifted = reject and column.is_large and (limit is None or column.effect > limit)
        state: State = "drifted" if drifted else "stable"
        if min(column.reference, column.current) < MIN_SHOPPERS:
            state = "too few"
        judged.append(replace(column, limit=limit, state=state))
    return tuple(judged)


def own_limit(past: Sequence[float]) -> float | None:
    """Mean + 3 sd of the past values; ``None`` with too few of them."""
    if len(past) < MIN_HISTORY:
        return None
    values = np.asarray(past, dtype=np.float64)
    return float(values.mean() + 3 * values.std(ddof=1))
