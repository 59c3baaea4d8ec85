"""Atomic download of a sealed folder (bundle, catalogue) with size limits, from a local path, ``file://`` or ``s3://``.

A folder is copied beside its target and renamed when it is complete and verified, so several processes may fetch the
same one, and a process that dies leaves no incomplete copy. Local folders are copied too: overwriting a file in place
would change, or crash, a process that has it mapped into memory.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from lambda_api.errors import RecsysError

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


class FileEntry(Protocol):
    """One file of a manifest."""

    @property
    def name(self) -> str:
        """Relative, with forward slashes; already checked to stay inside the folder."""

    @property
    def size(self) -> int:
        """In bytes."""


@dataclass(frozen=True, slots=True)
class FolderKind:
    """How one kind of folder is read.

    Attributes:
        noun: the kind in messages.
        files: lists the files of the manifest in a folder that holds only the manifest.
        read: reads and verifies the whole folder; arguments: folder and checksum.
        error: raised by both for a folder that is refused.
    """

    noun: str
    files: Callable[[Path], Sequence[FileEntry]]
    read: Callable[[Path, str], Any]
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
            value = kind.read(target, checksum)
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
    partial = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
    try:
        source = _source(uri)
        partial.mkdir(parents=True)
        _copy(source, MANIFEST, partial / MANIFEST, MAX_MANIFEST_BYTES, exact=False)
        files = kind.files(partial)
        if sum(file.size for file in files) > MAX_FOLDER_BYTES:
            raise FolderUnavailable("refused", f"{uri} claims more than {MAX_FOLDER_BYTES} bytes")
        for file in files:
            _copy(source, file.name, partial / file.name, file.size, exact=True)
        value = kind.read(partial, checksum)
        _move(partial, target)
        return value
    except kind.error as error:
        raise FolderUnavailable("refused", str(error)) from error
    except FileNotFoundError as error:
        raise FolderUnavailable("missing", f"{kind.noun} {uri}: {error}") from error
    except OSError as error:
        raise FolderUnavailable("error", f"{kind.noun} {uri}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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


class _Source(Protocol):
    def chunks(self, name: str) -> Iterator[bytes]:
        """Content of one file. Raises ``FileNotFoundError`` or another ``OSError``."""


@dataclass(frozen=True, slots=True)
class _LocalSource:
    root: Path

    def chunks(self, name: str) -> Iterator[bytes]:
        with (self.root / name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@dataclass(frozen=True, slots=True)
class _S3Source:
    client: Any
    bucket: str
    prefix: str

    def chunks(self, name: str) -> Iterator[bytes]:
        from botocore.exceptions import BotoCoreError, ClientError

        key = f"{self.prefix}/{name}" if self.prefix else name
        try:
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
            yield from body.iter_chunks(_CHUNK)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "NoSuchBucket", "404"):
                raise FileNotFoundError(f"s3://{self.bucket}/{key} does not exist") from error
            raise OSError(str(error)) from error
        except BotoCoreError as error:
            raise OSError(str(error)) from error


def _source(uri: str) -> _Source:
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return _S3Source(_s3_client(), parts.netloc, parts.path.strip("/"))
    if parts.scheme == "file":
        return _LocalSource(Path(unquote(parts.path)))
    if "://" in uri:
        raise FolderUnavailable("refused", f"{uri}: only paths, file:// and s3:// are supported")
    return _LocalSource(Path(uri))


def _s3_client() -> Any:
    # boto3 takes a tenth of a second to import; a laptop never needs it.
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 3}))


def _copy(source: _Source, name: str, target: Path, limit: int, *, exact: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as file:
        for chunk in source.chunks(name):
            written += len(chunk)
            if written > limit:
                break
            file.write(chunk)
    if written > limit or (exact and written != limit):
        raise FolderUnavailable("refused", f"{name} has not the allowed {limit} bytes")


def _move(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
