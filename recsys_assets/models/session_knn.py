"""Session neighbours: what past sessions with the products of the running one contained besides."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from lambda_api.recommender.csr import offsets, offsets_of_rows, session_starts
from lambda_api.recommender.ids import IndexArray
from lambda_api.recommender.session_neighbours import SessionNeighboursRecommender, Sessions, SessionSettings
from recsys_assets.models.dataset import TrainingData, decay, type_table
from recsys_assets.models.parameters import (
    STRICT,
    Days,
    Decay,
    NothingToLearn,
    NotNegative,
    PersonalParameters,
    Positive,
    Whole,
)
from recsys_assets.models.popularity import decayed_popularity
from recsys_assets.models.trainer import Report


@dataclass(frozen=True, config=STRICT)
class SessionKnn(PersonalParameters):
    """Nearest neighbours of the running session (`SessionNeighboursRecommender`): V-SKNN with the decays of STAN.

    Cold shoppers get popular products, cold products are listed as popular padding only.

    Attributes:
        neighbours, sample, gap_hours, step_decay, match_decay, reach, length_power: see `SessionSettings`.
        session_products: longest session learned from; of a longer one its newest distinct products.
        event_half_life_days: age, counted back from the end of the data, at which a session weighs half; ``None`` for
            no decay.
    """

    name: ClassVar[str] = "session_knn"

    neighbours: Whole = 100
    sample: Whole = 500
    gap_hours: Positive = 1.0
    step_decay: Decay = 0.7
    match_decay: Decay = 0.5
    reach: Positive = 3.0
    length_power: NotNegative = 0.0
    session_products: Whole = 100
    event_half_life_days: Days = 30.0

    def fit(self, data: TrainingData, report: Report | None = None) -> SessionNeighboursRecommender:
        """Index the sessions of two products and more.

        Raises:
            NothingToLearn: no interaction has a weight, or no session has two products.
        """
        data = self.learnable(data)
        settings = SessionSettings(
            self.neighbours,
            self.sample,
            self.gap_hours,
            self.step_decay,
            self.match_decay,
            self.reach,
            self.length_power,
            tuple(type_table(self.weights, relative=True).tolist()),
        )
        popularity = decayed_popularity(data, self.weights, self.popularity_half_life_days)
        return SessionNeighboursRecommender(data.products, popularity, self._sessions(data), settings)

    def _sessions(self, data: TrainingData) -> Sessions:
        session, product, end = self._places(data)
        # Of each product its newest sessions: older ones are never among the newest of several products.
        by_product = np.lexsort((-session, product))
        nth = np.arange(len(by_product)) - offsets_of_rows(product, len(data.products))[product[by_product]]
        listed = by_product[nth < self.sample]
        # Sessions that no product lists are not stored.
        reached = np.zeros(len(end), dtype=bool)
        reached[session[listed]] = True
        kept = reached[session]
        position = (np.cumsum(kept) - 1)[listed]
        number = np.cumsum(reached) - 1
        end = end[reached]
        weight = decay(data.as_of - end, self.event_half_life_days)
        return Sessions(
            indptr=offsets_of_rows(number[session[kept]], len(end)),
            products=product[kept],
            weight=np.maximum(weight, np.finfo(np.float32).tiny).astype(np.float32),
            of_product=offsets_of_rows(product[listed], len(data.products)),
            containing=number[session[listed]].astype(np.int32),
            position=position.astype(np.int32),
        )

    def _places(self, data: TrainingData) -> tuple[NDArray[np.int64], IndexArray, NDArray[np.int64]]:
        """Session (numbered oldest first) and product of each place, and the last second of each session."""
        used = data.where(np.flatnonzero(type_table(self.weights)[data.kind] > 0))
        session = np.cumsum(session_starts(used.user, used.timestamp, self.gap_hours * 3600)) - 1
        # The last event of each session and product, in the order of events.
        pairs = session[::-1] * len(data.products) + used.product[::-1]
        last = len(pairs) - 1 - np.sort(np.unique(pairs, return_index=True)[1])[::-1]
        session, product, seconds = session[last], used.product[last], used.timestamp[last]
        size = np.bincount(session)
        from_end = offsets(size)[session + 1] - np.arange(len(session))
        kept = (size[session] > 1) & (from_end <= self.session_products)
        session, product, seconds = session[kept], product[kept], seconds[kept]
        if len(session) == 0:
            raise NothingToLearn(
                f"{self.name} has nothing to learn from: no session of {len(data.kind)} interactions has two products",
                remedy="widen the data window or raise gap_hours",
            )
        distinct, session = np.unique(session, return_inverse=True)
        end = np.zeros(len(distinct), dtype=np.int64)
        end[session] = seconds
        oldest_first = np.argsort(end, kind="stable")
        number = np.empty(len(end), dtype=np.int64)
        number[oldest_first] = np.arange(len(end))
        order = np.argsort(number[session], kind="stable")
        return number[session[order]], product[order], end[oldest_first]
