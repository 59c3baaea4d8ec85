"""Credit: how strongly each product of a shopper's past leads to a candidate.

What is said to shoppers about it is in ``lambda_api.serving.reasons``.
"""

import numpy as np
from numpy.typing import NDArray

from lambda_api.recommender.csr import find_sorted
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.two_stage.candidates import CandidateGenerator, Candidates, GraphExpansion
from lambda_api.recommender.two_stage.proposals import FUSION_OFFSET
from lambda_api.recommender.two_stage.sources import WITHOUT_PROFILE


def terms_of(
    generator: CandidateGenerator,
    history: Histories,
    found: Candidates,
    expansion: GraphExpansion,
    products: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """How strongly each product of one shopper's past leads to ``products`` (``[m]``, distinct).

    ``found`` and ``expansion`` are those of ``history`` by ``generator``. A source counts by the part it has in the
    fusion of a product; within it each past product by its term.

    Returns:
        Past products int32 ``[p]``, ascending, and terms over all sources, float64 ``[m, p]``.
    """
    past = np.unique(history.products)
    if len(found.products.values) == 0:
        return past, np.zeros((len(products), len(past)))
    at, there = find_sorted(found.products.values, products)
    counts = there[:, None] & (found.scores[at] > 0)
    credit = np.where(counts, 1.0 / (FUSION_OFFSET + found.ranks[at].astype(np.float64)), 0.0)
    total = _shared_by_graphs(generator, expansion, products, past, credit)
    category = generator.facts.category
    for number, source in enumerate(generator.sources):
        if source.kind == "graph" or source.kind in WITHOUT_PROFILE:
            continue
        profile = expansion.profiles[source.weighting]
        leads = profile.products == products[:, None]
        if source.kind == "category":
            leads = category[profile.products] == category[products][:, None]
        terms = profile.weights * leads
        sums = terms.sum(axis=1, keepdims=True)
        shares = credit[:, number, None] * terms / np.where(sums > 0, sums, 1.0)
        total[:, np.searchsorted(past, profile.products)] += shares
    return past, total


def _shared_by_graphs(
    generator: CandidateGenerator,
    expansion: GraphExpansion,
    products: NDArray[np.int32],
    past: NDArray[np.int32],
    credit: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``credit`` (``[m, S]``) of every graph shared over ``past`` by the terms of its steps; float64 ``[m, p]``."""
    graphs = np.array([number for number, source in enumerate(generator.sources) if source.kind == "graph"], np.int64)
    shape = (len(products), len(past))
    if len(graphs) == 0:
        return np.zeros(shape)
    listed = np.full(len(generator.facts), -1, dtype=np.int32)
    listed[products] = np.arange(len(products))
    paths = expansion.paths
    row = listed[paths.cells]
    step = np.flatnonzero(row >= 0)
    row, terms = row[step], paths.terms[step]
    source = graphs[np.searchsorted(paths.stops, step, side="right") - 1]
    pair = np.searchsorted(paths.pair_stops, step, side="right") - 1
    starts = [expansion.profiles[generator.sources[number].weighting].products for number in graphs]
    own = np.searchsorted(past, np.concatenate(starts))[pair]
    cell = row * credit.shape[1] + source
    sums = np.bincount(cell, weights=terms, minlength=credit.size)
    shares = credit.ravel()[cell] * terms / np.where(sums > 0, sums, 1.0)[cell]
    total = np.bincount(row * len(past) + own, weights=shares, minlength=len(products) * len(past))
    return total.astype(np.float64).reshape(shape)
