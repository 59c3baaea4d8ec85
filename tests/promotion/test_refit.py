"""From candidates to a registered refit on a small synthetic shop that grows: first, refresh, change, disagreement."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from lambda_api.recommender.bundle import DataWindow, read_bundle
from lambda_api.settings import Settings, make_settings
from lambda_api.state.open_table import open_table
from recsys_assets.evaluation.champion import AS_SERVED, CHAMPION, Champion, champion_in
from recsys_assets.evaluation.evaluate_models import Evaluation, evaluate_models, load_candidates
from recsys_assets.ingest.synthetic import SyntheticShop, SyntheticShopConfig
from recsys_assets.lake import Lake
from recsys_assets.measurement.agreement import list_overlap
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.models.popularity import Popularity
from recsys_assets.models.trainer import Trainer
from recsys_assets.promotion import refit as refit_module
from recsys_assets.promotion.challenger import evaluated_metrics, register_refit
from recsys_assets.promotion.refit import RefitError, load_refit, refit_folder, refit_winner, save_refit
from recsys_assets.promotion.winner import Winner, choose_winner
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion, Status
from recsys_assets.schema import INTERACTIONS
from recsys_assets.splits.choice import choose_split
from recsys_assets.splits.temporal import TemporalSplit
from recsys_assets.training.candidate import candidate_folder, fit_bundle, train_candidate
from recsys_assets.training.fitting import Fit, Fitted, fit_here

FIRST, DAYS = date(2024, 1, 1), 120
ZOO: tuple[Trainer, ...] = (Popularity(), ItemKnn())


@dataclass
class Shop:
    settings: Settings
    made: SyntheticShop
    days: int = 0

    def __post_init__(self) -> None:
        self.lake = Lake(self.settings.lake_uri)
        self.registry = ModelRegistry(open_table(self.settings, "registry"))
        self.bundles = BundleStore(self.settings.models_uri)
        self.lake.write_table("products", self.made.products())
        self.lake.write_table("users", self.made.users())
        self.grow(DAYS)

    def grow(self, days: int) -> None:
        for number in range(self.days, self.days + days):
            day = FIRST + timedelta(days=number)
            self.lake.write_day("interactions", day, INTERACTIONS.conform(self.made.day_events(day)))
        self.days += days

    @property
    def end(self) -> datetime:
        return datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=self.days)

    def split(self) -> TemporalSplit:
        return choose_split(self.lake.read("interactions", ("timestamp",))["timestamp"], self.settings)

    def evaluated(self, zoo: tuple[Trainer, ...] = ZOO) -> Evaluation:
        split = self.split()
        for trainer in zoo:
            train_candidate(trainer, self.lake, split, self.settings, lambda line: None)
        candidates = load_candidates(self.settings, tuple(trainer.name for trainer in zoo))
        return evaluate_models(candidates, self._champion(candidates, split), self.lake, split, self.settings, print)

    def _champion(self, candidates: Any, split: TemporalSplit) -> Champion | None:
        version = self.registry.champion()
        if version is None:
            return None

        def fit(trainer: Trainer) -> Any:
            window = DataWindow(start=split.train_start, end=split.test_start)
            fit_bundle(trainer, self.lake, window, candidate_folder(self.settings, CHAMPION), {}, print)
            return read_bundle(candidate_folder(self.settings, CHAMPION))

        served = read_bundle(self.bundles.fetch(version, self.settings.home / "bundles"))
        return champion_in(version, served, candidates, split.test_start, fit, print)

    def refitted(self, evaluation: Evaluation, winner: Winner, fit_model: Any = fit_here) -> ModelVersion:
        metrics = evaluated_metrics(evaluation, winner.name)
        refit = refit_winner(evaluation, winner, metrics, self.lake, self.split(), self.settings, fit_model, print)
        save_refit(refit, self.settings.home / "reports")
        assert load_refit(self.settings.home / "reports") == refit
        return register_refit(refit, evaluation, self.registry, self.bundles, self.settings, "run")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = SyntheticShop(
        SyntheticShopConfig(
            seed=3, start=FIRST, days=200, n_users=250, n_products=120, n_categories=6, n_brands=8,
            sessions_per_user_per_day=0.4,
        )
    )  # fmt: skip
    yield Shop(make_settings({"home": tmp_path_factory.mktemp("loop") / "home", "k": 10, "source": "synthetic"}), made)


@pytest.mark.slow
def test_what_goes_live_has_learned_from_everything_up_to_now(shop: Shop) -> None:
    """First promotion, then a refresh a week later, a change of recipe, and a recipe that no candidate has."""
    evaluation = shop.evaluated()
    winner = choose_winner(evaluation)
    assert winner.rule == "first" and evaluation.champion is None
    version = shop.refitted(evaluation, winner)
    assert version.status is Status.CHAMPION
    newest = max(shop.lake.read("interactions", ("timestamp",))["timestamp"].to_pylist())
    assert version.data_window.end == shop.end and version.data_window.end - newest < timedelta(days=1)
    served = read_bundle(shop.bundles.fetch(version, shop.settings.home / "bundles"))
    assert served.manifest.checksum == version.bundle_checksum != evaluation.checksums[winner.name]
    assert version.evaluated is not None
    assert (version.evaluated.checksum, version.evaluated.rule) == (evaluation.checksums[winner.name], "first")
    assert version.evaluated.data_end == shop.split().test_start and version.evaluated.shoppers > 200
    assert 0.2 <= version.evaluated.overlap <= 1
    assert version.metrics["ndcg@10"] == evaluation.report.model(winner.name).metrics["ndcg"].mean
    assert shop.registry.get(version.version) == version

    # The day after: nothing newer than the champion's data, nothing to refresh.
    same_day = choose_winner(shop.evaluated())
    assert not same_day.decision.promote and "learned from everything" in same_day.decision.reasons[-1]

    # A week later the champion has learned from nothing in the test window, so the refresh is compared with it.
    shop.grow(7)
    later = shop.evaluated()
    assert later.champion is not None and later.champion.recipe == winner.name and AS_SERVED in later.figures
    assert later.report.comparison(winner.name, AS_SERVED).n == later.report.setting.users
    refresh = choose_winner(later)
    assert refresh.rule in ("refresh", "change") and refresh.decision.promote
    second = shop.refitted(later, refresh)
    assert second.status is Status.CHAMPION and second.data_window.end == shop.end
    if refresh.rule == "refresh":
        assert str(second.version) == "v1.0.1"

    # Three days later it has learned from four days of the window: only recipes are compared, and it goes on.
    shop.grow(3)
    zoo = (Popularity(half_life_days=3.0), ItemKnn(neighbours=7))
    third = shop.evaluated(zoo)
    assert AS_SERVED not in third.figures and third.champion is not None and third.champion.recipe == CHAMPION
    assert third.report.champion == CHAMPION and third.report.challenger in ("popularity", "item_knn")
    champion_fit = read_bundle(candidate_folder(shop.settings, CHAMPION)).manifest
    assert champion_fit.info.data_window is not None and champion_fit.info.data_window.end == shop.split().test_start
    chosen = choose_winner(third)
    assert chosen.decision.promote and chosen.name in (CHAMPION, "popularity", "item_knn")
    last = shop.refitted(third, chosen)
    assert last.status is Status.CHAMPION and last.data_window.end == shop.end


def test_a_refit_that_disagrees_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit on wrong data lists other products than the evaluated fit: registered as refused, the champion stays."""
    shop.grow(1)
    evaluation = shop.evaluated()
    winner = replace(choose_winner(evaluation), name="popularity")

    def backwards(fit: Fit) -> Fitted:
        fitted = fit_here(fit).recommender
        object.__setattr__(fitted, "popularity", (fitted.popularity.max() - fitted.popularity).astype(np.float32))
        return Fitted(fitted)

    before = shop.registry.champion()
    refused = shop.refitted(evaluation, replace(winner, decision=replace(winner.decision, promote=True)), backwards)
    assert refused.status is Status.REFUSED
    assert refused.evaluated is not None and refused.evaluated.overlap < refit_module.MIN_OVERLAP
    assert "below the limit of 20%" in refused.refusal_reasons[0]
    assert shop.registry.champion() == before


