"""The hybrid: candidates from many sources, ranked by trees that learned from several past windows.

Put the choice of sources, the course of training and the hyper-parameters here. Keep windows (``hybrid_windows``),
graphs (``hybrid_graphs``), facts (``hybrid_facts``) and trees (``hybrid_ranker``) in their modules.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.two_stage.candidates import CandidateGenerator
from lambda_api.recommender.two_stage.features import feature_names, ranking_features
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.recommender.two_stage.sources import Source, SourceKind, source_names
from lambda_api.recommender.two_stage.towers import TowerSearch
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.explained import Explain, FittedRanker
from recsys_assets.models.hybrid_facts import catalogue_facts
from recsys_assets.models.hybrid_graphs import GRAPHS, OF_CATALOGUE
from recsys_assets.models.hybrid_mixture import best_mixture, exported_mixture, fitted_trees, held_out
from recsys_assets.models.hybrid_ranker import (
    RankingRows,
    calibrated,
    single_column,
)
from recsys_assets.models.hybrid_towers import ContinuedTowers
from recsys_assets.models.hybrid_windows import Labels, Window, before, labels, plan_windows, relevant
from recsys_assets.models.matrix_factorisation import MatrixFactorisation
from recsys_assets.models.parameters import (
    by_type,
    default_type_weights,
    require_interactions,
    require_not_negative,
    require_positive,
    require_whole,
    weighting,
)
from recsys_assets.models.popularity import DEFAULT_HALF_LIFE_DAYS, decayed_popularity
from recsys_assets.models.trainer import Report

LONG, SHORT = 90.0, 3.0
"""Half-lives in days of a shopper's events, counted back from the newest: taste, and what it is about right now."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a `Source` is made. ``needs``: catalogue columns of which at least one must hold values; none by default."""

    kind: SourceKind
    take: int
    half_life_days: float = LONG
    graph: str = ""
    prior: bool = False
    combine: Literal["sum", "max"] = "max"
    needs: tuple[str, ...] = ()


RECIPES: Mapping[str, Recipe] = {
    "together": Recipe("graph", 80, graph="together", prior=True),
    "recent": Recipe("graph", 80, graph="recent"),
    "described": Recipe("graph", 40, graph="described", prior=True, needs=("name", "category", "brand", "price")),
    "same_session": Recipe("graph", 40, SHORT, "same_session", prior=True),
    "next_session": Recipe("graph", 40, SHORT, "next_session"),
    "follows": Recipe("graph", 60, graph="follows", prior=True),
    "factors": Recipe("factors", 0),
    "towers": Recipe("towers", 80),
    "trending": Recipe("trending", 60),
    "category": Recipe("category", 40, needs=("category",)),
    "again": Recipe("again", 100, combine="sum"),
}
"""Every source by name."""

SOURCES = tuple(RECIPES)

Graphs = Mapping[str, SparseWeights]


