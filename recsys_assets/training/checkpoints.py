"""Checkpoints as ``.npz`` files: plain arrays and JSON, never a pickle."""

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lambda_api.atomic_files import replaced_file
from recsys_assets.models.resumable import Checkpoint

_NAME = re.compile(r"checkpoint-(\d{8})\.npz")
_STATE = "state"
_KEPT = 2


@dataclass(frozen=True)
class NpzCheckpoints:
    """The newest two checkpoints of one training in ``folder``, ``checkpoint-<number>.npz``.

    Writes are atomic and durable. The previous checkpoint is kept as well: when the newest file is damaged on its way
    to or from S3, the training resumes one epoch earlier.

    Attributes:
        folder: created on first save.
        on_unreadable: told of every file that could not be read, by path and cause.
    """

    folder: Path
    on_unreadable: Callable[[Path, Exception], None]

    def save(self, checkpoint: Checkpoint) -> None:
        """Write ``checkpoint`` as the newest. Raises ``ValueError`` when its state is not finite JSON."""
        state = json.dumps(dict(checkpoint.state), allow_nan=False).encode()
        stored = self._stored()
        target = self.folder / f"checkpoint-{(_number(stored[-1]) if stored else 0) + 1:08d}.npz"
        arrays = {f"array/{name}": array for name, array in checkpoint.arrays.items()}
        with replaced_file(target, durable=True) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **{_STATE: np.frombuffer(state, dtype=np.uint8)}, **arrays)
        for old in [*stored, target][:-_KEPT]:
            old.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read whole, or ``None``."""
        for path in reversed(self._stored()):
            try:
                return _read(path)
            except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
                self.on_unreadable(path, error)
        return None

    def clear(self) -> None:
        """Remove every checkpoint: the training they belong to is complete."""
        for path in self._stored():
            path.unlink(missing_ok=True)

    def _stored(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), key=_number)


def _read(path: Path) -> Checkpoint:
    with np.load(path, allow_pickle=False) as file:
        state = json.loads(file[_STATE].tobytes())
        arrays = {name.removeprefix("array/"): file[name] for name in file.files if name.startswith("array/")}
    return Checkpoint(arrays=arrays, state=state)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None  # `_stored` lets nothing else through
    return int(match[1])
