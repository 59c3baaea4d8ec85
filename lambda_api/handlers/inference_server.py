"""The inference container's program: ``python -m lambda_api.handlers.inference_server serve``.

The model folder (``/opt/ml/model``, where SageMaker unpacks the model archive) holds ``bundle/`` and ``catalogue/``.
Environment variables, as in SageMaker's own containers: ``SAGEMAKER_BIND_TO_PORT`` (8080), ``SM_MODEL_DIR``,
``MODEL_SERVER_WORKERS`` (one per core). ``SAGEMAKER_MULTI_MODEL=true`` starts a multi-model endpoint that holds at most
``MODEL_SERVER_MODELS`` models.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from lambda_api.handlers.inference_app import InferenceApp, ModelHolder, ModelUnavailable
from lambda_api.handlers.multi_model import MAX_MODELS, ModelCache, MultiModelApp

MODEL_FOLDER = Path("/opt/ml/model")
PORT = 8080
STOP_WITHIN_S = 25
"""Time for requests in flight after SIGTERM; SageMaker kills the container after 30 s."""

THREADS = 2


def serve(folder: Path, host: str, port: int, workers: int, models: int = 0) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight. Workers share the mapped model files.

    Args:
        models: above 0, serve a multi-model endpoint with at most this many models, in one worker; ``folder`` is then
            not read.
    """
    from gunicorn.app.base import BaseApplication

    holder = ModelHolder(folder)

    class Server(BaseApplication):
        def load_config(self) -> None:
            chosen = {
                "bind": f"{host}:{port}",
                "workers": 1 if models else workers,
                "worker_class": "gthread",
                "threads": THREADS * workers if models else THREADS,
                "graceful_timeout": STOP_WITHIN_S,
                "timeout": 60,
                "keepalive": 30,
                "proc_name": "recsys-inference",
                "post_worker_init": lambda worker: None if models else _warm(holder),
                "loglevel": "warning",
                "control_socket_disable": True,
            }
            for name, value in chosen.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> InferenceApp:
            return MultiModelApp(ModelCache(models)) if models else InferenceApp(holder)

    Server().run()


def _warm(holder: ModelHolder) -> None:
    try:
        holder.get()
    except ModelUnavailable:
        return  # logged by the holder; /ping answers 503 until the model loads


def main(arguments: Sequence[str] | None = None) -> None:
    """``serve``: run the container's server in the foreground."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    environment = os.environ
    parser = argparse.ArgumentParser(prog="inference_server", description="Serve a model on SageMaker.")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--model", type=Path, default=Path(environment.get("SM_MODEL_DIR") or MODEL_FOLDER))
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=int(environment.get("SAGEMAKER_BIND_TO_PORT") or PORT))
    workers = int(environment.get("MODEL_SERVER_WORKERS") or os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=workers)
    several = environment.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"
    models = int(environment.get("MODEL_SERVER_MODELS") or MAX_MODELS) if several else 0
    parser.add_argument("--models", type=int, default=models, help="models held at once; 0: a single model")
    given = parser.parse_args(arguments)
    serve(given.model, given.host, given.port, given.workers, given.models)


if __name__ == "__main__":
    main()
