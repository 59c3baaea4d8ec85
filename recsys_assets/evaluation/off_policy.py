"""What another policy would have earned, estimated from what was logged under this one.

Put estimators over arrays of logged feedback here. Keep what turns exposures into arrays (``feedback``) and what a
recommender did on a past window (``protocol``) out.

With ``w = target / propensity`` of what was shown, ``r`` its reward, ``q`` a model's guess of a reward and means taken
over the rows of a log:

=================  ====================================================================================================
``ips``            ``mean(w r)``. Horvitz and Thompson, JASA 1952. Unbiased where the log supports the target.
``snips``          ``sum(w r) / sum(w)``. Swaminathan and Joachims, "The self-normalized estimator for counterfactual
                   learning", NIPS 2015. Biased by O(1/n), of less variance, and untouched by a shift of all rewards.
``clipped_ips``    ``mean(min(w, clip) r)``. Ionides, "Truncated importance sampling", JCGS 2008. For rewards of at
                   least 0 it never estimates too much on average.
``doubly_robust``  ``mean(q_target + w (r - q_shown))``. Dudik, Langford and Li, "Doubly robust policy evaluation and
                   learning", ICML 2011. Unbiased if the propensities or the guesses are right.
=================  ====================================================================================================

A row is one place of a list, or one whole list. What each identifies:

* **Places.** Logging that explores place by place (`lambda_api.recommender.rules.explored`) logs the marginal chance of
  each product in its place. That identifies the reward of a policy place by place, hence of its lists, if what a
  shopper does with a product depends on shopper, product and place, not on the products around it: the item-position
  model of Li et al., "Offline evaluation of ranking policies with click models", KDD 2018. It is an assumption: under
  cascades (a purchase high up ends the search) the estimate is of something else. The policy may draw its places
  jointly in any way; only its marginals per place enter.
* **Lists.** Without that assumption the chance of the list as a whole is needed. Marginals alone do not give it; they
  do together with the knowledge of how places were drawn (`list_propensity`). Weights are products over places, and
  useful only for short lists or targets close to what was logged.

No estimator can say anything of what logging never shows. The mean of ``w`` estimates the share of the target that was
supported; where too much is lost the estimate is refused, because it would be of another policy.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lambda_api.errors import RecsysError
from recsys_assets.measurement.bootstrap import RESAMPLES, FloatArray, Interval, ratio_interval

Estimator = Literal["ips", "snips", "clipped_ips", "doubly_robust"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)

DEFAULT_CLIP = 100.0
TOLERATED_LOSS = 0.05


class SupportError(RecsysError, ValueError):
    """The target shows what logging never could. ``lost`` is the share of the target's mass that is not supported."""

    def __init__(self, message: str, lost: float) -> None:
        super().__init__(message)
        self.lost = lost