def test_a_winner_that_may_not_go_live_is_registered_as_evaluated(shop: Shop) -> None:
    evaluation = shop.evaluated()
    winner = choose_winner(evaluation)
    told = replace(winner, name="popularity", decision=replace(winner.decision, promote=False, reasons=("No.",)))
    refused = shop.refitted(evaluation, told)
    assert (refused.status, refused.refusal_reasons) == (Status.REFUSED, ("No.",))
    assert refused.evaluated is None
    assert refused.bundle_checksum == evaluation.checksums["popularity"]


def test_a_winner_fitted_again_is_not_registered(shop: Shop) -> None:
    evaluation = shop.evaluated()
    winner = replace(choose_winner(evaluation), name="popularity")
    train_candidate(Popularity(half_life_days=1.0), shop.lake, shop.split(), shop.settings, print)
    with pytest.raises(RefitError, match="fitted again after it was evaluated; materialise evaluation_report"):
        shop.refitted(evaluation, winner)
    (refit_folder(shop.settings).parents[1] / "reports" / "refit.json").write_text("{}")
    with pytest.raises(RefitError, match=r"no readable refit\.json; materialise refitted_model"):
        load_refit(shop.settings.home / "reports")


def test_overlap_by_hand() -> None:
    first = np.array([[1, 2, 3, 4], [1, 2, -1, -1], [-1, -1, -1, -1], [5, 6, 7, 8]], dtype=np.int32)
    second = np.array([[4, 3, 9, 8], [1, 2, 3, -1], [-1, -1, -1, -1], [-1, -1, -1, -1]], dtype=np.int32)
    np.testing.assert_allclose(list_overlap(first, second), [2 / 4, 2 / 3, 1.0, 0.0])
