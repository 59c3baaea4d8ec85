"""What the service gives back for a request: the list with how it was made, and the work for after the reply."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

from lambda_api.serving.question import Ranking
from lambda_api.state.exposures import Exposure
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
    experiment: str
    cause: str | None
    exposure: Exposure
    timings: dict[str, float]
    shopper_known: bool | None = None
    version_failed: bool = False


@dataclass(frozen=True, slots=True)
class ShadowRequest:
    """A question for the shadow model, asked after the reply."""

    question: dict[str, Any]
    target: RouteTarget
    request_id: str


@dataclass(frozen=True, slots=True)
class AfterWork:
    """Work for one request after its reply."""

    exposure: Exposure
    shadow: ShadowRequest | None


class AfterReply(Protocol):
    """Takes work for after the reply. Never blocks or raises."""

    def submit(self, work: AfterWork) -> None:
        """Do ``work`` later."""


@dataclass(slots=True)
class RequestTrace:
    """Causes of failures and timings of one request."""

    started: float
    causes: list[str]
    timings: dict[str, float]
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
