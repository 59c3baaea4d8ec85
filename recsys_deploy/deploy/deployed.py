"""Settings, stores and tables of a deployed environment, as Terraform's outputs name them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lambda_api.settings import read_settings
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import Table
from recsys_assets.lake import Lake
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_deploy.deploy.errors import translated
from recsys_deploy.homes import Stores

PATIENCE_S: Final = 20.0
"""For an answer of DynamoDB: nobody is waiting for a page, and a repeated deployment takes minutes."""


class DeployedEnvironment:
    """Each table is opened once and keeps its connections.

    Args:
        outputs: of Terraform.
        scratch: local folder that takes the place of a home.
    """

    def __init__(self, outputs: Mapping[str, Any], scratch: Path) -> None:
        self.outputs = outputs
        self.settings = read_settings({**outputs["settings"], "RECSYS_HOME": str(scratch)})
        self._tables: dict[str, Table] = {}
        registry, bundles = ModelRegistry(self.table("registry")), BundleStore(self.settings.models_uri)
        self.stores = Stores(registry, bundles, Lake(self.settings.lake_uri))

    def table(self, name: str) -> Table:
        """A table of the environment."""
        if name not in self._tables:
            self._tables[name] = open_table(self.settings, name, patience_s=PATIENCE_S)
        return self._tables[name]

    def routed(self) -> frozenset[str]:
        """Model versions in the current route; empty before the first one."""
        with translated("reading the route"):
            record = read_routing(self.table("serving"))
        return frozenset() if record is None else frozenset(one.target.version for one in record.variants)
