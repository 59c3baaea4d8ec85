"""The champion of a home, brought into an environment: bundle, registry record, and whether it is to answer shoppers.

Put here how a model crosses from one registry to another. Keep judging models in ``recsys_assets.promotion``, and
putting them before shoppers in ``recsys_deploy.release``.

The environment's registry gives its own version numbers: it also registers what is trained there. The bundle's checksum
is what both registries agree on, so bringing a model twice changes nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from lambda_api.recommender.bundle import BundleError
from lambda_api.state.routing_record import read_routing
from lambda_api.state.table import Table
from recsys_assets.promotion.registration import register_bundle
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion
from recsys_deploy.deploy.errors import ModelRefused
from recsys_deploy.deploy.options import Promotion
from recsys_deploy.release.check import Release, ReleaseRefused, check_release


@dataclass(frozen=True, slots=True)
class Stores:
    """Where models are: of a home, or of an environment."""

    registry: ModelRegistry
    bundles: BundleStore


@dataclass(frozen=True, slots=True)
class Brought:
    """A model that is registered in the environment.

    Attributes:
        here: version in the home.
        version: as the environment's registry knows it.
        release: what the check of the uploaded bundle found.
        promote: whether it is to become champion.
        why: in words, the reason for that.
    """

    here: str
    version: ModelVersion
    release: Release
    promote: bool
    why: str


def bring(
    home: Stores, there: Stores, cache: Path, *, disposable: bool, promotion: Promotion = Promotion.AUTO
) -> Brought | None:
    """Upload the home's champion, register it, fetch it back and ask it for lists; no pointer moves.

    Args:
        home: where it was trained.
        there: the environment's.
        cache: folder for the copy that is fetched back.
        disposable: whether the environment is one to try things in; there a new champion replaces the old one at once.
        promotion: what a person decided.

    Returns:
        What was brought; ``None`` where the home has no champion.

    Raises:
        ModelRefused: the bundle is gone, damaged, or answers wrongly.
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
        raise ModelRefused(
            f"the champion {champion.version} cannot be brought: {error}. What answers there stays; train again "
            "(recsys run), or deploy without a model (--no-model)"
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
        return (
            False,
            f"it was champion there before, and {champion.version} came after it; --promote always takes it back",
        )
    if not disposable:
        start = "start a rollout with recsys release, or use --promote always"
        return False, f"{champion.version} answers there, and this environment is not disposable: {start}"
    return True, f"it replaces {champion.version}"


def answering(serving: Table) -> str | None:
    """The version that answers shoppers now by the routing record; ``None``: nobody does, the baseline answers."""
    record = read_routing(serving)
    return None if record is None else record.variants[0].target.version
