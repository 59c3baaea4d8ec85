"""What a product is described by, as one unit vector: the parts of its category, its brand, the words of its name.

Put descriptions for the content term of hybrid item-to-item models here. Keep the stand-alone content model, with
prices and neighbour lists, in ``content``.
"""

import re

import numpy as np
import pyarrow as pa
from scipy import sparse

from recsys_assets.models.content import Content
from recsys_assets.models.neighbours import normalised_rows

SEPARATORS = re.compile(r"[|>;/]")
"""Between the parts of a category: a path (``beauty > hair > shampoo``) or several labels (``hair|travel``)."""


def attribute_vectors(
    catalogue: pa.Table, name_weight: float = 1.0, attribute_weight: float = 1.0
) -> sparse.csr_matrix:
    """Unit vectors of the products of a canonical ``catalogue``, float64 ``[n_products, features]``.

    Two blocks, each of length 1 where the product has the property, times the square root of its weight, the whole
    then of length 1: attributes (one per part of the category, one for the brand), each weighing its smoothed inverse
    document frequency ``1 + log((1 + n) / (1 + df))``, ``df`` of ``n`` products having it, so that a shared brand says
    more than a shared department (Salton & Buckley, 1988); and names (TF-IDF as in `Content`). A product without a
    description is a row of zeros.
    """
    blocks = []
    if attribute_weight > 0:
        blocks.append(np.sqrt(attribute_weight) * normalised_rows(_rarer_is_heavier(_attributes(catalogue))))
    if name_weight > 0:
        names = Content(name_weight=1.0, category_weight=0.0, brand_weight=0.0, price_weight=0.0).vectors(catalogue)
        blocks.append(np.sqrt(name_weight) * names.astype(np.float64))
    return normalised_rows(sparse.hstack(blocks, format="csr"))


def _attributes(catalogue: pa.Table) -> sparse.csr_matrix:
    described = [
        {("category", part.strip()) for part in SEPARATORS.split(category or "") if part.strip()}
        | ({("brand", brand)} if brand else set())
        for category, brand in zip(_texts(catalogue, "category"), _texts(catalogue, "brand"), strict=True)
    ]
    codes = {attribute: code for code, attribute in enumerate(sorted(set().union(*described)))}
    rows = np.repeat(np.arange(len(described)), [len(attributes) for attributes in described])
    columns = [codes[attribute] for attributes in described for attribute in sorted(attributes)]
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(described), len(codes)))


def _rarer_is_heavier(held: sparse.csr_matrix) -> sparse.csr_matrix:
    frequency = np.asarray(held.sum(axis=0)).ravel()
    return held @ sparse.diags(1.0 + np.log((1.0 + held.shape[0]) / (1.0 + frequency)))


def _texts(catalogue: pa.Table, column: str) -> list[str | None]:
    return catalogue[column].to_pylist() if column in catalogue.column_names else [None] * catalogue.num_rows
