"""The bundle: a fitted recommender as a folder that says what it is and proves that it is whole.

Put the format of that folder here: its manifest, writing, checking, reading. Keep fetching it from S3
(``lambda_api.handlers``) and what a version means (``recsys_assets.registry``) out.

Layout::

    manifest.json            who, what, when, and the size and SHA-256 of every other file
    products.ids.npy         external product ids, position is the internal index
    products.order.npy       their sorted order, for lookup
    popularity.npy           float32 per product
    arrays/<name>.npy        arrays of the recommender, opened memory-mapped
    graphs/<name>.onnx       serialised ONNX graphs

Nothing in it can run code when opened: no pickles (`numpy.load` with ``allow_pickle=False``), no imports by name (a
kind is looked up in a fixed table).
"""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.ids import IdMap

SCHEMA_VERSION = 1
"""Version of the layout above; a reader refuses every other."""

MANIFEST = "manifest.json"

KINDS: dict[str, tuple[str, str]] = {
    "popularity": ("lambda_api.recommender.popularity", "PopularityRecommender"),
    "item_to_item": ("lambda_api.recommender.item_to_item", "ItemToItemRecommender"),
    "factors": ("lambda_api.recommender.factors", "FactorRecommender"),
    "ncf": ("lambda_api.recommender.ncf", "NcfRecommender"),
    "two_stage": ("lambda_api.recommender.two_stage.recommender", "TwoStageRecommender"),
}
"""Where each kind of recommender lives; imported when a bundle of that kind is read."""

_IDS, _ORDER, _POPULARITY = "products.ids.npy", "products.order.npy", "popularity.npy"
_FILE_NAME = re.compile(r"(?:arrays/[A-Za-z0-9_]+\.npy|graphs/[A-Za-z0-9_]+\.onnx|[a-z]+(?:\.[a-z]+)?\.npy)")
_PART_NAME = re.compile(r"[A-Za-z0-9_]+")


class BundleError(Exception):
    """A folder is no bundle, or not the bundle it was; the message names the file, the rule and the remedy."""


class DataWindow(BaseModel):
    """The interactions a model learned from: first and last moment, UTC, ``end`` exclusive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: AwareDatetime
    end: AwareDatetime


class BundleInfo(BaseModel):
    """What a bundle says about its model besides the recommender itself.

    Attributes:
        name: of the registered model; ``None`` before registration.
        version: ``vMAJOR.MINOR.PATCH``; ``None`` before registration.
        created_at: when the model was fitted, aware.
        trainer: name of the trainer and ``hyper_parameters`` its parameters, so that the fit can be repeated.
        data_window: what it learned from.
        metrics: offline metrics by name.
        git_revision: of the code that fitted it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    version: str | None = None
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    trainer: str | None = None
    hyper_parameters: dict[str, Any] = {}
    data_window: DataWindow | None = None
    metrics: dict[str, FiniteFloat] = {}
    git_revision: str | None = None


class FileRecord(BaseModel):
    """One file of a bundle: relative name with forward slashes, size in bytes, SHA-256 in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """``manifest.json``. ``checksum`` is `bundle_checksum` of the rest, so an edited manifest gives itself away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int
    kind: str
    parameters: dict[str, Any]
    products: int = Field(ge=0)
    info: BundleInfo
    files: tuple[FileRecord, ...]
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """A recommender ready to answer, and the manifest it came with."""

    recommender: Recommender
    manifest: Manifest


