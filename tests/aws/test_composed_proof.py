"""The environment `dev` as a whole: deployed by ``recsys deploy`` into a simulated AWS, asked, fed, trained, removed.

One environment, and one story in the order of this file: every test starts where the one before it ended. What is
deployed is what runs: the zips from the simulated Lambda, with the variables Terraform gave them; routes and authorizer
read back from the simulated API Gateway; the state machine as moto's interpreter runs it. `README.md` says what that
does not show.
"""

import gzip
import json
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lambda_api.settings import Settings
from lambda_api.state import api_keys
from lambda_api.state.exposures import InferenceLog
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import read_routing, write_routing
from recsys_assets.lake import Lake
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.sensors import DECISIONS_TABLE
from recsys_deploy.deploy.account_test import AccountTest
from recsys_deploy.deploy.api_check import HttpAnswer
from recsys_deploy.deploy.command import Deployment, deploy
from recsys_deploy.deploy.options import DeployOptions, EnvironmentOptions
from recsys_deploy.deploy.removal import destroy
from recsys_deploy.packaging.build import package
from recsys_deploy.release.route import target_of
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.plan import plan_of
from tests.aws import shop
from tests.aws.cloud.deliveries import deliver_queues
from tests.aws.cloud.front import Front, serving
from tests.aws.policies import allows, statements_by_role
from tests.aws.stage import ACCOUNT, HERE, Journal, Stage, ask, cloud
from tests.aws.standing import LISTINGS, remove_roles, standing, strays
from tests.patience import PATIENCE_S, wait_until
from tests.terraform.runs import ROOT, find_plugins

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GOLDEN = Path(__file__).with_name("resources_of_dev.json")
"""How many resources of each type dev has: a change of the stack changes this file, so that a reader sees it."""

SHOP = {"data": f"s3://recsys-dev-lake-{ACCOUNT}/raw/shop", "source": "canonical", "first_day": shop.FIRST.isoformat()}
TRAINING = {
    "network": {
        "cidr": "10.20.0.0/20",
        "zones": ["eu-central-1a", "eu-central-1b"],
        "nat": "one",
        "interface_endpoints": [],
    },
    "runs": {"cpu": 2048, "memory_mb": 16384, "disk_gib": 40, "architecture": "X86_64"},
    "training": {
        "schedule": {"expression": "cron(0 4 ? * MON *)", "timezone": "UTC", "enabled": False},
    },
    "daily": {"schedule": {"expression": "cron(0 2 * * ? *)", "timezone": "UTC", "enabled": True}},
    "rollout": {
        "strategy": "canary",
        "approval_hours": 0,
        "function": {"memory_mb": 3008, "timeout_s": 840, "disk_mb": 2048},
    },
}
"""Added to dev, which trains and rolls out nothing by default: a NAT gateway and alarms cost money while idle."""

BUCKETS = ("lake", "logs", "models", "page")
RUN = "proof-1"
LOOK = ["Wait", "Judge", "Answer", "IsPromoted"]
WHEN_BETTER = ["Settings", "RunGraph", "ReadOutcome", "Outcome", "Registered", "StartRollout", "RolloutStarted"]
"""States that the training machine passes when the new model is better and is rolled out."""
PROMOTED = ["Begin", "First", "Enter", *LOOK, "Promote", *LOOK, "Finish", "Promoted"]
"""States of a rollout that lets everybody meet the version, looks once, promotes it, and looks once more."""

JOURNAL = ROOT / "tests" / "output" / "aws" / "composed_proof.md"


