"""Credit: how strongly each product of a shopper's past leads to a candidate.

Put the sharing out of a candidate's sources over the past here. Keep proposing (``candidates``) out, and what is said
to shoppers (``lambda_api.serving.reasons``).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.histories import Histories
from lambda_api.recommender.two_stage.candidates import CandidateGenerator, GraphExpansion
from lambda_api.recommender.two_stage.proposals import FUSION_OFFSET
from lambda_api.recommender.two_stage.sources import WITHOUT_PROFILE


def terms_of(
    generator: CandidateGenerator, history: Histories, products: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """How strongly each product of one shopper's past leads to ``products`` (``[m]``, distinct).

    A source counts by the part it has in the fusion of a product; within it each past product by its term.

    Returns:
        Past products int32 ``[p]``, ascending, and terms over all sources, float64 ``[m, p]``.
    """
    found, expansion = generator.worked_out(history)
    past = np.unique(history.products)
    total = np.zeros((len(products), len(past)))
    if len(found.products.values) == 0:
        return past, total
    at = np.minimum(np.searchsorted(found.products.values, products), len(found.products.values) - 1)
    is_candidate = found.products.values[at] == products
    for column, (source, terms) in enumerate(
        zip(generator.sources, _terms_by_source(generator, expansion, products), strict=True)
    ):
        if terms is None:
            continue
        terms[~(is_candidate & (found.scores[at, column] > 0))] = 0.0
        sums = terms.sum(axis=1, keepdims=True)
        credit = 1.0 / (FUSION_OFFSET + found.ranks[at, column].astype(np.float64))
        shares = np.where(sums > 0, terms / np.where(sums > 0, sums, 1.0), 0.0)
        own = np.searchsorted(past, expansion.profiles[source.weighting].products)
        total[:, own] += credit[:, None] * shares
    return past, total


def _terms_by_source(
    generator: CandidateGenerator, expansion: GraphExpansion, products: NDArray[np.int32]
) -> Iterator[NDArray[np.float64] | None]:
    """Per source float64 ``[m, q]``: the part of each pair of its profile in its score of each of ``products``;
    ``None`` where no past product leads anywhere."""
    column = np.full(len(generator.facts), -1, dtype=np.int32)
    column[products] = np.arange(len(products))
    paths, graph, pair = expansion.paths, 0, 0
    step = np.flatnonzero(column[paths.cells] >= 0)
    pair_of_step = np.searchsorted(paths.pair_stops, step, side="right") - 1
    for source in generator.sources:
        if source.kind in WITHOUT_PROFILE:
            yield None
            continue
        profile = expansion.profiles[source.weighting]
        own = profile.products
        if source.kind == "graph":
            terms = np.zeros((len(products), len(own)))
            first, last = np.searchsorted(step, paths.stops[graph : graph + 2])
            mine = step[first:last]
            terms[column[paths.cells[mine]], pair_of_step[first:last] - pair] = paths.terms[mine]
            graph, pair = graph + 1, pair + len(own)
            yield terms
        elif source.kind == "repurchase":
            yield profile.weights * (own == products[:, None])
        else:
            category = generator.facts.category
            yield profile.weights * (category[own] == category[products][:, None])
