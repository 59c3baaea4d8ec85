"""What the service gives back for a request: the list with how it was made, and the work for after the reply."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Protocol

from lambda_api.serving.question import Ranking
from lambda_api.state.exposures import Exposure, ShownItem
from lambda_api.state.routing_record import RouteTarget

BASELINE = "baseline"
"""``model_version`` of an answer without a model."""


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """A list with its variant, causes of failures, exposure and timings.

    Attributes:
        cause: failures as ``"<dependency>: <how>"``, joined by ``"; "``; ``None``: none.
        exposure: for the inference log.
        shopper_known: whether there is any event of the shopper; ``None``: the history cannot be read.
        version_failed: whether the variant's own version did not give the list although it was asked.
        timings: milliseconds by step, and ``total``.
    """

    ranking: Ranking
    model_version: str
    variant: str
    cause: str | None
    exposure: Exposure
    timings: dict[str, float]
    shopper_known: bool | None = None
    version_failed: bool = False


@dataclass(frozen=True, slots=True)
class AfterWork:
    """Work for one request after its reply: an exposure to store, and the ``question`` for the ``shadow`` if any."""

    exposure: Exposure
    shadow: RouteTarget | None = None
    question: dict[str, Any] | None = None


class AfterReply(Protocol):
    """Takes work for after the reply. Never blocks or raises."""

    def submit(self, work: AfterWork) -> None:
        """Do ``work`` later."""


def shown_items(ranking: Ranking, teams: Sequence[str | None] = ()) -> tuple[ShownItem, ...]:
    """The items of a list as exposures hold them; ``teams``: see `lambda_api.serving.scorers.Scored`."""
    return tuple(
        ShownItem(item.product_id, item.score, rank, item.propensity, item.reason.code, team)
        for rank, (item, team) in enumerate(zip_longest(ranking.items, teams), start=1)
    )


@dataclass(slots=True)
class RequestTrace:
    """Causes of failures and timings of one request."""

    started: float = field(default_factory=time.perf_counter)
    causes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    shopper_known: bool | None = None

    def time(self, step: str, since: float) -> None:
        self.timings[step] = round((time.perf_counter() - since) * 1000, 3)

    def failed(self, cause: str | None) -> None:
        for part in (cause or "").split("; "):
            if part and part not in self.causes:
                self.causes.append(part)

    @property
    def cause(self) -> str | None:
        return "; ".join(self.causes) or None
