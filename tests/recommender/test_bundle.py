"""A bundle is whole or refused: every way of damaging one is named."""

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from lambda_api.recommender import bundle as bundle_module
from lambda_api.recommender import sealed_folder
from lambda_api.recommender.bundle import (
    BundleError,
    BundleInfo,
    DataWindow,
    label_bundle,
    read_bundle,
    read_manifest,
    write_bundle,
)
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import DenseWeights, SparseWeights
from lambda_api.recommender.popularity import PopularityRecommender
from lambda_api.recommender.profiles import EventWeighting

PRODUCTS = IdMap.from_ids(["a", "bb", "ccc"])
INFO = BundleInfo(
    trainer="ease",
    hyper_parameters={"l2": 5.0, "type_weights": {"view": 1.0}},
    data_window=DataWindow(start=datetime(2024, 1, 1, tzinfo=UTC), end=datetime(2024, 2, 1, tzinfo=UTC)),
    metrics={"ndcg@10": 0.125},
    git_revision="0123abc",
    created_at=datetime(2024, 2, 1, 3, tzinfo=UTC),
)


def recommender(scale: float = 1.0) -> ItemToItemRecommender:
    weights = DenseWeights(np.arange(9, dtype=np.float32).reshape(3, 3) * np.float32(scale))
    return ItemToItemRecommender(PRODUCTS, np.array([3, 1, 2], np.float32), weights, EventWeighting())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(recommender(), tmp_path / "bundle", INFO)
    return tmp_path / "bundle"


def test_what_is_written_is_read(folder: Path) -> None:
    loaded = read_bundle(folder)
    assert loaded.manifest.info == INFO
    assert loaded.manifest.kind == "item_to_item"
    assert loaded.recommender.products.external([0, 1, 2]) == PRODUCTS.external([0, 1, 2])
    assert loaded.recommender.products.indices(["ccc", "zzz"]).tolist() == PRODUCTS.indices(["ccc", "zzz"]).tolist()
    assert loaded.recommender.popularity.tolist() == [3, 1, 2]
    assert (loaded.recommender.arrays()["weights"] == recommender().arrays()["weights"]).all()
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    listed = {record.name for record in loaded.manifest.files}
    assert names == listed | {"manifest.json"}
    assert listed == {"products.ids.npy", "products.order.npy", "popularity.npy", "arrays/weights.npy"}


