"""Zips whose bytes depend on nothing but their files.

Put here order, times, permissions and compression. Keep which files in ``contents``.

What a zip would otherwise record of its making (modification times, order of a folder, umask, system) is fixed. The
compressed bytes still depend on the zlib that wrote them; the content checksum does not, so two machines whose hashes
differ can see whether their packages do.
"""

import base64
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can say."""

MODE = 0o100644
"""Of every file. Lambda needs them readable by all; a library is mapped, not executed."""

UNIX = 3
LEVEL = 6


def write_zip(files: Mapping[str, bytes], target: Path) -> None:
    """Write ``files`` to ``target``, which is replaced at the end or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    writing = target.with_name(target.name + ".writing")
    try:
        with zipfile.ZipFile(writing, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
            for name in sorted(files):
                info = zipfile.ZipInfo(name, EPOCH)
                info.create_system = UNIX
                info.external_attr = MODE << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, files[name], compresslevel=LEVEL)
        writing.replace(target)
    finally:
        writing.unlink(missing_ok=True)


def content_checksum(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, whatever compressed them."""
    listed = [[name, hashlib.sha256(files[name]).hexdigest()] for name in sorted(files)]
    return hashlib.sha256(json.dumps(listed, separators=(",", ":")).encode()).hexdigest()


def file_checksum(path: Path) -> bytes:
    """SHA-256 of the bytes of ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def as_lambda_says(checksum: bytes) -> str:
    """As Lambda and Terraform write it (``CodeSha256``, ``source_code_hash``): base64."""
    return base64.b64encode(checksum).decode()
