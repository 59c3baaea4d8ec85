"""Destinations of a program's progress: the Dagster run that started it, or the terminal."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, PipesContext

from recsys_assets.sagemaker.messages import open_pipes


class Destination(Protocol):
    """Receives the progress and the result of a program."""

    def tell(self, line: str) -> None:
        """Show one line of progress."""

    def finish(self, metadata: Mapping[str, Any], data_version: str) -> None:
        """The result: metadata in the form dagster-pipes takes (plain values, or ``raw_value`` with ``type``)."""


@dataclass(frozen=True)
class Terminal:
    """Plain lines on a stream."""

    stream: TextIO

    def tell(self, line: str) -> None:
        """Print ``line``."""
        print(line, file=self.stream, flush=True)

    def finish(self, metadata: Mapping[str, Any], data_version: str) -> None:
        """Print the figures; pictures and curves stay in ``output/data``."""
        plain = {name: value for name, value in metadata.items() if not isinstance(value, Mapping)}
        self.tell(f"finished: {json.dumps(plain)} bundle {data_version}")


@dataclass(frozen=True)
class DagsterPipes:
    """The Dagster run that launched this process."""

    context: PipesContext

    def tell(self, line: str) -> None:
        """Write ``line`` to the run's log."""
        self.context.log.info(line)

    def finish(self, metadata: Mapping[str, Any], data_version: str) -> None:
        """Report a materialisation of the launching step's assets; of none when an op launched us."""
        if not self.context.is_asset_step:
            self.tell(f"finished: bundle {data_version}")
            return
        for asset_key in self.context.asset_keys:
            self.context.report_asset_materialization(
                metadata=dict(metadata), data_version=data_version, asset_key=asset_key
            )


@contextmanager
def open_destination() -> Iterator[Destination]:
    """Dagster if this process was launched under Pipes, standard error if not.

    Inside Dagster an exception that leaves the block is reported to the run. Standard streams are not captured: the
    Pipes client passes them on already.
    """
    if DAGSTER_PIPES_CONTEXT_ENV_VAR not in os.environ:
        yield Terminal(sys.stderr)
        return
    with open_pipes() as context:
        yield DagsterPipes(context)
