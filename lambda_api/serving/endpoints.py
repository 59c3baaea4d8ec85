"""Calls inference endpoints: SageMaker's runtime, or HTTP for a container on this machine."""

import http.client
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from lambda_api.serving.scorers import MAX_ANSWER_BYTES, EndpointFailed
from lambda_api.state.routing_record import RouteTarget

JSON = "application/json"


def invoke(timeout_s: float = 0.4) -> Callable[[RouteTarget, bytes], bytes]:
    """Call ``RouteTarget.endpoint``: a URL over HTTP, a name by SageMaker's runtime."""
    over_http, over_sagemaker = http_invoke(timeout_s), sagemaker_invoke(timeout_s)

    def call(target: RouteTarget, body: bytes) -> bytes:
        is_url = (target.endpoint or "").startswith(("http://", "https://"))
        return (over_http if is_url else over_sagemaker)(target, body)

    return call


def http_invoke(timeout_s: float) -> Callable[[RouteTarget, bytes], bytes]:
    """Posts to ``<endpoint>/invocations``; connections are kept open, one per thread and endpoint.

    Raises (the returned function):
        EndpointFailed: no connection, no answer in time, a status other than 200, or a too long answer.
    """
    local = threading.local()

    def call(target: RouteTarget, body: bytes) -> bytes:
        parts = urlsplit(target.endpoint or "")
        open_connections: dict[str, http.client.HTTPConnection] = local.__dict__.setdefault("open", {})
        for attempt in ("kept", "fresh"):
            connection = open_connections.pop(parts.netloc, None) if attempt == "kept" else None
            kept = connection is not None
            if connection is None:
                kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
                connection = kind(parts.netloc, timeout=timeout_s)
            try:
                answer = _post(connection, f"{parts.path.rstrip('/')}/invocations", body)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # Servers close idle connections at any time; a fresh one may work.
                if kept and not isinstance(error, TimeoutError):
                    continue
                raise EndpointFailed(f"{type(error).__name__}: {error}") from error
            except EndpointFailed:
                connection.close()
                raise
            open_connections[parts.netloc] = connection
            return answer
        raise EndpointFailed("no connection")

    return call


def _post(connection: http.client.HTTPConnection, path: str, body: bytes) -> bytes:
    connection.request("POST", path, body, {"Content-Type": JSON, "Accept": JSON})
    response = connection.getresponse()
    answer = response.read(MAX_ANSWER_BYTES + 1)
    if response.status != 200:
        raise EndpointFailed(f"status {response.status}: {answer[:200]!r}")
    if len(answer) > MAX_ANSWER_BYTES:
        raise EndpointFailed(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    if response.length:  # `read` with a size does not tell that the connection was lost
        raise http.client.IncompleteRead(answer, response.length)
    return answer


def sagemaker_invoke(timeout_s: float, client: Any = None) -> Callable[[RouteTarget, bytes], bytes]:
    """Calls ``InvokeEndpoint`` of the endpoint named by the target.

    ``name/archive`` is a model of a multi-model endpoint: ``archive`` is its address below the endpoint's prefix
    (``TargetModel``).

    Raises (the returned function):
        EndpointFailed: the runtime or the network failed.
    """
    lock = threading.Lock()
    clients: list[Any] = [] if client is None else [client]

    def runtime() -> Any:
        with lock:
            if not clients:
                import boto3
                from botocore.config import Config

                # No retries: a shopper is waiting, and there is a fallback.
                config = Config(connect_timeout=timeout_s, read_timeout=timeout_s, retries={"total_max_attempts": 1})
                clients.append(boto3.client("sagemaker-runtime", config=config))
            return clients[0]

    def call(target: RouteTarget, body: bytes) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        name, _, archive = (target.endpoint or "").partition("/")
        chosen = {"TargetModel": archive} if archive else {}
        try:
            response = runtime().invoke_endpoint(EndpointName=name, ContentType=JSON, Accept=JSON, Body=body, **chosen)
            answer: bytes = response["Body"].read(MAX_ANSWER_BYTES + 1)
        except (BotoCoreError, ClientError, OSError) as error:
            raise EndpointFailed(f"{type(error).__name__}: {error}") from error
        return answer

    return call