def test_arrays_without_elements_survive(tmp_path: Path) -> None:
    weights = SparseWeights(np.zeros(4, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    model = ItemToItemRecommender(PRODUCTS, np.zeros(3, np.float32), weights, EventWeighting())
    write_bundle(model, tmp_path / "bundle")
    assert read_bundle(tmp_path / "bundle").recommender.arrays()["data"].shape == (0,)


def test_checksum_is_of_the_content_not_of_the_label(folder: Path, tmp_path: Path) -> None:
    first = read_manifest(folder)
    assert first.checksum == first.content_checksum()
    assert write_bundle(recommender(), tmp_path / "same", INFO).checksum == first.checksum
    assert write_bundle(recommender(2.0), tmp_path / "other", INFO).checksum != first.checksum
    worse = INFO.model_copy(update={"metrics": {"ndcg@10": 0.5}})
    assert write_bundle(recommender(), tmp_path / "claim", worse).checksum != first.checksum
    labelled = label_bundle(folder, "shop", "v1.2.3")
    assert (labelled.info.name, labelled.info.version) == ("shop", "v1.2.3")
    assert labelled.checksum == first.checksum
    assert read_bundle(folder, checksum=first.checksum).manifest == labelled
    with pytest.raises(BundleError, match=f"expected {'0' * 64}"):
        read_bundle(folder, checksum="0" * 64)


def test_writing_again_replaces(folder: Path) -> None:
    before = read_bundle(folder).recommender
    write_bundle(recommender(3.0), folder, INFO)
    assert read_bundle(folder).recommender.arrays()["weights"][2, 2] == 24
    assert before.arrays()["weights"][2, 2] == 8, "whoever has the old files open keeps them"
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("step", [(sealed_folder, "file_record"), (bundle_module.Manifest, "write"), (Path, "rename")])
def test_a_failed_write_leaves_the_old_bundle(
    folder: Path, step: tuple[object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(*step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_bundle(recommender(3.0), folder, INFO)
    monkeypatch.undo()
    assert read_bundle(folder).recommender.arrays()["weights"][2, 2] == 8
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_a_failed_swap_puts_the_old_bundle_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def refuse_partial(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError("no such luck")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_partial)
    with pytest.raises(OSError, match="no such luck"):
        write_bundle(recommender(3.0), folder, INFO)
    assert read_bundle(folder).recommender.arrays()["weights"][2, 2] == 8


def test_only_bundles_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(BundleError, match="no bundle to replace"):
        write_bundle(recommender(), tmp_path)
    with pytest.raises(BundleError, match="not a folder"):
        write_bundle(recommender(), tmp_path / "holiday.jpg")
    assert (tmp_path / "holiday.jpg").read_bytes() == b"precious"


def _edit(change: Callable[[dict[str, object]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / "manifest.json").read_text())
        change(content)
        (folder / "manifest.json").write_text(json.dumps(content))

    return apply


def _rename_first_file(name: str) -> Callable[[Path], None]:
    return _edit(lambda content: content["files"][0].update(name=name))  # type: ignore[index]


def _rehash(change: Callable[[dict[str, object]], None]) -> Callable[[Path], None]:
    """An edit by somebody who knows the format and makes the checksum fit."""

    def apply(folder: Path) -> None:
        _edit(change)(folder)
        text = (folder / "manifest.json").read_text()
        manifest = bundle_module.Manifest.model_validate_json(text)
        _edit(lambda content: content.update(checksum=manifest.content_checksum()))(folder)

    return apply


def _link(folder: Path) -> None:
    target = folder / "arrays" / "weights.npy"
    shutil.move(target, folder.parent / "elsewhere.npy")
    target.symlink_to(folder.parent / "elsewhere.npy")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "manifest not JSON": (lambda f: (f / "manifest.json").write_text("{"), "not JSON"),
    "manifest not UTF-8": (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe\xff"), "cannot be read"),
    "manifest a list": (lambda f: (f / "manifest.json").write_text("[]"), "schema version None"),
    "manifest lacks a field": (_edit(lambda c: c.pop("kind")), "not a valid manifest"),
    "manifest has an unknown field": (_edit(lambda c: c.update(code="import os")), "not a valid manifest"),
    "later schema": (_edit(lambda c: c.update(schema_version=2)), "schema version 2, this code reads 1"),
    "unknown kind": (_edit(lambda c: c.update(kind="os.system")), "unknown recommender kind 'os.system'"),
    "edited parameters": (_edit(lambda c: c["parameters"].clear()), "does not match its checksum"),  # type: ignore[attr-defined]
    "edited metrics": (_edit(lambda c: c["info"]["metrics"].update(a=1.0)), "does not match its checksum"),  # type: ignore[index]
    "parent folder": (_rename_first_file("../secret.npy"), r"'\.\./secret\.npy'"),
    "hidden parent folder": (_rename_first_file("arrays/../../secret.npy"), "no bundle may hold"),
    "absolute path": (_rename_first_file("/etc/passwd"), "no bundle may hold"),
    "Windows path": (_rename_first_file("arrays\\weights.npy"), "no bundle may hold"),
    "pickle": (_rename_first_file("arrays/weights.pkl"), "no bundle may hold"),
    "missing file": (lambda f: (f / "popularity.npy").unlink(), "popularity.npy is missing"),
    "extra file": (lambda f: (f / "arrays" / "extra.npy").write_bytes(b"x"), "arrays/extra.npy is not in the manifest"),
    "link": (_link, "weights.npy is a link"),
    "truncated": (lambda f: (f / "popularity.npy").write_bytes(b"\x93NUMPY"), "popularity.npy has 6 bytes"),
    "parameter missing, checksum fitted": (_rehash(lambda c: c["parameters"].clear()), "lacks 'weighting'"),  # type: ignore[attr-defined]
    "products miscounted, checksum fitted": (_rehash(lambda c: c.update(products=4)), "must hold 4 products"),
    "wrong kind, checksum fitted": (_rehash(lambda c: c.update(kind="factors")), "does not make a factors"),
}


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_by_name(folder: Path, name: str, verify: bool) -> None:
    damage, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(BundleError, match=message) as refusal:
        read_bundle(folder, verify=verify)
    assert str(folder) in str(refusal.value)


def test_changed_bytes_are_refused_when_verifying(folder: Path) -> None:
    path = folder / "arrays" / "weights.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"weights\.npy does not have the SHA-256"):
        read_bundle(folder)
    assert read_bundle(folder, verify=False).recommender.arrays()["weights"].shape == (3, 3)


class RunsWhenOpened:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("verify", [True, False])
def test_pickled_arrays_are_never_opened(folder: Path, tmp_path: Path, verify: bool) -> None:
    path, made = folder / "popularity.npy", tmp_path / "made"
    # The attack itself: an array of objects is stored as a pickle, and NumPy writes one only when told to.
    np.save(path, np.array([RunsWhenOpened(made)], dtype=object), allow_pickle=True)
    record = sealed_folder.file_record(folder, path.name)

    def fit(content: dict[str, object]) -> None:
        listed = next(one for one in content["files"] if one["name"] == path.name)  # type: ignore[attr-defined]
        listed.update(size=record.size, sha256=record.sha256)

    _rehash(fit)(folder)
    with pytest.raises(BundleError, match=r"popularity.npy is not a plain \.npy array"):
        read_bundle(folder, verify=verify)
    assert not made.exists()
    np.load(path, allow_pickle=True)
    assert made.exists(), "the pickle would have run"


class Odd(PopularityRecommender):
    """A recommender that wants to store what a bundle does not hold."""

    def __init__(self, arrays: dict[str, object], parameters: dict[str, object]) -> None:
        super().__init__(PRODUCTS, np.ones(3, np.float32))
        self.odd_arrays, self.odd_parameters = arrays, parameters

    def arrays(self) -> dict[str, object]:  # type: ignore[override]
        return self.odd_arrays

    def parameters(self) -> dict[str, object]:
        return self.odd_parameters


@pytest.mark.parametrize(
    ("arrays", "parameters", "message"),
    [
        ({"a": np.array([object()])}, {}, "holds Python objects"),
        ({"../a": np.ones(1)}, {}, "letters, digits and underscores"),
        ({}, {"x": object()}, "cannot be stored as JSON"),
        ({}, {"x": float("nan")}, "cannot be stored as JSON"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(
    tmp_path: Path, arrays: dict[str, object], parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        write_bundle(Odd(arrays, parameters), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_metrics_must_be_numbers() -> None:
    with pytest.raises(ValueError, match="finite number"):
        BundleInfo(metrics={"ndcg@10": float("nan")})
