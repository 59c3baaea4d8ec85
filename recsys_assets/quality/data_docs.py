"""Data Docs: Great Expectations' HTML pages about validated deliveries.

The pages are for people and are never read back. They stay on the machine that validated, even when the lake is on S3.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_assets.lake import Lake
from recsys_assets.quality.row_checks import interactions_frame, table_frame
from recsys_assets.quality.validate_lake import read_raw_day, validation_contexts
from recsys_assets.quality.validation import run_suite

if TYPE_CHECKING:
    import pandas as pd

PAGES_PER_RUN = 5
"""Days rendered in one run. A page costs a quarter of a second, a range may hold hundreds of days."""

PAGES_KEPT = 200
"""Validation results kept in the site; the oldest go first, because every new page renders the index of all."""


@dataclass(frozen=True, slots=True)
class DataDocs:
    """Files of the rendered pages.

    Attributes:
        index: first page of the site.
        pages: subject (ISO day or table name) -> its page.
        left_out: failing days that got no page because of the cap.
    """

    index: Path
    pages: dict[str, Path]
    left_out: int


def document_days(home: Path, lake: Lake, days: Sequence[date], failing: Sequence[date], now: datetime) -> DataDocs:
    """Render the newest of the checked ``days`` and the ``failing`` ones, oldest first, at most `PAGES_PER_RUN`.

    The site is kept in ``home/data_docs``; ``now`` is the moment of validation.
    """
    newest = max(days)
    candidates = [newest] + [day for day in sorted(failing) if day != newest]
    chosen = sorted(candidates[:PAGES_PER_RUN])
    contexts = validation_contexts(lake, chosen, now)
    frames = {day.isoformat(): interactions_frame(day, read_raw_day(lake, day), contexts[day]) for day in chosen}
    return _render(home, "interactions", frames, left_out=len(candidates) - len(chosen), now=now)


def document_table(home: Path, lake: Lake, name: str, now: datetime) -> DataDocs:
    """Render the products or users table."""
    return _render(home, name, {name: table_frame(name, lake.read(name), now)}, left_out=0, now=now)


def _render(home: Path, table: str, frames: "dict[str, pd.DataFrame]", left_out: int, now: datetime) -> DataDocs:
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    root = home / "data_docs"
    root.mkdir(parents=True, exist_ok=True)
    context: Any = gx.get_context(mode="file", project_root_dir=str(root))
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    _forget_oldest(root)
    site = root / "gx" / "uncommitted" / "data_docs" / "local_site"
    pages: dict[str, Path] = {}
    keys = []
    for subject, frame in frames.items():
        key = ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(table),
            run_id=RunIdentifier(run_name=subject, run_time=now.astimezone(UTC)),
            batch_identifier=subject,
        )
        context.validation_results_store.add(key, run_suite(table, frame))
        keys.append(key)
        *folders, name = key.to_tuple()
        pages[subject] = site.joinpath("validations", *folders, f"{name}.html")
    context.build_data_docs(resource_identifiers=keys)
    return DataDocs(site / "index.html", pages, left_out)


def _forget_oldest(root: Path) -> None:
    """Keep the newest ``PAGES_KEPT`` results; result and page folders have the same layout: suite/run name/run time."""
    results = root / "gx" / "uncommitted" / "validations"
    runs = sorted(results.glob("*/*/*/"), key=lambda run: run.name)
    for run in runs[: max(0, len(runs) - PAGES_KEPT)]:
        page = root / "gx" / "uncommitted" / "data_docs" / "local_site" / "validations" / run.relative_to(results)
        for folder in (run, page):
            shutil.rmtree(folder, ignore_errors=True)
