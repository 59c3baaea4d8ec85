"""A month's traffic of a shop, from which its cost follows. A month has 730 hours, as in AWS's calculator."""

import re
from dataclasses import dataclass
from typing import Final

from recsys_deploy.deploy.errors import DeployError

HOURS: Final = 730.0
SECONDS: Final = HOURS * 3600

AUTHORIZER_CACHE_S: Final = 30
"""terraform/modules/api-gateway: seconds for which the gateway caches an answer of the authorizer."""

KEYED_ROUTES: Final = 2
"""POST /recommend and POST /feedback; the others are called rarely."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """A month's traffic of a shop.

    Attributes:
        requests: calls of POST /recommend.
        events: events sent to POST /feedback, one per call; ``None``: as many as ``requests``.
        shoppers: number of shoppers with a history.
        recommend_ms, feedback_ms, authorizer_ms: billed duration of one invocation, cold starts averaged in.
        history_kb: size of a shopper's newest events.
        exposure_kb: size of a logged list.
        answer_kb: size of an answer.
        log_kb: log lines of one call, including metrics and access log.
        lake_gb: events, features and bundles in S3.
        page_share: share of calls that come from the shop page on CloudFront.
        shadow_share: share of requests that the shadow model gets too.
        training_hours: of one weekly run of the asset graph.
        images_gb: container images kept.
        nat_gb: through the NAT gateways.
        endpoint_share: share of requests that an endpoint scores.
    """

    requests: float
    events: float | None = None
    shoppers: float = 100_000
    recommend_ms: float = 40
    feedback_ms: float = 15
    authorizer_ms: float = 10
    history_kb: float = 8
    exposure_kb: float = 2
    answer_kb: float = 3
    log_kb: float = 1.5
    lake_gb: float = 20
    page_share: float = 0.1
    shadow_share: float = 0.0
    training_hours: float = 1.0
    images_gb: float = 10
    nat_gb: float = 20
    endpoint_share: float = 0.0

    @property
    def feedback(self) -> float:
        """Calls of POST /feedback."""
        return self.requests if self.events is None else self.events

    @property
    def calls(self) -> float:
        """Calls of the API."""
        return self.requests + self.feedback

    @property
    def authorizer_calls(self) -> float:
        """With one key: at most one invocation per route and cached answer."""
        return min(self.calls, KEYED_ROUTES * SECONDS / AUTHORIZER_CACHE_S)


def parse_count(text: str) -> float:
    """``10M``, ``250k``, ``1.5G`` or ``1_000_000`` as a number. Raises `DeployError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:_\d+)*(?:\.\d+)?)\s*([kKmMgG]?)\s*", text)
    if found is None:
        raise DeployError(f"{text!r} is no count", remedy="write 250k, 10M or 1_000_000")
    return float(found[1].replace("_", "")) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[found[2].lower()]
