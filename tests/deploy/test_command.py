"""``recsys deploy`` on a small but real Terraform stack and a simulated AWS: what stands after it and every fault."""

import io
import json
import re
from typing import Any
from unittest import mock

import boto3
import pytest
from rich.console import Console

from lambda_api.recommender.bundle import BundleError
from lambda_api.state.api_keys import list_keys, revoke
from lambda_api.state.history import HistoryStore
from lambda_api.state.popular import PopularProducts
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import TableUnavailable
from recsys_assets.aws_errors import AwsCallFailed, AwsErrorKind
from recsys_assets.publishing.catalogue_store import current_publication
from recsys_assets.publishing.histories import publish_histories
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.versions import Version
from recsys_deploy.deploy.command import deploy
from recsys_deploy.deploy.errors import CheckFailed, DeployError, NotConfirmed
from recsys_deploy.deploy.options import Promotion
from recsys_deploy.release.moves import Releases
from recsys_deploy.release.route import target_of
from recsys_deploy.release.strategies import Strategy
from tests.deploy.world import BUCKETS, URL, World

pytestmark = pytest.mark.slow

PRODUCTS = tuple(f"p{number}" for number in range(12))


def said(world: World, **changes: Any) -> tuple[Any, str]:
    """A deployment and everything it printed."""
    console = Console(file=io.StringIO(), width=300)
    done = world.deploy(console, **changes)
    return done, console.file.getvalue()  # type: ignore[attr-defined]


def test_without_a_model_the_baseline_answers_and_it_says_so(world: World) -> None:
    done, text = said(world, yes=False)
    assert done.changes > 0, "additions need no consent"
    assert done.model is None and "the baseline answers" in done.model_result
    assert done.api_url == URL
    serving = world.table("serving")
    assert current_publication(serving) is not None
    assert PopularProducts(serving).overall()
    assert read_routing(serving) is None
    assert HistoryStore(world.table("history")).recent("u1")
    assert "this home has no champion" in text


def test_the_champion_answers_and_again_changes_nothing_but_what_is_missing(world: World) -> None:
    at_home = world.home.promote(*PRODUCTS)
    done = world.deploy()
    registered = world.registry().champion()
    assert registered is not None and done.model == str(registered.version)
    assert registered.bundle_checksum == at_home.bundle_checksum
    assert (registered.metrics, registered.run_id) == (at_home.metrics, at_home.run_id)
    record = read_routing(world.table("serving"))
    assert record is not None and record.champion.target == target_of(registered)
    # The answer that was waited for came from the model.
    answer = world.http("POST", f"{URL}/recommend", {"x-api-key": world.key()}, b"{}", 1.0)
    assert json.loads(answer.body)["model_version"] == done.model
    # Again, nothing changes.
    key, objects = world.key(), _objects()
    again, text = said(world)
    assert (again.changes, again.moved, again.model) == (0, (), done.model)
    assert read_routing(world.table("serving")) == record
    assert (world.key(), _objects()) == (key, objects)
    assert len(list_keys(world.table("api_keys"))) == 1
    assert "0 of 20 shoppers written" in text and "nothing changes" in text
    assert len(world.registry().history()) == 1
    # A bundle that was deleted there is put back.
    for name in objects:
        if at_home.bundle_checksum in name:
            boto3.client("s3").delete_object(Bucket=BUCKETS["models"], Key=name)
    assert _objects() != objects
    world.deploy()
    assert _objects() == objects


def test_the_key_reaches_terraform_once_and_no_log_and_a_revoked_one_is_made_anew(world: World) -> None:
    first, text = said(world)
    again, later = said(world)
    assert first.seconds.keys() - again.seconds.keys() == {"terraform apply"}, "one apply makes CloudFront with its key"
    assert re.fullmatch(r"rk_[0-9a-f]{16}_[\w-]{43}", world.key())
    assert world.key() not in text + later
    kept = [path for path in (world.root / "build").rglob("*") if path.is_file()]
    assert not [path for path in kept if world.key().encode() in path.read_bytes()]
    # A key that was revoked is made anew.
    revoked = world.key()
    revoke(world.table("api_keys"), revoked.split("_")[1])
    anew = world.deploy()
    assert world.key() != revoked
    assert anew.changes == 0 or "terraform apply (key)" in anew.seconds


