"""Options of a benchmark, checked."""

import errno
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from lambda_api.errors import RecsysError
from recsys_assets.models.zoo import parameters_of


class BenchmarkError(RecsysError):
    """The benchmark cannot be run as asked. The message names the option or file, the rule and the remedy."""


class ProtocolName(StrEnum):
    """How a log is split.

    ``global``: one moment splits everybody's events. ``leave-one-out``: everybody's last item is the test.
    ``next-click``: after one moment, the product of every next click of a session is to be found.
    """

    GLOBAL = "global"
    LEAVE_ONE_OUT = "leave-one-out"
    NEXT_CLICK = "next-click"


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """A benchmark, as asked for.

    Attributes:
        interactions, products, users: CSV or Parquet files, or folders of them; ``users`` may be ``None``.
        out: the recommendations, CSV.
        test_start: aware, UTC; ``None`` for leave-one-out only.
        k: length of the lists.
        allow_repeats: whether products bought before may be recommended and count.
        mask_history: leave-one-out only: whether the shopper's own products are kept out of the lists.
        protocol: how the log is split.
        trials: per model, the defaults among them; 1 for no tuning.
        tuning_minutes: time for all models together; see `Budget.seconds`.
        models: names in the zoo; ``None`` for all that suit the size of the log.
        seed: of the search, of the bootstrap and of models that draw at random.
        seeds: how many fits of each model that draws at random are judged; the lists written are the first one's.
    """

    interactions: Path
    products: Path
    out: Path
    users: Path | None = None
    test_start: datetime | None = None
    k: int = 10
    allow_repeats: bool = False
    mask_history: bool = True
    protocol: ProtocolName = ProtocolName.GLOBAL
    trials: int = 15
    tuning_minutes: float = 8.0
    models: tuple[str, ...] | None = None
    seed: int = 0
    seeds: int = 1

    def __post_init__(self) -> None:
        if self.protocol is not ProtocolName.LEAVE_ONE_OUT and self.test_start is None:
            raise BenchmarkError(
                f"--test-start is needed by --protocol {self.protocol}, for example --test-start 2011-11-20"
            )
        if self.protocol is ProtocolName.LEAVE_ONE_OUT and self.test_start is not None:
            raise BenchmarkError("--test-start has no meaning with --protocol leave-one-out; leave one of the two out")
        _require_writable(self.out)

    @property
    def tuned(self) -> bool:
        """Whether anything but the defaults is tried."""
        return self.trials > 1


def parse_moment(text: str) -> datetime:
    """An ISO 8601 day or moment as aware UTC; without an offset it is read as UTC.

    Raises:
        BenchmarkError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise BenchmarkError(
            f"--test-start {text!r} is no moment in ISO 8601; write 2011-11-20 or 2011-11-20T00:00:00+00:00"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def settled_parameters(model: str, options: BenchmarkOptions) -> dict[str, Any]:
    """The hyper-parameters that the question settles, of those ``model`` has: they are given, not searched for."""
    by_history = options.protocol is ProtocolName.LEAVE_ONE_OUT
    wanted_again = not options.mask_history if by_history else options.allow_repeats
    return parameters_of(model, {"allow_repeats": wanted_again, "seed": options.seed})


def draws_at_random(model: str) -> bool:
    """Whether another seed would give another fit."""
    return bool(parameters_of(model, {"seed": 0}))


def _require_writable(out: Path) -> None:
    """Refuse before an hour of work rather than after it."""
    if out.is_dir():
        raise BenchmarkError(f"--out {out}: is a folder; name the CSV file to write")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(out.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise BenchmarkError(f"--out {out}: its folder cannot be written to ({error}); choose another") from error
