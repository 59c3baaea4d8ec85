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

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from lambda_api.errors import RecsysError
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.sealed_folder import (
    MANIFEST,
    FileRecord,
    SealedFolder,
    content_checksum,
    write_manifest,
)

SCHEMA_VERSION = 1
"""Version of the layout above; a reader refuses every other."""

KINDS: dict[str, tuple[str, str]] = {
    "popularity": ("lambda_api.recommender.popularity", "PopularityRecommender"),
    "item_to_item": ("lambda_api.recommender.item_to_item", "ItemToItemRecommender"),
    "factors": ("lambda_api.recommender.factors", "FactorRecommender"),
    "ncf": ("lambda_api.recommender.ncf", "NcfRecommender"),
    "two_tower": ("lambda_api.recommender.two_tower", "TwoTowerRecommender"),
    "two_stage": ("lambda_api.recommender.two_stage.recommender", "TwoStageRecommender"),
}
"""Where each kind of recommender lives; imported when a bundle of that kind is read."""

_IDS, _ORDER, _POPULARITY = "products.ids.npy", "products.order.npy", "popularity.npy"
_FILE_NAME = re.compile(r"(?:arrays/[A-Za-z0-9_]+\.npy|graphs/[A-Za-z0-9_]+\.onnx|[a-z]+(?:\.[a-z]+)?\.npy)")
_PART_NAME = re.compile(r"[A-Za-z0-9_]+")


class BundleError(RecsysError):
    """A folder is no bundle, or not the bundle it was; the message names the file, the rule and the remedy."""


_FOLDER = SealedFolder("bundle", BundleError, _FILE_NAME)


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
    return content_checksum(manifest.model_dump(mode="json", exclude={"checksum": True, "info": {"name", "version"}}))


def write_bundle(recommender: Recommender, folder: Path, info: BundleInfo | None = None) -> Manifest:
    """Write ``recommender`` to ``folder`` and return its manifest.

    Atomic: see `SealedFolder.replace`.

    Raises:
        BundleError: ``folder`` holds something that is not a bundle, or the recommender has an array or parameter
            that cannot be stored.
    """
    if recommender.kind not in KINDS:
        raise BundleError(f"cannot store a recommender of kind {recommender.kind!r}; known: {', '.join(KINDS)}")
    manifests: list[Manifest] = []

    def fill(partial: Path) -> None:
        _write_files(recommender, partial)
        manifests.append(_seal(recommender, partial, info or BundleInfo()))

    _FOLDER.replace(folder, fill)
    return manifests[0]


def _seal(recommender: Recommender, folder: Path, info: BundleInfo) -> Manifest:
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        kind=recommender.kind,
        parameters=_plain(recommender.parameters()),
        products=len(recommender.products),
        info=info,
        files=_FOLDER.records(folder),
    )
    manifest = manifest.model_copy(update={"checksum": bundle_checksum(manifest)})
    write_manifest(manifest, folder)
    return manifest


def label_bundle(folder: Path, name: str, version: str) -> Manifest:
    """Write the registered ``name`` and ``version`` into the manifest of ``folder``; files and checksum stay.

    Raises:
        BundleError: ``folder`` has no readable manifest.
    """
    manifest = read_manifest(folder)
    info = manifest.info.model_copy(update={"name": name, "version": version})
    labelled = manifest.model_copy(update={"info": info})
    write_manifest(labelled, Path(folder))
    return labelled


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``, checked against its own checksum; no other file is opened.

    Raises:
        BundleError: it is missing, not valid, of another schema version or unknown kind, names a file outside the
            bundle, or does not match its checksum.
    """
    path = Path(folder) / MANIFEST
    text = _FOLDER.read_manifest_text(folder, SCHEMA_VERSION)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{path} is not a valid manifest; write or fetch the bundle again: {error}") from error
    if manifest.kind not in KINDS:
        raise BundleError(f"{path}: unknown recommender kind {manifest.kind!r}; this code knows {', '.join(KINDS)}")
    _FOLDER.require_named_well(folder, manifest.files)
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
    _FOLDER.require_files(folder, manifest.files, verify)
    try:
        return LoadedBundle(_restore(folder, manifest), manifest)
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{folder} does not make a {manifest.kind} recommender: {what}; write it again") from error


def _write_files(recommender: Recommender, folder: Path) -> None:
    _FOLDER.save(folder / _IDS, recommender.products.ids)
    _FOLDER.save(folder / _ORDER, recommender.products.order)
    _FOLDER.save(folder / _POPULARITY, recommender.popularity)
    for name, array in recommender.arrays().items():
        _require_part_name(name)
        _FOLDER.save(folder / "arrays" / f"{name}.npy", array)
    for name, graph in recommender.graphs().items():
        _require_part_name(name)
        (folder / "graphs").mkdir(exist_ok=True)
        (folder / "graphs" / f"{name}.onnx").write_bytes(graph)


def _require_part_name(name: str) -> None:
    if not _PART_NAME.fullmatch(name):
        raise BundleError(f"array or graph name {name!r} must consist of letters, digits and underscores")


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(parameters, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError(f"parameters cannot be stored as JSON ({error}); use plain finite values") from error
    return plain


def _restore(folder: Path, manifest: Manifest) -> Recommender:
    def by_name(prefix: str, suffix: str, load: Callable[[Path], Any]) -> dict[str, Any]:
        names = [record.name for record in manifest.files if record.name.startswith(prefix)]
        return {name.removeprefix(prefix).removesuffix(suffix): load(folder / name) for name in names}

    products = IdMap(ids=_FOLDER.load(folder / _IDS), order=_FOLDER.load(folder / _ORDER))
    if not len(products.ids) == len(products.order) == manifest.products:
        raise BundleError(f"{folder / _IDS} and {_ORDER} must hold {manifest.products} products each; write it again")
    module, name = KINDS[manifest.kind]
    recommender_type: type[Recommender] = getattr(import_module(module), name)
    return recommender_type.restore(
        products,
        _FOLDER.load(folder / _POPULARITY),
        by_name("arrays/", ".npy", _FOLDER.load),
        manifest.parameters,
        by_name("graphs/", ".onnx", Path.read_bytes),
    )
