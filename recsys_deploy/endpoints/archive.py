"""The model archive of an endpoint: ``bundle/`` and ``catalogue/`` in one reproducible ``model.tar.gz``.

``lambda_api.handlers.inference_server`` reads it.
"""

import gzip
import hashlib
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from lambda_api.atomic_files import replaced_file
from lambda_api.recommender.bundle import read_bundle
from lambda_api.recommender.catalogue import read_catalogue
from lambda_api.settings import Settings
from recsys_assets.aws_errors import translate_aws_errors
from recsys_assets.sagemaker.job import bucket_and_key
from recsys_deploy.endpoints.manager import EndpointError

ARCHIVE: Final = "model.tar.gz"


def write_archive(bundle: Path, catalogue: Path, target: Path) -> str:
    """Write the archive of two verified folders to ``target`` and return its SHA-256; same content, same bytes.

    Raises:
        BundleError, CatalogueError: one of the folders is not whole.
    """
    read_bundle(bundle)
    read_catalogue(catalogue)
    with (
        replaced_file(target) as partial,
        partial.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, folder in (("bundle", bundle), ("catalogue", catalogue)):
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                member = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
                member.size, member.mode = path.stat().st_size, 0o644
                with path.open("rb") as content:
                    archive.addfile(member, content)
    with target.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def archives_uri(settings: Settings) -> str:
    """The prefix of model archives, in the bucket of the bundles."""
    return f"s3://{bucket_and_key(settings.models_uri)[0]}/archives"


def publish_archive(s3: Any, uri: str, bundle: Path, catalogue: Path) -> str:
    """Write the archive of two verified folders and upload it below ``uri``, under its checksum; returns its address.

    Raises:
        BundleError, CatalogueError: one of the folders is not whole.
        EndpointError: S3 refused it.
    """
    bucket, prefix = bucket_and_key(uri)
    with tempfile.TemporaryDirectory(prefix="recsys-archive-") as folder:
        archive = Path(folder) / ARCHIVE
        key = f"{prefix}/{write_archive(bundle, catalogue, archive)}/{ARCHIVE}"
        with translate_aws_errors(f"s3:PutObject below {uri}", EndpointError.of):
            s3.upload_file(str(archive), bucket, key)
    return f"s3://{bucket}/{key}"
