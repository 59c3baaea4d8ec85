"""The two towers as a source of the hybrid: trained for the oldest moment of a log, then trained on for later ones.

Put how the hybrid trains its towers here. Keep the towers' own training (``two_tower_fit``) and the use of them
(``lambda_api.recommender.two_stage.towers``) out.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.two_tower import TwoTowerRecommender
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.two_tower import TwoTower, described

if TYPE_CHECKING:
    from recsys_assets.models.two_tower_fit import Weights

FIRST_EPOCHS, LATER_EPOCHS = 5, 1
MOST_SAMPLES = 12_000
"""On Online Retail 20 CPU seconds for all moments of a hybrid together, and as good as 58 for fits from nothing."""


class ContinuedTowers:
    """Towers for several moments of one log, oldest first: later ones begin with the weights of the one before.

    That is how a shop would train day by day, and costs a third of as many fits from nothing. What the towers know at
    a moment is from before it.
    """

    def __init__(self, type_weights: Mapping[str, float], seed: int) -> None:
        self._trainer = TwoTower(
            epochs=FIRST_EPOCHS, patience=0, most_samples=MOST_SAMPLES, seed=seed, type_weights=type_weights
        )
        self._content: NDArray[np.float32] | None = None
        self._weights: Weights | None = None
        self._as_of = -1

    def fit(self, data: TrainingData) -> TwoTowerRecommender | None:
        """The towers as of ``data.as_of``; ``None`` where nobody has yet taken something new after something else.

        Raises:
            ValueError: a later moment came before, or the data are of another catalogue.
        """
        from recsys_assets.models.two_tower_fit import NothingToLearn, trained_towers

        if data.as_of < self._as_of:
            raise ValueError("towers are trained on from older to newer data; begin anew for an older moment")
        if self._content is None:
            self._content = described(data.catalogue, self._trainer.described_by, self._trainer.seed)
        if len(self._content) != len(data.products):
            raise ValueError(f"towers of {len(self._content)} products cannot be trained on with {len(data.products)}")
        self._as_of = data.as_of
        trainer = self._trainer if self._weights is None else replace(self._trainer, epochs=LATER_EPOCHS)
        try:
            model, self._weights = trained_towers(trainer, data, self._content, lambda name, value: None, self._weights)
        except NothingToLearn:
            return None
        return model
