"""Event sinks: whole lines from racing and dying processes, full disks, a stream that takes part of a request."""

import json
import multiprocessing
import os
import resource
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from lambda_api.state.event_sink import (
    FIRST_PAUSE_S,
    MAX_ATTEMPTS,
    FirehoseSink,
    JsonLinesSink,
    KinesisSink,
    SinkFull,
    SinkUnavailable,
)
from tests.json_lines import read_json_lines
from tests.patience import PATIENCE_S, wait_until
from tests.state.tables import ODD_IDS, Clock, fake_dynamodb


def test_records_come_back_by_kind_and_day(tmp_path: Path) -> None:
    clock = Clock(1_700_000_000)  # 2023-11-14, 22:13:20 UTC
    sink = JsonLinesSink(tmp_path, clock=clock)
    assert list(read_json_lines(tmp_path, "feedback")) == []
    sink.emit("feedback", [{"event_id": "1"}])
    sink.emit("exposure", [{"request_id": "r", "items": [{"score": 0.1 + 0.2}]}])
    sink.emit("feedback", [])
    clock.now += 2 * 3600
    sink.emit("feedback", [{"event_id": odd} for odd in ODD_IDS])
    sink.close()
    sink.emit("feedback", [{"event_id": "after close"}])
    assert [r["event_id"] for r in read_json_lines(tmp_path, "feedback")] == ["1", *ODD_IDS, "after close"]
    assert list(read_json_lines(tmp_path, "exposure")) == [{"request_id": "r", "items": [{"score": 0.1 + 0.2}]}]
    files = sorted(str(path.relative_to(tmp_path).parent) for path in tmp_path.rglob("*.jsonl"))
    assert files == ["exposure/date=2023-11-14", "feedback/date=2023-11-14", "feedback/date=2023-11-15"]
    sink.close()


def test_feedback_is_flushed_once_per_batch_and_exposures_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = JsonLinesSink(tmp_path)
    sink.emit("feedback", [{}])
    sink.emit("exposure", [{}])  # the files exist: from here on only their content is flushed
    flushed, written = [], []
    fsync, write = os.fsync, os.write
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(file) or fsync(file))
    monkeypatch.setattr(os, "write", lambda file, content: written.append(content) or write(file, content))
    sink.emit("feedback", [{"n": n} for n in range(50)])
    assert (len(written), len(flushed)) == (1, 1)
    sink.emit("exposure", [{"n": n} for n in range(50)])
    assert (len(written), len(flushed)) == (2, 1)


def _write_many(folder: Path, writer: int, sink: JsonLinesSink | None = None) -> None:
    sink = sink or JsonLinesSink(folder)

    def write(thread: int) -> None:
        for n in range(40):
            kind = "feedback" if n % 2 else "exposure"
            sink.emit(kind, [{"id": f"{writer}-{thread}-{n}-{i}", "pad": "ü" * (n * 60)} for i in range(3)])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))


def test_lines_stay_whole_among_racing_processes_and_threads(tmp_path: Path) -> None:
    inherited = JsonLinesSink(tmp_path)  # used before the fork, as by a server that loads the application first
    inherited.emit("feedback", [{"id": "parent"}])
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_write_many, args=(tmp_path, n, inherited if n < 2 else None)) for n in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    found = Counter(r["id"] for kind in ("feedback", "exposure") for r in read_json_lines(tmp_path, kind))  # type: ignore[arg-type]
    expected = [f"{w}-{t}-{n}-{i}" for w in range(4) for t in range(3) for n in range(40) for i in range(3)]
    assert found == Counter([*expected, "parent"])
    assert len(list(tmp_path.glob("feedback/*/*.jsonl"))) == 5


def _write_until_killed(folder: Path, reached: Any) -> None:
    sink = JsonLinesSink(folder)
    for n in range(1_000_000):
        sink.emit("feedback", [{"n": n, "pad": "x" * 2_000}] * 20)
        reached.value = n + 1


def test_a_killed_writer_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    reached = context.Value("i", 0)
    process = context.Process(target=_write_until_killed, args=(tmp_path, reached))
    process.start()
    wait_until(lambda: reached.value >= 20, "twenty batches were written", every_s=0.002)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    counts = Counter(r["n"] for r in read_json_lines(tmp_path, "feedback"))
    assert all(counts[n] == 20 for n in range(reached.value))


