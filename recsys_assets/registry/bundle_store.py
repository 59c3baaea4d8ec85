"""Stores the bundles of registered models: one folder or ``s3://`` prefix each, named by the bundle's checksum."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambda_api.recommender.bundle import BundleError, Manifest, label_bundle, read_bundle, read_manifest
from lambda_api.serving.folder_fetch import relocate
from recsys_assets.registry import folder_store
from recsys_assets.registry.records import ModelVersion

BUNDLE: Final = folder_store.FolderKind(read_manifest, read_bundle, BundleError, "register the model again")


@dataclass(frozen=True, slots=True)
class BundleStore:
    """Bundles under ``root``, a local path or an ``s3://`` URI (`Settings.models_uri`)."""

    root: str

    def uri(self, checksum: str) -> str:
        """Where the bundle of this checksum is, or will be."""
        return f"{self.root.rstrip('/')}/{checksum}"

    def put(self, folder: Path) -> str:
        """Store a verified copy of the bundle in ``folder`` and return its address.

        Raises:
            BundleError: ``folder`` is not a whole bundle, or the copy differs from it.
        """
        uri = self.uri(read_bundle(folder).manifest.checksum)
        folder_store.put_folder(BUNDLE, folder, uri)
        return uri

    def label(self, checksum: str, name: str, version: str) -> None:
        """Write the registered name and version into a stored bundle's manifest; its checksum stays the same.

        Raises:
            BundleError: there is no such bundle.
        """
        uri = self.uri(checksum)
        if "://" not in uri:
            label_bundle(Path(uri), name, version)
            return
        content = folder_store.read_manifest_bytes(uri)
        if content is None:
            raise BundleError(f"{uri} holds no bundle", remedy=BUNDLE.remedy)
        manifest = Manifest.model_validate_json(content)
        info = manifest.info.model_copy(update={"name": name, "version": version})
        labelled = manifest.model_copy(update={"info": info})
        folder_store.write_manifest(uri, (labelled.model_dump_json(indent=2) + "\n").encode())

    def fetch(self, version: ModelVersion, cache: Path) -> Path:
        """A local folder with the verified bundle of ``version``: the stored one itself, or a copy under ``cache``.

        Raises:
            BundleError: the bundle is missing, damaged or not the one that was registered; nothing is left behind.
        """
        uri = relocate(version.bundle_uri, self.root)
        return folder_store.fetch_folder(BUNDLE, uri, version.bundle_checksum, cache)
