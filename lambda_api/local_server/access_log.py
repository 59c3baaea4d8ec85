"""One JSON line per answered request on standard output; never a key, a body or a query.

Put the look of log lines here. Keep what handlers log (Powertools) out.
"""

import json
import os
import sys
import time
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from lambda_api.local_server.gateway import REQUEST_ID, ROUTE_KEY

LONGEST = 256
"""Characters of a field that a client chooses."""


class JsonLogger(Logger):
    """Gunicorn's logger with access lines in JSON."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log one answer."""
        if not self.access_log_enabled:
            return
        status = resp.status.split(None, 1)[0] if isinstance(resp.status, str) else resp.status
        self._line(
            request_id=environ.get(REQUEST_ID),
            client=environ.get("REMOTE_ADDR"),
            method=str(environ.get("REQUEST_METHOD"))[:LONGEST],
            path=str(environ.get("RAW_URI", "")).partition("?")[0][:LONGEST],
            route=environ.get(ROUTE_KEY),
            status=int(status or 0),
            # What the kernel copies from a file is not counted as sent.
            bytes=resp.sent or resp.response_length or 0,
            duration_ms=round(request_time.total_seconds() * 1000, 2),
            user_agent=str(environ.get("HTTP_USER_AGENT", ""))[:LONGEST],
        )

    def refusal(self, client: str, status: int) -> None:
        """Log what never became a request."""
        if self.access_log_enabled:
            self._line(client=client, status=status, route=None)

    def _line(self, **fields: Any) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        line = json.dumps({"time": stamp, "kind": "access", "worker": os.getpid(), **fields}) + "\n"
        # One write per line: workers share the stream.
        sys.stdout.write(line)
        sys.stdout.flush()
