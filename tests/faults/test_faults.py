"""What breaks under load, and what shoppers see of it: nothing but a plainer list.

Real server processes on homes of their own, under real traffic. What must hold for every fault is in `judge`; each
test adds what is promised for its own, and that the server recovers.
"""

import http.server
import json
import os
import resource
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lambda_api.recommender.bundle import read_bundle
from lambda_api.recommender.catalogue import read_catalogue
from lambda_api.serving.engine import Engine
from lambda_api.serving.scorers import Scored, encode_answer, read_invocation
from lambda_api.state.open_table import STATE_FILE, open_table
from lambda_api.state.routing_record import ROUTING_KEY, RouteTarget, Variant, read_routing, write_routing
from lambda_api.state.table import Delete, Put
from tests.faults.server import THREADS, Load, Running, during, judge, running, share
from tests.serving_home import ServedHome, make_home, make_recommender, make_shelf, write_version

pytestmark = pytest.mark.slow
PRODUCTS = 1_500
FAULT_S = 3.0


@pytest.fixture
def home(tmp_path: Path) -> ServedHome:
    return make_home(tmp_path / "home", products=PRODUCTS, shoppers=60)


@pytest.fixture
def server(home: ServedHome) -> Iterator[Running]:
    with running(home) as started:
        yield started


def by_champion(answer: dict[str, object]) -> bool:
    return answer["model_version"] == "v1.0.0" and "fallback" not in answer


def route_to(home: ServedHome, target: RouteTarget) -> None:
    """Make ``target`` the champion."""
    table = open_table(home.settings, "serving")
    record = read_routing(table)
    assert record is not None
    moved = replace(record, variants=(Variant("champion", target, 10_000),), revision=record.revision + 1)
    write_routing(table, moved, record.revision)


def test_a_worker_is_killed(server: Running) -> None:
    kills = 0
    with Load(server) as load:
        for _ in range(3):
            os.kill(server.workers()[0], signal.SIGKILL)
            kills += 1
            time.sleep(1.5)
        server.wait_for(by_champion)
    judge("kill -9 a worker, three times", server, load.traffic, broken_at_most=kills * THREADS)
    server.wait_for_workers()
    assert server.process.poll() is None


def test_the_bundle_is_deleted(server: Running, home: ServedHome) -> None:
    kept = home.settings.home / "kept"
    shutil.copytree(home.target.bundle_uri, kept)
    with Load(server) as load:
        shutil.rmtree(home.target.bundle_uri)
        for name in ("bundles", "catalogues"):
            shutil.rmtree(home.settings.home / name, ignore_errors=True)
        deleted = time.monotonic()
        time.sleep(FAULT_S)
        until = time.monotonic()
        # Who has it mapped goes on with it; who starts now finds nothing.
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        missing = server.wait_for(lambda answer: answer["model_version"] == "baseline")
        shutil.copytree(kept, home.target.bundle_uri)
        server.wait_for(by_champion)
    judge("delete the bundle, then kill every worker", server, load.traffic, broken_at_most=2 * THREADS)
    assert all(
        reply.model_version == "v1.0.0" for reply in during(load.traffic, deleted, until - 0.2) if not reply.note
    )
    assert share(during(load.traffic, deleted, until - 0.2), lambda reply: reply.model_version == "v1.0.0") > 0.95
    assert missing["fallback"].startswith("bundle: ")
    assert "bundle: missing" in {reply.note for reply in load.traffic.replies}
    assert len(missing["recommendations"]) == 10


def test_a_tampered_bundle_is_published(server: Running, home: ServedHome) -> None:
    shelf = make_shelf(PRODUCTS, np.random.default_rng(0))
    target = write_version(home.settings, make_recommender(shelf, "factors"), "v1.1.0")
    array = Path(target.bundle_uri) / "arrays" / "item_factors.npy"
    whole = array.read_bytes()
    array.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    served = next((Path(home.target.bundle_uri) / "arrays").iterdir())
    with Load(server) as load:
        os.truncate(served, 100)  # would be a bus error in a process that had this very file mapped
        route_to(home, target)
        refused = server.wait_for(lambda answer: "bundle: refused" in answer.get("fallback", ""))
        time.sleep(FAULT_S)
        repaired = time.monotonic()
        array.write_bytes(whole)
        server.wait_for(lambda answer: answer["model_version"] == "v1.1.0" and "fallback" not in answer)
    judge("cut a served bundle short in place, publish a tampered one", server, load.traffic)
    assert refused["model_version"] == "v1.0.0", "the last good one answers"
    while_tampered = during(load.traffic, 0, repaired)
    assert not [reply for reply in while_tampered if reply.model_version == "v1.1.0"]
    assert share(while_tampered, lambda reply: reply.model_version == "v1.0.0") > 0.95


