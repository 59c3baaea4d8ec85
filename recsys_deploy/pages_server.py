"""Serves the evaluation reports and data docs of a home over HTTP, on this machine only.

Dagster's pages come over HTTP, and browsers follow no ``file://`` links from there. Only the folders `FOLDERS` are
served, without lists of files; the pages may load nothing from elsewhere.
"""

import argparse
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from lambda_api.settings import read_settings

FOLDERS: Final = ("reports", "data_docs")
POLICY: Final = "default-src 'self' 'unsafe-inline' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
READY: Final = "/ready"


class PagesHandler(SimpleHTTPRequestHandler):
    """Files of `FOLDERS` below ``directory``; everything else is 404."""

    def do_GET(self) -> None:
        """Serve a file."""
        if self._is_allowed():
            super().do_GET()

    def do_HEAD(self) -> None:
        """Headers of a file."""
        if self._is_allowed():
            super().do_HEAD()

    def _is_allowed(self) -> bool:
        port = self.server.server_address[1]  # type: ignore[index]
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            self.send_error(421, "this server answers on 127.0.0.1 only")
            return False
        path = unquote(urlsplit(self.path).path)
        if path == READY:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        parts = path.strip("/").split("/")
        root = Path(self.directory).resolve()
        file = Path(self.translate_path(self.path)).resolve()
        inside = any(file.is_relative_to(root / folder) for folder in FOLDERS)
        if parts[0] not in FOLDERS or any(part.startswith(".") for part in parts) or not inside or not file.is_file():
            self.send_error(404, "no such page")
            return False
        return True

    def end_headers(self) -> None:
        """Add the headers that every answer has."""
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing but errors."""


def serve(home: Path, port: int) -> ThreadingHTTPServer:
    """A server bound to ``port`` of this machine; call ``serve_forever``."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(PagesHandler, directory=str(home)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m recsys_deploy.pages_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    serve(read_settings().home, parser.parse_args().port).serve_forever()
