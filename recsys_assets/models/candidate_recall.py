"""Recall of the candidates of a two-stage recommender, as a whole and by source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.csr import find_sorted
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.two_stage.candidates import CandidateGenerator

CUTOFFS = (100, 300)

UNION, POOLED, RANKED = "union", "pooled", "ranked"
"""Names of stages: the best of all sources together; all lists of the sources, uncut; and the candidates of the ranker,
with the model's own limits."""

SHOPPERS_PER_BATCH = 64


@dataclass(frozen=True, slots=True)
class StageRecall:
    """Recall of one source, or of several together.

    Attributes:
        name: of the source, or `UNION`, `POOLED` or `RANKED`.
        at: cut-off -> mean over shoppers of the share, in [0, 1], of their products among so many best candidates; for
            `POOLED` among the so many best of one source or another.
    """

    name: str
    at: Mapping[int, float]


def candidate_recall(
    generator: CandidateGenerator, histories: Histories, truth: Ragged, cutoffs: Sequence[int] = CUTOFFS
) -> tuple[StageRecall, ...]:
    """Recall of the union, of the pooled lists, of what is ranked, and of each source by itself, in this order.

    Except in `RANKED`, each source proposes as many products as the largest cut-off, so that sources can be compared
    and the union shows the gain of wider limits. Sources that only score have no row. Candidates of several
    sources are in the order of their reciprocal rank fusion.

    Args:
        histories: of ``B`` shoppers.
        truth: ``B`` rows of distinct products that each took afterwards; shoppers without one do not count.
        cutoffs: numbers of candidates, at least one.

    Raises:
        ValueError: ``truth`` is empty or of other shoppers, or there is no cut-off above 0.
    """
    if len(truth) != len(histories):
        raise ValueError(f"truth of {len(truth)} shoppers for histories of {len(histories)}")
    if not cutoffs or min(cutoffs) < 1:
        raise ValueError(f"cut-offs of candidate recall must be whole numbers >= 1, not {tuple(cutoffs)}")
    if len(truth.values) == 0:
        raise ValueError("no shopper took anything, so no recall can be measured; choose another window")
    most = max(cutoffs)
    proposing = [source for source in generator.sources if source.take > 0]
    wide = tuple(replace(source, take=most) if source.take > 0 else source for source in generator.sources)
    stages = {UNION: replace(generator, sources=wide, limit=most), RANKED: generator}
    stages |= {
        source.name: replace(generator, sources=(replace(source, take=most),), limit=most) for source in proposing
    }
    places = {name: _places(stage, histories, truth) for name, stage in stages.items()}
    nowhere = np.full(len(truth.values), np.iinfo(np.int64).max)
    places[POOLED] = np.minimum.reduce([nowhere, *(places[source.name] for source in proposing)])
    names = (UNION, POOLED, RANKED, *(source.name for source in proposing))
    return tuple(StageRecall(name, _recall(places[name], truth, cutoffs)) for name in names)


def _recall(places: NDArray[np.int64], truth: Ragged, cutoffs: Sequence[int]) -> dict[int, float]:
    row, taken = truth.row_of_value, np.diff(truth.indptr)
    counted = taken > 0
    return {
        cutoff: float(
            (np.bincount(row, weights=places < cutoff, minlength=len(taken))[counted] / taken[counted]).mean()
        )
        for cutoff in cutoffs
    }


def _places(generator: CandidateGenerator, histories: Histories, truth: Ragged) -> NDArray[np.int64]:
    edges = pairwise([*range(0, len(histories), SHOPPERS_PER_BATCH), len(histories)])
    parts = [_places_of_truth(generator, histories.rows(*edge), truth.rows(*edge)) for edge in edges]
    return np.concatenate(parts)


def _places_of_truth(generator: CandidateGenerator, histories: Histories, truth: Ragged) -> NDArray[np.int64]:
    """Place, from 0, of each value of ``truth`` among its shopper's candidates; the largest int64 if not there."""
    found = generator.candidates(histories)
    rows, products = found.products.row_of_value, found.products.values.astype(np.int64)
    order = np.lexsort((products, -found.fusion, rows))
    place = np.empty(len(rows), dtype=np.int64)
    place[order] = np.arange(len(rows)) - found.products.indptr[rows[order]]
    # Candidates are ascending within a shopper, so these keys are ascending too.
    keys = rows * len(generator.facts) + products
    wanted = truth.row_of_value * len(generator.facts) + truth.values
    at, there = find_sorted(keys, wanted)
    places = np.full(len(wanted), np.iinfo(np.int64).max)
    places[there] = place[at[there]]
    return places
