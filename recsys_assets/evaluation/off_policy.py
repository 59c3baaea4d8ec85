"""Off-policy evaluation: what another policy would have earned, estimated from what was logged under this one.

With ``w = target / propensity`` of what was shown, ``r`` its reward, ``m`` the mean reward of the log and means over
its rows:

===================  ==================================================================================================
``snips``            ``sum(w r) / sum(w)``. Swaminathan and Joachims, "The self-normalized estimator for counterfactual
                     learning", NIPS 2015. Bias O(1/n); not changed by adding a constant to all rewards.
``ips_around_mean``  ``m + mean(w (r - m))``: inverse propensity scoring (Horvitz and Thompson, JASA 1952) of the
                     deviation from the mean reward, a constant baseline that reduces the variance. Unbiased for a fixed
                     baseline; the estimated one adds O(1/n). Unsupported parts of the target count as average.
===================  ==================================================================================================

A row is one place of a list. Logging that explores place by place (`lambda_api.recommender.rules.explored`) records the
marginal chance of each product in its place. That identifies the reward of another policy if what a shopper does with a
product does not depend on the products around it: the item-position model of Li et al., "Offline evaluation of ranking
policies with click models", KDD 2018.

Nothing can be estimated of products that logging never shows. The mean of ``w`` estimates the supported share of the
target; where too much is unsupported the estimate is refused.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lambda_api.errors import RecsysError
from recsys_assets.measurement.bootstrap import RESAMPLES, FloatArray, Interval, ratio_interval

Estimator = Literal["snips", "ips_around_mean"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)

TOLERATED_LOSS = 0.05


class SupportError(RecsysError, ValueError):
    """The target shows what logging never could. ``lost``: the share of the target's mass that is not supported."""

    def __init__(self, message: str, lost: float, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.lost = lost


@dataclass(frozen=True)
class LoggedFeedback:
    """``n`` rows of what was shown, each with its chance under logging and under the policy in question.

    Attributes:
        unit: int64 ``[n]``, the shopper; rows of one unit are resampled together.
        reward: float64 ``[n]``, clicks, purchases or money.
        propensity: float64 ``[n]`` in (0, 1], the chance under logging of what the row shows.
        target: float64 ``[n]`` in [0, 1], its chance under the policy in question, for the same shopper and place.
        supported: float64 ``[n]`` in [0, 1], the share of the policy's mass in this place that logging could have
            shown, where that is known; otherwise it is estimated by the mean weight.

    Raises:
        ValueError: lengths differ, no rows, values outside their ranges or not finite.
    """

    unit: NDArray[np.int64] = field(repr=False)
    reward: FloatArray = field(repr=False)
    propensity: FloatArray = field(repr=False)
    target: FloatArray = field(repr=False)
    supported: FloatArray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        rows = len(self.unit)
        if rows == 0:
            raise ValueError("there is no logged feedback to estimate from")
        for name in ("reward", "propensity", "target", "supported"):
            values = getattr(self, name)
            if values is not None and (values.shape != (rows,) or not np.isfinite(values).all()):
                raise ValueError(f"{name} must hold {rows} finite numbers, one per row; its shape is {values.shape}")
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise ValueError("propensity must lie in (0, 1]")
        for name in ("target", "supported"):
            values = getattr(self, name)
            if values is not None and not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"{name} must lie in [0, 1]")

    @property
    def weight(self) -> FloatArray:
        """``target / propensity``, float64 ``[n]``."""
        return self.target / self.propensity

    def __len__(self) -> int:
        return len(self.unit)


def estimate(
    log: LoggedFeedback,
    estimator: Estimator,
    *,
    tolerated_loss: float = TOLERATED_LOSS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The target's mean reward per row; interval and ``n`` are over units.

    Args:
        log: rows as logged.
        estimator: see the module.
        tolerated_loss: share of the target's mass that may be unsupported. Where the log does not give that share, the
            target is refused when the whole interval of its estimate lies above.
        resamples, seed: of the interval, see ``bootstrap``.

    Raises:
        SupportError: more is lost than tolerated.
        ValueError: an unknown estimator.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator {estimator!r}; expected one of: {', '.join(ESTIMATORS)}")
    _refuse_unsupported(log, tolerated_loss, resamples, seed)
    weight, baseline = log.weight, float(log.reward.mean())
    if estimator == "snips":
        terms = (weight * log.reward, weight)
    else:
        terms = (baseline + weight * (log.reward - baseline), np.ones(len(log)))
    numerator, denominator = _by_unit(log, *terms)
    interval = ratio_interval(numerator, denominator, resamples=resamples, seed=seed)
    assert interval is not None  # a target without any weight was refused above
    return interval


def effective_sample_size(weight: FloatArray) -> float:
    """``sum(w)^2 / sum(w^2)`` (Kish, "Survey sampling", 1965): between 0 and the number of rows (equal weights)."""
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares > 0 else 0.0


def lost_mass(log: LoggedFeedback, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Share of the target's mass on what logging could not have shown.

    Exact where the log gives it; otherwise ``1 - mean(w)``, because the mean weight under logging is the supported
    share.
    """
    if log.supported is not None:
        lost = 1.0 - float(log.supported.mean())
        return Interval(lost, lost, lost, len(log))
    weight, rows = _by_unit(log, log.weight, np.ones(len(log)))
    found = ratio_interval(weight, rows, resamples=resamples, seed=seed)
    assert found is not None  # every unit has a row
    return Interval(1.0 - found.mean, 1.0 - found.high, 1.0 - found.low, found.n)


def _by_unit(log: LoggedFeedback, *columns: FloatArray) -> list[FloatArray]:
    _, place = np.unique(log.unit, return_inverse=True)
    return [np.bincount(place, weights=column).astype(np.float64) for column in columns]


def _refuse_unsupported(log: LoggedFeedback, tolerated: float, resamples: int, seed: int) -> None:
    lost = lost_mass(log, resamples=resamples, seed=seed)
    remedy = "explore among more products, or evaluate a policy closer to the log"
    if not log.weight.any():
        raise SupportError(f"none of {len(log):,} logged rows shows what the target would show", lost.mean, remedy)
    if lost.low > tolerated:
        raise SupportError(
            f"logging does not support {100 * lost.mean:.1f} % of what the target shows (at least {100 * lost.low:.1f} "
            f"%, tolerated {100 * tolerated:.1f} %)",
            lost.mean,
            remedy,
        )
