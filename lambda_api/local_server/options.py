"""What can be chosen about the local server.

Put a choice here when it belongs to serving on a laptop only. Keep the shop's own settings in ``lambda_api.settings``.
"""

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
        host: address to bind to. The default can be reached from this machine only.
        port: TCP port.
        workers: processes; a killed one is replaced.
        threads: requests one worker works on at a time.
        storefront: folder served at ``/``, or ``None``.
        data: folder served at ``/data/``, or ``None``.
        cors_origins: origins whose pages may call the API, or ``*``; none: the same origin only.
        allowed_hosts: names a request may call the server by. Others are refused, so that a foreign site cannot reach
            a server on this machine by pointing its own name here (DNS rebinding). Empty: any.
        body_limit: bytes of a body.
        request_timeout_s: for a request to arrive whole, from its first byte.
        write_timeout_s: for a client that stopped reading.
        keepalive_s: a connection without a request stays open for this long.
        graceful_timeout_s: for requests in flight after SIGTERM.
        handler, authorizer: entry points, ``module:name``.
        lifecycle: ``module:name`` of a function whose result has ``warm()`` and ``close()``; empty: none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 2
    threads: int = 4
    storefront: Path | None = None
    data: Path | None = None
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    body_limit: int = 64 * 1024
    request_timeout_s: float = 10.0
    write_timeout_s: float = 30.0
    keepalive_s: int = 15
    graceful_timeout_s: int = 15
    handler: str = "lambda_api.handlers.api:handler"
    authorizer: str = "lambda_api.handlers.authorizer:handler"
    lifecycle: str = "lambda_api.handlers.dependencies:serving"

    @property
    def bind(self) -> str:
        """``host:port``, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def default_hosts(host: str) -> tuple[str, ...]:
    """Names to answer to when bound to ``host``: the loopback's where it is one, any where it is not."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return LOOPBACK_NAMES if loopback else ()
