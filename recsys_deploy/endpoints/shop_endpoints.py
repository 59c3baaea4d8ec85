"""A shop's endpoints: creates, lists and deletes the endpoint of a registered version.

A new endpoint gets no traffic; the routing record (``recsys_deploy.release``) decides that.
"""

from dataclasses import dataclass, replace
from typing import Any

from lambda_api.settings import Settings, parse_tags
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import Table
from recsys_assets.aws_clients import open_clients
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.sagemaker.settings import inference_placement
from recsys_deploy.endpoints.archive import archives_uri, publish_archive
from recsys_deploy.endpoints.manager import EndpointManager, EndpointState
from recsys_deploy.endpoints.requests import EndpointPlan, EndpointRefused, RealTime, Serverless, endpoint_name
from recsys_deploy.subject import subject_of

MANY = "models"
"""Takes the place of the version in the name of the endpoint with many models."""


@dataclass(frozen=True)
class Endpoints:
    """Endpoints of one shop. Make it with `open_endpoints`."""

    settings: Settings
    manager: EndpointManager
    s3: Any

    def create(
        self,
        version: str,
        capacity: Serverless | RealTime,
        registry: ModelRegistry,
        bundles: BundleStore,
        serving: Table,
        *,
        many_models: bool = False,
    ) -> tuple[EndpointState, str]:
        """An endpoint in service for a registered version with the live catalogue; a repeated call changes nothing.

        Args:
            many_models: add the version to the endpoint with many models, which the first call creates.

        Returns:
            Its state, and the ``endpoint`` of a route target that reaches the version.

        Raises:
            UnknownVersion, BatchError, BundleError, CatalogueError: there is nothing to serve, or it is damaged.
            EndpointRefused, EndpointError: AWS would refuse it, or a call failed.
        """
        if not self.settings.inference_image:
            raise EndpointRefused(
                "no inference image; set RECSYS_INFERENCE_IMAGE, RECSYS_TRAINING_ROLE_ARN and RECSYS_TRAINING_URI "
                "(with RECSYS_TARGET=aws)"
            )
        home, catalogues = self.settings.home, self.settings.catalogue_uri
        subject = subject_of(registry, bundles, serving, home, version, catalogues=catalogues)
        served = MANY if many_models else subject.version
        archives = archives_uri(self.settings)
        archive = publish_archive(self.s3, archives, subject.bundle, subject.catalogue)
        on_instances = isinstance(capacity, RealTime)
        placement = inference_placement(self.settings)
        plan = EndpointPlan(
            prefix=self.settings.endpoint_prefix,
            version=served,
            placement=placement if on_instances else replace(placement, subnets=(), security_groups=()),
            model_uri=f"{archives}/" if many_models else archive,
            capacity=capacity,
            many_models=many_models,
            # AWS recommends one worker for serverless endpoints, which have little memory.
            environment={} if on_instances else {"MODEL_SERVER_WORKERS": "1"},
            tags={**parse_tags(self.settings.training_tags), "recsys/version": served},
        )
        state = self.manager.ensure(plan)
        return state, f"{state.name}/{archive.removeprefix(f'{archives}/')}" if many_models else state.name

    def list(self) -> list[EndpointState]:
        """Every endpoint of the shop. Raises `EndpointError`."""
        return self.manager.list(self.settings.endpoint_prefix)

    def delete(self, version: str, serving: Table) -> str:
        """Delete the endpoint of a version (or `MANY`), if it exists, and return its name.

        Raises:
            EndpointRefused: the routing record still sends shoppers there.
            EndpointError: a call failed.
        """
        name = endpoint_name(self.settings.endpoint_prefix, version)
        record = read_routing(serving)
        targets = [variant.target for variant in record.variants] if record else []
        targets += [record.shadow] if record and record.shadow else []
        used = sorted({one.version for one in targets if (one.endpoint or "").partition("/")[0] == name})
        if used:
            raise EndpointRefused(
                f"endpoint {name} answers for {', '.join(used)}: route its traffic away, then delete it"
            )
        self.manager.delete(name)
        return name


def open_endpoints(settings: Settings) -> Endpoints:
    """Endpoints in the region that AWS's own configuration names. Raises `AwsCallFailed` where it names none."""
    sagemaker, scaling, s3 = open_clients("sagemaker", "application-autoscaling", "s3")
    return Endpoints(settings, EndpointManager(sagemaker, scaling), s3)
