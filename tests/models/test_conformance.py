"""Every model keeps the contract of ``Recommender``, on a shop whose right answers are known."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lambda_api.interactions import InteractionType
from lambda_api.recommender import contract
from lambda_api.recommender.bundle import KINDS, BundleError, read_bundle, write_bundle
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.histories import Ragged
from recsys_assets.models.zoo import TRAINERS, make_trainer
from tests.models.conformance import CASES, COLD_PRODUCT, Case, board, fitted, permuted, strangers
from tests.recommender.explanations import explained

BOARD = board()
ALL = len(BOARD.data.products)
COLD = int(BOARD.data.products.indices([COLD_PRODUCT])[0])

each_model = pytest.mark.parametrize("index", range(len(CASES)), ids=[str(case) for case in CASES])


@pytest.fixture
def case(index: int) -> Case:
    return CASES[index]


@pytest.fixture
def model(index: int) -> Recommender:
    return fitted(index)


def test_every_trainer_of_the_zoo_is_held_to_the_contract() -> None:
    assert {case.name for case in CASES} == set(TRAINERS)
    assert {fitted(index).kind for index in range(len(CASES))} == set(KINDS)


@each_model
def test_finds_the_products_that_were_held_out(case: Case, model: Recommender) -> None:
    lists = model.recommend(BOARD.histories, 2, exclude=BOARD.seen, candidates=_warm()).products
    if case.personal:
        assert [set(row.tolist()) for row in lists] == BOARD.held_out
    else:
        for row, best in enumerate(lists):
            unseen = [product for product in _by_popularity(model) if product not in BOARD.seen.row(row)]
            assert best.tolist() == unseen[:2]


@each_model
def test_exclusions_are_honoured_and_nothing_else_is_lost(model: Recommender) -> None:
    lists = model.recommend(BOARD.histories, ALL, exclude=BOARD.seen).products
    for row, products in enumerate(lists):
        returned = products[products >= 0].tolist()
        assert sorted(returned + BOARD.seen.row(row).tolist()) == list(range(ALL))


@each_model
def test_whitelist_is_the_full_ranking_filtered(model: Recommender) -> None:
    allowed = np.array([3, 28, 11, 0, 17, COLD], dtype=np.int32)
    whole = model.recommend(BOARD.histories, ALL)
    some = model.recommend(BOARD.histories, len(allowed), candidates=allowed)
    for row in range(len(BOARD.histories)):
        kept = np.isin(whole.products[row], allowed)
        assert some.products[row].tolist() == whole.products[row][kept].tolist()
        assert some.scores[row].tolist() == whole.scores[row][kept].tolist()


@each_model
def test_lists_are_ordered_and_padded_at_the_end(model: Recommender) -> None:
    result = model.recommend(BOARD.histories, ALL + 7)
    assert result.products.shape == result.scores.shape == (len(BOARD.histories), ALL + 7)
    assert result.products.dtype == np.int32
    assert result.scores.dtype == np.float32
    assert (np.sort(result.products[:, :ALL], axis=1) == np.arange(ALL)).all()
    assert (result.products[:, ALL:] == -1).all()
    assert (result.scores[:, ALL:] == -np.inf).all()
    assert (np.diff(result.scores[:, :ALL], axis=1) <= 0).all()
    tied = np.diff(result.scores[:, :ALL], axis=1) == 0
    assert (np.diff(result.products[:, :ALL], axis=1)[tied] > 0).all(), "ties must go to the lower index"


@each_model
def test_without_padding_only_evidence_is_recommended(case: Case, model: Recommender) -> None:
    bare = model.recommend(BOARD.histories, ALL, fill_with_popular=False)
    padded = model.recommend(BOARD.histories, ALL)
    kept = bare.products >= 0
    assert (bare.products[kept] == padded.products[kept]).all(), "padding must not move what has evidence"
    if model.zero_means_no_evidence:
        assert (bare.scores[kept] > 0).all()
        assert (padded.scores[~kept] < 0).all()
        # Prices alone make every product of so small a shop a little alike.
        assert kept.all() == (case.name == "content")
    else:
        assert kept.all()


@each_model
def test_empty_whitelist_gives_empty_lists(model: Recommender) -> None:
    result = model.recommend(BOARD.histories, 3, candidates=np.empty(0, dtype=np.int32))
    assert (result.products == -1).all()
    assert (result.scores == -np.inf).all()


@each_model
def test_a_batch_of_one_is_the_row_of_a_batch(model: Recommender) -> None:
    together = model.recommend(BOARD.histories, 12, exclude=BOARD.seen)
    for row in range(len(BOARD.histories)):
        alone = model.recommend(BOARD.histories.rows(row, row + 1), 12, exclude=Ragged.from_rows([BOARD.seen.row(row)]))
        assert alone.products[0].tolist() == together.products[row].tolist()
        assert alone.scores[0].tolist() == together.scores[row].tolist(), "not by one bit"


@each_model
@pytest.mark.parametrize("size", [1, ALL * 5, ALL * 7 + 3])
def test_chunks_do_not_show(model: Recommender, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.recommend(BOARD.histories, 9, exclude=BOARD.seen)
    asked = np.arange(len(BOARD.histories) * 4, dtype=np.int32).reshape(-1, 4) % ALL
    expected_scores = model.score(BOARD.histories, asked)
    monkeypatch.setattr(contract, "SCORES_PER_CHUNK", size)
    monkeypatch.setattr("lambda_api.recommender.factors.SYSTEMS_PER_CHUNK", max(1, size // ALL))
    actual = model.recommend(BOARD.histories, 9, exclude=BOARD.seen)
    assert (actual.products == expected.products).all()
    assert (actual.scores == expected.scores).all()
    assert (model.score(BOARD.histories, asked) == expected_scores).all()


@each_model
def test_order_of_shoppers_does_not_matter(model: Recommender) -> None:
    order = np.random.default_rng(0).permutation(len(BOARD.histories))
    straight = model.recommend(BOARD.histories, 8)
    shuffled = model.recommend(permuted(BOARD.histories, order), 8)
    assert (shuffled.products == straight.products[order]).all()
    assert (shuffled.scores == straight.scores[order]).all()


@each_model
def test_equal_data_give_an_equal_model_whatever_was_fitted_before(case: Case, model: Recommender) -> None:
    trainer = make_trainer(case.name, case.parameters)
    other = trainer.fit(board(flipped=True).data)
    again = trainer.fit(BOARD.data)
    expected = model.recommend(BOARD.histories, 5)
    assert (other.recommend(BOARD.histories, 5).scores != expected.scores).any(), "the other shop is another shop"
    assert (again.recommend(BOARD.histories, 5).products == expected.products).all()
    assert again.parameters() == model.parameters()
    assert (again.popularity == model.popularity).all()
    assert again.arrays().keys() == model.arrays().keys()
    for name, array in model.arrays().items():
        assert (again.arrays()[name] == array).all(), name


@each_model
def test_trainer_round_trips_through_json(case: Case) -> None:
    trainer = make_trainer(case.name, case.parameters)
    assert make_trainer(case.name, json.loads(json.dumps(trainer.parameters()))) == trainer


@each_model
def test_score_agrees_with_recommend(model: Recommender) -> None:
    lists = model.recommend(BOARD.histories, ALL, fill_with_popular=False)
    scores = model.score(BOARD.histories, np.maximum(lists.products, 0))
    listed = lists.products >= 0
    assert (scores[listed] == lists.scores[listed]).all()
    everything = np.arange(ALL, dtype=np.int32)
    shared = model.score(BOARD.histories, everything)
    assert shared.shape == (len(BOARD.histories), ALL)
    assert (np.take_along_axis(shared, np.maximum(lists.products, 0), axis=1)[listed] == scores[listed]).all()


@each_model
def test_scores_are_finite(model: Recommender) -> None:
    for histories in (BOARD.histories, strangers(BOARD.histories)):
        scores = model.score_all(histories)
        assert scores.dtype == np.float32
        assert scores.shape == (len(histories), ALL)
        assert np.isfinite(scores).all()
    assert np.isfinite(model.popularity).all()
    assert (model.popularity >= 0).all()


@each_model
def test_similar_items_are_others_and_alike(case: Case, model: Recommender) -> None:
    products = np.arange(ALL, dtype=np.int32)
    similar = model.similar_items(products, ALL + 2)
    assert similar.products.shape == (ALL, ALL + 2)
    assert (similar.scores[similar.products < 0] == -np.inf).all()
    for product, row in enumerate(similar.products):
        returned = row[row >= 0].tolist()
        assert product not in returned
        assert len(set(returned)) == len(returned)
        assert (row[len(returned) :] == -1).all()
    assert (np.diff(np.where(similar.products < 0, -1e9, similar.scores), axis=1) <= 0).all()
    few = model.similar_items(products[5:9], 3)
    assert (few.products == similar.products[5:9, :3]).all()
    if case.personal:
        warm = np.flatnonzero(products != COLD)
        assert (BOARD.colour[similar.products[warm, :3]] == BOARD.colour[warm][:, None]).all()


@each_model
def test_explanations_are_the_terms_of_the_score(case: Case, model: Recommender) -> None:
    for row in (0, 7, 20):
        history = BOARD.histories.rows(row, row + 1)
        for product in (*BOARD.held_out[row], 4):
            terms = explained(model, history, product)
            assert terms.keys() <= set(BOARD.seen.row(row).tolist())
            if case.explains:
                score = float(model.score(history, np.array([product], dtype=np.int32))[0, 0])
                assert sum(terms.values()) == pytest.approx(score, rel=1e-4, abs=1e-5)
            else:
                assert terms == {}
    assert explained(model, strangers(BOARD.histories).rows(0, 1), 0) == {}


@each_model
def test_cold_shoppers_get_popular_products(case: Case, model: Recommender) -> None:
    lists = model.recommend(strangers(BOARD.histories), ALL).products
    assert (lists == _by_popularity(model)).all()
    assert not model.knows(strangers(BOARD.histories)).any()
    assert model.knows(BOARD.histories).all() == case.personal
    alone = np.arange(ALL, dtype=np.int32)
    assert (model.score(strangers(BOARD.histories), alone) == model.popularity).all()


@each_model
def test_strangers_in_a_batch_do_not_disturb_the_others(model: Recommender) -> None:
    mixed = permuted(BOARD.histories, np.arange(6))
    events = int(mixed.indptr[3])
    halved = type(mixed)(
        user_ids=(*mixed.user_ids[:3], "nobody", "nobody-else", ""),
        indptr=np.concatenate([mixed.indptr[:4], [events] * 3]),
        products=mixed.products[:events],
        types=mixed.types[:events],
        timestamps=mixed.timestamps[:events],
        now=mixed.now,
    )
    lists = model.recommend(halved, 6).products
    assert (lists[:3] == model.recommend(BOARD.histories.rows(0, 3), 6).products).all()
    assert (lists[3:] == _by_popularity(model)[:6]).all()


@each_model
def test_cold_products(case: Case, model: Recommender) -> None:
    rows = [row for row, wanted in enumerate(BOARD.held_out) if BOARD.colour[min(wanted)] == BOARD.colour[COLD]]
    lists = model.recommend(permuted(BOARD.histories, np.array(rows)), ALL).products
    place = np.argmax(lists == COLD, axis=1)
    of_the_colour = int((BOARD.colour == BOARD.colour[COLD]).sum())
    if case.reaches_cold:
        assert (place < of_the_colour).all(), "described like the shopper's own, it ranks among them"
    else:
        assert (place >= of_the_colour - 1).all(), "nothing is known about it: it follows what the shopper likes"
    if case.reaches_cold:
        assert COLD in model.similar_items(np.flatnonzero(BOARD.colour == 2).astype(np.int32)[:1], ALL).products
    assert (model.similar_items(np.array([COLD], dtype=np.int32), 3).products[0] >= 0).all() == (
        case.reaches_cold or not case.personal
    )


@each_model
def test_a_click_of_a_moment_ago_moves_the_list(case: Case, model: Recommender) -> None:
    if not case.personal or case.by_id:
        pytest.skip(f"{case} does not follow the history of the moment")
    coral = np.flatnonzero((BOARD.colour == 2) & (np.arange(ALL) != COLD)).astype(np.int32)[:3]
    visitor = type(BOARD.histories)(
        user_ids=("",),
        indptr=np.array([0, 3]),
        products=coral,
        types=np.full(3, InteractionType.VIEW, dtype=np.int8),
        timestamps=np.full(3, BOARD.histories.now - 5),
        now=BOARD.histories.now,
    )
    lists = model.recommend(visitor, 4, exclude=Ragged.from_rows([coral])).products
    assert (BOARD.colour[lists] == 2).all()


@each_model
def test_wrong_calls_are_refused(model: Recommender) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        model.recommend(BOARD.histories, 0)
    with pytest.raises(ValueError, match="1 rows for 36 shoppers"):
        model.recommend(BOARD.histories, 3, exclude=Ragged.from_rows([[1]]))


@each_model
def test_bundle_answers_alike_and_stays_on_disk(model: Recommender, tmp_path: Path) -> None:
    write_bundle(model, tmp_path / "bundle")
    loaded = read_bundle(tmp_path / "bundle").recommender
    assert type(loaded) is type(model)
    for histories in (BOARD.histories, strangers(BOARD.histories)):
        expected = model.recommend(histories, ALL, exclude=BOARD.seen)
        actual = loaded.recommend(histories, ALL, exclude=BOARD.seen)
        assert (actual.products == expected.products).all()
        assert (actual.scores == expected.scores).all()
    products = np.arange(ALL, dtype=np.int32)
    assert (loaded.similar_items(products, 5).products == model.similar_items(products, 5).products).all()
    history = BOARD.histories.rows(3, 4)
    assert explained(loaded, history, 2) == explained(model, history, 2)
    arrays = [array for array in loaded.arrays().values() if array.size]
    assert all(_on_disk(array) and not array.flags.writeable for array in arrays)


def _on_disk(array: np.ndarray | None) -> bool:
    """Whether an array is a memory map, or a plain view of one."""
    return array is not None and (isinstance(array, np.memmap) or _on_disk(getattr(array, "base", None)))


@each_model
def test_every_damaged_file_is_noticed(model: Recommender, tmp_path: Path) -> None:
    manifest = write_bundle(model, tmp_path / "whole")
    for record in manifest.files:
        damaged = tmp_path / "damaged"
        shutil.copytree(tmp_path / "whole", damaged)
        content = bytearray((damaged / record.name).read_bytes())
        content[-1] ^= 1
        (damaged / record.name).write_bytes(content)
        with pytest.raises(BundleError, match=Path(record.name).name):
            read_bundle(damaged)
        shutil.rmtree(damaged)


ANSWER_ELSEWHERE = """
import sys