def bundle_checksum(manifest: Manifest) -> str:
    """One SHA-256 (hexadecimal) that stands for the whole bundle: every file, every parameter, every claim.

    ``info.name`` and ``info.version`` are left out, so that registering a bundle under a version (`label_bundle`) keeps
    its checksum.
    """
    content = manifest.model_dump(mode="json", exclude={"checksum": True, "info": {"name", "version"}})
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_bundle(recommender: Recommender, folder: Path, info: BundleInfo | None = None) -> Manifest:
    """Write ``recommender`` to ``folder`` and return its manifest.

    The bundle is completed beside ``folder`` and renamed into place, so ``folder`` never holds half a bundle. Writing
    again replaces an earlier bundle (or an empty folder) there; a process that has it open keeps the old files. A
    process killed between the two renames of a replacement leaves no bundle at ``folder``, and the old one whole in a
    hidden folder beside it: write again.

    Raises:
        BundleError: ``folder`` holds something that is not a bundle, or the recommender has an array or parameter
            that cannot be stored.
    """
    folder = Path(folder)
    _require_replaceable(folder)
    if recommender.kind not in KINDS:
        raise BundleError(f"cannot store a recommender of kind {recommender.kind!r}; known: {', '.join(KINDS)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.partial"
    try:
        partial.mkdir()
        _write_files(recommender, partial)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            kind=recommender.kind,
            parameters=_plain(recommender.parameters()),
            products=len(recommender.products),
            info=info or BundleInfo(),
            files=tuple(_record(partial, name) for name in sorted(_files_under(partial))),
        )
        manifest = manifest.model_copy(update={"checksum": bundle_checksum(manifest)})
        _write_manifest(manifest, partial)
        _move_into_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def label_bundle(folder: Path, name: str, version: str) -> Manifest:
    """Write the registered ``name`` and ``version`` into the manifest of ``folder``; files and checksum stay.

    Raises:
        BundleError: ``folder`` has no readable manifest.
    """
    manifest = read_manifest(folder)
    info = manifest.info.model_copy(update={"name": name, "version": version})
    labelled = manifest.model_copy(update={"info": info})
    _write_manifest(labelled, Path(folder))
    return labelled


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``, checked against its own checksum; no other file is opened.

    Raises:
        BundleError: it is missing, not valid, of another schema version or unknown kind, names a file outside the
            bundle, or does not match its checksum.
    """
    path = Path(folder) / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BundleError(f"{path} is missing: {folder} is no bundle; write or fetch the bundle again") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} cannot be read ({error}); write or fetch the bundle again") from error
    _require_schema_version(path, text)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{path} is not a valid manifest; write or fetch the bundle again: {error}") from error
    if manifest.kind not in KINDS:
        raise BundleError(f"{path}: unknown recommender kind {manifest.kind!r}; this code knows {', '.join(KINDS)}")
    for record in manifest.files:
        if not _FILE_NAME.fullmatch(record.name):
            raise BundleError(
                f"{path} names the file {record.name!r}, which no bundle may hold; do not use this bundle"
            )
    if manifest.checksum != bundle_checksum(manifest):
        raise BundleError(f"{path} does not match its checksum: it was edited or damaged; fetch the bundle again")
    return manifest


def read_bundle(folder: Path, verify: bool = True, checksum: str | None = None) -> LoadedBundle:
    """Read the recommender in ``folder``; arrays are memory-mapped and read-only.

    Args:
        folder: a local folder written by `write_bundle`.
        verify: read every file once and compare its SHA-256; without it only names and sizes are compared.
        checksum: the `bundle_checksum` the caller expects, from the registry; ``None`` takes the bundle's word.

    Raises:
        BundleError: the manifest is refused (`read_manifest`), ``checksum`` is another, a file is missing, extra,
            a link, of another size or (``verify``) of other content, or the files do not make a recommender.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if checksum is not None and checksum != manifest.checksum:
        raise BundleError(f"{folder} is bundle {manifest.checksum}, expected {checksum}; fetch the expected one")
    _require_files(folder, manifest, verify)
    try:
        return LoadedBundle(_restore(folder, manifest), manifest)
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{folder} does not make a {manifest.kind} recommender: {what}; write it again") from error


def _require_replaceable(folder: Path) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise BundleError(f"{folder} is not a folder; choose another place for the bundle")
    if any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise BundleError(
            f"{folder} holds files but no {MANIFEST}, so it is no bundle to replace; choose another place"
        )


