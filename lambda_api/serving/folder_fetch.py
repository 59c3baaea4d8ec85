"""Atomic download of a sealed folder (bundle, catalogue) with size limits, from a local path, ``file://`` or ``s3://``.

A folder is copied beside its target and renamed when it is complete and verified, so several processes may fetch the
same one, and a process that dies leaves no incomplete copy. Local folders are copied too: overwriting a file in place
would change, or crash, a process that has it mapped into memory.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from lambda_api.atomic_files import shared_folder
from lambda_api.errors import RecsysError

if TYPE_CHECKING:
    from lambda_api.recommender.sealed_folder import FolderManifest

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20
MAX_FOLDER_BYTES = 16 << 30
ABANDONED_S = 3600
"""An incomplete copy older than this belongs to a dead process."""

_CHUNK = 1 << 20


class FolderUnavailable(RecsysError):
    """A folder cannot be used. ``cause``: ``refused`` (verification failed), ``missing`` or ``error``."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True)
class FolderKind:
    """How one kind of folder is read.

    Attributes:
        noun: the kind in messages.
        manifest: reads and checks the manifest of a folder that may hold nothing else.
        read: reads and verifies the whole folder; takes the ``checksum`` by name.
        error: raised by both for a folder that is refused.
    """

    noun: str
    manifest: Callable[[Path], "FolderManifest"]
    read: Callable[..., Any]
    error: type[Exception]


def relocate(address: str, root: str) -> str:
    """Where the folder at ``address`` is now: a local one lies under ``root`` by its last name, a URI stays as it is.

    Records hold the address at the time of writing; with this a home can be moved or copied. A ``root`` that is empty
    or a URI changes nothing.
    """
    return address if "://" in address or "://" in root or not root else f"{root.rstrip('/')}/{Path(address).name}"


def open_cached(kind: FolderKind, uri: str, checksum: str, cache: Path, keep: int = 4) -> Any:
    """Read the folder at ``uri`` from its copy under ``cache``, fetching it first if necessary.

    A damaged copy is fetched again, once. Before fetching, all but the ``keep`` newest copies are removed; processes
    that have one mapped keep its files.

    Returns:
        What `FolderKind.read` returns.

    Raises:
        FolderUnavailable: it cannot be fetched, or does not have this ``checksum``.
    """
    if not checksum.isalnum():
        raise FolderUnavailable("refused", f"{checksum!r} is not a checksum")
    target = cache / checksum
    if target.is_dir():
        try:
            value = kind.read(target, checksum=checksum)
        except (kind.error, OSError):
            shutil.rmtree(target, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # marks the copy as used, for `prune`
                os.utime(target)
            return value
    prune(cache, keep - 1)
    return fetch(kind, uri, target, checksum)


def fetch(kind: FolderKind, uri: str, target: Path, checksum: str) -> Any:
    """Copy the folder at ``uri`` to ``target``, and return what `FolderKind.read` makes of the copy.

    It is read before it is renamed (mapped files stay mapped), so every byte is hashed once. A folder that another
    process has put there in the meantime stays.

    Raises:
        FolderUnavailable: see `open_cached`; ``target`` is untouched.
    """
    try:
        read = _reader(uri)
        with shared_folder(target, Path.is_dir) as copy:
            _copy(read(MANIFEST), copy / MANIFEST, MAX_MANIFEST_BYTES, exact=False)
            files = kind.manifest(copy).files
            if sum(file.size for file in files) > MAX_FOLDER_BYTES:
                raise FolderUnavailable("refused", f"{uri} claims more than {MAX_FOLDER_BYTES} bytes")
            for file in files:
                _copy(read(file.name), copy / file.name, file.size, exact=True)
            value = kind.read(copy, checksum=checksum)
        return value
    except kind.error as error:
        raise FolderUnavailable("refused", str(error)) from error
    except FileNotFoundError as error:
        raise FolderUnavailable("missing", f"{kind.noun} {uri}: {error}") from error
    except OSError as error:
        raise FolderUnavailable("error", f"{kind.noun} {uri}: {error}") from error


def prune(cache: Path, keep: int) -> None:
    """Remove all but the ``keep`` most recently used copies, and incomplete ones of dead processes."""
    now = time.time()
    copies: list[tuple[float, Path]] = []
    for path in cache.iterdir() if cache.is_dir() else ():
        try:
            used_at = path.stat().st_mtime
        except OSError:
            continue  # removed by another process
        if not path.name.startswith("."):
            copies.append((used_at, path))
        elif now - used_at > ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)
    for _, path in sorted(copies, reverse=True)[max(0, keep) :]:
        shutil.rmtree(path, ignore_errors=True)


def _reader(uri: str) -> Callable[[str], Iterator[bytes]]:
    """Reads the content of one file below ``uri`` by relative name, in pieces.

    Raises (the returned function):
        OSError: the file cannot be read; ``FileNotFoundError`` where there is none.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return partial(_s3_chunks, _s3_client(), parts.netloc, parts.path.strip("/"))
    if parts.scheme == "file":
        return partial(_local_chunks, Path(unquote(parts.path)))
    if "://" in uri:
        raise FolderUnavailable("refused", f"{uri}: only paths, file:// and s3:// are supported")
    return partial(_local_chunks, Path(uri))


def _local_chunks(root: Path, name: str) -> Iterator[bytes]:
    with (root / name).open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _s3_chunks(client: Any, bucket: str, prefix: str, name: str) -> Iterator[bytes]:
    from botocore.exceptions import BotoCoreError, ClientError

    key = f"{prefix}/{name}" if prefix else name
    try:
        yield from client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(_CHUNK)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "NoSuchBucket", "404"):
            raise FileNotFoundError(f"s3://{bucket}/{key} does not exist") from error
        raise OSError(str(error)) from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error


def _s3_client() -> Any:
    # boto3 takes a tenth of a second to import; a laptop never needs it.
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 3}))


def _copy(chunks: Iterator[bytes], target: Path, limit: int, *, exact: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as file:
        for chunk in chunks:
            written += len(chunk)
            if written > limit:
                break
            file.write(chunk)
    if written > limit or (exact and written != limit):
        raise FolderUnavailable("refused", f"{target.name} has not the allowed {limit} bytes")