@dataclass
class Proof:
    """The story so far."""

    stage: Stage
    home: Settings
    packages: Path
    open: ExitStack
    keys: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    deployed: Deployment | None = None
    execution: str = ""
    notices: str = ""
    daily: str = ""
    strays: dict[str, list[str]] = field(default_factory=dict)

    @property
    def journal(self) -> Journal:
        return self.stage.journal

    @cached_property
    def front(self) -> Front:
        """The deployed HTTP API, as a server."""
        api = self.stage.state().one("aws_apigatewayv2_api.this")
        front = Front(api["id"], self.stage.client("apigatewayv2"), self.stage.functions)
        return self.open.enter_context(serving(front))

    @cached_property
    def there(self) -> Settings:
        """How the environment is worked on from outside."""
        return self.stage.settings()

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(open_table(self.there, "registry"))

    def http(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> HttpAnswer:
        """The deployed address leads to the front."""
        address = self.stage.state().outputs["api_url"]
        assert url.startswith(address + "/"), url
        return ask(method, self.front.url + url.removeprefix(address), headers, body, timeout_s)

    @property
    def options(self) -> DeployOptions:
        return DeployOptions(
            environment="dev",
            home=self.home,
            terraform=self.stage.tree,
            plugin_dir=self.stage.plugins,
            packages=self.packages,
            data_dir=self.stage.data,
            yes=True,
        )

    def deploy(self) -> tuple[Deployment, str]:
        """What stands, and what was printed."""
        console = Console(width=140, record=True)
        self.deployed = deploy(self.options, console, http=self.http)
        return self.deployed, console.export_text()

    def post(self, path: str, body: Mapping[str, Any], scope: str | None = "shop") -> tuple[int, Any]:
        return self._ask("POST", path, scope, body)

    def get(self, path: str, scope: str | None = None) -> tuple[int, Any]:
        return self._ask("GET", path, scope, None)

    def recommend(self, user_id: str, **given: Any) -> Any:
        """An answer; asked again while a part of the function exceeded its time, which is this machine's doing."""
        until = time.monotonic() + PATIENCE_S
        while True:
            self.asked += 1
            status, body = self.post("/recommend", {"user_id": user_id, **given})
            assert status == 200, body
            slow = any(word in body.get("fallback", "") for word in ("timeout", "open"))
            if not slow or time.monotonic() > until:
                return body
            time.sleep(1)

    @property
    def rollout_machine(self) -> str:
        """ARN of the state machine of rollouts."""
        return str(self.stage.state().outputs["rollout_machine_arn"])

    @property
    def challenger(self) -> str:
        """The version that the training machine registered."""
        described = self.stage.client("stepfunctions").describe_execution(executionArn=self.rollout_of(RUN))
        return str(json.loads(described["input"])["version"])

    def rollout_of(self, name: str) -> str:
        """ARN of the rollout's execution."""
        return f"{self.rollout_machine.replace(':stateMachine:', ':execution:')}:{name}"

    def ended(self, execution: str, told: Callable[[], str]) -> Mapping[str, Any]:
        """An execution once it has ended."""
        machines = self.stage.client("stepfunctions")
        wait_until(
            lambda: machines.describe_execution(executionArn=execution)["status"] != "RUNNING", told, every_s=0.5
        )
        return machines.describe_execution(executionArn=execution)  # type: ignore[no-any-return]

    def start_cold(self) -> None:
        """Take every sandbox of the functions away, as Lambda may at any time."""
        for pid in self.stage.root.glob("cloud/functions/*/pid"):
            try:
                os.kill(int(pid.read_text()), signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.2)

    def _ask(self, method: str, path: str, scope: str | None, body: Any) -> tuple[int, Any]:
        headers = {"content-type": "application/json"} if body is not None else {}
        if scope is not None:
            if scope not in self.keys:
                self.keys[scope] = api_keys.create(open_table(self.there, "api_keys"), "proof", {scope}, None)
            headers["x-api-key"] = self.keys[scope]
        answer = ask(method, self.front.url + path, headers, body)
        try:
            return answer.status, json.loads(answer.body)
        except ValueError:
            return answer.status, answer.body.decode()


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proof]:
    """A cloud with nothing in it, a home with a champion, and zips for this machine."""
    plugins = find_plugins()
    if shutil.which("terraform") is None or plugins is None:
        missing = "terraform is not on the path" if plugins else "the AWS provider was not found"
        warnings.warn(
            f"THE DEPLOYMENT IS NOT PROVEN: {missing}. Install Terraform 1.11, and set TF_PLUGIN_DIR to a folder that "
            "holds registry.terraform.io/hashicorp/aws (terraform providers mirror <folder> makes one).",
            stacklevel=1,
        )
        pytest.skip(f"{missing}; see the warning")
    root = tmp_path_factory.mktemp("aws")
    journal = Journal(JOURNAL)
    with ExitStack() as stack:
        with journal.step("zips for this machine") as notes:
            made = package(root / "packages", HERE)
            notes.append(f"{len(made)} zips, {sum(one.zipped_bytes for one in made) / 1e6:.0f} MB, {HERE}")
        with journal.step("shop with a champion") as notes:
            home = shop.make_home(root / "home")
            notes.append(f"item_knn {shop.train_champion(home).version}")
        with journal.step("cloud"):
            stage = stack.enter_context(cloud(root, plugins, journal))
            stage.lay_out({"shop": SHOP, **TRAINING})
        yield Proof(stage, home, root / "packages", stack)
    journal.add("cloud and sandboxes ended", 0.0)


