"""Business figures of a report: clicks, purchases and money per recommendation, as shown and as estimated for other
models.

Where serving explores, each shown product has a known chance, so what another model would have earned can be estimated:
the model is asked the logged questions again, through the serving engine, and a shown product that it would have listed
counts by one over the chance that logging had of listing it, at any place (the document-based click model of Li et al.,
"Offline evaluation of ranking policies with click models", KDD 2018; place by place, a product that logging always
lists could never have been seen one place higher).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.catalogue import Catalogue
from lambda_api.recommender.contract import Recommender
from lambda_api.serving.engine import Engine
from lambda_api.serving.merging import merged
from lambda_api.serving.question import PageContext, Question, ReasonCode
from lambda_api.serving.service import DORMANT_S, HISTORY_LIMIT
from lambda_api.state.exposures import Exposure, JoinedItem, join_feedback
from lambda_api.state.history import StoredEvent
from recsys_assets.evaluation.feedback import (
    MEASURES,
    Measure,
    Shown,
    business_metrics,
    listing_chance,
    logged_feedback,
    shown,
    target_of_lists,
)
from recsys_assets.evaluation.off_policy import (
    ESTIMATORS,
    Estimator,
    SupportError,
    effective_sample_size,
    estimate,
    lost_mass,
)
from recsys_assets.evaluation.served import ServedLog
from recsys_assets.measurement.bootstrap import RESAMPLES, FloatArray, Interval

MIN_LISTS = 100
"""Below this many lists no figures are given."""

MAX_REPLAYED = 1_000
"""Maximum number of logged questions that every model is asked again."""

TOLERATED_LOSS = 0.25
"""Maximum unsupported share of a model's places; the report gives the supported share beside the estimate."""

EXPLORATION: ReasonCode = "exploration"
SERVED = "served, without exploration"

Origin = Literal["logged", "simulated", "none"]
Basis = Literal["as shown", "snips", "ips_around_mean", "simulated"]


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """Figures of one policy per shown product.

    Attributes:
        policy: a model of this report, or a version that served.
        basis: ``as shown``, an estimator of `off_policy`, or ``simulated``.
        lists: number of lists behind the figures.
        click_through, conversion, revenue: `MEASURES`, per shown product; ``None`` where they were refused.
        supported: share of the policy's products that logging could have listed; ``None`` without an estimate.
        effective_rows: see `effective_sample_size`; ``None`` without an estimate.
        refused: why there are no figures; otherwise empty.
    """

    policy: str
    basis: Basis
    lists: int
    click_through: Interval | None = None
    conversion: Interval | None = None
    revenue: Interval | None = None
    supported: float | None = None
    effective_rows: float | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class BusinessFigures:
    """The business part of a report. ``note``: where the figures come from, or why there are none."""

    origin: Origin
    note: str
    policies: tuple[PolicyFigures, ...] = ()