def test_the_database_is_locked(server: Running, home: ServedHome) -> None:
    with Load(server) as load:
        holder = sqlite3.connect(home.settings.home / STATE_FILE, isolation_level=None, timeout=10)
        holder.execute("BEGIN EXCLUSIVE")
        locked = time.monotonic()
        time.sleep(FAULT_S)
        released = time.monotonic()
        holder.execute("COMMIT")
        holder.close()
        time.sleep(2.5)
        server.wait_for(by_champion)
        after = time.monotonic()
        time.sleep(1.5)
    judge("lock the database for three seconds", server, load.traffic)
    assert share(during(load.traffic, locked, released), lambda reply: reply.model_version == "v1.0.0") > 0.95
    assert load.traffic.to_retry, "feedback during the lock is to be sent again"
    assert [reply for reply in load.traffic.replies if reply.status == 202 and reply.at > after]


class Endpoint:
    """An inference endpoint that can misbehave. ``mode``: good, garbage, wrong, error, hang; `stop` refuses."""

    def __init__(self, engine: Engine, version: str) -> None:
        self.mode = "good"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.mode == "gone":
                    self.close_connection = True
                    return
                status, answer = outer.answer(engine, version, body)
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, engine: Engine, version: str, body: bytes) -> tuple[int, bytes]:
        question = read_invocation(json.loads(body)).question
        if self.mode == "hang":
            time.sleep(1.5)
        if self.mode == "error":
            return 500, b"<html>Internal Server Error</html>"
        if self.mode == "garbage" or question is None:
            return 200, b'\x00\xff{"ranking": [[['
        good = encode_answer(Scored(engine.answer(question), version))
        if self.mode != "wrong":
            return 200, good
        content = json.loads(good)
        for item in content["ranking"]["items"]:
            item["score"] = "very good"
        return 200, json.dumps(content).encode()

    def stop(self) -> None:
        self.mode = "gone"
        self.server.shutdown()
        self.server.server_close()


def test_the_endpoint_misbehaves(server: Running, home: ServedHome) -> None:
    (catalogue,) = Path(home.settings.catalogue_uri).iterdir()
    engine = Engine(read_bundle(Path(home.target.bundle_uri)).recommender, read_catalogue(catalogue))
    endpoint = Endpoint(engine, "v2.0.0")
    target = replace(home.target, version="v2.0.0", endpoint=endpoint.url)

    def well(answer: dict[str, object]) -> bool:
        return answer["model_version"] == "v2.0.0" and "fallback" not in answer

    def plain(answer: dict[str, object]) -> bool:
        return answer["model_version"] == "baseline" and "endpoint: " in str(answer.get("fallback"))

    try:
        with Load(server) as load:
            route_to(home, target)
            server.wait_for(well)
            for mode in ("garbage", "wrong", "error", "hang"):
                endpoint.mode = mode
                answer = server.wait_for(plain)
                assert len(answer["recommendations"]) == 10
                endpoint.mode = "good"
                server.wait_for(well)
            endpoint.stop()
            server.wait_for(plain)
    finally:
        endpoint.stop()
    judge("endpoint: garbage, wrong types, 500, hangs, refuses", server, load.traffic)
    assert {reply.model_version for reply in during(load.traffic, 0, time.monotonic())} <= {
        "v1.0.0",
        "v2.0.0",
        "baseline",
    }


def limit_files(server: Running, size: int) -> None:
    """No worker may write beyond ``size`` bytes of any file; what a full disk does, to them alone."""
    for pid in server.workers():
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size < 0 else size, hard))


def test_the_disk_is_full(server: Running) -> None:
    with Load(server) as load:
        try:
            limit_files(server, 0)
        except PermissionError:
            pytest.skip("this machine does not let a process be limited from outside")
        full = time.monotonic()
        time.sleep(FAULT_S)
        room = time.monotonic()
        limit_files(server, -1)
        time.sleep(2.5)
        server.wait_for(by_champion)
        after = time.monotonic()
        time.sleep(1.5)
    judge("no room on the disk for three seconds", server, load.traffic)
    assert share(during(load.traffic, full, room), lambda reply: reply.model_version == "v1.0.0") > 0.9
    assert load.traffic.to_retry, "feedback without room is to be sent again"
    accepting = [reply for reply in load.traffic.replies if reply.status == 202 and reply.at > after]
    assert accepting, "feedback is taken again"


def test_the_routing_record_is_dropped_and_overwritten(server: Running, home: ServedHome) -> None:
    table = open_table(home.settings, "serving")
    record = read_routing(table)
    assert record is not None
    with Load(server) as load:
        began = time.monotonic()
        table.write([Delete(ROUTING_KEY)])
        time.sleep(FAULT_S / 2)
        table.write([Put(ROUTING_KEY, {"variants": "all of them", "revision": None})])
        time.sleep(FAULT_S / 2)
        until = time.monotonic()
        # Who knows the record goes on with it; who starts now knows none.
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        lost = server.wait_for(lambda answer: answer["model_version"] == "baseline")
        table.write([Delete(ROUTING_KEY)])
        write_routing(table, record, None)
        server.wait_for(by_champion)
    judge("drop the routing record, write garbage into it, kill every worker", server, load.traffic, 2 * THREADS)
    assert share(during(load.traffic, began, until - 0.2), lambda reply: reply.model_version == "v1.0.0") > 0.95
    assert "routing: " in lost["fallback"]
    assert len(lost["recommendations"]) == 10