REFUSED = "torch sklearn scipy pandas pyarrow implicit dagster recsys_assets".split()

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED:
            raise ImportError(f"{name} must not be needed to answer")

sys.meta_path.insert(0, Refuse())
import json
from pathlib import Path
import numpy as np
from lambda_api.recommender.bundle import read_bundle
from lambda_api.recommender.histories import Histories, Ragged

folder = Path(sys.argv[1])
stored = dict(np.load(folder / "histories.npz"))
seen = Ragged(stored.pop("seen_indptr"), stored.pop("seen_values"))
histories = Histories(user_ids=tuple(stored.pop("user_ids").tolist()), now=int(stored.pop("now")), **stored)
for bundle in sorted(path for path in folder.iterdir() if path.is_dir()):
    answer = read_bundle(bundle).recommender.recommend(histories, 10, exclude=seen)
    np.savez(folder / f"{bundle.name}.npz", products=answer.products, scores=answer.scores)
"""


def test_bundles_answer_alike_where_nothing_but_serving_is_installed(tmp_path: Path) -> None:
    histories = BOARD.histories
    np.savez(
        tmp_path / "histories.npz",
        user_ids=np.array(histories.user_ids),
        indptr=histories.indptr,
        products=histories.products,
        types=histories.types,
        timestamps=histories.timestamps,
        now=histories.now,
        seen_indptr=BOARD.seen.indptr,
        seen_values=BOARD.seen.values,
    )
    for index in range(len(CASES)):
        write_bundle(fitted(index), tmp_path / f"{index:02d}")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", ANSWER_ELSEWHERE, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for index, case in enumerate(CASES):
        expected = fitted(index).recommend(histories, 10, exclude=BOARD.seen)
        answer = np.load(tmp_path / f"{index:02d}.npz")
        assert (answer["products"] == expected.products).all(), str(case)
        assert (answer["scores"] == expected.scores).all(), str(case)


def _warm() -> np.ndarray:
    return np.setdiff1d(np.arange(ALL), [COLD]).astype(np.int32)


def _by_popularity(model: Recommender) -> np.ndarray:
    """Every product, most popular first, ties by index."""
    return np.lexsort((np.arange(ALL), -model.popularity))
