"""The ``/opt/ml`` folder contract of a training container, with the root as a parameter.

Source: "How Amazon SageMaker AI Provides Training Information" in the SageMaker developer guide.
"""

import json
import shutil
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambda_api.atomic_files import write_text
from lambda_api.errors import RecsysError

DONE, FAILED, INTERRUPTED = 0, 1, 75
"""Exit codes of a job's program; 75 is ``EX_TEMPFAIL`` of sysexits.h (try again later)."""


class JobError(RecsysError):
    """A training job was set up wrongly; the message names the setting, the rule and the remedy."""


@dataclass(frozen=True)
class SageMakerPaths:
    """Where a training job reads and writes. ``root`` is ``/opt/ml`` in a container, any folder elsewhere."""

    root: Path

    @property
    def hyperparameters(self) -> Path:
        """JSON object of strings."""
        return self.root / "input" / "config" / "hyperparameters.json"

    @property
    def input_data_config(self) -> Path:
        """JSON object: the channels by name."""
        return self.root / "input" / "config" / "inputdataconfig.json"

    @property
    def resource_config(self) -> Path:
        """JSON object: ``current_host`` and ``hosts``."""
        return self.root / "input" / "config" / "resourceconfig.json"

    def channel(self, name: str) -> Path:
        """Folder that holds the files of input channel ``name``."""
        return self.root / "input" / "data" / name

    @property
    def model(self) -> Path:
        """Folder that becomes the model artefact."""
        return self.root / "model"

    @property
    def output_data(self) -> Path:
        """Folder for all other output."""
        return self.root / "output" / "data"

    @property
    def failure(self) -> Path:
        """File with the reason of a failed job."""
        return self.root / "output" / "failure"

    @property
    def checkpoints(self) -> Path:
        """Folder that survives an interruption."""
        return self.root / "checkpoints"

    def read_config(self, path: Path) -> dict[str, Any]:
        """The JSON object in ``path``; empty where there is no such file.

        Raises:
            JobError: the file is not a JSON object.
        """
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text())
        except ValueError as error:
            raise JobError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise JobError(f"{path} must hold a JSON object, not {type(content).__name__}")
        return content

    def require_supported(self) -> None:
        """Raise `JobError` for several hosts or streamed channels, which our programs cannot use."""
        hosts = self.read_config(self.resource_config).get("hosts", [])
        if len(hosts) > 1:
            raise JobError(
                f"train runs on one host, but {self.resource_config} lists {len(hosts)}; set InstanceCount to 1"
            )
        for name, channel in self.read_config(self.input_data_config).items():
            mode = channel.get("TrainingInputMode", "File") if isinstance(channel, Mapping) else "File"
            if mode not in ("File", "FastFile"):
                raise JobError(f"channel {name!r} arrives in {mode} mode; train reads files: use File or FastFile")

    def start_afresh(self) -> None:
        """Remove the output and model of an earlier attempt in the same tree; checkpoints stay.

        Only contents are removed: in a container these folders are mount points.
        """
        self.failure.unlink(missing_ok=True)
        for folder in (self.model, self.output_data):
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.iterdir():
                if old.is_dir() and not old.is_symlink():
                    shutil.rmtree(old)
                else:
                    old.unlink()


def record_failure(error: Exception, file: Path) -> None:
    """Write the reason and the traceback to ``file`` and the reason to the log; call it while ``error`` is handled."""
    reason = f"{type(error).__name__}: {error}"
    write_text(file, f"{reason}\n\n{traceback.format_exc()}")
    print(f"failed: {reason}", file=sys.stderr, flush=True)