def test_a_deployment_that_is_stopped_half_way_leaves_a_state_to_go_on_from(proof: Proof) -> None:
    s3 = proof.stage.client("s3")

    def stop() -> None:
        while len(s3.list_buckets()["Buckets"]) < len(BUCKETS):
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    # As Ctrl-C in a terminal, or a workflow that is cancelled.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with proof.journal.step("recsys deploy, interrupted") as notes:
            threading.Thread(target=stop, daemon=True).start()
            with pytest.raises(KeyboardInterrupt):
                proof.deploy()
            stands = proof.stage.state().by_type()
            # What was being made at that moment may stand without Terraform knowing, here as on AWS.
            proof.strays = strays(proof.stage)
            notes.append(f"{sum(stands.values())} resources stand; strays: {proof.strays or 'none'}")
            # A name that is taken would stop the next apply, which says so (`NameTaken`): this is its remedy.
            remove_roles(proof.stage, proof.strays.pop("roles", []))
    finally:
        signal.signal(signal.SIGINT, before)
    assert stands["aws_s3_bucket"] == len(BUCKETS) and "aws_lambda_function" not in stands, stands


def test_recsys_deploy_makes_every_resource_and_puts_the_champion_before_shoppers(proof: Proof) -> None:
    with proof.journal.step("recsys deploy") as notes:
        made, printed = proof.deploy()
        notes.append(f"{made.changes} changes, model {made.model}")
    for name, seconds in made.seconds.items():
        proof.journal.add(f"&nbsp; {name}", seconds)
    assert (made.account, made.region, made.model) == (ACCOUNT, "eu-central-1", "v1.0.0")
    champion = proof.registry.champion()
    assert champion is not None and str(champion.version) == "v1.0.0"
    assert champion.bundle_uri.startswith(f"s3://recsys-dev-models-{ACCOUNT}/bundles")
    aliases = {
        name: proof.stage.functions.get_alias(FunctionName=f"recsys-dev-{name}", Name="live")["FunctionVersion"]
        for name in made.functions
    }
    assert aliases == dict(made.functions)
    assert len([line for line in printed.splitlines() if line.startswith("plan ")]) == 1, "CloudFront is made once"
    page = proof.stage.client("s3").list_objects_v2(Bucket=f"recsys-dev-page-{ACCOUNT}")["Contents"]
    assert {"index.html", "js/main.js", "data/config.json", "data/catalogue.json"} <= {one["Key"] for one in page}


def test_the_training_machine_starts(proof: Proof) -> None:
    """It runs while shoppers are answered; `test_the_training_machine_registers_a_model` waits for it."""
    with proof.journal.step("training started") as notes:
        s3, sqs = proof.stage.client("s3"), proof.stage.client("sqs")
        drops = shop.drops()
        for name, content in drops.items():
            s3.put_object(Bucket=f"recsys-dev-lake-{ACCOUNT}", Key=f"raw/shop/{name}", Body=content)
        proof.notices = sqs.create_queue(QueueName="proof-notices")["QueueUrl"]
        proof.stage.client("sns").subscribe(
            TopicArn=proof.stage.state().outputs["alarm_topic_arn"],
            Protocol="sqs",
            Endpoint=f"arn:aws:sqs:eu-central-1:{ACCOUNT}:proof-notices",
        )
        machine = proof.stage.state().outputs["training_machine_arn"]
        started = proof.stage.client("stepfunctions").start_execution(stateMachineArn=machine, name=RUN)
        proof.execution = started["executionArn"]
        notes.append(f"{len(drops)} files of the shop; execution {RUN}")


def test_deploying_again_changes_nothing(proof: Proof) -> None:
    with proof.journal.step("recsys deploy again"):
        again, printed = proof.deploy()
    assert (again.changes, again.moved, again.model) == (0, (), "v1.0.0"), printed


