"""``recsys deploy``: the steps of a deployment and their order.

Every step can be repeated: Terraform knows what exists, uploads compare first, the key is created once. Changes that
shoppers see come last. New code comes first among them, after each new version was invoked directly and answered with
the live model; then the route and the champion pointer, because new code reads old bundles, while old code may refuse
new ones. If the API then answers wrongly, the aliases or the route are moved back.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from lambda_api.recommender.bundle import BundleError
from lambda_api.state.api_keys import new_key
from recsys_assets.code_revision import git_revision
from recsys_assets.lake import Lake
from recsys_assets.publishing.storefront import storefront_of, write_storefront
from recsys_deploy.deploy import model as models
from recsys_deploy.deploy import page, versions
from recsys_deploy.deploy.api_check import HttpCall, call, fault_of_api
from recsys_deploy.deploy.aws_session import Aws
from recsys_deploy.deploy.checks import check, check_standing, open_terraform
from recsys_deploy.deploy.deployed import DeployedEnvironment
from recsys_deploy.deploy.errors import CheckFailed, Confirm, NotConfirmed, require_consent, translated
from recsys_deploy.deploy.options import DeployOptions
from recsys_deploy.deploy.packages import package_variables
from recsys_deploy.deploy.preflight import preflight
from recsys_deploy.deploy.publication import has_shop, publish
from recsys_deploy.deploy.steps import Steps, names
from recsys_deploy.deploy.terraform import Plan, Terraform
from recsys_deploy.deploy.values import Environment, read_environment
from recsys_deploy.homes import open_stores
from recsys_deploy.release.check import ReleaseRefused
from recsys_deploy.release.moves import Releases
from recsys_deploy.release.route import RouteRefused
from recsys_deploy.release.strategies import Strategy

PACKAGES: Final = Path("build") / "lambda"


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Result of a deployment.

    Attributes:
        environment, account, region: where.
        api_url: address of the API.
        storefront_url: of the shop page; ``None``: there is none.
        functions: live version by function.
        moved: functions whose alias was moved by this run.
        model: version that answers shoppers; ``None``: the baseline.
        model_result: what was done with the home's champion, in words.
        changes: number of resources made, changed, replaced or removed.
        key_parameter: parameter that holds the key of the shop page.
        seconds: by step.
        outputs: of Terraform.
    """

    environment: str
    account: str
    region: str
    api_url: str
    storefront_url: str | None
    functions: Mapping[str, str]
    moved: tuple[str, ...]
    model: str | None
    model_result: str
    changes: int
    key_parameter: str
    seconds: Mapping[str, float]
    outputs: Mapping[str, Any] = field(repr=False)


