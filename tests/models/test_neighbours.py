"""The neighbour search against all similarities, sorted."""

import numpy as np
import pytest
from scipy import sparse

from recsys_assets.models import neighbours
from recsys_assets.models.neighbours import nearest, normalised_rows, rows_of_product, without_common


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("k", [1, 4, 100])
def test_nearest_are_the_largest_of_all_ties_to_the_lower_index(
    seed: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    # Few whole numbers: many similarities tie, some are negative, some rows are empty.
    dense = random.integers(-1, 3, size=(40, 7)) * (random.random((40, 7)) < 0.4)
    dense[seed] = 0
    monkeypatch.setattr(neighbours, "SIMILARITIES_PER_BLOCK", 40 * 11)
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


@pytest.mark.parametrize("most", [1, 7, 60, 10_000])
def test_rows_of_a_product_in_blocks(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(most)
    left, right = (random.random(shape) * (random.random(shape) < 0.3) for shape in ((23, 9), (9, 17)))
    left[5] = right[3] = 0
    monkeypatch.setattr(neighbours, "SIMILARITIES_PER_BLOCK", most)
    rows = list(rows_of_product(sparse.csr_matrix(left), sparse.csr_matrix(right)))
    found = np.zeros((23, 17), dtype=np.float32)
    for row, (columns, weights) in enumerate(rows):
        found[row, columns] = weights
    assert len(rows) == 23 and found == pytest.approx((left @ right).astype(np.float32))
    assert not list(rows_of_product(sparse.csr_matrix((0, 9)), sparse.csr_matrix(right)))


def test_the_commonest_columns_are_left_out() -> None:
    """Columns held by 4, 1, 3 and 2 rows: 30 pairs of rows share one; a limit leaves out from the commonest on."""
    held = [[1, 1, 1, 0], [1, 0, 1, 1], [1, 0, 1, 1], [1, 0, 0, 0]]
    vectors = sparse.csr_matrix(np.array(held, dtype=np.float32))
    assert without_common(vectors, 30) is vectors
    assert without_common(vectors, 29).toarray().tolist() == [row[1:] for row in held]
    assert without_common(vectors, 13).toarray().tolist() == [[row[1], row[3]] for row in held]
    assert without_common(vectors, 0).shape == (4, 0)
