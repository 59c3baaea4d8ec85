"""A shop with a lake, a champion and a live catalogue, small enough for a test and large enough for parts."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from lambda_api.recommender.bundle import BundleInfo, DataWindow, write_bundle
from lambda_api.serving.question import Question
from lambda_api.settings import make_settings
from recsys_assets.batch.questions import QuestionSet, publish, read_questions, write_questions
from recsys_assets.features.engine import end_of_log
from recsys_assets.models.zoo import make_trainer
from recsys_assets.publishing.catalogue import build_catalogue
from recsys_assets.publishing.catalogue_store import publish_catalogue
from recsys_assets.registry.records import candidate_from_manifest
from recsys_deploy.batch import results
from recsys_deploy.batch.run import questions_place
from recsys_deploy.subject import Subject, subject_of
from tests.publishing.shops import Home
from tests.test_tune_command import FIRST, deliver
from tests.training.shop import training_data_before

DAYS = 20


class BatchShop(Home):
    """What a batch reads and writes."""

    def fit_and_promote(self, scratch: Path) -> str:
        """Fit item-to-item on the whole log and make it the champion; returns its version."""
        end = end_of_log(self.lake)
        recommender = make_trainer("item_knn", {}).fit(training_data_before(self.lake, end))
        window = DataWindow(start=datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC), end=end)
        info = BundleInfo(trainer="item_knn", data_window=window, git_revision="abc", metrics={"validation_ndcg": 0.1})
        manifest = write_bundle(recommender, scratch / "bundle", info)
        candidate = candidate_from_manifest(manifest, self.bundles.put(scratch / "bundle"), "run")
        version = self.registry.register(candidate)
        self.bundles.label(manifest.checksum, "item_knn", str(version.version))
        self.registry.promote(version.version, None)
        return str(version.version)

    def publish(self) -> None:
        """Make the lake's catalogue the live one."""
        publish_catalogue(build_catalogue(self.lake), self.settings.catalogue_uri, self.serving, 1_700_000_000)


def make_batch_shop(folder: Path, *, promoted: bool = True) -> BatchShop:
    """A shop in ``folder``."""
    shop = BatchShop(make_settings({"home": folder / "home", "first_day": "2010-12-01"}))
    deliver(shop.lake, range(DAYS))
    if promoted:
        shop.fit_and_promote(folder)
        shop.publish()
    return shop


def hush(*_: Any) -> None:
    """Nobody listens."""


def subject(shop: BatchShop) -> Subject:
    return subject_of(shop.registry, shop.bundles, shop.serving, shop.settings.home)


def ask(shop: BatchShop, per_part: int = 20) -> QuestionSet:
    scratch = shop.settings.home / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    write_questions(shop.lake, scratch, Question.template(shop.settings, shop.settings.k), per_part=per_part)
    publish(scratch, questions_place(shop.settings))
    return read_questions(questions_place(shop.settings))


def lists_of(shop: BatchShop) -> pa.Table:
    return shop.lake.read(results.TABLE)