def test_an_unfinished_last_line_is_passed_over_and_a_broken_one_named(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path)
    sink.emit("feedback", [{"n": 1}])
    sink.close()
    (path,) = tmp_path.rglob("*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n": 2')
    assert list(read_json_lines(tmp_path, "feedback")) == [{"n": 1}]
    for broken in (b'{"n": 2\n', b"[2]\n"):
        path.write_bytes(whole + broken)
        with pytest.raises(ValueError, match=r"\.jsonl, line 2: not"):
            list(read_json_lines(tmp_path, "feedback"))


def _fill_the_disk(folder: Path, results: Any) -> None:
    # A limit on file size is the nearest an unprivileged process gets to a full disk: the kernel takes the part that
    # fits and refuses the rest, as it does on one.
    sink = JsonLinesSink(folder)
    sink.emit("feedback", [{"n": 0}])
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))
    kept = 1
    try:
        while kept < 1_000:
            sink.emit("feedback", [{"n": kept, "pad": "x" * 300}, {"n": kept, "pad": "y" * 300}])
            kept += 1
    except SinkFull as error:
        first = str(error)
    try:
        sink.emit("feedback", [{"n": "x" * 6_000}])
        second = "taken"
    except SinkFull as error:
        second = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    sink.emit("feedback", [{"n": "room again"}])
    results.put((kept, first, second))


def test_a_full_disk_is_told_apart_and_leaves_no_half_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_fill_the_disk, args=(tmp_path, results))
    process.start()
    kept, first, second = results.get(timeout=PATIENCE_S)
    process.join(30)
    assert "2 feedback records not written" in first
    assert "1 feedback records not written" in second
    found = [r["n"] for r in read_json_lines(tmp_path, "feedback")]
    assert found == [0, *(n for n in range(1, kept) for _ in range(2)), "room again"]
    assert 1 < kept < 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_device_without_space_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = JsonLinesSink(tmp_path)
    monkeypatch.setattr(sink, "_open", lambda kind: os.open("/dev/full", os.O_WRONLY))
    monkeypatch.setattr(os, "ftruncate", lambda file, size: None)  # a device has no length to restore
    with pytest.raises(SinkFull, match="No space left"):
        sink.emit("feedback", [{"n": 1}])


