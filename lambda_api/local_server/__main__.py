"""``python -m lambda_api.local_server``: the API and the shop page on this machine."""

import argparse
import sys
from pathlib import Path

from lambda_api.local_server.options import STOREFRONT, ServerOptions, default_hosts
from lambda_api.local_server.server import LocalServer, PortTaken
from lambda_api.settings import SettingsError, read_settings


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments and serve; returns the exit code."""
    defaults = ServerOptions()
    parser = argparse.ArgumentParser(prog="python -m lambda_api.local_server", description=__doc__)
    parser.add_argument("--host", default=defaults.host, help="address to bind to (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=defaults.port)
    parser.add_argument("--workers", type=int, default=defaults.workers, help="processes")
    parser.add_argument("--threads", type=int, default=defaults.threads, help="threads per process")
    parser.add_argument("--storefront", type=Path, default=STOREFRONT, help="folder of the shop page")
    parser.add_argument("--data", type=Path, help="folder of the page's data (default: <home>/storefront)")
    parser.add_argument("--no-static", action="store_true", help="the API alone")
    parser.add_argument("--cors-origin", action="append", default=[], help="origin whose pages may call; repeatable")
    parser.add_argument("--allow-host", action="append", default=[], help="another accepted Host name; repeatable")
    parser.add_argument("--handler", default=defaults.handler, help=argparse.SUPPRESS)
    parser.add_argument("--authorizer", default=defaults.authorizer, help=argparse.SUPPRESS)
    parser.add_argument("--lifecycle", default=defaults.lifecycle, help=argparse.SUPPRESS)
    parser.add_argument("--request-timeout", type=float, default=defaults.request_timeout_s, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        hosts = default_hosts(given.host)
        options = ServerOptions(
            host=given.host,
            port=given.port,
            workers=given.workers,
            threads=given.threads,
            storefront=None if given.no_static else given.storefront,
            data=None if given.no_static else given.data or read_settings().home / "storefront",
            cors_origins=tuple(given.cors_origin),
            allowed_hosts=(*hosts, *given.allow_host) if hosts else (),
            request_timeout_s=given.request_timeout,
            handler=given.handler,
            authorizer=given.authorizer,
            lifecycle=given.lifecycle,
        )
        LocalServer(options).run()
    except (PortTaken, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
