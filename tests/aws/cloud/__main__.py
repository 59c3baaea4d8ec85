"""The cloud as a server: ``python -m tests.aws.cloud <port> <region> <folder>``, on 127.0.0.1."""

import logging
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Serve until SIGTERM, which ends what functions and tasks still run."""
    port, region, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    # moto's interpreter of state machines calls the services under this address; it is read at import.
    os.environ["MOTO_PORT"] = str(port)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(os.environ.get("CLOUD_LOG", "ERROR"))

    from moto.core.config import default_user_config
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from tests.aws.cloud.calls import recording
    from tests.aws.cloud.functions import Functions
    from tests.aws.cloud.gaps import close_gaps
    from tests.aws.cloud.memory import remember
    from tests.aws.cloud.tasks import Tasks
    from tests.training_machine.ecs_gaps import close_ecs_gaps

    close_gaps()
    remember()
    close_ecs_gaps()
    endpoint = f"http://127.0.0.1:{port}"
    functions, tasks = Functions(endpoint, folder / "functions"), Tasks(endpoint, region, folder / "tasks")
    functions.install()
    tasks.install()
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    app = recording(DomainDispatcherApplication(create_backend_app), folder / "calls.jsonl", "123456789012")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        make_server("127.0.0.1", port, app, threaded=True, request_handler=MotoRequestHandler).serve_forever()
    finally:
        functions.close()
        tasks.close()


if __name__ == "__main__":
    main()
