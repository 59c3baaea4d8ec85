"""What the synthetic source adds to the source contract: a living shop, its clock, and short ways to configure it."""

from datetime import date, timedelta

import pytest

from recsys_assets.ingest.source import SourceError
from recsys_assets.ingest.synthetic import Drift, DriftKind, SyntheticShopConfig, SyntheticShopSource
from recsys_assets.ingest.synthetic.config import DEFAULT_FIRST_DAY
from tests.ingest.synthetic_shops import SMALL, START, day_of, digest


def living(today: date) -> SyntheticShopSource:
    return SyntheticShopSource(config=SyntheticShopConfig(**SMALL), today=lambda: today)


def test_a_living_shop_has_every_day_until_yesterday() -> None:
    assert living(day_of(-5)).days() == living(START).days() == []
    assert living(day_of(3)).days() == [day_of(0), day_of(1), day_of(2)]
    with pytest.raises(SourceError, match=day_of(3).isoformat()):
        living(day_of(3)).read_day(day_of(3))


def test_a_new_day_adds_to_the_shop_and_changes_nothing() -> None:
    earlier, later = living(day_of(3)), living(day_of(200))
    assert digest(earlier.read_day(day_of(2)).interactions) == digest(later.read_day(day_of(2)).interactions)
    for before, after, key in (
        (earlier.products(), later.products(), "product_id"),
        (earlier.users(), later.users(), "user_id"),
    ):
        assert set(before[key].to_pylist()) < set(after[key].to_pylist())


def test_the_short_way_names_the_first_day_and_the_seed() -> None:
    source = SyntheticShopSource(first_day=START, seed=4)
    assert (source.config.start, source.config.seed, source.config.days) == (START, 4, None)
    assert SyntheticShopSource().config.start == DEFAULT_FIRST_DAY
    with pytest.raises(ValueError, match="give config alone"):
        SyntheticShopSource(first_day=START, config=SyntheticShopConfig())


def test_what_a_tracking_bug_garbles_is_delivered_for_the_quality_rules_to_catch() -> None:
    bug = Drift(DriftKind.TRACKING_BUG, START + timedelta(days=1), 0.5)
    source = SyntheticShopSource(config=SyntheticShopConfig(**SMALL, days=2, drift=(bug,)))
    fine, broken = (source.read_day(day) for day in source.days())
    assert fine.interactions["user_id"].null_count == 0 < broken.interactions["user_id"].null_count
    assert broken.set_aside.num_rows == 0
    assert broken.rows_read == broken.interactions.num_rows
