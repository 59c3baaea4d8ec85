"""Options of the local server."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")

STOREFRONT: Final = Path(__file__).resolve().parents[2] / "storefront"
"""The shop page of a checkout; an installed package has none."""


@dataclass(frozen=True)
class ServerOptions:
    """How to serve.

    Attributes:
        host: address to bind to. The default is reached from this machine only.
        port: TCP port.
        workers: processes; gunicorn replaces one that dies.
        threads: requests that one worker handles at a time.
        storefront: folder served at ``/``, or ``None``.
        data: folder served at ``/data/``, or ``None``.
        cors_origins: origins whose pages may call the API, or ``*``; none: the same origin only.
        allowed_hosts: accepted values of the ``Host`` header; empty: any. Others are refused, so that a foreign web
            site cannot reach a server on this machine by pointing its own name here (DNS rebinding).
        request_timeout_s: longest wait for the next bytes of a request, and for a client to take bytes of an answer.
        handler, authorizer: entry points, ``module:name``.
        lifecycle: ``module:name`` of a function whose result has ``warm()`` and ``close()``; empty: none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 2
    threads: int = 8
    storefront: Path | None = None
    data: Path | None = None
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    request_timeout_s: float = 10.0
    handler: str = "lambda_api.handlers.api:handler"
    authorizer: str = "lambda_api.handlers.authorizer:handler"
    lifecycle: str = "lambda_api.handlers.dependencies:serving"

    @property
    def bind(self) -> str:
        """``host:port``, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def default_hosts(host: str) -> tuple[str, ...]:
    """Accepted ``Host`` values for a bind address: the loopback names for a loopback address, otherwise any."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return LOOPBACK_NAMES if loopback else ()
