"""Reproducible zips: the bytes depend on the files alone.

A zip records modification times, the order of a folder, permissions and the system that wrote it; all of these are
fixed here. The compressed bytes still depend on the version of zlib. The content checksum does not, so it shows whether
two machines packaged the same files.
"""

import base64
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from lambda_api.atomic_files import replaced_file

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that the zip format can hold."""

MODE = 0o100644
"""Permissions of every file. Lambda needs files readable by everybody; shared libraries need no execute bit."""

UNIX = 3
LEVEL = 6


def write_zip(files: Mapping[str, bytes], target: Path) -> None:
    """Write ``files`` to ``target`` atomically."""
    with replaced_file(target) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = UNIX
            info.external_attr = MODE << 16
            archive.writestr(info, files[name], zipfile.ZIP_DEFLATED, compresslevel=LEVEL)


def content_checksum(files: Mapping[str, bytes]) -> str:
    """SHA-256 of names and contents, independent of compression."""
    listed = [[name, hashlib.sha256(files[name]).hexdigest()] for name in sorted(files)]
    return hashlib.sha256(json.dumps(listed, separators=(",", ":")).encode()).hexdigest()


def file_checksum(path: Path) -> bytes:
    """SHA-256 of the bytes of ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def as_lambda_says(checksum: bytes) -> str:
    """A checksum in base64, as in Lambda's ``CodeSha256`` and Terraform's ``source_code_hash``."""
    return base64.b64encode(checksum).decode()