def _write_files(recommender: Recommender, folder: Path) -> None:
    _save(folder / _IDS, recommender.products.ids)
    _save(folder / _ORDER, recommender.products.order)
    _save(folder / _POPULARITY, recommender.popularity)
    for name, array in recommender.arrays().items():
        _require_part_name(name)
        _save(folder / "arrays" / f"{name}.npy", array)
    for name, graph in recommender.graphs().items():
        _require_part_name(name)
        (folder / "graphs").mkdir(exist_ok=True)
        (folder / "graphs" / f"{name}.onnx").write_bytes(graph)


def _require_part_name(name: str) -> None:
    if not _PART_NAME.fullmatch(name):
        raise BundleError(f"array or graph name {name!r} must consist of letters, digits and underscores")


def _save(path: Path, array: NDArray[Any]) -> None:
    if array.dtype.hasobject:
        raise BundleError(f"{path.name} holds Python objects, which a bundle does not store; use a plain dtype")
    path.parent.mkdir(exist_ok=True)
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(parameters, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError(f"parameters cannot be stored as JSON ({error}); use plain finite values") from error
    return plain


def _write_manifest(manifest: Manifest, folder: Path) -> None:
    partial = folder / f".{MANIFEST}.{uuid.uuid4().hex}"
    partial.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)


def _move_into_place(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
        return
    replaced = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.replaced"
    folder.rename(replaced)
    try:
        partial.rename(folder)
    except OSError:
        replaced.rename(folder)
        raise
    shutil.rmtree(replaced)


def _files_under(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _record(folder: Path, name: str) -> FileRecord:
    path = folder / name
    return FileRecord(name=name, size=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_schema_version(path: Path, text: str) -> None:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BundleError(f"{path} is not JSON ({error}); write or fetch the bundle again") from error
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found != SCHEMA_VERSION:
        raise BundleError(
            f"{path} has bundle schema version {found!r}, this code reads {SCHEMA_VERSION}; "
            "train again with this code, or serve it with the code that wrote it"
        )


def _require_files(folder: Path, manifest: Manifest, verify: bool) -> None:
    expected = {record.name for record in manifest.files}
    present = set(_files_under(folder)) - {MANIFEST}
    if missing := sorted(expected - present):
        raise BundleError(f"{folder}: file {missing[0]} is missing; write or fetch the bundle again")
    if extra := sorted(present - expected):
        raise BundleError(f"{folder}: file {extra[0]} is not in the manifest; remove it or fetch the bundle again")
    for record in manifest.files:
        path = folder / record.name
        if path.is_symlink():
            raise BundleError(f"{path} is a link; a bundle holds plain files only, fetch it again")
        if path.stat().st_size != record.size:
            raise BundleError(
                f"{path} has {path.stat().st_size} bytes, the manifest says {record.size}; fetch it again"
            )
        if verify and _sha256(path) != record.sha256:
            raise BundleError(f"{path} does not have the SHA-256 in the manifest: it is damaged; fetch it again")


def _restore(folder: Path, manifest: Manifest) -> Recommender:
    def by_name(prefix: str, suffix: str, load: Callable[[Path], Any]) -> dict[str, Any]:
        names = [record.name for record in manifest.files if record.name.startswith(prefix)]
        return {name.removeprefix(prefix).removesuffix(suffix): load(folder / name) for name in names}

    products = IdMap(ids=_load(folder / _IDS), order=_load(folder / _ORDER))
    if not len(products.ids) == len(products.order) == manifest.products:
        raise BundleError(f"{folder / _IDS} and {_ORDER} must hold {manifest.products} products each; write it again")
    module, name = KINDS[manifest.kind]
    recommender_type: type[Recommender] = getattr(import_module(module), name)
    return recommender_type.restore(
        products,
        _load(folder / _POPULARITY),
        by_name("arrays/", ".npy", _load),
        manifest.parameters,
        by_name("graphs/", ".onnx", Path.read_bytes),
    )


def _load(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing from the bundle; write or fetch it again") from None
    except (ValueError, EOFError, OSError) as error:
        array = _load_empty(path, error)
    return array


def _load_empty(path: Path, cause: Exception) -> NDArray[Any]:
    """numpy cannot memory-map an array without elements, so such a file is read instead."""
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BundleError(f"{path} is not a plain .npy array ({error}); write or fetch it again") from cause
    return array
