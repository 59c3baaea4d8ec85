"""A forgotten shopper is found nowhere in the home afterwards, except where the command says so."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lambda_api.handlers import dependencies
from lambda_api.handlers.dependencies import Serving
from lambda_api.interactions import InteractionType
from lambda_api.serving.question import Question
from lambda_api.settings import make_settings, write_settings
from lambda_api.state.history import StoredEvent
from recsys_assets.lake import Lake
from recsys_deploy.forget import ForgetRefused, forget, places
from tests.handlers.shop import call
from tests.patience import patient
from tests.recsys_command import in_a_process, right_here
from tests.serving_home import ServedHome, make_home

MINE, LONGER = "shopper-7", "shopper-77"


@pytest.fixture
def home(tmp_path: Path) -> ServedHome:
    made = make_home(tmp_path / "home", products=60, shoppers=5)
    write_settings(made.settings)
    lake = Lake(made.settings.lake_uri)
    day = date(2024, 3, 1)
    users = [MINE, LONGER, MINE, "other"]
    lake.write_day("interactions", day, pa.table({"user_id": users, "product_id": ["a", "b", "c", "d"]}))
    lake.write_table("users", pa.table({"user_id": [MINE, LONGER], "age": [30, 40]}))
    lake.write_table("products", pa.table({"product_id": ["a"], "name": ["A"]}))
    page = made.settings.home / "storefront"
    page.mkdir()
    (page / "shoppers.json").write_text(json.dumps({"shoppers": [{"id": MINE}, {"id": LONGER}]}))
    report = made.settings.home / "reports"
    report.mkdir()
    (report / "evaluation_report.html").write_text(f"<td>{MINE}</td>")
    (report / "other.html").write_text(f"<td>{LONGER}</td>")
    return made


@pytest.fixture
def serving(home: ServedHome) -> Iterator[Serving]:
    made = patient(home.settings)
    yield made
    made.close()


def live(serving: Serving, user_id: str, number: int) -> None:
    """A list shown, and an event on it."""
    request = f"r-{user_id}-{number}"
    serving.service.recommend(Question(user_id, (), 0, 5), (), request)
    now = int(datetime.now(UTC).timestamp())
    event = StoredEvent(
        f"e-{user_id}-{number}", user_id, "product-0000001", InteractionType.VIEW, now, request_id=request
    )
    serving.feedback.take([event])


def test_a_forgotten_shopper_is_found_nowhere(home: ServedHome, serving: Serving) -> None:
    for user_id in (MINE, LONGER):
        for number in range(3):
            live(serving, user_id, number)
    serving.close()
    assert len({path.suffix for path in places(home.settings.home, MINE)}) >= 4, "the search sees every kind of file"
    done = forget(home.settings, MINE)
    assert (done.history, done.rows) == (3, {"interactions": 2, "users": 1})
    assert done.events == 6 and done.lists == 3
    assert list(places(home.settings.home, MINE)) == [] == list(done.bundles)
    assert [path.name for path in done.files] == ["evaluation_report.html"]
    assert len(list(places(home.settings.home, LONGER))) >= 4, "another shopper's id that begins alike stays"
    again = forget(home.settings, MINE)
    assert (again.history, again.events, again.lists, again.rows) == (0, 0, 0, {})


def test_a_server_goes_on_writing_whole_events_beside_it(home: ServedHome, serving: Serving) -> None:
    live(serving, MINE, 1)
    live(serving, LONGER, 1)
    forget(home.settings, MINE)
    live(serving, LONGER, 2)
    serving.close()
    lines = [
        json.loads(line)
        for file in home.settings.home.rglob("*.jsonl")
        for line in file.read_text().splitlines()
    ]  # fmt: skip
    assert {line["user_id"] for line in lines} == {LONGER}
    assert len(lines) == 4


def test_a_removal_requested_over_http_takes_the_history_at_once_and_the_rest_later(
    home: ServedHome, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(serving, MINE, 1)
    live(serving, LONGER, 1)
    monkeypatch.setattr(dependencies, "_serving", serving)
    keys = {"identity": {"scopes": "operations"}}
    assert call("POST", "/forget", {"user_id": MINE}, identity={"scopes": "shop"})[0] == 403
    status, content = call("POST", "/forget", {"user_id": f" {MINE} "}, **keys)
    assert (status, content["user_id"], content["history_records"]) == (200, MINE, 1)
    assert call("POST", "/forget", {"user_id": MINE}, **keys)[1]["history_records"] == 0, "safe to repeat"
    assert call("POST", "/forget", {"user_id": ""}, **keys)[0] == 422
    assert serving.history.recent(MINE) == () and len(serving.history.recent(LONGER)) == 1
    assert list(places(home.settings.home, MINE)), "lists, events and tables are still there"
    environment = {"RECSYS_HOME": str(home.settings.home)}
    done = right_here("forget", "--requested", "--yes", environment=environment)
    assert done.returncode == 0 and "2 in interactions, 1 in users" in done.stdout, done.stderr
    assert list(places(home.settings.home, MINE)) == []
    assert "nobody" in right_here("forget", "--requested", environment=environment).stdout
    assert right_here("forget", environment=environment).returncode == 2


def test_models_that_hold_the_id_are_named(home: ServedHome) -> None:
    candidate = home.settings.home / "candidates" / "ncf"
    candidate.mkdir(parents=True)
    np.save(candidate / "user_ids.npy", np.array([LONGER, MINE], dtype="S"))
    done = right_here("forget", MINE, "--yes", environment={"RECSYS_HOME": str(home.settings.home)})
    assert done.returncode == 0, done.stderr
    assert str(candidate) in done.stdout and "trains without" in done.stdout
    assert "2 in interactions, 1 in users" in done.stdout


def test_it_asks_first_and_leaves_aws_to_its_document(home: ServedHome) -> None:
    asked = in_a_process("forget", MINE, environment={"RECSYS_HOME": str(home.settings.home)})
    assert asked.returncode == 1 and "cannot be undone" in asked.stdout
    assert pq.read_table(f"{home.settings.lake_uri}/users/part-0.parquet").num_rows == 2
    away = {name: f"s3://b/{name}" for name in ("lake_uri", "models_uri", "catalogue_uri")}
    with pytest.raises(ForgetRefused, match=r"docs/security\.md"):
        forget(make_settings({"home": home.settings.home, "target": "aws", **away}), MINE)