@dataclass(frozen=True)
class LoggedFeedback:
    """``n`` rows of what was shown, each with the chance of it then and under the policy in question.

    Attributes:
        request: int64 ``[n]``, any number per request; rows of one request are resampled together.
        reward: float64 ``[n]``, clicks, purchases or money.
        propensity: float64 ``[n]`` in (0, 1], the chance under logging of what the row shows.
        target: float64 ``[n]`` in [0, 1], its chance under the policy in question, for the same shopper and place.
        expected_shown: float64 ``[n]``, a model's guess of the row's reward; for ``doubly_robust``.
        expected_target: float64 ``[n]``, its guess averaged over what the policy would show in the row's place.
        supported: float64 ``[n]`` in [0, 1], the share of the policy's mass in this place on what logging could have
            shown, where that is known; else it is estimated by the mean weight.

    Raises:
        ValueError: lengths differ, no rows, values outside their ranges or not finite.
    """

    request: NDArray[np.int64] = field(repr=False)
    reward: FloatArray = field(repr=False)
    propensity: FloatArray = field(repr=False)
    target: FloatArray = field(repr=False)
    expected_shown: FloatArray | None = field(default=None, repr=False)
    expected_target: FloatArray | None = field(default=None, repr=False)
    supported: FloatArray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        rows = len(self.request)
        if rows == 0:
            raise ValueError("there is no logged feedback to estimate from")
        if (self.expected_shown is None) != (self.expected_target is None):
            raise ValueError("give the reward model for both what was shown and what the target shows, or for neither")
        for name in ("reward", "propensity", "target", "expected_shown", "expected_target", "supported"):
            values = getattr(self, name)
            if values is not None and (values.shape != (rows,) or not np.isfinite(values).all()):
                raise ValueError(f"{name} must hold {rows} finite numbers, one per row; its shape is {values.shape}")
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise ValueError("propensity must lie in (0, 1]: what was shown had some chance of it")
        for name in ("target", "supported"):
            values = getattr(self, name)
            if values is not None and not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"{name} must lie in [0, 1]")

    @property
    def weight(self) -> FloatArray:
        """``target / propensity``, float64 ``[n]``."""
        return self.target / self.propensity

    def __len__(self) -> int:
        return len(self.request)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean reward of a row under a policy that was not shown.

    Attributes:
        estimator: by which it was estimated.
        value, low, high: the estimate and its interval, from resampled requests.
        rows, requests: what it rests on.
        effective_sample_size: rows drawn from the target itself that would tell as much, ``sum(w)^2 / sum(w^2)``
            (Kish, "Survey sampling", 1965).
        lost: share of the target's mass that logging does not support; estimated unless the log says it.
        largest_weight: of one row.
        clipped: share of rows whose weight was cut; 0 for estimators that cut none.
    """

    estimator: Estimator
    value: float
    low: float
    high: float
    rows: int
    requests: int
    effective_sample_size: float
    lost: float
    largest_weight: float
    clipped: float


def point_estimate(log: LoggedFeedback, estimator: Estimator, clip: float = DEFAULT_CLIP) -> float:
    """The estimate alone. NaN for ``snips`` when no row shows anything the target would.

    Raises:
        ValueError: see `estimate`.
    """
    numerator, denominator = _terms(log, estimator, clip)
    total = float(denominator.sum())
    return float(numerator.sum()) / total if total > 0 else float("nan")


def estimate(
    log: LoggedFeedback,
    estimator: Estimator,
    *,
    clip: float = DEFAULT_CLIP,
    tolerated_loss: float = TOLERATED_LOSS,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """The target's mean reward with an interval.

    Args:
        log: rows as logged.
        estimator: see the module.
        clip: the largest weight, of ``clipped_ips``.
        tolerated_loss: share of the target's mass that logging may leave unsupported. Where the log does not say
            which share is, the target is refused when the interval of the estimated share lies above it.
        confidence, resamples, seed: of the intervals, see ``bootstrap``.

    Raises:
        SupportError: more is lost than tolerated.
        ValueError: an unknown estimator, ``doubly_robust`` without a reward model, or a clip not above 0.
    """
    numerator, denominator = _terms(log, estimator, clip)
    lost = _refuse_unsupported(log, tolerated_loss, confidence, resamples, seed)
    numerators, denominators = _by_request(log, numerator, denominator)
    interval = ratio_interval(numerators, denominators, confidence=confidence, resamples=resamples, seed=seed)
    weight = log.weight
    assert interval is not None  # a target without any weight was refused above
    return Estimate(
        estimator=estimator,
        value=interval.mean,
        low=interval.low,
        high=interval.high,
        rows=len(log),
        requests=len(numerators),
        effective_sample_size=effective_sample_size(weight),
        lost=lost,
        largest_weight=float(weight.max()),
        clipped=float((weight > clip).mean()) if estimator == "clipped_ips" else 0.0,
    )


def effective_sample_size(weight: FloatArray) -> float:
    """``sum(w)^2 / sum(w^2)``, between 0 (no weight at all) and the number of rows (equal weights)."""
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares > 0 else 0.0


def lost_mass(log: LoggedFeedback, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Share of the target's mass on what logging could not have shown; exact, and of no width, where the log says it.

    Otherwise ``1 - mean(w)``: under logging a weight's mean is the supported share.
    """
    if log.supported is not None:
        lost = 1.0 - float(log.supported.mean())
        return Interval(lost, lost, lost, len(log))
    weight, ones = _by_request(log, log.weight, np.ones(len(log)))
    found = ratio_interval(weight, ones, confidence=confidence, resamples=resamples, seed=seed)
    assert found is not None  # every request has a row
    return Interval(1.0 - found.mean, 1.0 - found.high, 1.0 - found.low, found.n)


