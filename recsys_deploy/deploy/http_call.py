"""One HTTP request to the deployed API.

Put here how a deployed address is asked. Keep what is asked, and how often, in ``smoke``.
"""

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status and body of an answer."""

    status: int
    body: bytes


class HttpCall(Protocol):
    """Asks an address; raises ``OSError`` where nobody answers."""

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> HttpAnswer: ...


def call(method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout_s: float) -> HttpAnswer:
    """`HttpCall` over the network, to ``https`` addresses only; statuses of every kind are answers, not errors."""
    if not url.startswith("https://"):
        raise ValueError(f"{url} is not an https address")
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return HttpAnswer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return HttpAnswer(error.code, error.read())
