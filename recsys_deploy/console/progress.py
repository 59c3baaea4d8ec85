"""Live progress of a Dagster run in a terminal, read from the run's own event log."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg
from dagster import DagsterEventType
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

POLL_SECONDS: Final = 0.5
"""The event log is a local SQLite file; twice a second is live to a person and nothing to the machine."""

HEADLINE_METADATA: Final = ("rows", "dagster/row_count", "validation_ndcg", "challenger", "decision", "seconds")
"""Metadata worth a word beside a finished asset, in this order."""


class RunProgress:
    """Follows one run: a bar over its steps, and a line for every step that ends."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str, steps: int, console: Console) -> None:
        self._instance = instance
        self._run_id = run_id
        self._cursor: str | None = None
        self._headlines: dict[str, str] = {}
        self._running: list[str] = []
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=steps)

    def poll(self) -> None:
        """Show what happened since the last look."""
        while True:
            page = self._instance.get_records_for_run(self._run_id, cursor=self._cursor, limit=500)
            self._cursor = page.cursor
            for record in page.records:
                event = record.event_log_entry.dagster_event
                if event is not None:
                    self._show(event)
                elif record.event_log_entry.step_key and int(record.event_log_entry.level) >= logging.INFO:
                    self._bar.update(self._task, description=record.event_log_entry.user_message.split("\n")[0][:80])
            if not page.has_more:
                return

    def _show(self, event: dg.DagsterEvent) -> None:
        step = event.step_key or ""
        if event.event_type == DagsterEventType.STEP_START:
            self._running.append(step)
            self._bar.update(self._task, description=step)
        elif event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            metadata = event.step_materialization_data.materialization.metadata
            self._headlines[step] = ", ".join(
                f"{name.split('/')[-1].replace('_', ' ')} {_short(metadata[name].value)}"
                for name in HEADLINE_METADATA
                if name in metadata
            )
        elif event.event_type == DagsterEventType.STEP_SUCCESS:
            seconds = (event.step_success_data.duration_ms or 0) / 1000
            self._console.print(
                f"[green]done[/]    {step:<30} {seconds:7.1f} s  [dim]{self._headlines.get(step, '')}[/]"
            )
            self._bar.advance(self._task)
        elif event.event_type == DagsterEventType.STEP_FAILURE:
            self._console.print(f"[red]failed[/]  {step}")
            self._bar.advance(self._task)
        elif event.event_type == DagsterEventType.STEP_SKIPPED:
            self._console.print(f"[yellow]skipped[/] {step}")
            self._bar.advance(self._task)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Poll in a thread of its own while the run holds this one."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(POLL_SECONDS):
                self.poll()

        watcher = threading.Thread(target=watch, name="run-progress", daemon=True)
        with self._bar:
            watcher.start()
            try:
                yield
            finally:
                done.set()
                watcher.join(timeout=10)
                self.poll()


def _short(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
