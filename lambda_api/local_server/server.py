"""The server process: gunicorn with its threaded worker.

Workers load the application after they are forked: SQLite connections, ONNX sessions and library threads must not cross
a fork. Memory-mapped model files are shared between workers all the same.
"""

import importlib
import logging
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

from lambda_api.errors import RecsysError
from lambda_api.local_server.options import ServerOptions

CONNECTIONS = 400
"""Open connections per worker, well below the usual limit of 1,024 files per process; more wait to be accepted."""


STOP_S = 5
"""Time for requests in flight after SIGTERM, before workers are killed."""


class PortTaken(RecsysError):
    """The address cannot be bound; the message names it and the remedy."""


class LocalServer(BaseApplication):
    """The gunicorn application. ``run()`` serves until a signal ends it: SIGTERM finishes requests in flight first."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self._lifecycle: Any = None
        super().__init__()

    def load_config(self) -> None:
        """Pass the options to gunicorn."""
        settings = {
            "bind": self.options.bind,
            "workers": self.options.workers,
            "threads": self.options.threads,
            "worker_class": "gthread",
            "worker_connections": CONNECTIONS,
            "keepalive": 5,
            "graceful_timeout": STOP_S,
            "timeout": 30,
            "limit_request_line": 8190,
            "limit_request_fields": 100,
            "limit_request_field_size": 8190,
            # No proxy stands in front whose headers could be trusted.
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "errorlog": "-",
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "recsys",
            "when_ready": self._limit_waiting,
            "post_worker_init": _stop_before_arbiter,
            "worker_exit": self._worker_exit,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the WSGI application, in the worker."""
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
        """Serve. Ends by ``SystemExit``. Raises `PortTaken` before anything is started."""
        check_port(self.options)
        super().run()

    def _limit_waiting(self, arbiter: Any) -> None:
        """Set socket time-outs on the listeners; accepted connections inherit them.

        Gunicorn has no limit of its own for a client that stops in the middle of a request or of an answer.
        """
        seconds = struct.pack("@ll", int(self.options.request_timeout_s), 0)
        for listener in arbiter.LISTENERS:
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
            listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)

    def _worker_exit(self, arbiter: Any, worker: Any) -> None:
        if self._lifecycle is not None:
            self._lifecycle.close()


def _stop_before_arbiter(worker: Any) -> None:
    """Let this worker stop waiting for idle connections before the arbiter kills it, so that it can close its files."""
    worker.cfg.set("graceful_timeout", STOP_S - 2)


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
                f"port {options.port} on {options.host} cannot be used ({error.strerror})",
                remedy="end the program that holds it, or choose another port with --port",
            ) from error
