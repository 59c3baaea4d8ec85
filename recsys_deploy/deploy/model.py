"""Uploads a home's champion to an environment: bundle, registry record, and whether it becomes champion there.

The environment's registry gives its own version numbers, because models trained there are registered in it too. The
bundle's checksum identifies a model in both registries, so uploading it twice changes nothing. Models are compared by
``recsys_assets.promotion`` and routed by ``recsys_deploy.release``.
"""

from dataclasses import dataclass
from pathlib import Path

from lambda_api.recommender.bundle import BundleError
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import Table
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion
from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.deploy.options import Promotion
from recsys_deploy.homes import Stores
from recsys_deploy.release.check import Release, ReleaseRefused, check_release


@dataclass(frozen=True, slots=True)
class Brought:
    """A model that was registered in the environment.

    Attributes:
        here: version in the home.
        version: record in the environment's registry.
        release: result of the check of the uploaded bundle.
        promote: whether it becomes champion.
        why: the reason for that, in words.
    """

    here: str
    version: ModelVersion
    release: Release
    promote: bool
    why: str


def bring(
    home: Stores, there: Stores, cache: Path, *, disposable: bool, promotion: Promotion = Promotion.AUTO
) -> Brought | None:
    """Upload the home's champion, register it, download it again and ask it for lists; nothing is routed to it.

    Args:
        home: stores of the home.
        there: stores of the environment.
        cache: folder for the copy that is downloaded.
        disposable: whether the environment is disposable; there a new champion replaces the old one at once.
        promotion: choice of the command line.

    Returns:
        The uploaded model; ``None`` where the home has no champion.

    Raises:
        DeployError: the bundle is missing, damaged, or answers wrongly.
    """
    champion = home.registry.champion()
    if champion is None:
        return None
    try:
        folder = home.bundles.fetch(champion, cache)
        version = register_bundle(
            there.registry, there.bundles, folder, run_id=champion.run_id, metrics=champion.metrics
        )
        release = check_release(there.registry, there.bundles, cache, str(version.version))
    except (BundleError, ReleaseRefused) as error:
        raise DeployError(
            f"the champion {champion.version} cannot be uploaded: {error}. The environment keeps its model",
            remedy="train again (recsys run), or deploy without a model (--no-model)",
        ) from error
    promote, why = _decide(there.registry, version, disposable, promotion)
    return Brought(str(champion.version), there.registry.get(version.version), release, promote, why)


def _decide(registry: ModelRegistry, version: ModelVersion, disposable: bool, promotion: Promotion) -> tuple[bool, str]:
    champion = registry.champion()
    if champion is not None and champion.version == version.version:
        return True, "it is champion there already"
    if promotion is not Promotion.AUTO:
        return promotion is Promotion.ALWAYS, f"--promote {promotion}"
    if champion is None:
        return True, "no model answered there yet"
    if any(change.version == version.version for change in registry.history()):
        why = f"it was champion there before, and {champion.version} came after it; --promote always takes it back"
        return False, why
    if not disposable:
        start = "start a rollout with recsys release, or use --promote always"
        return False, f"{champion.version} answers there, and this environment is not disposable: {start}"
    return True, f"it replaces {champion.version}"


def answering(serving: Table) -> str | None:
    """The version that the routing record sends shoppers to; ``None``: the baseline answers."""
    record = read_routing(serving)
    return None if record is None else record.champion.target.version