def logged_figures(
    served: ServedLog,
    models: Mapping[str, Recommender],
    catalogue: Catalogue,
    interactions: pa.Table,
    like: Question,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BusinessFigures | None:
    """Figures from lists that were served; ``None`` with fewer than `MIN_LISTS`.

    Args:
        served: lists shown after the training data of ``models`` end.
        models: those to estimate, by name.
        catalogue: of the shop, for prices, availability and categories.
        interactions: canonical; the shoppers' histories, besides the feedback in ``served``.
        like: a question as the shop's settings want its lists (`Question.template`).
    """
    if len(served.exposures) < MIN_LISTS:
        return None
    prices = {
        product: float(price)
        for product, price in zip(catalogue.products.external(np.arange(len(catalogue))), catalogue.price, strict=True)
        if np.isfinite(price)
    }
    joined = join_feedback((one for one in served.exposures if one.items), served.events)
    policies = list(_as_shown(joined, prices, resamples, seed))
    explored = [one for one in served.exposures if any(item.propensity not in (None, 1.0) for item in one.items)]
    asked = explored[:: max(1, -(-len(explored) // MAX_REPLAYED))]
    if len(asked) >= MIN_LISTS:
        names = {one.request_id for one in asked}
        items = [item for item in joined if item.exposure.request_id in names]
        by_chance = np.array([item.item.reason == EXPLORATION for item in items])
        log = shown(items, prices=prices)
        log = replace(log, propensity=listing_chance(log, by_chance))
        kept = (~by_chance).astype(np.float64)
        policies.append(_estimated(SERVED, log, kept, "snips", resamples, seed, np.ones(len(log))))
        past = past_events(asked, interactions, served.events)
        for name, model in models.items():
            target = target_of_lists(log, replayed(model, catalogue, asked, past, like))
            policies += [_estimated(name, log, target, basis, resamples, seed) for basis in ESTIMATORS]
    return BusinessFigures("logged", _note(served, len(explored), len(asked)), tuple(policies))


def past_events(
    exposures: Iterable[Exposure], interactions: pa.Table, feedback: Sequence[StoredEvent]
) -> dict[str, tuple[Event, ...]]:
    """Events of the shoppers of ``exposures`` from a canonical log and from feedback, each once, oldest first."""
    users = {exposure.user_id for exposure in exposures}
    mine = interactions.filter(pc.is_in(interactions["user_id"], pa.array(sorted(users), pa.string())))
    logged: dict[str, list[Event]] = {}
    seconds = pc.floor_temporal(mine["timestamp"], unit="second").cast(pa.timestamp("s", tz="UTC")).cast(pa.int64())
    columns = (mine["user_id"], mine["product_id"], mine["interaction_type"], seconds)
    for user, product, kind, second in zip(*(column.to_pylist() for column in columns), strict=True):
        logged.setdefault(user, []).append(Event(product, InteractionType.from_label(kind), second))
    sent: dict[str, list[Event]] = {}
    for one in feedback:
        if one.user_id in users:
            sent.setdefault(one.user_id, []).append(Event(one.product_id, one.interaction_type, one.timestamp))
    # now=-1: feedback carries its own timestamps.
    return {user: merged(logged.get(user, ()), sent.get(user, ()), now=-1) for user in logged | sent}


def replayed(
    model: Recommender,
    catalogue: Catalogue,
    exposures: Sequence[Exposure],
    past: Mapping[str, tuple[Event, ...]],
    like: Question,
) -> dict[str, tuple[str, ...]]:
    """The lists of ``model`` for the same questions, by request id, without exploration.

    A shopper's history is the newest events before the question, as many as serving reads. Filters and exclusions sent
    by the page are not logged; lists that they changed count as not supported.
    """
    engine = Engine(model, catalogue)
    like = replace(like, rules=replace(like.rules, new_products=False))
    lists = {}
    for exposure in exposures:
        at, context = exposure.at_ms // 1000, exposure.context
        events = tuple(event for event in past.get(exposure.user_id, ()) if event.timestamp < at)[-HISTORY_LIMIT:]
        newest = max((event.timestamp for event in events), default=at)
        question = replace(
            like,
            user_id=exposure.user_id,
            events=events,
            now=newest + 1 if newest < at - DORMANT_S else at,
            k=int(context.get("k", len(exposure.items))),
            context=PageContext(
                page=context.get("page", "homepage"),
                product_ids=tuple(context.get("product_ids", ())),
                category=context.get("category"),
                device=context.get("device"),
            ),
            diversity=float(context.get("diversity", 0.0)),
        )
        lists[exposure.request_id] = tuple(item.product_id for item in engine.answer(question).items)
    return lists


def _as_shown(
    joined: Sequence[JoinedItem], prices: Mapping[str, float], resamples: int, seed: int
) -> Iterable[PolicyFigures]:
    """Figures of every version that served, the one with most lists first."""
    by_version: dict[str, list[JoinedItem]] = {}
    for item in joined:
        by_version.setdefault(item.exposure.model_version, []).append(item)
    for version, items in sorted(by_version.items(), key=lambda pair: -len(pair[1])):
        log = shown(items, prices=prices)
        found = business_metrics(log, resamples=resamples, seed=seed)
        name = "baseline (no model)" if version == "baseline" else f"version {version}"
        yield PolicyFigures(
            name, "as shown", len(log.request_ids), found["click_through"], found["conversion"], found["revenue"]
        )


def _estimated(
    name: str,
    log: Shown,
    target: FloatArray,
    basis: Estimator,
    resamples: int,
    seed: int,
    supported: FloatArray | None = None,
) -> PolicyFigures:
    first = logged_feedback(log, MEASURES[0], target, supported)
    lists, lost = len(log.request_ids), lost_mass(first, resamples=resamples, seed=seed).mean
    share, rows = min(max(1.0 - lost, 0.0), 1.0), effective_sample_size(first.weight)
    found: dict[Measure, Interval] = {}
    for measure in MEASURES:
        feedback = logged_feedback(log, measure, target, supported)
        try:
            found[measure] = estimate(feedback, basis, tolerated_loss=TOLERATED_LOSS, resamples=resamples, seed=seed)
        except SupportError as error:
            return PolicyFigures(name, basis, lists, supported=share, effective_rows=rows, refused=str(error))
    return PolicyFigures(name, basis, lists, found["click_through"], found["conversion"], found["revenue"], share, rows)


def _note(served: ServedLog, explored: int, asked: int) -> str:
    told = f"From {len(served.exposures):,} of {served.lists:,} lists served since the test window began"
    if served.unreadable:
        told += f" ({served.unreadable:,} records could not be read)"
    if asked < MIN_LISTS:
        return (
            f"{told}. {explored:,} of them explored: too few to estimate other models; set "
            "RECSYS_EXPLORATION_SHARE above 0."
        )
    return (
        f"{told}. Models were asked {asked:,} of the {explored:,} logged questions that explored. Products that "
        "logging could not have listed: SNIPS leaves them out, IPS around the mean counts them as average. Intervals "
        "are over shoppers."
    )
