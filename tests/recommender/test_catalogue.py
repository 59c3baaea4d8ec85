"""The catalogue folder gives back what was put in, costs nothing to open, and is refused when it is not whole."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.recommender import catalogue as module
from lambda_api.recommender.catalogue import (
    UNKNOWN_TIME,
    Catalogue,
    CatalogueError,
    read_catalogue,
    write_catalogue,
)
from lambda_api.recommender.ids import IdMap

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
products = st.lists(
    st.tuples(
        words.filter(bool),
        st.none() | words,
        st.none() | words,
        st.none() | words,
        st.none() | st.floats(0, 1e9),
        st.booleans(),
        st.none() | st.integers(0, 2**33),
    ),
    unique_by=lambda row: row[0],
    max_size=12,
)


def catalogue(rows: list[tuple]) -> Catalogue:  # type: ignore[type-arg]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(7)]
    return Catalogue.from_columns(*columns)


def small() -> Catalogue:
    return catalogue(
        [
            ("mug", "Red mug", "Kitchen", "Acme", 12.99, True, 100),
            ("lamp", "Lamp für Käthe ☕", "Light", None, None, False, None),
            ("pan", None, "Kitchen", "Brando", 0.0, True, 300),
        ]
    )


@given(rows=products)
def test_cards_are_what_was_published(rows: list[tuple], tmp_path_factory: pytest.TempPathFactory) -> None:  # type: ignore[type-arg]
    folder = tmp_path_factory.mktemp("catalogue") / "c"
    write_catalogue(catalogue(rows), folder)
    stored = read_catalogue(folder)
    assert len(stored) == len(rows)
    for product_id, name, category, brand, price, available, seen in rows:
        card = stored.card(product_id)
        assert card is not None
        assert (card.product_id, card.name, card.category) == (product_id, name or None, category or None)
        assert (card.brand, card.price, card.available) == (brand or None, price, available)
        place = int(stored.products.indices([product_id])[0])
        assert stored.first_seen[place] == (UNKNOWN_TIME if seen is None else seen)
    assert stored.card("no such product") is None
    assert stored.card("\ud800") is None


@given(rows=products, others=st.lists(words.filter(bool), max_size=6))
def test_alignment_is_a_lookup_per_product(rows: list[tuple], others: list[str]) -> None:  # type: ignore[type-arg]
    whole = catalogue(rows)
    mixed = IdMap.from_ids([*others, *(row[0] for row in rows[::2])])
    for target in (mixed, whole.products):
        aligned = whole.aligned(target)
        for index, product_id in enumerate(target.external(np.arange(len(target)))):
            card = whole.card(product_id)
            assert aligned.available[index] == (card is not None and card.available)
            assert aligned.place[index] == whole.products.indices([product_id])[0]
            category, brand = int(aligned.category[index]), int(aligned.brand[index])
            assert (aligned.category_names[category] if category >= 0 else None) == (card and card.category)
            assert (aligned.brand_names[brand] if brand >= 0 else None) == (card and card.brand)
            price = float(aligned.price[index])
            assert (None if math.isnan(price) else price) == (card and card.price)
            known = card is not None and whole.first_seen[aligned.place[index]] != UNKNOWN_TIME
            assert (aligned.first_seen[index] != UNKNOWN_TIME) == known


def test_everything_stays_on_disk(tmp_path: Path) -> None:
    write_catalogue(small(), tmp_path / "c")
    stored = read_catalogue(tmp_path / "c", verify=False)
    for name in ("name_bytes", "name_ends", "category", "brand", "price", "available", "first_seen"):
        array = getattr(stored, name)
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable


def test_the_same_columns_make_the_same_checksum_in_any_order(tmp_path: Path) -> None:
    rows = [(f"p{number}", f"thing {number}", "c", None, 1.0, True, 5) for number in range(30)]
    first = write_catalogue(catalogue(rows), tmp_path / "a")
    second = write_catalogue(catalogue(rows[::-1]), tmp_path / "b")
    assert first.checksum == second.checksum
    assert read_catalogue(tmp_path / "a", checksum=second.checksum).card("p7") is not None
    with pytest.raises(CatalogueError, match=f"expected {'0' * 64}"):
        read_catalogue(tmp_path / "a", checksum="0" * 64)


def test_writing_again_replaces_and_only_catalogues_are_replaced(tmp_path: Path) -> None:
    write_catalogue(small(), tmp_path / "c")
    before = read_catalogue(tmp_path / "c")
    write_catalogue(catalogue([("mug", "Blue mug", None, None, None, True, None)]), tmp_path / "c")
    after = read_catalogue(tmp_path / "c").card("mug")
    assert after is not None
    assert after.name == "Blue mug"
    assert before.card("mug").name == "Red mug", "whoever has the old one open keeps it"  # type: ignore[union-attr]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(CatalogueError, match="no catalogue to replace"):
        write_catalogue(small(), tmp_path / "photos")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"product_ids": ["a", "a"]}, "given twice"),
        ({"product_ids": ["a", ""]}, "non-empty"),
        ({"product_ids": ["a"]}, "every column must have 1"),
        ({"prices": [1.0, -1.0]}, "negative or infinite"),
        ({"prices": [1.0, float("inf")]}, "negative or infinite"),
        ({"categories": ["a\0", None]}, "NUL"),
    ],
)
def test_columns_that_make_no_catalogue_are_refused(change: dict[str, object], message: str) -> None:
    columns: dict[str, object] = {
        "product_ids": ["a", "b"],
        "names": ["A", "B"],
        "categories": [None, None],
        "brands": [None, None],
        "prices": [None, None],
        "available": [True, True],
        "first_seen": [None, None],
    }
    with pytest.raises(CatalogueError, match=message):
        Catalogue.from_columns(**{**columns, **change})  # type: ignore[arg-type]


def _edit(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / "manifest.json").read_text())
        change(content)
        (folder / "manifest.json").write_text(json.dumps(content))

    return apply


def _link(folder: Path) -> None:
    shutil.move(folder / "price.npy", folder.parent / "elsewhere.npy")
    (folder / "price.npy").symlink_to(folder.parent / "elsewhere.npy")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "not JSON": (lambda f: (f / "manifest.json").write_text("{"), "not JSON"),
    "a bundle's schema": (_edit(lambda c: c.update(schema_version=7)), "schema version 7, this code reads 1"),
    "unknown field": (_edit(lambda c: c.update(code="x")), "not a valid manifest"),
    "miscounted": (_edit(lambda c: c.update(products=9)), "does not match its checksum"),
    "outside": (_edit(lambda c: c["files"][0].update(name="../x.npy")), "no catalogue may hold"),  # type: ignore[index]
    "missing": (lambda f: (f / "price.npy").unlink(), "price.npy is missing"),
    "extra": (lambda f: (f / "extra.npy").write_bytes(b"x"), "extra.npy is not in the manifest"),
    "link": (_link, "price.npy is a link"),
    "truncated": (lambda f: (f / "price.npy").write_bytes(b"\x93NUMPY"), "price.npy has 6 bytes"),
}


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_by_name(tmp_path: Path, name: str, verify: bool) -> None:
    folder = tmp_path / "c"
    write_catalogue(small(), folder)
    damage, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(CatalogueError, match=message) as refusal:
        read_catalogue(folder, verify=verify)
    assert str(folder) in str(refusal.value)


@pytest.mark.parametrize("name", [path for path in ("names", "names.ends", "category", "price", "products.ids")])
def test_one_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    write_catalogue(small(), tmp_path / "c")
    path = tmp_path / "c" / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CatalogueError, match=rf"{name}\.npy does not have the SHA-256"):
        read_catalogue(tmp_path / "c")


@given(st.lists(words.filter(bool), max_size=8), st.lists(words.filter(bool), max_size=8))
def test_translation_between_maps_is_a_lookup_per_id(mine: list[str], theirs: list[str]) -> None:
    here, there = IdMap.from_ids(mine), IdMap.from_ids([*theirs, *mine[:3]])
    expected = here.indices(there.external(np.arange(len(there))))
    assert here.translate(there).tolist() == expected.tolist()


def test_ids_longer_than_any_of_the_map_are_unknown() -> None:
    here = IdMap.from_ids(["ab", "cd"])
    assert here.indices(["abc", "ab" * 50, "ab", "a"]).tolist() == [-1, -1, here.indices(["ab"])[0], -1]


def test_companions_are_stored_and_stay_on_disk(tmp_path: Path) -> None:
    rows = np.array([[1, 2], [0, -1], [-1, -1]], dtype=np.int32)
    write_catalogue(small().with_companions(rows), tmp_path / "c")
    stored = read_catalogue(tmp_path / "c")
    assert isinstance(stored.companions.base, np.memmap)
    assert stored.companions.tolist() == rows.tolist()
    assert stored.has_companion(0, 2) and not stored.has_companion(2, 0)
    assert not stored.has_companion(1, -1) and not stored.has_companion(-1, 1)


def test_a_folder_from_before_companions_is_read_as_knowing_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(module._ARRAYS, "companions")
    write_catalogue(small(), tmp_path / "old")
    monkeypatch.undo()
    assert not (tmp_path / "old" / "companions.npy").exists()
    stored = read_catalogue(tmp_path / "old")
    assert stored.card("mug") == small().card("mug")
    assert not stored.has_companion(0, 1)
    # Named in the manifest and gone is damage, not an older folder.
    write_catalogue(small(), tmp_path / "new")
    (tmp_path / "new" / "companions.npy").unlink()
    with pytest.raises(CatalogueError, match=r"companions\.npy is missing"):
        read_catalogue(tmp_path / "new")


@pytest.mark.parametrize("rows", [[[3], [0], [0]], [[-2], [0], [0]], [[0], [1]], [0, 1, 2]])
def test_companions_outside_the_catalogue_are_refused(rows: list[object]) -> None:
    with pytest.raises(CatalogueError):
        small().with_companions(np.array(rows, dtype=np.int32))