@dataclass(frozen=True)
class Hybrid:
    """Two stages: a union of candidate sources, and LambdaMART over features of shopper, product and both.

    For each of several past windows the sources are fitted on what precedes it, asked for candidates for the shoppers
    who then took something, and the candidates labelled with what was taken. The number of trees is chosen on the
    newest window by a model of the older ones; then trees are fitted on all windows, and the sources on everything.

    A log too short for a window is ranked by reciprocal rank fusion of the sources. Cold shoppers get popular products.
    Cold products are reached by description.

    Attributes:
        sources: names among `SOURCES`, at least one.
        neighbours: kept per product in every item graph.
        limit: candidates per shopper.
        linear_products: the closed form of ``follows`` is solved for so many products, those with the most events
            (memory grows with the square, time with the cube).
        allow_repeats: learn to recommend what the shopper already has as well; else only what is new to the shopper.
        windows: past windows to learn from, at most.
        window_days: length of a window; ``None`` lets the data decide.
        max_shoppers: of one window, drawn at random where there are more.
        trees: at most; how many is chosen forward in time.
        learning_rate, leaves, leaf_rows, feature_share, row_share, l2, truncation: of the trees, see LightGBM's
            ``learning_rate``, ``num_leaves``, ``min_data_in_leaf``, ``feature_fraction``, ``bagging_fraction``,
            ``lambda_l2``, ``lambdarank_truncation_level``.
        threads: of LightGBM while fitting; the result does not depend on it.
        seed: of everything random.
        popularity_half_life_days: of the popularity for unknown shoppers.
        type_weights: weight of each interaction type in a shopper's profile, by label.
    """

    name: ClassVar[str] = "hybrid"

    sources: tuple[str, ...] = SOURCES
    neighbours: int = 60
    limit: int = 250
    linear_products: int = 5_000
    allow_repeats: bool = False
    windows: int = 4
    window_days: float | None = None
    max_shoppers: int = 1_500
    trees: int = 80
    learning_rate: float = 0.15
    leaves: int = 7
    leaf_rows: int = 50
    feature_share: float = 0.4
    row_share: float = 0.7
    l2: float = 5.0
    truncation: int = 20
    threads: int = 1
    seed: int = 0
    popularity_half_life_days: float | None = DEFAULT_HALF_LIFE_DAYS
    type_weights: Mapping[str, float] = field(default_factory=default_type_weights)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        unknown = [name for name in self.sources if name not in SOURCES]
        if unknown or not self.sources:
            raise ValueError(
                f"sources must be names among {', '.join(SOURCES)}; got {', '.join(self.sources) or 'none'}"
            )
        require_whole(
            neighbours=self.neighbours,
            limit=self.limit,
            linear_products=self.linear_products,
            max_shoppers=self.max_shoppers,
            trees=self.trees,
            leaves=self.leaves,
            leaf_rows=self.leaf_rows,
            truncation=self.truncation,
            threads=self.threads,
        )
        require_positive(
            window_days=self.window_days,
            learning_rate=self.learning_rate,
            feature_share=self.feature_share,
            row_share=self.row_share,
            popularity_half_life_days=self.popularity_half_life_days,
        )
        require_not_negative(windows=self.windows, l2=self.l2, seed=self.seed)
        weighting(self.type_weights)

    def fit(self, data: TrainingData, report: Report | None = None) -> TwoStageRecommender:
        """Learn to rank from past windows, then fit the sources on everything.

        Raises:
            ValueError: no interaction has a weight, or the exported ranker does not score as the native one.
        """
        return self.fit_explained(data, report, lambda ranker: None)

    def fit_explained(self, data: TrainingData, report: Report | None, explain: Explain) -> TwoStageRecommender:
        """`fit`, showing the ranker and the rows it learned from to ``explain``."""
        require_interactions(data, by_type(self.type_weights), self.name)
        wanted = relevant(data)
        lasting = self._graphs(data, OF_CATALOGUE, {})
        towers = self.towers()
        parts = self._windows(data, wanted, lasting, towers, report)
        generator = self.sources_on(data, lasting, towers)
        names = feature_names(source_names(generator.sources))
        ranker, calibration = self.ranker(parts, names, report, explain)
        popularity = decayed_popularity(data, by_type(self.type_weights), self.popularity_half_life_days)
        return TwoStageRecommender(data.products, popularity, generator, ranker, calibration)

    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters, JSON-able."""
        return {**asdict(self), "sources": list(self.sources), "type_weights": dict(self.type_weights)}

    def towers(self) -> ContinuedTowers | None:
        """The towers before any training; ``None`` without that source."""
        wanted = "towers" in self.sources and not self.allow_repeats
        return ContinuedTowers(self.type_weights, self.seed) if wanted else None

    def _windows(
        self,
        data: TrainingData,
        wanted: Collection[InteractionType],
        lasting: Graphs,
        towers: ContinuedTowers | None,
        report: Report | None,
    ) -> list[RankingRows]:
        parts = []
        for number, window in enumerate(plan_windows(data, wanted, self.windows, self.window_days)):
            rows = self.rows_of(data, window, wanted, lasting, towers)
            if rows is not None:
                parts.append(rows)
            if report is not None:
                report("window", number + 1)
        return parts

    def rows_of(
        self,
        data: TrainingData,
        window: Window,
        wanted: Collection[InteractionType],
        lasting: Graphs = MappingProxyType({}),
        towers: ContinuedTowers | None = None,
    ) -> RankingRows | None:
        """Labelled rows of one window, everything but the labels from before it; ``None`` where nobody took any.

        ``lasting``: graphs that are the same whatever the moment, so that they are not made for every window;
        ``towers``: to be trained on, those of an older window.
        """
        asked = self.at(data, window, wanted, lasting, towers)
        return None if asked is None else asked.rows()

    def at(
        self,
        data: TrainingData,
        window: Window,
        wanted: Collection[InteractionType],
        lasting: Graphs = MappingProxyType({}),
        towers: ContinuedTowers | None = None,
    ) -> "PastWindow | None":
        """The sources as they were before ``window`` and whom to ask them about; ``None`` where nobody took any."""
        past = before(data, window.start)
        truth = labels(data, window, wanted)
        users = np.intersect1d(truth.users, np.unique(past.user))
        if len(users) > self.max_shoppers:
            drawn = np.random.default_rng(self.seed).choice(len(users), self.max_shoppers, replace=False)
            users = users[np.sort(drawn)]
        if len(users) == 0:
            return None
        return PastWindow(self.sources_on(past, lasting, towers), past, users, truth)

    def ranker(
        self, parts: list[RankingRows], names: tuple[str, ...], report: Report | None, explain: Explain
    ) -> tuple[bytes, tuple[float, float]]:
        """The ONNX graph learned from the rows of windows, oldest first, and slope and intercept of its calibration."""
        if len(parts) < 2:
            for part in parts:
                explain(FittedRanker(names, part.features, columns={names.index("fusion"): 1.0}))
            return single_column(names.index("fusion"), len(names)), FUSION_CALIBRATION
        judged = held_out(parts, names, self._lightgbm(), self.trees)
        orders = [names.index("fusion"), *(at for at, name in enumerate(names) if _is_share(name))]
        mixture = best_mixture(judged, orders)
        grades = judged.rows.grades
        scores = mixture.score(judged.scores, judged.rows.features)
        calibration = calibrated(scores, grades == grades.max())
        if report is not None:
            report("trees", float(sum(judged.trees)))
        everything = RankingRows.concatenate(parts)
        trees = fitted_trees(mixture, everything, names, self._lightgbm(), judged.trees)
        explain(FittedRanker(names, everything.features, tuple(trees), mixture.columns))
        return exported_mixture(trees, mixture.columns, everything.features[:PARITY_ROWS]), calibration

    def _lightgbm(self) -> dict[str, Any]:
        return {
            "objective": "lambdarank",
            "lambdarank_truncation_level": self.truncation,
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.leaf_rows,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "lambda_l2": self.l2,
            "num_threads": self.threads,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def sources_on(
        self, data: TrainingData, lasting: Graphs = MappingProxyType({}), towers: ContinuedTowers | None = None
    ) -> CandidateGenerator:
        """Every source that the shop has what it needs for, fitted on ``data``; ``towers`` are trained on."""
        wanted = relevant(data)
        sources = [self._source(name) for name in self.sources if self._applies(name, data)]
        graphs = self._graphs(data, GRAPHS, lasting)
        facts, towers = catalogue_facts(data, wanted), towers or self.towers()
        near = None if towers is None else towers.fit(data)
        return CandidateGenerator(
            sources=tuple(sources),
            graphs=graphs,
            facts=facts,
            limit=self.limit,
            factors=_factors(data, self.type_weights, self.seed) if "factors" in self.sources else None,
            towers=None if near is None else TowerSearch(near, facts),
            consumed_types=() if self.allow_repeats else tuple(sorted(wanted)),
        )

    def _graphs(self, data: TrainingData, among: Collection[str], lasting: Graphs) -> Graphs:
        """Those graphs that a source follows and that are in ``among``, taken from ``lasting`` where it has them."""
        followed = {RECIPES[name].graph for name in self.sources if self._applies(name, data)} & set(among)
        return {
            name: lasting[name] if name in lasting else GRAPHS[name](data, self.neighbours, self.linear_products)
            for name in sorted(followed)
        }

    def _applies(self, name: str, data: TrainingData) -> bool:
        """Whether the shop has what a source needs; the same for every window of a log."""
        # The towers tell what is new to a shopper; where buying again counts they gained nothing.
        if name == "towers":
            return not self.allow_repeats
        catalogue, needs = data.catalogue, RECIPES[name].needs
        return not needs or any(
            column in catalogue.column_names and catalogue[column].null_count < catalogue.num_rows for column in needs
        )

    def _source(self, name: str) -> Source:
        recipe = RECIPES[name]
        return Source(
            name=name,
            kind=recipe.kind,
            take=recipe.take,
            weighting=weighting(self.type_weights, recipe.half_life_days, 1.0, recipe.combine),
            graph=recipe.graph,
            prior=recipe.prior,
        )


@dataclass(frozen=True)
class PastWindow:
    """One past window to learn from.

    Attributes:
        generator: fitted on ``past``.
        past: everything before the window.
        users: shoppers who took something within it, with a history; ``[U]``, ascending.
        truth: what they took.
    """

    generator: CandidateGenerator
    past: TrainingData
    users: NDArray[np.int64]
    truth: Labels

    def rows(self) -> RankingRows | None:
        """Candidates of the shoppers, labelled; ``None`` where nobody took a candidate."""
        # A product first seen later was perhaps not for sale yet; that the catalogue has it today tells that it sells.
        known = np.bincount(self.past.product, minlength=len(self.past.products)) > 0
        features, grades, groups = [], [], []
        for start in range(0, len(self.users), SHOPPERS_PER_BATCH):
            some = self.users[start : start + SHOPPERS_PER_BATCH]
            histories = self.past.histories_of(some)
            candidates = self.generator.candidates(histories, known)
            row = candidates.products.row_of_value
            grade = self.truth.of(some[row], candidates.products.values)
            useful = np.bincount(row, weights=grade, minlength=len(some)) > 0
            features.append(ranking_features(histories, candidates, self.generator.facts)[useful[row]])
            grades.append(grade[useful[row]])
            groups.append(np.diff(candidates.products.indptr)[useful])
        rows = RankingRows(np.concatenate(features), np.concatenate(grades), np.concatenate(groups))
        return rows if len(rows.groups) else None


SHOPPERS_PER_BATCH = 64
PARITY_ROWS = 20_000
FUSION_CALIBRATION = (1.0, 0.0)


def _factors(data: TrainingData, type_weights: Mapping[str, float], seed: int) -> FactorRecommender:
    """`MatrixFactorisation`, without an index: only products that other sources propose are scored."""
    fitted = MatrixFactorisation(type_weights=type_weights, seed=seed, event_half_life_days=None).fit(data)
    return FactorRecommender(
        fitted.products,
        fitted.popularity,
        fitted.item_factors,
        fitted.gramian,
        fitted.weighting,
        fitted.regularisation,
        fitted.alpha,
    )


def _is_share(feature: str) -> bool:
    """Whether a feature is the score of a source as a share of the shopper's best one."""
    return feature.startswith("from_") and feature.endswith("_share")