def test_what_was_applied_is_what_the_golden_table_says(proof: Proof) -> None:
    found = proof.stage.state().by_type()
    proof.journal.add("resources in the state", 0.0, f"{sum(found.values())} of {len(found)} types")
    wanted = json.loads(GOLDEN.read_text())
    assert found == wanted, f"the stack has changed; if that is meant, {GOLDEN.name} becomes {json.dumps(found)}"


def test_the_deployed_zips_are_the_ones_that_were_made(proof: Proof) -> None:
    for name in ("api", "authorizer", "judge", "shadow"):
        described = proof.stage.functions.get_function_configuration(FunctionName=f"recsys-dev-{name}")
        manifest = json.loads((proof.packages / f"{name}.json").read_text())
        assert described["CodeSha256"] == manifest["source_code_hash"]
        assert described["Handler"] == manifest["handler"]
        given = described["Environment"]["Variables"]
        # Who works on the environment from outside is told the same, and where the shop's data is besides.
        own = {"RECSYS_TOPIC_ARN"} if name == "judge" else set()
        told = proof.stage.state().outputs["settings"]
        assert {item for item in given.items() if item[0] not in own} <= set(told.items())


def test_who_may_call_which_route(proof: Proof) -> None:
    body = {"user_id": "anybody"}
    with proof.journal.step("keys and routes") as notes:
        assert proof.post("/recommend", body, scope=None) == (401, {"message": "Unauthorized"})
        assert ask("POST", f"{proof.front.url}/recommend", {"x-api-key": "rk_wrong"}, body).status == 403
        assert proof.post("/recommend", body)[0] == 200
        # A key of scope shop: remembered for one route, it opens no other.
        assert proof.get("/metrics", scope="shop")[0] == 403
        assert proof.get("/metrics", scope="operations")[0] == 200
        assert proof.post("/forget", {"user_id": "nobody"}, scope="shop")[0] == 403
        assert proof.post("/forget", {"user_id": "nobody"}, scope="operations")[0] == 200
        asked = [name for name in proof.front.invocations if "authorizer" in name]
        assert proof.post("/recommend", body)[0] == 200
        assert [name for name in proof.front.invocations if "authorizer" in name] == asked, "the answer is remembered"
        for path in ("/health", "/docs", "/openapi.json"):
            assert proof.get(path)[0] == 200
        # The gateway answers other paths itself: nobody can start functions without a key.
        invoked = len(proof.front.invocations)
        assert proof.get("/nowhere") == (404, {"message": "Not Found"})
        assert ask("GET", f"{proof.front.url}/recommend").status == 404
        assert len(proof.front.invocations) == invoked
        notes.append(f"{len(proof.front.routes)} routes, authorizer asked {len(asked)} times")
    assert all(name.endswith(":live") for name in proof.front.invocations), "every call goes through the alias"


def test_shoppers_are_answered_by_the_model_and_the_page_may_ask(proof: Proof) -> None:
    known = shop.busiest(proof.home)
    with proof.journal.step("answers") as notes:
        answer = proof.recommend(known, include_products=True)
        assert (answer["model_version"], answer["variant"], len(answer["recommendations"])) == (
            "v1.0.0",
            "champion",
            10,
        )
        assert "fallback" not in answer
        assert all(one["product"]["available"] for one in answer["recommendations"])
        stranger = proof.recommend("somebody-nobody-knows")
        assert len(stranger["recommendations"]) == 10
        product = answer["recommendations"][0]["product_id"]
        status, similar = proof.get(f"/similar/{product}", scope="shop")
        assert status == 200 and product not in [one["product_id"] for one in similar["recommendations"]]
        assert len(proof.get("/popular", scope="shop")[1]["recommendations"]) == 10
        status, health = proof.get("/health")
        assert (health["status"], health["problems"]) == ("ok", []), health
        notes.append(f"{answer['inference_time_ms']:.0f} ms within the function")


