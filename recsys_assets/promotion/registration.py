"""Stores and registers a bundle, and applies a promotion decision; both can be repeated after an interruption."""

from pathlib import Path

from lambda_api.recommender.bundle import read_manifest
from recsys_assets.promotion.decision import Decision
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import EvaluatedFit, Metrics, ModelVersion, candidate_from_manifest
from recsys_assets.registry.versions import Version


def register_bundle(
    registry: ModelRegistry,
    store: BundleStore,
    folder: Path,
    *,
    run_id: str,
    metrics: Metrics | None = None,
    evaluated: EvaluatedFit | None = None,
) -> ModelVersion:
    """Store the bundle in ``folder``, register it, and label the stored copy with its version.

    In this order every registered version has its bundle. Running it again gives the same version.

    Args:
        registry, store: where to.
        folder: a whole bundle (`lambda_api.recommender.bundle.write_bundle`) whose manifest gives the lineage.
        run_id: of the run that trained it.
        metrics: offline metrics; by default those in the manifest.
        evaluated: the fit that has these metrics, where it is not this bundle itself.

    Raises:
        BundleError: ``folder`` is no whole bundle.
        ValueError: the manifest lacks lineage (`candidate_from_manifest`).
    """
    manifest = read_manifest(folder)
    candidate = candidate_from_manifest(manifest, store.uri(manifest.checksum), run_id, metrics, evaluated)
    store.put(folder)
    registered = registry.register(candidate)
    store.label(manifest.checksum, registered.model, str(registered.version))
    return registered


def settle(
    registry: ModelRegistry,
    version: Version,
    expected_champion: Version | None,
    decision: Decision,
    *,
    by_rollout: bool = False,
) -> ModelVersion:
    """Apply a decision: promote ``version``, or mark it refused with the reasons. Returns the updated version.

    Args:
        registry: where the versions are.
        version: the challenger.
        expected_champion: the champion it was compared with; ``None`` if there was none.
        decision: of `recsys_assets.promotion.decision.decide`.
        by_rollout: a challenger stays one: a rollout moves the pointer after shoppers have met it. The first champion
            has nobody to stand beside and is promoted at once.

    Raises:
        ChampionMoved: the decision was to promote, but there is another champion now.
        UnknownVersion: ``version`` is not registered.
    """
    if not decision.promote:
        return registry.refuse(version, decision.reasons)
    if by_rollout and expected_champion is not None:
        return registry.get(version)
    registry.promote(version, expected_champion, reason=" ".join(decision.reasons))
    return registry.get(version)
