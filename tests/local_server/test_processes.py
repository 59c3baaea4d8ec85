"""Starting, stopping and losing processes while requests are in flight."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.local_server.processes import FAKES, ROOT, Server, free_port, running, talk
from tests.patience import PATIENCE_S, wait_until


def in_flight(server: Server, count: int, seconds: float) -> tuple[list[threading.Thread], list[object]]:
    """``count`` requests that take ``seconds`` each, on the way."""
    outcomes: list[object] = []

    def ask() -> None:
        try:
            outcomes.append(server.request("POST", "/recommend", {"sleep": seconds}).status)
        except (OSError, http.client.HTTPException) as error:
            outcomes.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, outcomes


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_is_in_flight_and_flushes(tmp_path: Path, sig: int) -> None:
    with running(tmp_path, environment={"FAKE_LIFECYCLE": str(tmp_path)}) as server:
        workers = server.workers()
        idle = server.connect()
        kept = http.client.HTTPConnection("127.0.0.1", server.port)
        kept.request("GET", "/health")
        kept.getresponse().read()
        threads, outcomes = in_flight(server, 6, 1.0)
        time.sleep(0.4)
        began = time.monotonic()
        assert server.stop(sig) == 0
        assert time.monotonic() - began < 60, "idle connections held up the stop"
        for thread in threads:
            thread.join()
        assert outcomes == [200] * 6
        assert idle.recv(1) == b""
        idle.close()
        for pid in workers:
            assert (tmp_path / f"{pid}.warm").exists() and (tmp_path / f"{pid}.close").exists()
        with pytest.raises(OSError):
            server.connect()
        assert "Traceback" not in server.log.read_text()


def test_ctrl_c_in_a_terminal_reaches_every_process_and_still_finishes(tmp_path: Path) -> None:
    with running(tmp_path, workers=1) as server:
        threads, outcomes = in_flight(server, 3, 1.0)
        time.sleep(0.4)
        for pid in server.workers():
            os.kill(pid, signal.SIGINT)
        assert server.stop(signal.SIGINT) == 0
        for thread in threads:
            thread.join()
        assert outcomes == [200] * 3


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with running(tmp_path, workers=1) as server:
        threads, _ = in_flight(server, 2, 100.0)
        time.sleep(0.4)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        began = time.monotonic()
        server.stop(signal.SIGINT)
        assert time.monotonic() - began < 60
        for thread in threads:
            thread.join()


def test_a_killed_worker_is_replaced_and_costs_only_its_own_requests(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        counted: Counter[str] = Counter()
        stop = threading.Event()

        def load() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
            while not stop.is_set():
                try:
                    connection.request("GET", "/popular", headers={"X-API-Key": "shop-key"})
                    response = connection.getresponse()
                    response.read()
                    counted[str(response.status)] += 1
                except (OSError, http.client.HTTPException):
                    counted["broken"] += 1
                    connection.close()

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        before = server.workers()
        for victim in before:
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: len({*server.workers()} - {victim}) == 2, "another worker took its place")
            time.sleep(0.7)
        stop.set()
        for thread in threads:
            thread.join()
        assert not set(before) & set(server.workers()) and len(server.workers()) == 2
        assert set(counted) <= {"200", "broken"} and counted["200"] > 100
        # Each of four clients has one request on a worker at a time.
        assert counted["broken"] <= 8
        assert server.request("GET", "/health").status == 200


def test_both_workers_answer(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        pids = set()
        for _ in range(200):
            connections = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(6)]
            for connection in connections:
                connection.request("POST", "/recommend", '{"sleep": 0.01}', {"X-API-Key": "shop-key"})
            pids |= {json.loads(connection.getresponse().read())["pid"] for connection in connections}
            for connection in connections:
                connection.close()
            if len(pids) == 2:
                break
        assert pids == set(server.workers())


def test_a_taken_port_is_a_sentence_with_a_remedy(tmp_path: Path) -> None:
    with running(tmp_path, workers=1) as server:
        second = subprocess.run(
            [sys.executable, "-m", "lambda_api.local_server", "--port", str(server.port), *FAKES],
            cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert second.returncode == 2
        assert str(server.port) in second.stderr and "--port" in second.stderr
        assert "Traceback" not in second.stderr
        assert server.request("GET", "/health").status == 200


def test_a_handler_that_cannot_be_loaded_ends_the_server(tmp_path: Path) -> None:
    broken = subprocess.run(
        [sys.executable, "-m", "lambda_api.local_server", "--port", str(free_port()), *FAKES,
         "--handler", "tests.local_server.fakes:missing"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert broken.returncode != 0
    assert "missing" in broken.stdout + broken.stderr


def test_the_master_stays_light(tmp_path: Path) -> None:
    script = (
        "import sys; from lambda_api.local_server.server import LocalServer; "
        "from lambda_api.local_server.options import ServerOptions; LocalServer(ServerOptions()); "
        "print([name for name in ('numpy', 'onnxruntime', 'boto3', 'aws_lambda_powertools', 'pyarrow', 'dagster') "
        "if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert found.stdout.strip() == "[]", found.stdout + found.stderr


@pytest.mark.slow
def test_an_idle_connection_is_closed_and_an_active_one_is_kept(tmp_path: Path) -> None:
    with running(tmp_path, workers=1) as server:
        began = time.monotonic()
        received = talk(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 200") and 2 < time.monotonic() - began < 60
        kept = http.client.HTTPConnection("127.0.0.1", server.port)
        for _ in range(4):
            kept.request("GET", "/health")
            assert kept.getresponse().read()
            time.sleep(0.5)
        kept.close()
