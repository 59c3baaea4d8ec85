"""The server process: gunicorn embedded, its master and its workers.

Put here how processes are started and stopped. Keep options (``options``) and connections (``worker``) out.

Workers load the application after they are forked: SQLite connections, ONNX sessions and library threads must not cross
a fork. It costs little: the bundle is memory-mapped, so its pages are shared without a fork, and at 50,000 products two
workers and their master take 104 MB instead of 83, and a killed worker is back after 0.36 s instead of 0.08.
"""

import importlib
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from lambda_api.errors import RecsysError
from lambda_api.local_server.options import ServerOptions

CONNECTIONS = 400
"""Of one worker at once; with its files well under the 1,024 that systems allow a process. More wait to be accepted."""


class PortTaken(RecsysError):
    """The address cannot be bound; the message names it and the remedy."""


class GracefulArbiter(Arbiter):
    """Gunicorn's master, for which Ctrl-C is as good a reason to finish what is in flight as SIGTERM; twice is not."""

    def handle_int(self) -> None:
        """SIGINT."""
        raise StopIteration


class LocalServer(BaseApplication):
    """The gunicorn application. ``run()`` serves until a signal ends it."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self._lifecycle: Any = None
        super().__init__()

    def load_config(self) -> None:
        """Options as gunicorn's settings."""
        from lambda_api.local_server.worker import HEAD_LIMIT, GatewayWorker

        options = self.options
        GatewayWorker.body_limit = options.body_limit
        GatewayWorker.request_timeout_s = options.request_timeout_s
        GatewayWorker.write_timeout_s = options.write_timeout_s
        settings = {
            "bind": options.bind,
            "workers": options.workers,
            "threads": options.threads,
            "worker_class": GatewayWorker,
            "worker_connections": CONNECTIONS,
            "keepalive": options.keepalive_s,
            "graceful_timeout": options.graceful_timeout_s,
            "timeout": 30,
            "limit_request_line": 8190,
            "limit_request_fields": 100,
            "limit_request_field_size": HEAD_LIMIT // 2,
            # Nobody in front is trusted to rewrite a request.
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "logger_class": "lambda_api.local_server.access_log.JsonLogger",
            "accesslog": "-",
            "errorlog": "-",
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "recsys",
            "worker_exit": self._worker_exit,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The WSGI application, made in the worker."""
        from lambda_api.local_server.gateway import Gateway
        from lambda_api.local_server.static_files import StaticFiles

        options = self.options
        logging.getLogger("recsys.local_server").addHandler(logging.StreamHandler(sys.stderr))
        handler, authorizer = entry_point(options.handler), entry_point(options.authorizer)
        if options.lifecycle:
            self._lifecycle = entry_point(options.lifecycle)()
            self._lifecycle.warm()
        static = StaticFiles(options.storefront, options.data) if options.storefront or options.data else None
        return Gateway(handler, authorizer, static, options)

    def run(self) -> None:
        """Serve. Returns by ``SystemExit`` when told to stop."""
        check_port(self.options)
        GracefulArbiter(self).run()

    def _worker_exit(self, arbiter: Arbiter, worker: Any) -> None:
        if self._lifecycle is not None:
            self._lifecycle.close()


def entry_point(name: str) -> Callable[..., Any]:
    """The function that ``module:name`` names."""
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def check_port(options: ServerOptions) -> None:
    """Raise `PortTaken` if the address cannot be bound now."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            raise PortTaken(
                f"port {options.port} on {options.host} cannot be used ({error.strerror}): "
                "end what holds it, or choose another with --port"
            ) from error