def list_propensity(propensity: FloatArray, explore: float) -> float:
    """Chance of a whole list under `lambda_api.recommender.rules.explored`, from the marginals of its places.

    Places flip independent coins, and the ``m`` places that explore share a draw without replacement from ``c``
    candidates. So the chance is ``(1 - explore)^kept * explore^m / (c (c - 1) ... (c - m + 1))``, where a marginal of
    ``explore / c`` tells both that the place explored and what ``c`` was.

    Args:
        propensity: float64 ``[k]`` of one list, as logged; 1 at places that could not explore.
        explore: the chance that a place explores, in (0, 1).

    Raises:
        ValueError: marginals that this way of exploring cannot have produced.
    """
    if not 0 < explore < 1:
        raise ValueError(f"explore must lie between 0 and 1, not {explore}")
    open_places = propensity[propensity < 1]
    kept = np.isclose(open_places, 1.0 - explore, rtol=1e-6)
    drawn = open_places[~kept]
    candidates = np.round(explore / drawn)
    if len(drawn) and not (np.isclose(candidates * drawn, explore, rtol=1e-6) & (candidates == candidates[0])).all():
        raise ValueError(f"no exploration with chance {explore} gives the propensities {propensity.tolist()}")
    chance = (1.0 - explore) ** int(kept.sum()) * explore ** len(drawn)
    if len(drawn):
        if len(drawn) > candidates[0]:
            raise ValueError(f"{len(drawn)} places cannot get distinct products out of {candidates[0]:.0f}")
        chance /= np.prod(candidates[0] - np.arange(len(drawn)))
    return float(chance)


def _terms(log: LoggedFeedback, estimator: Estimator, clip: float) -> tuple[FloatArray, FloatArray]:
    """Numerator and denominator of each row; the estimate is the ratio of their sums."""
    weight, ones = log.weight, np.ones(len(log))
    if estimator == "ips":
        return weight * log.reward, ones
    if estimator == "snips":
        return weight * log.reward, weight
    if estimator == "clipped_ips":
        if not clip > 0:
            raise ValueError(f"clip must be above 0, not {clip}")
        return np.minimum(weight, clip) * log.reward, ones
    if estimator == "doubly_robust":
        if log.expected_shown is None or log.expected_target is None:
            raise ValueError("doubly_robust needs a reward model: give expected_shown and expected_target")
        return log.expected_target + weight * (log.reward - log.expected_shown), ones
    raise ValueError(f"unknown estimator {estimator!r}; expected one of: {', '.join(ESTIMATORS)}")


def _by_request(log: LoggedFeedback, *columns: FloatArray) -> list[FloatArray]:
    _, place = np.unique(log.request, return_inverse=True)
    return [np.bincount(place, weights=column).astype(np.float64) for column in columns]


def _refuse_unsupported(log: LoggedFeedback, tolerated: float, confidence: float, resamples: int, seed: int) -> float:
    lost = lost_mass(log, confidence=confidence, resamples=resamples, seed=seed)
    if not log.weight.any():
        raise SupportError(
            f"nothing in {len(log):,} logged rows is what the target shows: nothing can be estimated of it", lost.mean
        )
    if lost.low > tolerated:
        raise SupportError(
            f"logging does not support {100 * lost.mean:.1f} % of what the target shows (at least {100 * lost.low:.1f} "
            f"%, tolerated {100 * tolerated:.1f} %); explore among more products, or judge a target closer to the log",
            lost.mean,
        )
    return lost.mean
