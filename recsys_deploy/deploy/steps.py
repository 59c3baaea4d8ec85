"""Console output of a deployment: its steps with their durations, and the plan's changes."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from lambda_api.errors import RecsysError
from recsys_deploy.deploy.terraform import Change, Plan, Progress

LOST: Final = {
    "aws_cloudwatch_log_group": "its logs",
    "aws_db_instance": "its database",
    "aws_dynamodb_table": "its records",
    "aws_ecr_repository": "its images",
    "aws_kinesis_stream": "events that were not read yet",
    "aws_kms_key": "everything that only this key can decrypt",
    "aws_s3_bucket": "its objects",
    "aws_sqs_queue": "its messages",
}
"""Resource types that hold data, and the data that is lost with them."""

_DONE: Final = {"create": "made", "update": "changed", "delete": "removed", "replace": "replaced"}
_SHOWN: Final = 30


@dataclass
class Step:
    """A running step; ``note`` is printed beside it at its end."""

    note: str = ""


class Steps:
    """Runs steps one after another, prints them and records their durations."""

    def __init__(self, console: Console, before_step: Callable[[], None] = lambda: None) -> None:
        self._console = console
        self._before_step = before_step
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time and print one step. On an error, print which steps before it are complete."""
        began = time.perf_counter()
        step = Step()
        try:
            with self._console.status(name):
                self._before_step()
                yield step
        except BaseException as error:
            kind = "failed" if isinstance(error, Exception) else "stopped"
            self._line(f"[red]{kind}[/]  {name:<28} {time.perf_counter() - began:7.1f} s")
            if isinstance(error, RecsysError) and self.seconds:
                self._line(f"[yellow]complete[/]  {', '.join(self.seconds)}")
            raise
        self.seconds[name] = time.perf_counter() - began
        self._line(f"[green]done[/]    {name:<28} {self.seconds[name]:7.1f} s  [dim]{step.note}[/]")

    def progress(self, progress: Progress) -> None:
        """Print one finished change of an apply."""
        word = "[red]failed[/]" if progress.failed else _DONE.get(progress.action, progress.action)
        counted = f"[dim]{progress.done:>4}/{progress.total}[/]"
        self._line(f"        {counted} {word:<9} {progress.address}  [dim]{progress.seconds:.0f} s[/]")

    def print_plan(self, plan: Plan) -> None:
        """Print the counts, and every change that removes something with the data that is lost."""
        if plan.is_empty:
            return self._line("plan    nothing changes")
        counts = [("create", "make"), ("update", "change"), ("replace", "replace"), ("delete", "remove")]
        self._line("plan    " + ", ".join(f"{plan.count(action)} to {word}" for action, word in counts))
        rest = [change for change in plan.destructive if change.kind not in LOST]
        shown = [] if plan.destroy else rest[:_SHOWN]
        for change in plan.destructive:
            if change.kind in LOST:
                self._line(f"        [red]{_verb(change)}[/] {change.address}: {LOST[change.kind]}")
        for change in shown:
            self._line(f"        [yellow]{_verb(change)}[/] {change.address}")
        if hidden := len(rest) - len(shown):
            self._line(f"        and {hidden} more without data")

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def names(changes: Sequence[Change], shown: int = 5) -> str:
    """The first addresses, and how many more there are."""
    more = f" and {len(changes) - shown} more" if len(changes) > shown else ""
    return ", ".join(change.address for change in changes[:shown]) + more


def _verb(change: Change) -> str:
    return "replaces" if change.action == "replace" else "removes"
