"""Bundles kept and fetched, on a local folder and on S3 (a simulated server behind the real S3 client)."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from lambda_api.recommender.bundle import BundleError, read_bundle, read_manifest
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry import folder_store
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion, Status, candidate_from_manifest
from recsys_assets.registry.versions import FIRST_VERSION
from tests.moto_server import moto_server
from tests.registry.samples import START, Ticking, bundle, window
from tests.state.tables import Clock, ModelTable

ARRAY = "popularity.npy"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with moto_server():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        yield client


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BundleStore:
    if request.param == "local":
        return BundleStore(str(tmp_path / "models"))
    request.getfixturevalue("s3")
    return BundleStore(f"s3://models/{tmp_path.name}/bundles/")


@pytest.fixture
def remote(s3: Any, tmp_path: Path) -> BundleStore:
    return BundleStore(f"s3://models/{tmp_path.name}")


def registered(store: BundleStore, folder: Path) -> ModelVersion:
    manifest = read_manifest(folder)
    candidate = candidate_from_manifest(manifest, store.uri(manifest.checksum), "run")
    lineage = {name: getattr(candidate, name) for name in candidate.__dataclass_fields__}
    return ModelVersion(**lineage, version=FIRST_VERSION, created_at=START, status=Status.CANDIDATE)


def test_what_is_fetched_is_what_was_put(store: BundleStore, tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "trained")
    uri = store.put(tmp_path / "trained")
    assert uri == store.uri(manifest.checksum)
    assert "//" not in uri.removeprefix("s3://")
    fetched = store.fetch(registered(store, tmp_path / "trained"), tmp_path / "cache")
    loaded, original = read_bundle(fetched), read_bundle(tmp_path / "trained")
    assert loaded.manifest == original.manifest
    assert loaded.recommender.popularity.tobytes() == original.recommender.popularity.tobytes()


def test_fetching_twice_uses_the_verified_copy(remote: BundleStore, s3: Any, tmp_path: Path) -> None:
    bundle(tmp_path / "trained")
    remote.put(tmp_path / "trained")
    version = registered(remote, tmp_path / "trained")
    first = remote.fetch(version, tmp_path / "cache")
    empty_bucket(s3, tmp_path.name)
    assert remote.fetch(version, tmp_path / "cache") == first
    (first / ARRAY).write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        remote.fetch(version, tmp_path / "cache")
    remote.put(tmp_path / "trained")
    assert remote.fetch(version, tmp_path / "cache") == first
    read_bundle(first)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [version.bundle_checksum]


def empty_bucket(s3: Any, prefix: str) -> None:
    for item in s3.list_objects_v2(Bucket="models", Prefix=prefix).get("Contents", []):
        s3.delete_object(Bucket="models", Key=item["Key"])


def test_putting_twice_leaves_the_first_copy_and_its_label(store: BundleStore, tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "trained")
    store.put(tmp_path / "trained")
    store.label(manifest.checksum, "shop", "v1.2.3")
    store.put(tmp_path / "trained")
    fetched = store.fetch(registered(store, tmp_path / "trained"), tmp_path / "cache")
    info = read_bundle(fetched, checksum=manifest.checksum).manifest.info
    assert (info.name, info.version) == ("shop", "v1.2.3")


def test_another_bundle_gets_another_place(store: BundleStore, tmp_path: Path) -> None:
    first = bundle(tmp_path / "a", seed=1)
    second = bundle(tmp_path / "b", seed=2)
    assert store.put(tmp_path / "a") != store.put(tmp_path / "b")
    for folder, manifest in (("a", first), ("b", second)):
        fetched = store.fetch(registered(store, tmp_path / folder), tmp_path / "cache")
        assert read_bundle(fetched).manifest.checksum == manifest.checksum


def damage(store: BundleStore, s3_client: Any, checksum: str, name: str, content: bytes | None) -> None:
    place = f"{store.uri(checksum)}/{name}"
    if place.startswith("s3://"):
        bucket, _, key = place.removeprefix("s3://").partition("/")
        if content is None:
            s3_client.delete_object(Bucket=bucket, Key=key)
        else:
            s3_client.put_object(Bucket=bucket, Key=key, Body=content)
    elif content is None:
        Path(place).unlink()
    else:
        Path(place).write_bytes(content)


@pytest.mark.parametrize("name", [ARRAY, "manifest.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_damaged_copy_is_refused_and_putting_it_again_repairs_it(
    store: BundleStore, s3: Any, tmp_path: Path, name: str, how: str
) -> None:
    manifest = bundle(tmp_path / "trained")
    store.put(tmp_path / "trained")
    version = registered(store, tmp_path / "trained")
    original = (tmp_path / "trained" / name).read_bytes()
    flipped = original[:-20] + bytes([original[-20] ^ 1]) + original[-19:]
    damage(store, s3, manifest.checksum, name, {"flipped": flipped, "cut": original[:-20], "gone": None}[how])
    with pytest.raises(BundleError):
        store.fetch(version, tmp_path / "cache")
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())
    store.put(tmp_path / "trained")
    read_bundle(store.fetch(version, tmp_path / "cache"), checksum=manifest.checksum)


def test_a_bundle_that_is_not_the_registered_one_is_refused(store: BundleStore, tmp_path: Path) -> None:
    bundle(tmp_path / "a", seed=1)
    bundle(tmp_path / "b", seed=2)
    store.put(tmp_path / "a")
    store.put(tmp_path / "b")
    wrong = registered(store, tmp_path / "a")
    object.__setattr__(wrong, "bundle_uri", registered(store, tmp_path / "b").bundle_uri)
    with pytest.raises(BundleError, match="expected"):
        store.fetch(wrong, tmp_path / "cache")


def test_half_a_bundle_is_not_put(store: BundleStore, tmp_path: Path) -> None:
    bundle(tmp_path / "trained")
    (tmp_path / "trained" / ARRAY).unlink()
    with pytest.raises(BundleError, match=r"popularity\.npy is missing"):
        store.put(tmp_path / "trained")
    with pytest.raises(BundleError):
        store.label("0" * 64, "shop", "v1.0.0")


def test_a_copy_that_arrives_changed_is_reported_and_has_no_manifest(
    remote: BundleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = bundle(tmp_path / "trained")
    whole = shutil.copyfileobj

    def cut(source: Any, target: Any, *_: Any) -> None:
        target.write(source.read()[:-1])

    monkeypatch.setattr(folder_store.shutil, "copyfileobj", cut)
    with pytest.raises(BundleError, match=r"/\S+\.npy is not what was uploaded"):
        remote.put(tmp_path / "trained")
    monkeypatch.setattr(folder_store.shutil, "copyfileobj", whole)
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        remote.fetch(registered(remote, tmp_path / "trained"), tmp_path / "cache")
    remote.put(tmp_path / "trained")
    assert remote.fetch(registered(remote, tmp_path / "trained"), tmp_path / "cache").name == manifest.checksum


def _put_and_die(root: str, folder: Path) -> None:
    def die_half_way(source: Path, target: Path, **_: Any) -> None:
        shutil.copyfile(source / ARRAY, target / ARRAY)
        os.kill(os.getpid(), signal.SIGKILL)

    folder_store.shutil.copytree = die_half_way  # type: ignore[assignment]
    BundleStore(root).put(folder)


def test_a_kill_while_copying_leaves_no_bundle_and_hinders_nobody(tmp_path: Path) -> None:
    bundle(tmp_path / "trained")
    store = BundleStore(str(tmp_path / "models"))
    process = multiprocessing.get_context("fork").Process(target=_put_and_die, args=(store.root, tmp_path / "trained"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in Path(store.root).rglob("*") if path.is_file()] == [ARRAY], "killed within the copy"
    version = registered(store, tmp_path / "trained")
    with pytest.raises(BundleError):
        store.fetch(version, tmp_path / "cache")
    store.put(tmp_path / "trained")
    read_bundle(store.fetch(version, tmp_path / "cache"))


def _put(root: str, folder: Path, start: Any) -> None:
    start.wait(30)
    BundleStore(root).put(folder)


def test_processes_that_put_one_bundle_at_once(tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "trained")
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    arguments = (str(tmp_path / "models"), tmp_path / "trained", start)
    processes = [context.Process(target=_put, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert [path.name for path in (tmp_path / "models").iterdir()] == [manifest.checksum]


def test_registering_a_bundle_twice_gives_one_labelled_version(store: BundleStore, tmp_path: Path) -> None:
    registry = ModelRegistry(ModelTable(Clock()), clock=Ticking())
    manifest = bundle(tmp_path / "trained")
    version = register_bundle(registry, store, tmp_path / "trained", run_id="run-1")
    assert register_bundle(registry, store, tmp_path / "trained", run_id="run-2") == version
    assert (version.model, str(version.version), version.run_id) == ("popularity", "v1.0.0", "run-1")
    assert (version.bundle_checksum, version.bundle_schema) == (manifest.checksum, manifest.schema_version)
    assert (version.data_window, version.git_revision) == (window(), "0123abc")
    assert (version.parameters, version.metrics) == ({"half_life_days": 7.0}, {"ndcg@10": 0.25})
    fetched = read_bundle(store.fetch(version, tmp_path / "cache")).manifest
    assert (fetched.info.name, fetched.info.version) == ("popularity", "v1.0.0")
    assert fetched.checksum == manifest.checksum
    bundle(tmp_path / "next", seed=5, data_window=window(5))
    newer = register_bundle(registry, store, tmp_path / "next", run_id="run-3", metrics={"ndcg@10": 0.5})
    assert (str(newer.version), newer.metrics) == ("v1.0.1", {"ndcg@10": 0.5})


@pytest.mark.parametrize("missing", ["trainer", "data_window", "git_revision"])
def test_a_bundle_without_lineage_is_not_registered(tmp_path: Path, missing: str) -> None:
    registry = ModelRegistry(ModelTable(Clock()), clock=Ticking())
    bundle(tmp_path / "trained", **{missing: None})
    with pytest.raises(ValueError, match="lacks lineage"):
        register_bundle(registry, BundleStore(str(tmp_path / "models")), tmp_path / "trained", run_id="run")
    assert registry.list_versions() == []
    assert not (tmp_path / "models").exists()
