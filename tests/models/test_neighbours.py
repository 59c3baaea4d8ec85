"""The neighbour search against all similarities, sorted."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse

from recsys_assets.models import neighbours
from recsys_assets.models.neighbours import nearest, normalised_rows, product_in_blocks, strongest, without_common


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
    row_scale, column_scale = random.random(23), random.random(17)
    blocks = list(product_in_blocks(sparse.csr_matrix(left), sparse.csr_matrix(right), row_scale, column_scale))
    expected = row_scale[:, None] * (left @ right) * column_scale
    assert sparse.vstack(blocks).toarray() == pytest.approx(expected)
    assert all(block.nnz <= most + 17 for block in blocks) and (len(blocks) > 1 or most == 10_000)
    assert not list(product_in_blocks(sparse.csr_matrix((0, 9)), sparse.csr_matrix(right)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("without_self", [True, False])
def test_strongest_of_any_blocks_by_sorting(seed: int, without_self: bool) -> None:
    random = np.random.default_rng(seed)
    dense = random.integers(-2, 4, size=(30, 30)).astype(np.float64)
    edges = [0, *sorted(random.choice(np.arange(1, 30), 4, replace=False).tolist()), 30]
    blocks = [sparse.csr_matrix(dense[start:stop]) for start, stop in pairwise(edges)]
    found = strongest(blocks, 3, without_self=without_self)
    for row in range(30):
        allowed = [column for column in range(30) if dense[row, column] > 0 and not (without_self and column == row)]
        best = sorted(sorted(allowed, key=lambda column: (-dense[row, column], column))[:3])
        part = slice(int(found.indptr[row]), int(found.indptr[row + 1]))
        assert found.indices[part].tolist() == best
        assert found.data[part].tolist() == dense[row, best].tolist()


def test_the_commonest_columns_are_left_out() -> None:
    """Columns held by 4, 1, 3 and 2 rows: 30 pairs of rows share one; a limit leaves out from the commonest on."""
    held = [[1, 1, 1, 0], [1, 0, 1, 1], [1, 0, 1, 1], [1, 0, 0, 0]]
    vectors = sparse.csr_matrix(np.array(held, dtype=np.float32))
    assert without_common(vectors, 30) is vectors
    assert without_common(vectors, 29).toarray().tolist() == [row[1:] for row in held]
    assert without_common(vectors, 13).toarray().tolist() == [[row[1], row[3]] for row in held]
    assert without_common(vectors, 0).shape == (4, 0)


def test_blocks_are_left_as_they_were() -> None:
    """Positive weights in float64, each row from its last column to its first, all of them kept."""
    dense = 1.0 + np.arange(12).reshape(3, 4)
    backwards = sparse.csr_matrix(dense[:, ::-1])
    block = sparse.csr_matrix((backwards.data, 3 - backwards.indices, backwards.indptr), shape=(3, 4))
    found = strongest([block], 4)
    assert found.indices.tolist() == [0, 1, 2, 3] * 3 and found.data.tolist() == dense.ravel().tolist()
    assert (block.toarray() == dense).all()
