"""A simulated AWS behind real HTTP, for programs in processes of their own and for Arrow's S3 client."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from moto.server import ThreadedMotoServer


@contextmanager
def moto_address() -> Iterator[str]:
    """Its address; servers of one process share what is made in them."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def moto_server(region: str = "us-east-1") -> Iterator[str]:
    """As `moto_address`, and this process's variables name the server."""
    fake = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    fake |= {"AWS_DEFAULT_REGION": region, "AWS_REGION": region}
    with moto_address() as address, mock.patch.dict("os.environ", fake | {"AWS_ENDPOINT_URL": address}):
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
        yield address