def test_feedback_changes_the_next_answer_and_arrives_in_the_lake(proof: Proof) -> None:
    newcomer = "newcomer-1"
    with proof.journal.step("feedback") as notes:
        before = proof.recommend(newcomer)
        seen = before["recommendations"][5]["product_id"]
        event = {"event_id": "e-1", "user_id": newcomer, "product_id": seen, "event_type": "view"}
        status, taken = proof.post("/feedback", {"events": [{**event, "request_id": before["request_id"]}]})
        assert status in (200, 202), taken
        after = proof.recommend(newcomer)
        assert after["model_version"] == "v1.0.0"
        ids = [[one["product_id"] for one in answer["recommendations"]] for answer in (before, after)]
        assert ids[0] != ids[1], "the history changes the next answer"
        assert seen in {one.get("reason_product_id") for one in after["recommendations"]}
        notes.append(f"{sum(a != b for a, b in zip(*ids, strict=True))} of 10 places changed")
    with proof.journal.step("stream to lake") as notes:
        s3 = proof.stage.client("s3")
        listed = s3.list_objects_v2(Bucket=f"recsys-dev-lake-{ACCOUNT}")["Contents"]
        written = [one["Key"] for one in listed if one["Key"].startswith(("events/", "events_refused/"))]
        assert written and not [key for key in written if key.startswith("events_refused/")], written
        records = {
            kind: [
                json.loads(line)
                for key in written
                if key.startswith(f"events/{kind}/date=") and key.endswith(".jsonl.gz")
                for line in gzip.decompress(
                    s3.get_object(Bucket=f"recsys-dev-lake-{ACCOUNT}", Key=key)["Body"].read()
                ).splitlines()
            ]
            for kind in ("feedback", "exposure")
        }
        assert [one["event_id"] for one in records["feedback"]] == ["e-1"]
        shown = {one["request_id"] for one in records["exposure"]}
        assert {before["request_id"], after["request_id"]} <= shown
        notes.append(", ".join(f"{len(rows)} {kind}" for kind, rows in records.items()))


def test_the_shadow_is_asked_once_after_the_reply(proof: Proof) -> None:
    shop.train_champion(proof.home, neighbours=5)
    home = ModelRegistry(open_table(proof.home, "registry"))
    trained = home.champion()
    assert trained is not None
    with proof.journal.step("shadow") as notes:
        folder = BundleStore(proof.home.models_uri).fetch(trained, proof.stage.root / "shadow")
        store = BundleStore(proof.there.models_uri)
        beside = register_bundle(proof.registry, store, folder, run_id="shadow")
        table = open_table(proof.there, "serving")
        record = read_routing(table)
        assert record is not None
        changed = replace(record, shadow=target_of(beside), revision=record.revision + 1)
        write_routing(table, changed, record.revision)
        proof.start_cold()
        asked = proof.asked
        answer = proof.recommend(shop.busiest(proof.home))
        assert answer["model_version"] == "v1.0.0", answer
        sqs = proof.stage.client("sqs")
        (batch,) = deliver_queues(proof.stage.functions, sqs)
        assert (batch["messages"], batch["failed"], batch["error"]) == (proof.asked - asked, 0, None), batch
        assert deliver_queues(proof.stage.functions, sqs) == [], "the message is gone"
        log = InferenceLog(open_table(proof.there, "exposures"))
        shown = log.get(answer["request_id"] + "#shadow")
        assert shown is not None and shown.model_version == str(beside.version)
        write_routing(table, replace(changed, shadow=None, revision=changed.revision + 1), changed.revision)
        notes.append(f"{beside.version} answered what v1.0.0 was asked")


def test_a_deleted_bundle_is_a_baseline_that_says_so_until_it_is_back(proof: Proof) -> None:
    s3, bucket = proof.stage.client("s3"), f"recsys-dev-models-{ACCOUNT}"
    champion = proof.registry.champion()
    assert champion is not None
    prefix = champion.bundle_uri.removeprefix(f"s3://{bucket}/")
    with proof.journal.step("deleted bundle") as notes:
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
        for key in keys:
            s3.delete_object(Bucket=bucket, Key=key)
        proof.start_cold()
        answer = proof.recommend(shop.busiest(proof.home))
        assert (answer["model_version"], len(answer["recommendations"])) == ("baseline", 10)
        health = proof.get("/health")[1]
        assert health["status"] == "degraded" and health["problems"], health
        said = f"{answer['fallback']}; health: {health['problems'][0]}"
        # The bucket keeps versions: what was deleted comes back by removing the marks.
        for mark in s3.list_object_versions(Bucket=bucket, Prefix=prefix)["DeleteMarkers"]:
            s3.delete_object(Bucket=bucket, Key=mark["Key"], VersionId=mark["VersionId"])
        proof.start_cold()
        answer = proof.recommend(shop.busiest(proof.home))
        assert answer["model_version"] == "v1.0.0", answer
        notes.append(said)


