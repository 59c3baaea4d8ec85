"""What each source and each group of features of the hybrid is worth: the hybrid without it, with paired intervals.

Sources and windows are fitted once; what is left out is left out of the ranker's rows and, for a source, of the
candidates. The rankers are smaller than the model's own, so that all of them take minutes: differences count here, not
levels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row
from lambda_api.recommender.two_stage.candidates import CandidateGenerator
from lambda_api.recommender.two_stage.features import feature_names
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.recommender.two_stage.sources import source_names
from lambda_api.recommender.two_stage.stage import RankedStage
from recsys_assets.measurement.bootstrap import paired_comparison
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.hybrid import SESSION_WINDOWS, Hybrid
from recsys_assets.models.hybrid_ranker import RankingRows
from recsys_assets.models.hybrid_rows import PastWindow
from recsys_assets.models.hybrid_sessions import PastSessions
from recsys_assets.models.hybrid_windows import plan_windows, relevant

SMALLER: Mapping[str, Any] = {"max_shoppers": 600, "trees": 60}

GROUPS: Mapping[str, tuple[str, ...]] = {
    "scores of the sources": ("from_*_score", "from_*_share"),
    "ranks of the sources": ("from_*_rank", "n_sources"),
    "popularity and trend": ("popularity_", "trend_", "newcomer", "buyers"),
    "age, price and rates of the product": (
        "age_days",
        "idle_days",
        "price",
        "conversion",
        "cart_rate",
        "buyer_breadth",
    ),
    "repurchase": ("repeat_", "own_rhythm", "own_gap_days"),
    "the shopper": ("shopper_",),
    "the shopper's past with the product": ("own_",),
    "affinity to category, brand and price": ("category_", "brand_", "price_d"),
    "likeness to the product's buyers": ("mainstream_difference", "breadth_difference"),
}
"""Beginnings of the names of features, ``*`` for the source's name."""

SESSION_GROUP: Mapping[str, tuple[str, ...]] = {"the running session": ("session_",)}
"""The features that only the stage within sessions has."""

Judge = Callable[[TwoStageRecommender], NDArray[np.float64]]
"""A figure per shopper or session, such as NDCG, of the lists of a model; always of the same ones."""


@dataclass(frozen=True)
class Fitted:
    """Windows and sources of one stage of one hybrid, from which rankers without one part or another are learned.

    Attributes:
        windows: examples to learn from, oldest first.
        generator: the sources of the stage, fitted on ``data``.
        between: the whole stage between visits, where it is the stage within sessions that loses parts.
    """

    trainer: Hybrid
    windows: Sequence[PastWindow | PastSessions]
    generator: CandidateGenerator
    data: TrainingData
    between: RankedStage | None = None

    @classmethod
    def on(cls, data: TrainingData, **parameters: Any) -> "Fitted":
        """Fit the sources of ``Hybrid(**parameters)`` on ``data`` and on what precedes each past window."""
        trainer = Hybrid(**{**SMALLER, **parameters})
        planned = plan_windows(data, relevant(data), trainer.windows, trainer.window_days)
        return cls(trainer, [trainer.at(data, window) for window in planned], trainer.sources_on(data), data)

    @classmethod
    def on_sessions(cls, data: TrainingData, **parameters: Any) -> "Fitted":
        """`on` for the stage within sessions, whose ranker is the model's own size."""
        trainer = Hybrid(**parameters)
        planned = plan_windows(data, relevant(data), trainer.windows, trainer.window_days)
        asked = [trainer.at(data, window) for window in planned]
        newest = list(zip(planned, asked, strict=True))[-SESSION_WINDOWS:]
        sessions = [found for window, past in newest if (found := trainer.sessions_at(data, window, past)) is not None]
        generator = trainer.sources_on(data)
        visits = [rows for past in asked if (rows := past.rows()) is not None]
        between = trainer.ranked(generator, visits, None, lambda fitted: None)
        return cls(trainer, sessions, trainer.session_generator(data, generator), data, between)

    def model(self, *, source: str = "", features: tuple[str, ...] = ()) -> TwoStageRecommender:
        """The hybrid without ``source`` and without the features whose names begin with one of ``features``."""
        generator, session = _without(self.generator, source), self.between is not None
        names = feature_names(source_names(generator.sources), session)
        # Trees cannot split on a constant column, so they never ask for what is left out.
        blank = [at for at, name in enumerate(names) if belongs(name, features)]
        parts = [rows for window in self.windows if (rows := _rows(window, source, blank)) is not None]
        stage = self.trainer.ranked(generator, parts, None, lambda fitted: None, session=session)
        popularity = np.ones(len(self.data.products), dtype=np.float32)
        first, second = (stage, None) if self.between is None else (self.between, stage)
        return TwoStageRecommender(self.data.products, popularity, first, second, self.trainer.category_share)


def ablation(what: str, fitted: Fitted, judge: Judge, metric: str = "NDCG@10") -> Iterator[Row]:
    """A row for the whole, then one for everything left out in turn."""
    whole = judge(fitted.model())
    yield _row(f"{what}: everything", f"{metric} {whole.mean():.4f}")
    sources = [source.name for source in fitted.generator.sources]
    for name in sources if len(sources) > 1 else []:
        yield _row(f"{what}: without source {name}", _worth(whole, judge(fitted.model(source=name)), metric))
    groups = GROUPS if fitted.between is None else {**GROUPS, **SESSION_GROUP}
    for name, features in groups.items():
        yield _row(f"{what}: without features: {name}", _worth(whole, judge(fitted.model(features=features)), metric))


def _worth(whole: NDArray[np.float64], without: NDArray[np.float64], metric: str) -> str:
    gain = paired_comparison(whole, without)
    return f"{metric} {without.mean():.4f}; worth {gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"


def _rows(window: PastWindow | PastSessions, source: str, blank: list[int]) -> RankingRows | None:
    rows = replace(window, generator=_without(window.generator, source)).rows()
    if rows is not None:
        rows.features[:, blank] = 0.0
    return rows


def _without(generator: CandidateGenerator, source: str) -> CandidateGenerator:
    return replace(generator, sources=tuple(one for one in generator.sources if one.name != source))


def belongs(name: str, beginnings: tuple[str, ...]) -> bool:
    """Whether a feature's name begins with one of ``beginnings``, written as in `GROUPS`."""
    of_source = name.startswith("from_")
    return any(
        (of_source and name.endswith(beginning.partition("*")[2])) if "*" in beginning else name.startswith(beginning)
        for beginning in beginnings
    )


def _row(what: str, measured: str) -> Row:
    return {"what": what, "bar": "", "measured": measured, "met": None}
