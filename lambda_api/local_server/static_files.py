"""The shop page and its data as static files, served by WhiteNoise.

Files are looked up on every request, because the pipeline publishes new ones while the server runs.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final
from wsgiref.headers import Headers

from whitenoise import WhiteNoise
from whitenoise.string_utils import decode_path_info

DATA_PREFIX: Final = "/data/"

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Scripts and styles only from files of this server, images also from the shop's own addresses; https://www.w3.org/TR/CSP3/"""

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class StaticFiles(WhiteNoise):
    """Serves ``storefront`` at ``/`` and JSON files of ``data`` at ``/data/``; either may be ``None`` or missing."""

    def __init__(self, storefront: Path | None, data: Path | None) -> None:
        super().__init__(
            _nothing, autorefresh=True, allow_all_origins=False, index_file=True, add_headers_function=_add_headers
        )
        self._roots: list[str] = []
        for root, prefix in ((storefront, "/"), (data, DATA_PREFIX)):
            if root is not None:
                # Resolved once, so that the root may be a link; links inside it that lead out are refused below.
                self.add_files(str(root.resolve()), prefix)

    def answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes] | None:
        """The file that the request asks for, or ``None`` where there is none."""
        found = self.find_file(decode_path_info(environ.get("PATH_INFO", "")))
        return None if found is None else self.serve(found, environ, start_response)

    def find_file(self, url: str) -> Any:
        """The file behind a decoded path; ``None`` for hidden files, control characters and over-long paths."""
        if len(url) > 1024 or not url.startswith("/") or any(ord(char) < 32 or ord(char) == 127 for char in url):
            return None
        if any(segment.startswith(".") for segment in url.split("/")):
            return None
        if url.startswith(DATA_PREFIX) and not url.endswith(".json"):
            return None
        try:
            return super().find_file(url)
        except (OSError, ValueError):  # a name that the file system does not take is no file
            return None

    def candidate_paths_for_url(self, url: str) -> Iterable[str]:
        """Paths on disk to try; only those inside their root after links are resolved."""
        for path in super().candidate_paths_for_url(url):
            real = os.path.realpath(path)
            if any(real == root.rstrip(os.sep) or real.startswith(root) for root, _ in self.directories):
                yield path


def _add_headers(headers: Headers, path: str, url: str) -> None:
    # File names carry no version, so browsers have to revalidate; the shop page's API key is not stored at all.
    headers["Cache-Control"] = "no-store" if url == DATA_PREFIX + "config.json" else "no-cache"
    for name, value in SECURITY_HEADERS.items():
        headers[name] = value


def _nothing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    raise AssertionError("call answer()")