def test_other_trouble_is_unavailable_and_passes(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.write_text("in the way")
    sink = JsonLinesSink(folder)
    with pytest.raises(SinkUnavailable, match="not written under") as raised:
        sink.emit("feedback", [{"n": 1}])
    assert not isinstance(raised.value, SinkFull)
    folder.unlink()
    sink.emit("feedback", [{"n": 2}])
    for path in folder.rglob("*.jsonl"):
        path.unlink()  # moved away by whoever collects them
    sink.emit("feedback", [{"n": 3}])
    assert list(read_json_lines(folder, "feedback")) == [{"n": 3}]
    with pytest.raises(ValueError, match="JSON"):
        sink.emit("feedback", [{"n": float("nan")}])


@pytest.fixture
def kinesis() -> Iterator[Any]:
    with fake_dynamodb():
        client = boto3.client("kinesis")
        client.create_stream(StreamName="events", ShardCount=2)
        client.get_waiter("stream_exists").wait(StreamName="events")
        yield client


def in_stream(client: Any) -> list[dict[str, Any]]:
    records = []
    for shard in client.list_shards(StreamName="events")["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName="events", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records += client.get_records(ShardIterator=iterator, Limit=10_000)["Records"]
    assert all(record["Data"].endswith(b"\n") for record in records)
    return [json.loads(record["Data"]) for record in records]


class Shaky:
    """Passes to the stream what a script of indices does not refuse; raises what the script holds instead."""

    def __init__(self, client: Any, script: list[Any]) -> None:
        self.client, self.script, self.requests = client, script, []

    def put_records(self, *, StreamName: str, Records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        self.requests.append(len(Records))
        step = self.script.pop(0) if self.script else ()
        if isinstance(step, Exception):
            raise step
        refused = set(range(len(Records))) if step == "all" else set(step)
        taken = [record for index, record in enumerate(Records) if index not in refused]
        if taken:
            self.client.put_records(StreamName=StreamName, Records=taken)
        error = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
        return {"Records": [error if index in refused else {"ShardId": "s"} for index in range(len(Records))]}


def test_records_reach_the_stream_with_one_key_per_user(kinesis: Any) -> None:
    sink = KinesisSink("events", kinesis)
    sink.emit("exposure", [{"request_id": "r", "user_id": "u"}])
    sink.emit("feedback", [{"event_id": odd, "user_id": odd} for odd in ODD_IDS])
    sink.emit("feedback", [])
    sink.close()
    found = in_stream(kinesis)
    assert {"kind": "exposure", "request_id": "r", "user_id": "u"} in found
    assert sorted(r["event_id"] for r in found if r["kind"] == "feedback") == sorted(ODD_IDS)


def test_refused_records_and_only_they_are_sent_again(kinesis: Any) -> None:
    pauses: list[float] = []
    throttled = ClientError({"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}}, "PutRecords")
    shaky = Shaky(kinesis, [[1, 3, 4], throttled, [0]])
    KinesisSink("events", shaky, sleep=pauses.append, jitter=lambda: 0.5).emit("feedback", [{"n": n} for n in range(6)])
    assert shaky.requests == [6, 3, 3, 1]
    assert sorted(r["n"] for r in in_stream(kinesis)) == list(range(6))
    assert pauses == [0.5 * FIRST_PAUSE_S, FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]


def test_sending_again_ends_and_says_how_many_are_missing(kinesis: Any) -> None:
    pauses: list[float] = []
    shaky = Shaky(kinesis, [[0, 1]] + ["all"] * 50)
    with pytest.raises(SinkUnavailable, match=r"'events' did not take 2 of 5: ProvisionedThroughputExceeded.*Rate"):
        KinesisSink("events", shaky, sleep=pauses.append).emit("feedback", [{"n": n} for n in range(5)])
    assert len(shaky.requests) == MAX_ATTEMPTS
    assert len(pauses) == MAX_ATTEMPTS - 1
    assert sum(pauses) < 1


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no such stream"}}, "PutRecords"),
        ReadTimeoutError(endpoint_url="http://kinesis"),
    ],
    ids=str,
)
def test_what_trying_again_cannot_mend_fails_at_once(kinesis: Any, error: Exception) -> None:
    shaky = Shaky(kinesis, [error] * 9)
    with pytest.raises(SinkUnavailable, match="did not take 1 of 1"):
        KinesisSink("events", shaky, sleep=lambda _: None).emit("feedback", [{}])
    assert shaky.requests == [1]


def test_requests_keep_to_the_limits_of_kinesis(kinesis: Any) -> None:
    shaky = Shaky(kinesis, [])
    KinesisSink("events", shaky).emit("feedback", [{"n": n} for n in range(1_100)])
    assert shaky.requests == [500, 500, 100]
    shaky.requests.clear()
    KinesisSink("events", shaky).emit("exposure", [{"pad": "x" * 900_000} for _ in range(12)])
    assert shaky.requests == [5, 5, 2]
    shaky.requests.clear()
    with pytest.raises(ValueError, match="Kinesis accepts 1048576"):
        KinesisSink("events", shaky).emit("exposure", [{}, {"pad": "x" * 2_000_000}])
    assert shaky.requests == []


class Delivery:
    """A Firehose that refuses every second record of its first batch."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []

    def put_record_batch(self, *, DeliveryStreamName: str, Records: Sequence[Mapping[str, Any]]) -> Any:
        assert DeliveryStreamName == "events"
        self.batches.append([json.loads(record["Data"]) for record in Records])
        refused = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "slow down"}
        answers = [refused if len(self.batches) == 1 and n % 2 else {"RecordId": "r"} for n in range(len(Records))]
        return {"FailedPutCount": 0, "RequestResponses": answers}


def test_firehose_takes_whole_lines_and_only_refused_records_are_sent_again() -> None:
    delivery = Delivery()
    FirehoseSink("events", delivery, sleep=lambda _: None).emit("feedback", [{"n": n} for n in range(4)])
    assert delivery.batches == [
        [{"kind": "feedback", "n": n} for n in range(4)],
        [{"kind": "feedback", "n": n} for n in (1, 3)],
    ]
    with pytest.raises(ValueError, match="Firehose accepts 1024000"):
        FirehoseSink("events", delivery).emit("exposure", [{"pad": "x" * 1_024_000}])


def test_threads_share_a_sink(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path)
    barrier = threading.Barrier(4)

    def write(n: int) -> None:
        barrier.wait()
        sink.emit("feedback", [{"n": n}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(r["n"] for r in read_json_lines(tmp_path, "feedback")) == [0, 1, 2, 3]
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1
