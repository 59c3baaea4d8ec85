"""What a deployment shows while it runs: steps with durations, changes of an apply one by one, a plan in words.

Put here what is printed. Keep what happens out.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.deploy.terraform_runner import Change, Plan, Progress

LOST: Final = {
    "aws_cloudwatch_log_group": "its logs",
    "aws_db_instance": "its database",
    "aws_dynamodb_table": "its records",
    "aws_ecr_repository": "its images",
    "aws_kinesis_stream": "events nobody has read yet",
    "aws_kms_key": "everything that only this key can decrypt",
    "aws_s3_bucket": "its objects",
    "aws_sqs_queue": "its messages",
}
"""Types that hold something of the shop's, and what goes with them."""

_DONE: Final = {"create": "made", "update": "changed", "delete": "removed", "replace": "replaced"}
_SHOWN: Final = 30


@dataclass
class Step:
    """A step under way; ``note`` is printed beside it once it is done."""

    note: str = ""


class Steps:
    """Runs steps one after the other, and remembers how long each took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time and print one step. What fails says so, and what was done before it stands."""
        began = time.perf_counter()
        step = Step()
        try:
            with self._console.status(name):
                yield step
        except BaseException as error:
            kind = "failed" if isinstance(error, Exception) else "stopped"
            self._console.print(f"[red]{kind}[/]  {name:<28} {time.perf_counter() - began:7.1f} s", highlight=False)
            if isinstance(error, DeployError) and self.seconds:
                self._console.print(f"[yellow]stands[/]  {', '.join(self.seconds)}", highlight=False)
            raise
        self.seconds[name] = time.perf_counter() - began
        self._console.print(
            f"[green]done[/]    {name:<28} {self.seconds[name]:7.1f} s  [dim]{step.note}[/]",
            highlight=False,
            soft_wrap=True,
        )

    def progress(self, progress: Progress) -> None:
        """Print one change of an apply that is over."""
        if progress.event == "start":
            return
        word = _DONE.get(progress.action, progress.action) if progress.event == "complete" else "[red]failed[/]"
        self._console.print(
            f"        [dim]{progress.done:>4}/{progress.total}[/] {word:<9} {progress.address}  "
            f"[dim]{progress.seconds:.0f} s[/]",
            highlight=False,
            soft_wrap=True,
        )


def print_plan(console: Console, plan: Plan) -> None:
    """Counts, and every change that removes something, with what is lost by it."""
    if plan.is_empty:
        console.print("plan    nothing changes", highlight=False)
        return
    console.print(
        f"plan    {plan.count('create')} to make, {plan.count('update')} to change, {plan.count('replace')} to "
        f"replace, {plan.count('delete')} to remove",
        highlight=False,
    )
    gone = plan.destructive
    holding = [change for change in gone if change.kind in LOST]
    rest = [change for change in gone if change.kind not in LOST]
    for change in holding:
        console.print(
            f"        [red]{_verb(change)}[/] {change.address}: {LOST[change.kind]}", highlight=False, soft_wrap=True
        )
    shown = rest if not plan.destroy else []
    for change in shown[:_SHOWN]:
        console.print(f"        [yellow]{_verb(change)}[/] {change.address}", highlight=False, soft_wrap=True)
    if hidden := len(rest) - len(shown[:_SHOWN]):
        console.print(f"        and {hidden} more that hold nothing", highlight=False)


def names(changes: Sequence[Change], shown: int = 5) -> str:
    """The first addresses, and how many more."""
    more = f" and {len(changes) - shown} more" if len(changes) > shown else ""
    return ", ".join(change.address for change in changes[:shown]) + more


def _verb(change: Change) -> str:
    return "replaces" if change.action == "replace" else "removes"
