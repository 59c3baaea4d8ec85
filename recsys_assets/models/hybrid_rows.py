"""Labelled candidates: what a ranker learns from."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.histories import Histories
from lambda_api.recommender.two_stage.candidates import CandidateGenerator
from lambda_api.recommender.two_stage.features import FeatureRows
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.hybrid_ranker import RankingRows
from recsys_assets.models.hybrid_windows import Labels

SHOPPERS_PER_BATCH = 64

Batch = tuple[Histories, Labels, NDArray[np.int64]]
"""Histories of ``B`` shoppers, labels, and the number of each shopper in the labels (int64 ``[B]``)."""


def labelled_rows(
    generator: CandidateGenerator, known: NDArray[np.bool_], batches: Iterable[Batch], *, session: bool = False
) -> RankingRows | None:
    """Candidates with features and grades; ``None`` where nobody took a candidate.

    Shoppers who took none of their candidates are left out.

    Args:
        known: bool ``[n_products]``, products that may be candidates.
        session: with the features of the session stage.
    """
    parts = []
    for histories, truth, numbers in batches:
        found = generator.candidates(histories, known)
        row = found.products.row_of_value
        grade = truth.of(numbers[row], found.products.values)
        useful = np.bincount(row, weights=grade, minlength=len(numbers)) > 0
        features = FeatureRows(histories, found, generator.facts, session=session).of()
        parts.append(RankingRows(features[useful[row]], grade[useful[row]], np.diff(found.products.indptr)[useful]))
    rows = RankingRows.concatenate(parts) if parts else None
    return rows if rows is not None and len(rows.groups) else None


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
        starts = range(0, len(self.users), SHOPPERS_PER_BATCH)
        batches = (self.users[start : start + SHOPPERS_PER_BATCH] for start in starts)
        return labelled_rows(
            self.generator, known, ((self.past.histories_of(some), self.truth, some) for some in batches)
        )
