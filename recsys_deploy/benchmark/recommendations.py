"""The file of recommendations: ``user_id,product_id,rank,score``."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lambda_api.atomic_files import replaced_file
from lambda_api.recommender.contract import Recommendations
from lambda_api.recommender.ids import IdMap

HEADER = ("user_id", "product_id", "rank", "score")


def write_recommendations(path: Path, user_ids: Sequence[str], lists: Recommendations, products: IdMap) -> int:
    """Write ``lists``, row ``b`` for ``user_ids[b]``.

    Users come in the order of their id as text, ranks count from 1, and empty places are left out. Scores are the
    shortest decimals that give the same float32 back. The file appears whole or not at all.

    Returns:
        Rows written, the header not counted.
    """
    rows = 0
    with replaced_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for index in sorted(range(len(user_ids)), key=user_ids.__getitem__):
            listed = np.flatnonzero(lists.products[index] >= 0)
            ids = products.external(lists.products[index, listed])
            for rank, (product, score) in enumerate(zip(ids, lists.scores[index, listed], strict=True), start=1):
                writer.writerow((user_ids[index], product, rank, str(score)))
            rows += len(listed)
    return rows
