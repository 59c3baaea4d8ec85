"""The hybrid: candidates from many sources, ranked by trees that learned from past windows and from past sessions.

Sources are in ``hybrid_sources``, item graphs in ``hybrid_graphs``, statistics of products in ``hybrid_facts``, windows
in ``hybrid_windows``, sessions in ``hybrid_sessions``, labelled candidates in ``hybrid_rows``, trees in
``hybrid_ranker`` and ``hybrid_mixture``.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.two_stage.candidates import CandidateGenerator
from lambda_api.recommender.two_stage.features import feature_names
from lambda_api.recommender.two_stage.ranker import MOST_LEAVES, Ranker
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.recommender.two_stage.sources import source_names
from lambda_api.recommender.two_stage.stage import RankedStage
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.explained import Explain, FittedRanker
from recsys_assets.models.hybrid_facts import catalogue_facts
from recsys_assets.models.hybrid_graphs import GRAPHS, OF_CATALOGUE
from recsys_assets.models.hybrid_mixture import best_mixture, fitted_trees, held_out
from recsys_assets.models.hybrid_ranker import RankingRows, calibrated, exported
from recsys_assets.models.hybrid_rows import PastWindow
from recsys_assets.models.hybrid_sessions import PastSessions, session_positions
from recsys_assets.models.hybrid_sources import RECIPES, SESSION_ALSO, SESSION_RECIPES, SOURCES
from recsys_assets.models.hybrid_windows import Window, before, labels, plan_windows, relevant
from recsys_assets.models.matrix_factorisation import MatrixFactorisation
from recsys_assets.models.parameters import (
    STRICT,
    Days,
    NotNegative,
    OpenShare,
    PersonalParameters,
    Positive,
    Whole,
    WholeOrZero,
)
from recsys_assets.models.popularity import decayed_popularity
from recsys_assets.models.trainer import Report

Graphs = Mapping[str, SparseWeights]


def _names(given: Collection[str]) -> tuple[str, ...]:
    unknown = [name for name in given if name not in SOURCES]
    if unknown or not given:
        raise ValueError(f"sources must be names among {', '.join(SOURCES)}; got {', '.join(given) or 'none'}")
    return tuple(given)


@dataclass(frozen=True, config=STRICT)
class Hybrid(PersonalParameters):
    """Two stages: a union of candidate sources, and LambdaMART over features of shopper, product and both.

    For each of several past windows the sources are fitted on what precedes it, asked for candidates for the shoppers
    who then took something, and the candidates labelled with what was taken. The number of trees is chosen on the
    newest window by a model of the older ones; then trees are fitted on all windows, and the sources on everything.

    A log too short for a window is ranked by reciprocal rank fusion of the sources. Cold shoppers get popular products.
    Cold products are reached by description.

    Attributes:
        sources: names among `SOURCES`, at least one.
        neighbours: kept per product in every item graph.
        limit, session_limit: candidates per shopper between two visits, and within a session.
        allow_repeats: learn to recommend what the shopper already has as well; else only what is new to the shopper.
        windows: past windows to learn from, at most.
        window_days: length of a window; ``None`` lets the data decide.
        max_shoppers, max_clicks: shoppers of one window, and clicks within its sessions, that are learned from; drawn
            at random where there are more.
        trees: at most; how many is chosen forward in time.
        learning_rate, leaves, leaf_rows, feature_share, row_share, l2, truncation: of the trees, see LightGBM's
            ``learning_rate``, ``num_leaves``, ``min_data_in_leaf``, ``feature_fraction``, ``bagging_fraction``,
            ``lambda_l2``, ``lambdarank_truncation_level``.
        threads: of LightGBM while fitting; the result does not depend on it.
        seed: of everything random.
        category_share: largest share of a list that one category may have, in (0, 1]; 1 for no limit. The first three
            places are free; see `lambda_api.recommender.two_stage.breadth`.
    """

    name: ClassVar[str] = "hybrid"

    sources: Annotated[tuple[str, ...], BeforeValidator(_names)] = SOURCES
    neighbours: Whole = 60
    limit: Whole = 100
    session_limit: Whole = 150
    allow_repeats: bool = False
    windows: WholeOrZero = 4
    window_days: Days = None
    max_shoppers: Whole = 500
    max_clicks: Whole = 1_000
    trees: Whole = 60
    learning_rate: Positive = 0.2
    leaves: Annotated[int, Field(ge=2, le=MOST_LEAVES)] = 7
    leaf_rows: Whole = 50
    feature_share: OpenShare = 0.4
    row_share: OpenShare = 0.7
    l2: NotNegative = 5.0
    truncation: Whole = 20
    threads: Whole = 1
    seed: WholeOrZero = 0
    category_share: OpenShare = 0.6

    def fit(self, data: TrainingData, report: Report | None = None) -> TwoStageRecommender:
        """Learn to rank from past windows, then fit the sources on everything.

        Raises:
            NothingToLearn: no interaction has a weight.
            ValueError: the exported ranker does not score as the native one.
        """
        return self.fit_explained(data, report, lambda ranker: None)

    def fit_explained(self, data: TrainingData, report: Report | None, explain: Explain) -> TwoStageRecommender:
        """`fit`, showing the ranker and the rows it learned from to ``explain``."""
        data = self.learnable(data).newest_of_each_user(MOST_EVENTS)
        lasting = self._graphs(data, OF_CATALOGUE, {})
        visits, clicks = self._windows(data, lasting, report)
        generator = self.sources_on(data, lasting)
        popularity = decayed_popularity(data, self.weights, self.popularity_half_life_days)
        # One ranker is explained: the one between visits, unless only sessions could be learned from.
        only_sessions = len(visits) < 2 <= len(clicks)
        stage = self.ranked(generator, visits, report, _unexplained if only_sessions else explain)
        session = None
        if len(clicks) >= 2:
            within = self.session_generator(data, generator)
            session = self.ranked(within, clicks, report, explain if only_sessions else _unexplained, session=True)
        return TwoStageRecommender(data.products, popularity, stage, session, self.category_share)

    def _windows(
        self, data: TrainingData, lasting: Graphs, report: Report | None
    ) -> tuple[list[RankingRows], list[RankingRows]]:
        """Rows of past windows, oldest first, and rows of the sessions in the newest `SESSION_WINDOWS` of them."""
        visits, clicks = [], []
        planned = plan_windows(data, relevant(data), self.windows, self.window_days)
        for number, window in enumerate(planned):
            asked = self.at(data, window, lasting)
            rows = asked.rows()
            if rows is not None:
                visits.append(rows)
            sessions = self.sessions_at(data, window, asked) if number >= len(planned) - SESSION_WINDOWS else None
            rows = None if sessions is None else sessions.rows()
            if rows is not None and len(rows.groups) >= ENOUGH_CLICKS:
                clicks.append(rows)
            if report is not None:
                report("window", number + 1)
        return visits, clicks

    def at(self, data: TrainingData, window: Window, lasting: Graphs = MappingProxyType({})) -> PastWindow:
        """The sources as they were before ``window``, and whom to ask them about.

        ``lasting``: graphs that are the same at any moment, so that they are not made for every window.
        """
        past, truth = before(data, window.start), labels(data, window, relevant(data))
        users = np.intersect1d(truth.users, np.unique(past.user))
        if len(users) > self.max_shoppers:
            drawn = np.random.default_rng(self.seed).choice(len(users), self.max_shoppers, replace=False)
            users = users[np.sort(drawn)]
        return PastWindow(self.sources_on(past, lasting), past, users, truth)

    def sessions_at(self, data: TrainingData, window: Window, asked: PastWindow) -> PastSessions | None:
        """The sessions of a window's first days; ``None`` where they are too few.

        ``asked``: `at` the window.
        """
        repeats = self.allow_repeats
        at = session_positions(data, window, allow_repeats=repeats, most=self.max_clicks, seed=self.seed)
        if len(at) < ENOUGH_CLICKS:
            return None
        within = self.session_generator(asked.past, asked.generator)
        return PastSessions(within, data, at, window.start, relevant(data), repeats)

    def ranked(
        self,
        generator: CandidateGenerator,
        parts: list[RankingRows],
        report: Report | None,
        explain: Explain,
        *,
        session: bool = False,
    ) -> RankedStage:
        """``generator`` with a ranker learned from the rows of windows, oldest first; by fusion with fewer than two."""
        names = feature_names(source_names(generator.sources), session)
        if len(parts) < 2:
            for part in parts:
                explain(FittedRanker(names, part.features, columns={names.index("fusion"): 1.0}))
            return RankedStage(generator, Ranker.by_column(0), FUSION_CALIBRATION, ("fusion",), session)
        parameters = self._lightgbm("rank_xendcg" if session else "lambdarank")
        judged = held_out(parts, names, parameters, self.trees)
        orders = [names.index("fusion"), *(at for at, name in enumerate(names) if _is_share(name))]
        mixture = best_mixture(judged, orders)
        grades = judged.rows.grades
        calibration = calibrated(mixture.score(judged.scores, judged.rows.features), grades == grades.max())
        if report is not None:
            report("trees", float(judged.trees))
        columns = judged.read(mixture.columns)
        reads = tuple(names[column] for column in columns)
        everything = RankingRows.concatenate(parts).reading(columns)
        trees = fitted_trees(mixture, everything, reads, parameters, judged.trees)
        direct = {int(np.searchsorted(columns, column)): weight for column, weight in mixture.columns.items()}
        explain(FittedRanker(reads, everything.features, tuple(trees), direct))
        ranker = exported(trees, direct, everything.features[:PARITY_ROWS])
        return RankedStage(generator, ranker, calibration, reads, session)

    def _lightgbm(self, objective: str = "lambdarank") -> dict[str, Any]:
        return {
            "objective": objective,
            "lambdarank_truncation_level": self.truncation,
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.leaf_rows,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            # Shoppers who are left out need no gradients, and trees rank as well; clicks were ranked a little worse.
            "bagging_by_query": objective == "lambdarank",
            "lambda_l2": self.l2,
            "num_threads": self.threads,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def sources_on(self, data: TrainingData, lasting: Graphs = MappingProxyType({})) -> CandidateGenerator:
        """Every source between two visits that the shop has what it needs for, fitted on ``data``."""
        wanted = relevant(data)
        names = [name for name in self.sources if RECIPES[name].applies(data)]
        return CandidateGenerator(
            sources=tuple(RECIPES[name].source(name, self.type_weights) for name in names),
            graphs=self._graphs(data, {RECIPES[name].graph for name in names}, lasting),
            facts=catalogue_facts(data, wanted),
            limit=self.limit,
            factors=_factors(data, self.type_weights, self.seed) if "factors" in self.sources else None,
            consumed_types=() if self.allow_repeats else tuple(sorted(wanted)),
        )

    def session_generator(self, data: TrainingData, between: CandidateGenerator) -> CandidateGenerator:
        """The sources within a session; facts, factors and common graphs are those of ``between``, for two visits."""
        also = {name: RECIPES[name] for name in SESSION_ALSO if name in self.sources}
        recipes = {name: recipe for name, recipe in {**SESSION_RECIPES, **also}.items() if recipe.applies(data)}
        return replace(
            between,
            sources=tuple(recipe.source(name, self.type_weights) for name, recipe in recipes.items()),
            graphs=self._graphs(data, {recipe.graph for recipe in recipes.values()}, between.graphs),
            limit=self.session_limit,
        )

    def _graphs(self, data: TrainingData, among: Collection[str], lasting: Graphs) -> Graphs:
        """Those graphs that some source follows and that are in ``among``, taken from ``lasting`` where it has them."""
        recipes = [*(RECIPES[name] for name in self.sources), *SESSION_RECIPES.values()]
        followed = {recipe.graph for recipe in recipes if recipe.applies(data)} & set(among) & set(GRAPHS)
        return {
            name: lasting[name] if name in lasting else GRAPHS[name](data, self.neighbours) for name in sorted(followed)
        }


def _unexplained(ranker: FittedRanker) -> None:
    """For a ranker that nobody looks at."""


MOST_EVENTS = 5_000
"""Newest events of a shopper that are learned from, so that a robot costs no more than a busy shopper."""

SESSION_WINDOWS, ENOUGH_CLICKS = 2, 150
"""Newest windows whose sessions are learned from, and clicks that one needs."""

FACTOR_ITERATIONS = 8
"""Alternations of the factors, which are one feature among many here."""

PARITY_ROWS = 20_000
FUSION_CALIBRATION = (1.0, 0.0)


def _factors(data: TrainingData, type_weights: Mapping[str, float], seed: int) -> FactorRecommender:
    """`MatrixFactorisation`, without an index: only products that other sources propose are scored."""
    trainer = MatrixFactorisation(
        type_weights=type_weights, seed=seed, event_half_life_days=None, iterations=FACTOR_ITERATIONS
    )
    fitted = trainer.fit(data)
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
