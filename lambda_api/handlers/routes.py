"""The routes of the HTTP API and which scope of API key each asks for: the one table, kept in ``routes.json``.

The local server routes by it, the authorizer decides by it, and Terraform makes the gateway's routes from the same
file (``jsondecode(file(...))``), so that the three cannot disagree. Put a route there when the gateway should know it.
Keep what a route does in ``lambda_api.handlers.api``.

A request that matches no route goes to ``$default``, without a key, where `lambda_api.handlers.api` answers 404 or 405.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

Scope = Literal["shop", "operations"]

DEFAULT: Final = "$default"
"""Key of the route that takes what no other route takes."""

KEY_HEADER: Final = "x-api-key"
"""The identity source of the authorizer: without this header the gateway answers 401 itself."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route. ``path`` may hold whole segments in braces, and as its last one a greedy ``{name+}`` that takes the
    rest, slashes too; ``scope`` is ``None`` where anybody may ask.
    """

    method: str
    path: str
    scope: Scope | None

    @property
    def key(self) -> str:
        """The gateway's name for it: ``POST /recommend``."""
        return f"{self.method} {self.path}"

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it, which has no greedy parameters."""
        return self.path.replace("+}", "}")

    @property
    def protected(self) -> bool:
        """Whether the authorizer is asked."""
        return self.scope is not None

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Path parameters of a decoded ``path`` that this route takes, or ``None``.

        As the gateway does: letter case counts, a parameter is whole segments and never empty, and a slash at the
        end makes another path.
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


@cache
def scopes() -> Mapping[str, Scope | None]:
    """Scope by route key, for an authorizer that is told ``event["routeKey"]``; a key not in here is to be refused."""
    return {route.key: route.scope for route in routes()}


def match(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route that takes ``method`` on the decoded ``path`` with its path parameters, or ``None``: ``$default``."""
    for route in routes():
        parameters = route.match(method, path)
        if parameters is not None:
            return route, parameters
    return None
