"""The bundle: a fitted recommender stored as a sealed folder.

Layout::

    manifest.json            see `Manifest`
    products.ids.npy         external product ids; the position is the internal index
    products.order.npy       their sorted order, for look-up
    popularity.npy           float32 per product
    arrays/<name>.npy        arrays of the recommender, opened memory-mapped
    graphs/<name>.onnx       serialised ONNX graphs

Opening one runs no code from it: there are no pickles, and a kind of recommender is looked up in a fixed table.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from lambda_api.errors import RecsysError
from lambda_api.recommender.contract import Recommender, StoredModel
from lambda_api.recommender.sealed_folder import FolderManifest, SealedFolder, id_arrays

SCHEMA_VERSION = 1
"""Version of the layout above; a reader refuses every other."""

KINDS: dict[str, tuple[str, str]] = {
    "popularity": ("lambda_api.recommender.popularity", "PopularityRecommender"),
    "item_to_item": ("lambda_api.recommender.item_to_item", "ItemToItemRecommender"),
    "factors": ("lambda_api.recommender.factors", "FactorRecommender"),
    "ncf": ("lambda_api.recommender.ncf", "NcfRecommender"),
    "two_tower": ("lambda_api.recommender.two_tower", "TwoTowerRecommender"),
    "session_neighbours": ("lambda_api.recommender.session_neighbours", "SessionNeighboursRecommender"),
    "two_stage": ("lambda_api.recommender.two_stage.recommender", "TwoStageRecommender"),
}
"""Module and class of each kind of recommender, imported when a bundle of that kind is read."""

_POPULARITY = "popularity.npy"
_FILE_NAME = re.compile(r"(?:arrays/[A-Za-z0-9_]+\.npy|graphs/[A-Za-z0-9_]+\.onnx|[a-z]+(?:\.[a-z]+)?\.npy)")
_PART_NAME = re.compile(r"[A-Za-z0-9_]+")


class BundleError(RecsysError):
    """A folder is not a valid bundle, or not the expected one; the message names the file and the rule."""


class DataWindow(BaseModel):
    """The interactions a model learned from: first and last moment, UTC, ``end`` exclusive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: AwareDatetime
    end: AwareDatetime


class BundleInfo(BaseModel):
    """Where a model comes from.

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


class Manifest(FolderManifest):
    """``manifest.json``. The checksum leaves out ``info.name`` and ``info.version``, so that registering a bundle
    (`label_bundle`) keeps it."""

    labels: ClassVar[dict[str, Any]] = {"info": {"name", "version"}}

    kind: str
    parameters: dict[str, Any]
    info: BundleInfo

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"unknown recommender kind {kind!r}; this code knows {', '.join(KINDS)}")
        return kind


_FOLDER = SealedFolder("bundle", BundleError, Manifest, SCHEMA_VERSION, _FILE_NAME)


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """A recommender ready to answer, and the manifest it came with."""

    recommender: Recommender
    manifest: Manifest


def write_bundle(recommender: Recommender, folder: Path, info: BundleInfo | None = None) -> Manifest:
    """Write ``recommender`` to ``folder``, atomically, and return its manifest.

    Raises:
        BundleError: ``folder`` holds something that is not a bundle, or the recommender has an array or parameter
            that cannot be stored.
    """
    if recommender.kind not in KINDS:
        raise BundleError(f"cannot store a recommender of kind {recommender.kind!r}; known: {', '.join(KINDS)}")
    arrays = {**id_arrays(recommender.products), _POPULARITY: recommender.popularity}
    arrays |= {f"arrays/{_part(name)}.npy": array for name, array in recommender.arrays().items()}
    graphs = {f"graphs/{_part(name)}.onnx": graph for name, graph in recommender.graphs().items()}
    fields = {
        "kind": recommender.kind,
        "parameters": _json_values(recommender.parameters()),
        "products": len(recommender.products),
        "info": info or BundleInfo(),
    }
    return _FOLDER.write(folder, arrays, graphs, fields)


def label_bundle(folder: Path, name: str, version: str) -> Manifest:
    """Write the registered ``name`` and ``version`` into the manifest of ``folder``; files and checksum stay.

    Raises:
        BundleError: ``folder`` has no readable manifest.
    """
    manifest = read_manifest(folder)
    info = manifest.info.model_copy(update={"name": name, "version": version})
    labelled = manifest.model_copy(update={"info": info})
    labelled.write(folder)
    return labelled


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``, checked against its own checksum; no other file is opened.

    Raises:
        BundleError: it is missing, not valid, of another schema version or unknown kind, names a file outside the
            bundle, or does not match its checksum.
    """
    return _FOLDER.read_manifest(folder)


def read_bundle(folder: Path, verify: bool = True, checksum: str | None = None) -> LoadedBundle:
    """Read the recommender in ``folder``; arrays are memory-mapped and read-only.

    Args:
        folder: a local folder written by `write_bundle`.
        verify: read every file once and compare its SHA-256; without it only names and sizes are compared.
        checksum: the one the caller expects, from the registry; ``None`` accepts any.

    Raises:
        BundleError: the manifest is refused (`read_manifest`), ``checksum`` is another, a file is missing, extra,
            a link, of another size or (``verify``) of other content, or the files do not make a recommender.
    """
    folder = Path(folder)
    manifest = _FOLDER.verify(folder, verify, checksum)
    try:
        return LoadedBundle(_restore(folder, manifest), manifest)
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{folder} does not make a {manifest.kind} recommender: {what}; write it again") from error


def _part(name: str) -> str:
    if not _PART_NAME.fullmatch(name):
        raise BundleError(f"array or graph name {name!r} must consist of letters, digits and underscores")
    return name


def _json_values(parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(json.dumps(parameters, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError(f"parameters cannot be stored as JSON ({error}); use plain finite values") from error
    return values


def _restore(folder: Path, manifest: Manifest) -> Recommender:
    def by_name(prefix: str, suffix: str, load: Callable[[Path], Any]) -> dict[str, Any]:
        names = [record.name for record in manifest.files if record.name.startswith(prefix)]
        return {name.removeprefix(prefix).removesuffix(suffix): load(folder / name) for name in names}

    module, name = KINDS[manifest.kind]
    recommender_type: type[Recommender] = getattr(import_module(module), name)
    return recommender_type.restore(
        StoredModel(
            products=_FOLDER.load_ids(folder, manifest),
            popularity=_FOLDER.load(folder / _POPULARITY),
            arrays=by_name("arrays/", ".npy", _FOLDER.load),
            parameters=manifest.parameters,
            graphs=by_name("graphs/", ".onnx", Path.read_bytes),
        )
    )
