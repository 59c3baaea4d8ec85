"""What each source and each group of features of the hybrid is worth: the hybrid without it, with paired intervals.

Sources and windows are fitted once; what is left out is left out of the ranker's rows and, for a source, of the
candidates. The rankers are smaller than the model's own, so that all of them take minutes: differences count here, not
levels.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row
from lambda_api.recommender.two_stage.candidates import CandidateGenerator
from lambda_api.recommender.two_stage.features import feature_names
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.recommender.two_stage.sources import source_names
from recsys_assets.measurement.bootstrap import paired_comparison
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.hybrid import Hybrid
from recsys_assets.models.hybrid_ranker import RankingRows
from recsys_assets.models.hybrid_rows import PastWindow
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

Judge = Callable[[TwoStageRecommender], NDArray[np.float64]]
"""A figure per shopper, such as NDCG, of the lists of a model; always of the same shoppers."""


@dataclass(frozen=True)
class Fitted:
    """Windows and sources of one hybrid, from which rankers without one part or another are learned."""

    trainer: Hybrid
    windows: list[PastWindow]
    generator: CandidateGenerator
    data: TrainingData

    @classmethod
    def on(cls, data: TrainingData, **parameters: Any) -> "Fitted":
        """Fit the sources of ``Hybrid(**parameters)`` on ``data`` and on what precedes each past window."""
        trainer = Hybrid(**{**SMALLER, **parameters})
        wanted = relevant(data)
        planned = plan_windows(data, wanted, trainer.windows, trainer.window_days)
        return cls(trainer, [trainer.at(data, window) for window in planned], trainer.sources_on(data), data)

    def model(self, *, source: str = "", features: tuple[str, ...] = ()) -> TwoStageRecommender:
        """The hybrid without ``source`` and without the features whose names begin with one of ``features``."""
        generator = _without(self.generator, source)
        names = feature_names(source_names(generator.sources))
        # Trees cannot split on a constant column, so they never ask for what is left out.
        blank = [at for at, name in enumerate(names) if belongs(name, features)]
        parts = [rows for window in self.windows if (rows := _rows(window, source, blank)) is not None]
        stage = self.trainer.ranked(generator, parts, None, lambda fitted: None)
        popularity = np.ones(len(self.data.products), dtype=np.float32)
        return TwoStageRecommender(self.data.products, popularity, stage, category_share=self.trainer.category_share)


def ablation(what: str, fitted: Fitted, judge: Judge) -> Iterator[Row]:
    """A row for the whole, then one for everything left out in turn."""
    whole = judge(fitted.model())
    yield _row(f"{what}: everything", f"NDCG@10 {whole.mean():.4f}")
    sources = [source.name for source in fitted.generator.sources]
    for name in sources if len(sources) > 1 else []:
        yield _row(f"{what}: without source {name}", _worth(whole, judge(fitted.model(source=name))))
    for name, features in GROUPS.items():
        yield _row(f"{what}: without features: {name}", _worth(whole, judge(fitted.model(features=features))))


def _worth(whole: NDArray[np.float64], without: NDArray[np.float64]) -> str:
    gain = paired_comparison(whole, without)
    return f"NDCG@10 {without.mean():.4f}; worth {gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"


def _rows(window: PastWindow, source: str, blank: list[int]) -> RankingRows | None:
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