def deploy(
    options: DeployOptions,
    console: Console,
    *,
    http: HttpCall = call,
    confirm: Confirm | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Deployment:
    """Deploy everything. May be repeated; a second run continues where one was stopped.

    Args:
        options: of the command line.
        console: shows steps and changes.
        http: sends requests to the deployed address.
        confirm: asks a person; ``None``: nobody is there.
        sleep: waits between attempts.

    Raises:
        DeployError, AwsCallFailed, PackagingError: the message says what was done and what to do.
    """
    environment = read_environment(options.terraform, options.environment)
    aws = Aws(environment.region)
    with aws.shared():
        return _Run(options, environment, aws, console, http, confirm, sleep).run()


@dataclass
class _Run:
    options: DeployOptions
    environment: Environment
    aws: Aws
    console: Console
    http: HttpCall
    confirm: Confirm | None
    sleep: Callable[[float], None]
    steps: Steps = field(init=False)
    terraform: Terraform = field(init=False)
    changes: int = 0

    def __post_init__(self) -> None:
        self.steps = Steps(self.console, self.aws.refresh)
        self.terraform = open_terraform(self.options, self.aws, self.steps)

    def run(self) -> Deployment:
        account, variables, key = self._prepare()
        self._apply(variables, agreed=lambda: page.store_key(self.aws, self.environment.prefix, key))
        there = DeployedEnvironment(self.terraform.output(), self.options.data / "home")
        key = self._key(there, variables, key)
        self._page(there)
        brought = self._bring(there)
        filled = self._publish(there, brought)
        self._invalidate(there)
        functions, moved = self._code(there, key, filled)
        with self.steps.step("old versions removed") as step, translated("removing old versions"):
            step.note = str(versions.remove_old(self.aws, functions))
        model_result = self._model(there, key, brought, filled)
        return Deployment(
            environment=self.environment.name,
            account=account,
            region=self.environment.region,
            api_url=there.outputs["api_url"],
            storefront_url=there.outputs.get("storefront_url"),
            functions={one.name: one.published for one in functions},
            moved=tuple(one.name for one in moved),
            model=models.answering(there.table("serving")),
            model_result=model_result,
            changes=self.changes,
            key_parameter=page.parameter_name(self.environment.prefix),
            seconds=self.steps.seconds,
            outputs=there.outputs,
        )

    def _prepare(self) -> tuple[str, dict[str, Any], str]:
        with self.steps.step("checks") as step:
            checked = check(
                self.environment, self.terraform, self.aws, create_state_bucket=self.options.create_state_bucket
            )
            made = f", made the bucket {checked.bucket_made}" if checked.bucket_made else ""
            step.note = (
                f"account {checked.account}, {self.environment.region}, Terraform {checked.terraform_version}{made}"
            )
        image_tag = self.options.image_tag or git_revision()
        with self.steps.step("quotas of the account") as step:
            warnings = preflight(self.environment, self.aws, image_tag)
            step.note = f"{len(warnings)} warnings" if warnings else "enough for this environment"
        for warning in warnings:
            self.console.print(f"        [yellow]{warning}[/]", soft_wrap=True)
        with self.steps.step("packages") as step:
            folder = self.options.packages or self.options.checkout / PACKAGES
            variables = package_variables(folder, self.terraform.stack, build=self.options.packages is None)
            variables["image_tag"] = image_tag
            step.note = f"{folder}, images {image_tag}"
        with self.steps.step("terraform init"):
            self.terraform.init()
            check_standing(self.environment, self.terraform.output(), checked.account, self.environment.region)
        # Before its record in a table that may not exist yet, so that CloudFront is made with it.
        key = page.read_key(self.aws, self.environment.prefix) or new_key()
        self.terraform = open_terraform(self.options, self.aws, self.steps, key)
        return checked.account, variables, key

    def _apply(
        self, variables: Mapping[str, Any], name: str = "terraform apply", agreed: Callable[[], object] = lambda: None
    ) -> None:
        with self.steps.step(name.replace("apply", "plan")):
            plan = self.terraform.plan(variables)
        self.steps.print_plan(plan)
        if plan.is_empty:
            plan.file.unlink(missing_ok=True)
            return
        try:
            self._agree(plan)
        except NotConfirmed:
            plan.file.unlink(missing_ok=True)
            raise
        agreed()
        with self.steps.step(name) as step:
            self.terraform.apply(plan)
            step.note = f"{len(plan.changes)} changes"
        self.changes += len(plan.changes)

    def _agree(self, plan: Plan) -> None:
        reasons = [f"it removes or replaces {names(plan.destructive)}"] if plan.destructive else []
        reasons += ["this is prod"] if self.environment.name == "prod" else []
        if reasons and not self.options.yes:
            why = " and ".join(reasons)
            refusal = f"the plan needs a person's consent: {why}; nothing was changed"
            require_consent(self.confirm, f"{why}; apply?", refusal)

    def _key(self, there: DeployedEnvironment, variables: Mapping[str, Any], kept: str) -> str:
        with self.steps.step("key of the shop page") as step:
            key = page.ensure_key(self.aws, self.environment.prefix, there.table("api_keys"), kept)
            step.note = page.parameter_name(self.environment.prefix)
        if key != kept:
            self.terraform = open_terraform(self.options, self.aws, self.steps, key)
            if there.outputs.get("storefront_url"):
                self._apply(variables, "terraform apply (key)")
        return key

    def _page(self, there: DeployedEnvironment) -> None:
        bucket = there.outputs.get("storefront_bucket")
        if not bucket:
            return
        with self.steps.step("shop page") as step:
            files = page.page_files(self.options.checkout / page.FOLDER) | page.config_file(self.options.home)
            changed = page.upload(self.aws, files, bucket, remove=True)
            step.note = f"{changed} of {len(files)} files changed"

    def _bring(self, there: DeployedEnvironment) -> models.Brought | None:
        if not self.options.bring_model:
            return None
        home = open_stores(self.options.home)
        with self.steps.step("bundle") as step, translated("uploading the model"):
            cache = self.options.data / "bundles"
            disposable = self.environment.is_disposable
            brought = models.bring(home, there.stores, cache, disposable=disposable, promotion=self.options.promotion)
            step.note = (
                f"{brought.here} of this home is {brought.version.version} there"
                if brought
                else "this home has no champion"
            )
        return brought

    def _publish(self, there: DeployedEnvironment, brought: models.Brought | None) -> bool:
        lake = Lake(self.options.home.lake_uri)
        if not has_shop(lake):
            self.console.print(f"        {lake.root} has no products or interactions; nothing is published")
            return False
        serving, history = there.table("serving"), there.table("history")
        with self.steps.step("serving data") as step, translated("publishing serving data"):
            bundle = brought.release.folder if brought and brought.promote else None
            done = publish(lake, there.settings, serving, history, bundle, int(time.time()))
            step.note = (
                f"{done.products:,} products, {done.popular} popular, {done.shoppers_written:,} of {done.shoppers:,} "
                "shoppers written"
            )
        if there.outputs.get("storefront_bucket"):
            with self.steps.step("shop page's data") as step, translated("publishing the shop page's data"):
                end = int(brought.version.data_window.end.timestamp()) if brought else None
                made = write_storefront(storefront_of(lake, end), self.options.data / "page")
                files = {f"{page.DATA}{file.name}": file.read_bytes() for file in made}
                changed = page.upload(self.aws, files, there.outputs["storefront_bucket"])
                step.note = f"{changed} of {len(files)} files changed"
        return True

    def _invalidate(self, there: DeployedEnvironment) -> None:
        """Once for all uploads, and also where none changed: an earlier run may have been stopped before this."""
        if distribution := there.outputs.get("storefront_distribution_id"):
            with self.steps.step("shop page's cache"):
                page.invalidate(self.aws, distribution)

    def _code(
        self, there: DeployedEnvironment, key: str, filled: bool
    ) -> tuple[list[versions.Function], list[versions.Function]]:
        functions = versions.read_functions(self.aws, there.outputs)
        live = there.routed()
        with self.steps.step("new code checked") as step:
            for function in functions:
                versions.check_version(self.aws, function, key, live, filled=filled, sleep=self.sleep)
            step.note = ", ".join(f"{one.name} {one.published}" for one in functions)
        with self.steps.step("new code live") as step:
            moved = versions.move(self.aws, functions)
            try:
                fault = fault_of_api(self.http, there.outputs["api_url"], key, live, filled=filled, sleep=self.sleep)
                if fault:
                    raise CheckFailed(self._code_failed(there.outputs["api_url"], fault, moved))
            except BaseException:
                versions.move_back(self.aws, moved)
                raise
            step.note = ", ".join(f"{one.name} {one.live} -> {one.published}" for one in moved) or "unchanged"
        return functions, moved

    def _code_failed(self, url: str, fault: str, moved: list[versions.Function]) -> str:
        back = ", ".join(f"{one.name} {one.live}" for one in moved)
        state = f"the previous code answers shoppers again ({back})" if moved else "no alias was moved"
        return (
            f"{url} answers wrongly: {fault}. Now {state}; what was applied and published remains. Read the log "
            f"/aws/lambda/{self.environment.prefix}-api, correct the code, then run the same command"
        )

    def _model(
        self,
        there: DeployedEnvironment,
        key: str,
        brought: models.Brought | None,
        filled: bool,
    ) -> str:
        serving = there.table("serving")
        if brought is None:
            live = models.answering(serving)
            return f"{live} still answers" if live else "no model was uploaded; the baseline answers"
        version = str(brought.version.version)
        if not brought.promote:
            return f"{version} is registered but not live: {brought.why}"
        releases = Releases(there.stores.registry, there.stores.bundles, serving, self.options.data / "bundles")
        with self.steps.step("model live") as step, translated("moving the champion"):
            before = models.answering(serving)
            try:
                step.note = releases.start(brought.version.version, Strategy.IMMEDIATE)
            except RouteRefused as refusal:
                return f"{version} is registered but not live: {refusal}"
            fault = fault_of_api(
                self.http, there.outputs["api_url"], key, there.routed(), filled=filled, sleep=self.sleep
            )
            if fault:
                raise CheckFailed(self._model_failed(releases, version, before, fault))
        return f"{version} ({brought.version.model}) answers; {brought.why}"

    def _model_failed(self, releases: Releases, version: str, before: str | None, fault: str) -> str:
        remedy = f"read the log /aws/lambda/{self.environment.prefix}-api, then run the same command"
        if before in (None, version):
            return f"{version} is routed, but the API answers wrongly: {fault}. The baseline replaces it; {remedy}"
        try:
            back = releases.rollback(f"recsys deploy: {fault}")
        except (BundleError, ReleaseRefused) as refusal:
            back = f"The baseline replaces it, because the rollback failed: {refusal}"
        return f"{version} answers wrongly: {fault}. {back}; {remedy}"
