"""Descriptions of products as unit vectors: parts of the category, the brand, words of the name.

Used by models with a content term; the content model itself, which also uses prices, is in ``content``.
"""

import re

import numpy as np
import pyarrow as pa
from scipy import sparse

from recsys_assets.models.content import Content
from recsys_assets.models.dataset import column
from recsys_assets.models.neighbours import normalised_rows

SEPARATORS = re.compile(r"[|>;/]")
"""Separates the parts of a category: a path (``beauty > hair > shampoo``) or several labels (``hair|travel``)."""


def attribute_vectors(
    catalogue: pa.Table, name_weight: float = 1.0, attribute_weight: float = 1.0
) -> sparse.csr_matrix:
    """Unit vectors of the products of a canonical ``catalogue``, float64 ``[n_products, features]``.

    Two blocks, each of length 1 where the product has the property, times the square root of its weight; the whole
    vector then has length 1. Attributes, one per part of the category and one for the brand, weigh their smoothed
    inverse document frequency ``1 + log((1 + n) / (1 + df))``, with ``df`` of ``n`` products having it, so that a
    shared brand counts more than a shared department (Salton & Buckley, 1988). Names are TF-IDF vectors
    as in `Content`. A product without a description is a row of zeros.
    """
    blocks = []
    if attribute_weight > 0:
        blocks.append(np.sqrt(attribute_weight) * normalised_rows(_weighted_by_rarity(_attributes(catalogue))))
    if name_weight > 0:
        names = Content(name_weight=1.0, category_weight=0.0, brand_weight=0.0, price_weight=0.0).vectors(catalogue)
        blocks.append(np.sqrt(name_weight) * names.astype(np.float64))
    return normalised_rows(sparse.hstack(blocks, format="csr"))


def _attributes(catalogue: pa.Table) -> sparse.csr_matrix:
    described = [
        {("category", part.strip()) for part in SEPARATORS.split(category or "") if part.strip()}
        | ({("brand", brand)} if brand else set())
        for category, brand in zip(column(catalogue, "category"), column(catalogue, "brand"), strict=True)
    ]
    codes = {attribute: code for code, attribute in enumerate(sorted(set().union(*described)))}
    rows = np.repeat(np.arange(len(described)), [len(attributes) for attributes in described])
    columns = [codes[attribute] for attributes in described for attribute in sorted(attributes)]
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(described), len(codes)))


def _weighted_by_rarity(held: sparse.csr_matrix) -> sparse.csr_matrix:
    frequency = np.asarray(held.sum(axis=0)).ravel()
    return held @ sparse.diags(1.0 + np.log((1.0 + held.shape[0]) / (1.0 + frequency)))
