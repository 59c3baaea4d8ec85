"""One shopper worked out once, for a list and for the check of its reasons.

A request spends its time on calls, not on numbers: the shopper's own history and the same without some past products
are answered as one batch, which takes little longer than one of them alone.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.contract import ScoreArray
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IndexArray
from lambda_api.recommender.two_stage.candidates import WhatIf
from lambda_api.recommender.two_stage.credit import terms_of
from lambda_api.recommender.two_stage.features import FeatureRows
from lambda_api.recommender.two_stage.stage import Allowed, RankedStage, Scored, looked_up


@dataclass(frozen=True)
class Asked:
    """One shopper's ``history`` as ``stage`` sees it, and what would be without each of some past products."""

    stage: RankedStage
    history: Histories
    what_if: WhatIf

    @classmethod
    def about(cls, stage: RankedStage, history: Histories, most: int) -> "Asked":
        """With what would be without each of the ``most`` past products that lead on most strongly."""
        expansion = stage.generator.expanded(history)
        products = stage.generator.most_telling(expansion, most)
        return cls(stage, history, stage.generator.what_if(history, products, expansion))

    def without(self, products: IndexArray) -> "Asked":
        """The same with what would be without each of ``products`` (int32 ``[d]``)."""
        if np.array_equal(products, self.what_if.without):
            return self
        generator = self.stage.generator
        return Asked(self.stage, self.history, generator.what_if(self.history, products, self.what_if.expansion))

    def scored(self, allowed: Allowed | None) -> Scored:
        """The shopper's candidates with their chances; those that are ``allowed``."""
        own = np.arange(self.what_if.found.products.indptr[1])
        if allowed is not None:
            products = self.what_if.found.products.values[own]
            own = own[allowed(np.zeros(len(own), dtype=np.int64), products)]
        return self.stage.chances(self.what_if.found, own, self._features)

    def scores_without(self, products: IndexArray) -> ScoreArray:
        """Chances of ``products`` (``[m]``) without each past product, 0 for what is no candidate; ``[d, m]``."""
        found = self.what_if.found.products
        changed = np.arange(found.indptr[1], len(found.values))
        asked = changed[np.isin(found.values[changed], products)]
        rows, values, chances = self.stage.chances(self.what_if.found, asked, self._features)
        wanted = np.broadcast_to(products, (len(self.what_if.without), len(products))).astype(np.int64)
        return looked_up((rows - 1, values, chances), wanted, len(self.stage.generator.facts))

    def contributions(self, products: IndexArray) -> tuple[IndexArray, NDArray[np.float64]]:
        """`terms_of` ``products``."""
        found, expansion = self.what_if.found.of_first(), self.what_if.expansion
        return terms_of(self.stage.generator, self.history, found, expansion, products)

    @cached_property
    def _features(self) -> FeatureRows | None:
        return None if self.stage.fused else self.stage.features(self.what_if.histories, self.what_if.found)
