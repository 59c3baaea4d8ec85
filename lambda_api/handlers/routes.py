"""The routes of the HTTP API and the scope of API key that each needs, read from ``routes.json``.

Local server and authorizer use this table, and Terraform makes the gateway's routes from the same file
(``jsondecode(file(...))``). The gateway answers a request that matches no route with 404 itself; the local server hands
it to the handler as ``$default``, without a key, and the handler answers 404 or 405.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

Scope = Literal["shop", "operations"]

DEFAULT: Final = "$default"
"""The local server's route key for unmatched requests."""

KEY_HEADER: Final = "x-api-key"
"""Identity source of the authorizer; without this header the gateway itself answers 401."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route. ``path`` may hold parameters ``{name}`` that take one segment, and at its end a greedy ``{name+}``
    that takes the rest with its slashes. ``scope`` is ``None`` for open routes.
    """

    method: str
    path: str
    scope: Scope | None

    @property
    def key(self) -> str:
        """The gateway's route key: ``POST /recommend``."""
        return f"{self.method} {self.path}"

    @property
    def template(self) -> str:
        """The path as in OpenAPI, which has no greedy parameters."""
        return self.path.replace("+}", "}")

    @property
    def protected(self) -> bool:
        """Whether the route needs a key."""
        return self.scope is not None

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Path parameters of a decoded ``path`` that this route takes, or ``None``.

        As at the gateway, letter case and a final slash matter, and a parameter is never empty.
        """
        if method != self.method:
            return None
        own = self.path.split("/")
        given = path.split("/", len(own) - 1) if own[-1].endswith("+}") else path.split("/")
        if len(own) != len(given):
            return None
        parameters = {}
        for name, segment in zip(own, given, strict=True):
            if name.startswith("{") and name.endswith("}"):
                if not segment:
                    return None
                parameters[name[1:-1].removesuffix("+")] = segment
            elif name != segment:
                return None
        return parameters


@cache
def routes() -> tuple[Route, ...]:
    """Every route but ``$default``."""
    table = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return tuple(Route(row["method"], row["path"], row["scope"]) for row in table)


def match(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of ``method`` and the decoded ``path``, with its path parameters; ``None``: no route matches."""
    for route in routes():
        parameters = route.match(method, path)
        if parameters is not None:
            return route, parameters
    return None
