"""The serving catalogue: what is in it, when it is refused, and a pointer that only ever leads to a whole one."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pa_fs
import pytest

from lambda_api.recommender.catalogue import Catalogue, read_catalogue
from lambda_api.state.table import Table, TableUnavailable
from recsys_assets.lake import Lake, open_filesystem
from recsys_assets.publishing import catalogue_store
from recsys_assets.publishing.catalogue import build_catalogue, check_catalogue
from recsys_assets.publishing.catalogue_store import (
    KEPT,
    POINTER,
    Publication,
    PublicationConflict,
    current_publication,
    publish_catalogue,
    remove_old,
)
from recsys_assets.registry import folder_store
from tests.publishing.shops import BreakingTable, ago, listed, place, random_log, write_log, write_products

NOW = 1_700_000_000


@pytest.fixture(params=["local", "aws"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Table]]:
    with place(request.param, tmp_path) as found:
        yield found


def catalogue(*ids: str, price: float = 1.0) -> Catalogue:
    columns = len(ids)
    return Catalogue.from_columns(
        ids,
        [f"Name {id}" for id in ids],
        ["Mugs"] * columns,
        [None] * columns,
        [price] * columns,
        [True] * columns,
        [1] * columns,
    )


def fetched(uri: str, folder: Path) -> Path:
    """A local copy of a published catalogue, whatever it lies on."""
    filesystem, path = open_filesystem(uri)
    folder.mkdir()
    pa_fs.copy_files(path, str(folder), source_filesystem=filesystem)
    return folder


def folders(root: str) -> set[str]:
    filesystem, path = open_filesystem(root)
    return {info.base_name for info in filesystem.get_file_info(pa_fs.FileSelector(path, allow_not_found=True))}


def test_every_listed_or_touched_product_is_in_it_with_its_first_event(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    log = random_log(3, users=20, products=30, events=300, days=90)
    write_log(lake, log)
    # p0..p9 were delisted; "new" was never touched; p10 says nothing about its availability.
    write_products(
        lake,
        [
            *listed("p10", available=None),
            *listed("p11", available=False),
            *listed(*(f"p{n}" for n in range(12, 30)), "new"),
        ],
    )
    made = build_catalogue(lake)
    touched = {product for _, product, _, _ in log}
    assert set(made.products.external(range(len(made)))) == touched | {f"p{n}" for n in range(10, 30)} | {"new"}
    for row in range(len(made)):
        card = made.card_at(row)
        moments = [moment for _, product, _, moment in log if product == card.product_id]
        assert made.first_seen[row] == (int(min(moments).timestamp()) if moments else -1)
        delisted = card.product_id in {f"p{n}" for n in range(10)}
        assert card.available == (not delisted and card.product_id != "p11")
        assert card.name == (None if delisted else f"Name {card.product_id}")
        assert card.price == (None if delisted else 2.5)


def test_a_catalogue_of_another_shop_is_refused_and_a_few_delisted_products_are_not() -> None:
    made = catalogue(*(f"p{n}" for n in range(100)))
    known = [f"p{n}" for n in range(95)]
    assert check_catalogue(made, known).warning is None
    assert check_catalogue(made, []).problem is None
    few = check_catalogue(made, [*known, "gone1", "gone2"])
    assert few.problem is None and few.unknown == 2 and "gone1" in (few.warning or "")
    many = check_catalogue(made, [*known, *(f"gone{n}" for n in range(6))])
    assert many.unknown == 6 and "6 of the 101" in (many.problem or "")


def test_a_catalogue_without_anything_to_sell_is_refused() -> None:
    nothing = Catalogue.from_columns(["a"], ["A"], [None], [None], [None], [False], [None])
    assert "none of its 1 products is available" in (check_catalogue(nothing, []).problem or "")


def test_a_publication_can_be_read_where_the_pointer_says(where: tuple[str, Table], tmp_path: Path) -> None:
    root, table = where
    published = publish_catalogue(catalogue("a", "b"), root, table, NOW)
    assert published.uri == f"{root}/{published.checksum[:16]}"
    record = table.get(POINTER)
    assert record is not None
    assert record.attributes == {
        "uri": published.uri, "checksum": published.checksum, "products": 2, "published_at": NOW,
    }  # fmt: skip
    copy = read_catalogue(fetched(published.uri, tmp_path / "copy"), checksum=published.checksum)
    assert copy.card("a") == catalogue("a", "b").card("a")


def test_an_equal_catalogue_changes_nothing(where: tuple[str, Table]) -> None:
    root, table = where
    first = publish_catalogue(catalogue("a", "b"), root, table, NOW)
    again = publish_catalogue(catalogue("b", "a"), root, table, NOW + 60)
    assert first.changed and not again.changed
    assert (again.uri, again.published_at) == (first.uri, NOW)
    assert folders(root) == {first.checksum[:16]}


def test_damaged_files_of_the_live_catalogue_are_written_again(where: tuple[str, Table], tmp_path: Path) -> None:
    root, table = where
    published = publish_catalogue(catalogue("a", "b"), root, table, NOW)
    filesystem, path = open_filesystem(published.uri)
    with filesystem.open_output_stream(f"{path}/price.npy") as damaged:
        damaged.write(b"nonsense")
    assert not publish_catalogue(catalogue("a", "b"), root, table, NOW + 60).changed
    read_catalogue(fetched(published.uri, tmp_path / "copy"), checksum=published.checksum)


@pytest.mark.parametrize("broken", ["files", "pointer"])
def test_stopped_half_way_the_old_catalogue_stays_live(
    where: tuple[str, Table], broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, table = where
    old = publish_catalogue(catalogue("a"), root, table, NOW)
    if broken == "pointer":
        with pytest.raises(TableUnavailable):
            publish_catalogue(catalogue("a", "b"), root, BreakingTable(table), NOW + 60)
    else:
        copy, left = shutil.copyfileobj, iter(range(3))

        def three_files(source: Any, target: Any, *options: Any) -> None:
            if next(left, None) is None:
                raise OSError(28, "No space left on device")
            copy(source, target, *options)

        def one_file(source: Path, target: Path, **_: object) -> None:
            shutil.copyfile(source / "price.npy", target / "price.npy")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(folder_store.shutil, "copyfileobj", three_files)
        monkeypatch.setattr(folder_store.shutil, "copytree", one_file)
        with pytest.raises(OSError, match="No space left"):
            publish_catalogue(catalogue("a", "b"), root, table, NOW + 60)
        monkeypatch.undo()
    live = current_publication(table)
    assert live is not None and live.uri == old.uri
    read_catalogue(fetched(live.uri, tmp_path / "old"), checksum=old.checksum)
    # And the next run completes it.
    new = publish_catalogue(catalogue("a", "b"), root, table, NOW + 120)
    assert new.changed
    read_catalogue(fetched(new.uri, tmp_path / "new"), checksum=new.checksum)


def test_of_two_publications_at_once_one_gives_way(where: tuple[str, Table], monkeypatch: pytest.MonkeyPatch) -> None:
    root, table = where
    publish_catalogue(catalogue("a"), root, table, NOW)
    put = catalogue_store._put

    def overtaken(*arguments: object) -> None:
        monkeypatch.setattr(catalogue_store, "_put", put)
        publish_catalogue(catalogue("a", "b", "c"), root, table, NOW + 1)
        put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(catalogue_store, "_put", overtaken)
    with pytest.raises(PublicationConflict):
        publish_catalogue(catalogue("a", "b"), root, table, NOW + 2)
    live = current_publication(table)
    assert live is not None and live.products == 3


@pytest.mark.slow
def test_the_newest_three_stay_and_the_live_one_always(where: tuple[str, Table]) -> None:
    root, table = where

    def publish(price: float) -> Publication:
        if "://" in root:
            time.sleep(1.05)  # S3 tells the age of an object in whole seconds
        return publish_catalogue(catalogue("a", price=price), root, table, NOW)

    made = [publish(price) for price in (1.0, 2.0, 3.0, 4.0)]
    names = [publication.checksum[:16] for publication in made]
    assert remove_old(root, made[-1].uri) == [names[0]]
    assert folders(root) == set(names[1:])
    # An older content goes live again: it counts as the newest.
    again = publish(2.0)
    publish(5.0)
    removed = remove_old(root, again.uri)
    assert len(folders(root)) == KEPT and names[1] not in removed and names[2] in removed


def test_leftovers_of_a_killed_publication_go_after_a_day(tmp_path: Path) -> None:
    root = tmp_path / "catalogue"
    for name in (".abc.partial", "halfway"):
        (root / name).mkdir(parents=True)
        (root / name / "price.npy").write_bytes(b"")
    old = root / ".abc.partial"
    (old / "manifest.json").write_text(json.dumps({}))
    remove_old(str(root), str(root / "live"))
    assert folders(str(root)) == {".abc.partial", "halfway"}
    for file in old.iterdir():
        os.utime(file, (1, 1))
    remove_old(str(root), str(root / "live"))
    assert folders(str(root)) == {"halfway"}


def test_days_of_the_log_are_all_read(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    write_products(lake, listed("a"))
    write_log(lake, [("u", "a", "view", ago(days)) for days in range(100)])
    made = build_catalogue(lake)
    assert made.first_seen.tolist() == [int(ago(99).timestamp())]
