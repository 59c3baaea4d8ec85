"""The neighbour search against all similarities, sorted."""

import numpy as np
import pytest
from scipy import sparse

from recsys_assets.models import neighbours
from recsys_assets.models.neighbours import nearest, normalised_rows


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("k", [1, 4, 100])
def test_nearest_are_the_largest_of_all_ties_to_the_lower_index(
    seed: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    # Few whole numbers: many similarities tie, some are negative, some rows are empty.
    dense = random.integers(-1, 3, size=(40, 7)) * (random.random((40, 7)) < 0.4)
    dense[seed] = 0
    monkeypatch.setattr(neighbours, "SIMILARITIES_PER_CHUNK", 40 * 11)
    found = nearest(sparse.csr_matrix(dense.astype(np.float64)), k)
    similarity = dense @ dense.T
    for row in range(40):
        order = [column for column in np.lexsort((np.arange(40), -similarity[row])) if similarity[row, column] > 0][:k]
        part = slice(int(found.indptr[row]), int(found.indptr[row + 1]))
        assert found.indices[part].tolist() == sorted(order)
        assert found.data[part].tolist() == similarity[row, sorted(order)].tolist()


def test_no_product_is_alike_where_nothing_is_known() -> None:
    found = nearest(normalised_rows(sparse.csr_matrix((5, 3))), 2)
    assert found.indptr.tolist() == [0] * 6 and len(found.indices) == len(found.data) == 0