def test_a_run_that_died_before_the_record_of_its_key_goes_on_with_that_key(world: World) -> None:
    with (
        mock.patch("recsys_deploy.deploy.page.create", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        world.deploy()
    made = world.key()
    again = world.deploy()
    assert world.key() == made and again.changes == 0
    assert [one.key_id for one in list_keys(world.table("api_keys"))] == [made.split("_")[1]]


def test_page_and_data_are_uploaded_with_no_secret_in_them(world: World) -> None:
    s3 = boto3.client("s3")
    s3.put_object(Bucket=BUCKETS["page"], Key="js/former.js", Body=b"//")
    world.deploy()
    listed = {found["Key"] for found in s3.list_objects_v2(Bucket=BUCKETS["page"])["Contents"]}
    data = {"data/catalogue.json", "data/config.json", "data/shoppers.json"}
    assert listed == {"index.html", "js/main.js"} | data, "no README, no former file"
    assert s3.get_object(Bucket=BUCKETS["page"], Key="js/main.js")["ContentType"] == "text/javascript; charset=utf-8"
    content = s3.get_object(Bucket=BUCKETS["page"], Key="data/catalogue.json")
    assert content["ContentType"] == "application/json"
    assert {product["id"] for product in json.loads(content["Body"].read())["products"]} == set(PRODUCTS)
    config = json.loads(s3.get_object(Bucket=BUCKETS["page"], Key="data/config.json")["Body"].read())
    assert config == {"api": "", "key": "", "shop": "Demo shop", "currency": "GBP"}
    before = {name: s3.head_object(Bucket=BUCKETS["page"], Key=name)["LastModified"] for name in listed}
    (world.root / "storefront" / "js" / "main.js").write_text("// new")
    world.deploy()
    after = {name: s3.head_object(Bucket=BUCKETS["page"], Key=name)["LastModified"] for name in listed}
    assert {name for name in listed if before[name] != after[name]} <= {"js/main.js"}, "only what changed is uploaded"
    assert s3.get_object(Bucket=BUCKETS["page"], Key="js/main.js")["Body"].read() == b"// new"


def test_cloudfront_is_invalidated_once_and_after_the_last_upload(world: World) -> None:
    cloudfront = boto3.client("cloudfront")
    behaviour = {"TargetOriginId": "page", "ViewerProtocolPolicy": "https-only"}
    distribution = cloudfront.create_distribution(
        DistributionConfig={
            "CallerReference": "page",
            "Comment": "",
            "Enabled": True,
            "Origins": {"Quantity": 1, "Items": [{"Id": "page", "DomainName": "page.s3.amazonaws.com"}]},
            "DefaultCacheBehavior": behaviour,
        }
    )["Distribution"]["Id"]
    world.have({}, storefront_distribution_id=distribution)
    made = list(world.deploy().seconds)
    assert cloudfront.list_invalidations(DistributionId=distribution)["InvalidationList"]["Quantity"] == 1
    assert made.index("shop page") < made.index("shop page's data") < made.index("shop page's cache")


def test_a_checkout_without_the_page_removes_nothing(world: World) -> None:
    world.deploy()
    (world.root / "storefront" / "index.html").unlink()
    with pytest.raises(DeployError, match=r"index.html is missing; deploy from a complete checkout"):
        world.deploy()
    assert boto3.client("s3").head_object(Bucket=BUCKETS["page"], Key="index.html")


def test_a_model_that_answers_wrongly_gives_way_to_the_one_before(world: World) -> None:
    world.home.promote(*PRODUCTS, seed=0)
    before = world.deploy().model
    world.home.promote(*PRODUCTS, seed=1)
    world.faults.not_found_models.add("v1.0.1")
    with pytest.raises(CheckFailed, match=rf"v1.0.1 answers wrongly.*{before} answers everybody again"):
        world.deploy()
    assert str(world.champion()) == before
    record = read_routing(world.table("serving"))
    assert record is not None and record.champion.target.version == before
    # Nobody forces it in again by accident.
    world.faults.not_found_models.clear()
    done = world.deploy()
    assert done.model == before and "was champion there before" in done.model_result
    assert world.deploy(promotion=Promotion.ALWAYS).model == "v1.0.1"


def test_where_a_shop_lives_a_second_model_waits_for_a_rollout(world: World) -> None:
    file = world.tree / "environments" / "dev" / "terraform.tfvars"
    file.write_text(file.read_text().replace("disposable = true", "disposable = false"))
    world.home.promote(*PRODUCTS, seed=0)
    first = world.deploy().model
    world.home.promote(*PRODUCTS, seed=1)
    done = world.deploy()
    assert done.model == first and "v1.0.1 is registered but not live" in done.model_result
    assert world.deploy(promotion=Promotion.ALWAYS).model == "v1.0.1"


def test_while_a_model_is_tried_neither_route_nor_pointer_moves(world: World) -> None:
    world.home.promote(*PRODUCTS, seed=0)
    before = world.deploy().model
    world.home.promote(*PRODUCTS, seed=1)
    world.deploy(promotion=Promotion.NEVER)
    bundles = BundleStore(f"s3://{BUCKETS['models']}/bundles")
    releases = Releases(world.registry(), bundles, world.table("serving"), world.root / "cache")
    releases.start(Version.parse("v1.0.1"), Strategy.CANARY)
    tried = read_routing(world.table("serving"))
    world.home.promote(*PRODUCTS, seed=2)
    done = world.deploy()
    assert done.model == before and "v1.0.2 is registered but not live: a rollout is in progress" in done.model_result
    assert read_routing(world.table("serving")) == tried
    assert str(world.champion()) == before


def test_a_damaged_bundle_leaves_everything_as_it_was(world: World) -> None:
    world.home.promote(*PRODUCTS, seed=0)
    before = world.deploy().model
    second = world.home.promote(*PRODUCTS, seed=1)
    victim = next(path for path in (world.home.settings.home / "models" / second.bundle_checksum).glob("*.np*"))
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(DeployError, match=r"cannot be uploaded.*--no-model") as refused:
        world.deploy()
    assert isinstance(refused.value.__cause__, BundleError)
    assert [str(version.version) for version in world.registry().list_versions()] == [before]
    assert world.deploy(bring_model=False).model == before


def test_publishing_there_does_not_mislead_publishing_at_home(world: World) -> None:
    publish_histories(world.home.lake, world.home.histories, world.home.serving)
    world.deploy()
    assert publish_histories(world.home.lake, world.home.histories, world.home.serving).written_shoppers == 0


def test_an_environment_half_applied_goes_on_where_it_stopped(world: World) -> None:
    fault = world.tree / "stack" / "no-more-streams"
    fault.touch()
    console = Console(file=io.StringIO(), width=300)
    with pytest.raises(
        DeployError, match=r"changes were made and remain.*terraform_data\.late .*LimitExceededException.*same command"
    ):
        world.deploy(console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "complete  checks, quotas of the account, packages, terraform init, terraform plan" in printed
    # Nothing of ours was done on top of half an environment.
    key = world.key()
    assert not list_keys(world.table("api_keys")) and read_routing(world.table("serving")) is None
    fault.unlink()
    world.home.promote(*PRODUCTS)
    done, text = said(world)
    assert done.model == "v1.0.0" and "1 to replace" in text and world.key() == key
    assert said(world)[0].changes == 0


STOPS = {
    "while histories are published": "recsys_deploy.deploy.publication.publish_histories",
    "between route and champion": "recsys_assets.registry.model_registry.ModelRegistry.promote",
}


@pytest.mark.parametrize("stop", STOPS)
def test_stopped_anywhere_nothing_is_half_switched_and_the_next_run_ends_it(world: World, stop: str) -> None:
    world.home.promote(*PRODUCTS, seed=0)
    before = world.deploy().model
    world.home.promote(*PRODUCTS, seed=1)
    world.publish_code("two")
    throttled = TableUnavailable("table recsys-dev-serving: ThrottlingException: Rate exceeded")
    with mock.patch(STOPS[stop], side_effect=throttled), pytest.raises(AwsCallFailed) as stopped:
        world.deploy()
    assert stopped.value.problem.kind is AwsErrorKind.THROTTLED and "run it again" in str(stopped.value)
    assert str(world.champion()) == before, "the pointer moves last"
    routed = "v1.0.1" if stop == "between route and champion" else before
    record = read_routing(world.table("serving"))
    assert record is not None and [one.target.version for one in record.variants] == [routed]
    answer = world.http("POST", f"{URL}/recommend", {"x-api-key": world.key()}, b"{}", 1.0)
    assert (answer.status, json.loads(answer.body)["model_version"]) == (200, routed)
    done = world.deploy()
    assert (done.model, str(world.champion()), world.live()) == ("v1.0.1", "v1.0.1", "2")
    assert [str(version.version) for version in world.registry().list_versions()] == ["v1.0.0", "v1.0.1"]


def test_removals_need_consent(world: World) -> None:
    world.deploy()
    file = world.tree / "environments" / "dev" / "terraform.tfvars"
    file.write_text(file.read_text() + 'tables = ["other"]\n')
    with pytest.raises(NotConfirmed, match=r'removes or replaces terraform_data.table\["history"\].*--yes'):
        world.deploy(yes=False)
    asked: list[str] = []
    with pytest.raises(NotConfirmed, match="nothing was changed"):
        deploy(
            world.options(yes=False),
            Console(quiet=True),
            http=world.http,
            confirm=lambda text: bool(asked.append(text)),
        )
    assert len(asked) == 1 and 'terraform_data.table["history"]' in asked[0]
    assert not list((world.root / "build").rglob("plan.tfplan"))
    assert world.deploy(yes=True).changes == 2


def test_another_account_and_another_region_are_refused(world: World) -> None:
    world.deploy()
    outputs = world.tree / "stack" / "outputs.json"
    text = outputs.read_text()
    outputs.write_text(text.replace(":123456789012:function", ":210987654321:function"))
    _apply_outputs(world)
    with pytest.raises(
        DeployError, match=r"deployed in account 210987654321, but these credentials belong to 123456789012"
    ):
        world.deploy()
    outputs.write_text(text)
    _apply_outputs(world)
    file = world.tree / "environments" / "dev" / "terraform.tfvars"
    file.write_text(file.read_text().replace("eu-central-1", "us-east-1"))
    with pytest.raises(DeployError, match=r"deployed in eu-central-1, but its terraform.tfvars now names us-east-1"):
        world.deploy()


def test_packages_that_are_not_what_they_say_are_refused(world: World) -> None:
    (world.root / "packages" / "api.zip").write_bytes(b"tampered")
    with pytest.raises(DeployError, match=r"api\.zip is not what packages\.tfvars\.json describes"):
        world.deploy()


def _apply_outputs(world: World) -> None:
    """As if an earlier run had left these outputs."""
    from recsys_deploy.deploy.packages import package_variables
    from recsys_deploy.deploy.terraform import Terraform

    terraform = Terraform(world.tree, "dev", data_dir=world.options().data)
    terraform.apply(terraform.plan(package_variables(world.root / "packages", terraform.stack, build=False)))


def _objects() -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket=BUCKETS["models"])
    return [one["Key"] for one in found["Contents"]]
