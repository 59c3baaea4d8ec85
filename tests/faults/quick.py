"""The server's lifecycle with its patience shortened, so that a fault and the recovery from it fit into a test.

Only times differ from what is served: how long a routing record is trusted, when a bundle that failed is tried again,
how long a breaker stays open.
"""

from lambda_api.handlers.dependencies import Serving, build, use
from lambda_api.serving.guard import Guard
from lambda_api.settings import current_settings

TTL_S = 0.5
RETRY_S = 1.0


def serving() -> Serving:
    """In place of ``lambda_api.handlers.dependencies:serving``."""
    defaults = Guard.__init__.__kwdefaults__
    assert defaults is not None
    defaults["open_for_s"] = RETRY_S
    held = build(current_settings())
    held.service.routing._ttl_s = TTL_S
    held.service.routing._retry_s = TTL_S
    held.bundles._host._retry_s = RETRY_S
    held.catalogue._pointer._ttl_s = TTL_S
    use(held)
    return held
