"""Small records, bundles and clocks the registry tests share."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from lambda_api.recommender.bundle import BundleInfo, DataWindow, Manifest, write_bundle
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.popularity import PopularityRecommender
from recsys_assets.registry.records import Candidate, ExperimentRun, RunStatus

START = datetime(2011, 1, 1, tzinfo=UTC)


class Ticking:
    """A clock that moves one second each time it is read."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def window(weeks: int = 4) -> DataWindow:
    """Data from the start of 2011, that many weeks of it."""
    return DataWindow(start=START, end=START + timedelta(weeks=weeks))


def candidate(label: str, **changes: Any) -> Candidate:
    """A candidate whose bundle is identified by ``label``."""
    checksum = hashlib.sha256(label.encode()).hexdigest()
    values: dict[str, Any] = {
        "model": "ease",
        "bundle_uri": f"models/{checksum}",
        "bundle_checksum": checksum,
        "bundle_schema": 1,
        "data_window": window(),
        "git_revision": "0123abc",
        "parameters": {"regularisation": 100.0, "types": ["view", "purchase"]},
        "metrics": {"ndcg@10": 0.1 + 0.2, "recall@10": 1 / 3},
        "run_id": f"run-{label}",
    }
    return Candidate(**{**values, **changes})


def run(label: str, **changes: Any) -> ExperimentRun:
    """An experiment run with id ``label``."""
    values: dict[str, Any] = {
        "id": label,
        "model": "ease",
        "parameters": {"regularisation": 100.0},
        "metrics": {"ndcg@10": 0.1},
        "data_window": window(),
        "git_revision": "0123abc",
        "started_at": START,
        "duration_s": 1.5,
        "status": RunStatus.FINISHED,
    }
    return ExperimentRun(**{**values, **changes})


def bundle(folder: Path, seed: int = 0, **info: Any) -> Manifest:
    """Write a small popularity bundle with full lineage."""
    rng = np.random.default_rng(seed)
    products = IdMap.from_ids([f"p{n}" for n in range(50)])
    recommender = PopularityRecommender(products, rng.random(50).astype(np.float32))
    lineage: dict[str, Any] = {
        "trainer": "popularity",
        "created_at": START,
        "hyper_parameters": {"half_life_days": 7.0},
        "data_window": window(),
        "metrics": {"ndcg@10": 0.25},
        "git_revision": "0123abc",
    }
    return write_bundle(recommender, folder, BundleInfo(**{**lineage, **info}))