def test_the_training_machine_registers_a_model(proof: Proof) -> None:
    machines = proof.stage.client("stepfunctions")
    with proof.journal.step("training waited for") as notes:
        described = proof.ended(proof.execution, lambda: _log_of_task(proof))
        entered = entered_states(machines, proof.execution)
        assert described["status"] == "SUCCEEDED", (entered, described, _log_of_task(proof))
        assert entered == WHEN_BETTER
        took = (described["stopDate"] - described["startDate"]).total_seconds()
        champion = proof.registry.champion()
        assert champion is not None and str(champion.version) == "v1.0.0", "no shopper has met the new one yet"
        notes.append(f"{proof.challenger} is a challenger after {took:.0f} s")


def test_a_rollout_that_is_stopped_from_outside_is_taken_back(proof: Proof) -> None:
    """The training machine started it; an aborted execution runs no state any more, so EventBridge's rule tells."""
    machines, events = proof.stage.client("stepfunctions"), proof.stage.client("events")
    table = open_table(proof.there, "serving")
    with proof.journal.step("rollout stopped") as notes:
        wait_until(lambda: (route := read_routing(table)) is not None and route.shadow is not None)
        machines.stop_execution(executionArn=proof.rollout_of(RUN))
        rule = events.describe_rule(Name="recsys-dev-rollout-ended")
        (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        detail = {"status": "ABORTED", "name": RUN, "stateMachineArn": proof.rollout_machine}
        pattern = json.loads(rule["EventPattern"])
        assert all(detail[name] in allowed for name, allowed in pattern["detail"].items())
        notice = {"source": "aws.states", "detail-type": pattern["detail-type"][0], "detail": detail}
        done = proof.stage.functions.invoke(FunctionName=target["Arn"], Payload=json.dumps(notice).encode())
        answer = json.loads(done["Payload"].read())
        assert answer == {"status": "rolled back", "reason": "the execution ended as ABORTED"}, answer
        route = read_routing(table)
        assert route is not None and (route.shadow, route.experiment) == (None, "none")
        assert [one.target.version for one in route.variants] == ["v1.0.0"]
        notes.append(f"{answer['reason']}: {answer['status']}")


def test_a_rollout_of_the_deployed_machine_promotes_a_version(proof: Proof) -> None:
    machines = proof.stage.client("stepfunctions")
    plan = plan_of(Strategy.BLUE_GREEN)
    plan = replace(
        plan,
        stages=tuple(replace(stage, min_s=0.0, max_s=0.0) for stage in plan.stages),
        limits=replace(plan.limits, settle_s=0.0),
        look_s=1.0,
        offline_only=True,
    )
    with proof.journal.step("rollout to everybody") as notes:
        given = json.dumps({"run_name": "proof-2", "version": proof.challenger, "plan": plan.to_json()})
        machines.start_execution(stateMachineArn=proof.rollout_machine, name="proof-2", input=given)
        execution = proof.rollout_of("proof-2")
        described = proof.ended(execution, lambda: str(entered_states(machines, execution)))
        assert described["status"] == "SUCCEEDED", described
        assert entered_states(machines, execution) == PROMOTED
        champion = proof.registry.champion()
        assert champion is not None and str(champion.version) == proof.challenger
        proof.start_cold()
        answer = proof.recommend(shop.busiest(proof.home))
        assert (answer["model_version"], len(answer["recommendations"])) == (proof.challenger, 10)
        sqs, subjects = proof.stage.client("sqs"), []
        while found := sqs.receive_message(QueueUrl=proof.notices, MaxNumberOfMessages=10).get("Messages"):
            subjects += [json.loads(one["Body"])["Subject"] for one in found]
            for one in found:
                sqs.delete_message(QueueUrl=proof.notices, ReceiptHandle=one["ReceiptHandle"])
        assert sorted(subjects) == [f"{proof.challenger} answers everybody", f"{proof.challenger} was taken back"]
        notes.append(f"{' -> '.join(PROMOTED)}; told: {', '.join(subjects)}")


def entered_states(machines: Any, execution: str) -> list[str]:
    """States that an execution entered, in order."""
    history = machines.get_execution_history(executionArn=execution, maxResults=200)["events"]
    return [one["stateEnteredEventDetails"]["name"] for one in history if "stateEnteredEventDetails" in one]


def test_the_daily_task_starts(proof: Proof) -> None:
    """By the call of the deployed schedule; it runs while the next test asks."""
    schedule = proof.stage.client("scheduler").get_schedule(Name="recsys-dev-daily")
    assert (schedule["State"], schedule["Target"]["Arn"]) == ("ENABLED", "arn:aws:scheduler:::aws-sdk:ecs:runTask")
    call = _as_boto(json.loads(schedule["Target"]["Input"].replace("<aws.scheduler.execution-id>", "first")))
    (task,) = proof.stage.client("ecs").run_task(**call)["tasks"]
    proof.daily = task["taskArn"]


def _as_boto(call: Any) -> Any:
    """Parameters of a call as boto3 spells them: Scheduler's begin with capital letters."""
    if isinstance(call, list):
        return [_as_boto(one) for one in call]
    return (
        {key[0].lower() + key[1:]: _as_boto(value) for key, value in call.items()} if isinstance(call, dict) else call
    )


def test_the_account_test_uses_what_stands(proof: Proof) -> None:
    """Its steps between deploying and destroying; the training above is the one it would start."""
    assert proof.deployed is not None
    with proof.journal.step("steps of recsys account-test") as notes:
        champion = proof.registry.champion()
        assert champion is not None
        hour = AccountTest(proof.options, Console(width=140), http=proof.http, sleep=lambda _: time.sleep(0.5))
        steps = hour.steps(replace(proof.deployed, model=str(champion.version)))
        hour.use({name: step for name, step in steps.items() if name != "train once"})
        found = {one.name: (one.outcome, one.note) for one in hour.report.steps}
        skipped = {name: note for name, (outcome, note) in found.items() if outcome == "skipped"}
        assert skipped == {"serverless endpoint": "sagemaker = null in terraform.tfvars"}, found
        assert not [one for one in hour.report.steps if one.outcome == "failed"], hour.report.markdown()
        assert hour.report.price > 0
        notes.append("; ".join(f"{name}: {note}" for name, (_, note) in found.items()))


def test_the_daily_task_reports_and_decides(proof: Proof) -> None:
    """The shop's log ended long ago and its model is of today: the day has no events, and no training is started."""
    ecs, machines = proof.stage.client("ecs"), proof.stage.client("stepfunctions")
    with proof.journal.step("daily task waited for") as notes:

        def task() -> Any:
            (found,) = ecs.describe_tasks(cluster="recsys-dev", tasks=[proof.daily])["tasks"]
            return found if found["lastStatus"] == "STOPPED" else None

        (container,) = wait_until(task, lambda: _log_of_task(proof), every_s=0.5)["containers"]
        assert container["exitCode"] == 0, _log_of_task(proof)
        (decision,) = Lake(proof.there.lake_uri).read(DECISIONS_TABLE).to_pylist()
        assert (decision["start"], decision["episode"]) == (False, None), decision
        machine = proof.stage.state().outputs["training_machine_arn"]
        assert [one["name"] for one in machines.list_executions(stateMachineArn=machine)["executions"]] == [RUN]
        values = {name: _figure(proof, name) for name in ("ReportsMade", "DriftFamilies", "DataAge")}
        assert (values["ReportsMade"], values["DriftFamilies"]) == (1, 0) and values["DataAge"] > 365, values
        told = proof.stage.client("sqs").receive_message(QueueUrl=proof.notices, MaxNumberOfMessages=10)["Messages"]
        assert "Data: volume" in {json.loads(one["Body"])["Subject"] for one in told}
        notes.append(f"{decision['reason']} {values}")


def _figure(proof: Proof, name: str) -> float:
    """The highest value of the last hours, as an alarm reads it."""
    now = datetime.now(UTC)
    found = proof.stage.client("cloudwatch").get_metric_statistics(
        Namespace="Recsys",
        MetricName=name,
        Dimensions=[{"Name": "service", "Value": "daily"}],
        StartTime=now - timedelta(hours=2),
        EndTime=now + timedelta(hours=1),
        Period=10_800,
        Statistics=["Maximum"],
    )
    return max(float(one["Maximum"]) for one in found["Datapoints"])


CONDITION_KEYS = {"cloudwatch:PutMetricData": {"cloudwatch:namespace": "Recsys"}}
"""Of calls whose role is confined by more than action and resource; the figures above were stored under this one."""

SHARED = {
    "recsys-dev-api": {"recsys-dev-judge", "recsys-dev-run", "recsys-dev-shadow"},
    "recsys-dev-authorizer": {"recsys-dev-run"},
    "recsys-dev-judge": {"recsys-dev-api", "recsys-dev-run", "recsys-dev-shadow"},
    "recsys-dev-shadow": {"recsys-dev-api", "recsys-dev-judge", "recsys-dev-run"},
    "recsys-dev-run": {"recsys-dev-api", "recsys-dev-authorizer", "recsys-dev-judge", "recsys-dev-shadow"},
}
"""Roles that share some calls: the graph and the judge write what functions read, the shadow scores like the API."""

SHARED_READS = {
    # Firehose's own documentation asks for both, to resume an upload that was cut short.
    ("recsys-dev-run", "s3:GetObject", "recsys-dev-event-delivery"),
    ("recsys-dev-run", "s3:ListBucket", "recsys-dev-event-delivery"),
    # The training machine reads in the registry how its run ended.
    ("recsys-dev-run", "dynamodb:GetItem", "recsys-dev-training"),
    ("recsys-dev-run", "dynamodb:Query", "recsys-dev-training"),
    # The daily task tells the same people.
    ("recsys-dev-run", "sns:Publish", "recsys-dev-training"),
    # The judge reads what Firehose wrote, reads the registry as the training machine does, and tells the same people.
    ("recsys-dev-judge", "s3:GetObject", "recsys-dev-event-delivery"),
    ("recsys-dev-judge", "s3:ListBucket", "recsys-dev-event-delivery"),
    ("recsys-dev-judge", "dynamodb:GetItem", "recsys-dev-training"),
    ("recsys-dev-judge", "dynamodb:Query", "recsys-dev-training"),
    ("recsys-dev-judge", "sns:Publish", "recsys-dev-training"),
}
"""Single reads that two roles need for different reasons: role, action, the other role."""


def test_every_call_is_allowed_by_its_own_role_and_by_no_stranger(proof: Proof) -> None:
    """Every recorded call of functions and of the training task, against the policies in Terraform's state."""
    with proof.journal.step("calls against policies") as notes:
        roles = statements_by_role(proof.stage.state())
        lines = (proof.stage.root / "cloud" / "calls.jsonl").read_text().splitlines()
        calls = [tuple(json.loads(line)) for line in lines]
        assert {role for role, _, _ in calls} == set(SHARED), sorted({role for role, _, _ in calls})
        # Arrow asks for a bucket that cannot exist, to learn from the answer, a refusal too, whose server it is.
        calls = [call for call in calls if "extremelyunlikelytoexist" not in call[2]]
        refused = [call for call in calls if not allows(roles[call[0]], *call[1:], CONDITION_KEYS.get(call[1]))]
        assert refused == [], "a call that AWS would refuse"
        strangers = {
            (role, action, other)
            for role, action, resource in calls
            for other, statements in roles.items()
            if other not in {role, *SHARED[role]} and allows(statements, action, resource)
        }
        assert strangers - SHARED_READS == set(), "a role may do what only another one does"
        writes = [(role, a, r) for role, a, r in calls if role == "recsys-dev-run" and a == "dynamodb:PutItem"]
        assert writes and not any(
            allows(roles["recsys-dev-authorizer"], action, resource) for _, action, resource in writes
        )
        notes.append(f"{len(calls)} different calls of {len(SHARED)} roles, against {len(roles)} roles")


def _log_of_task(proof: Proof) -> str:
    return "\n".join(log.read_text()[-3000:] for log in proof.stage.root.glob("cloud/tasks/*/log"))


def test_recsys_destroy_leaves_nothing(proof: Proof) -> None:
    with proof.journal.step("recsys destroy") as notes:
        options = EnvironmentOptions(
            environment="dev",
            terraform=proof.stage.tree,
            plugin_dir=proof.stage.plugins,
            data_dir=proof.stage.data,
            yes=True,
        )
        gone = destroy(options, Console(width=140))
        notes.append(f"{gone.resources} resources")
    assert proof.stage.state().by_type() == {}
    assert gone.key
    proof.stage.client("sqs").delete_queue(QueueUrl=proof.notices)
    with proof.journal.step("what stands") as notes:
        left = {what: set(names) - set(proof.strays.get(what, ())) for what, names in standing(proof.stage).items()}
        assert not any(left.values()), left
        notes.append(f"nothing of {len(LISTINGS)} kinds but the strays of the interrupted deployment")
