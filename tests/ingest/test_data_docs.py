"""The examples of docs/data.md and the sample shop are read as the page says."""

import re
from pathlib import Path

import pytest

from recsys_assets.data_check import check_source
from recsys_assets.ingest.mapping import Mapping, parse_mapping
from recsys_assets.ingest.presets import PRESETS
from recsys_assets.ingest.registry import open_source

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text()
EXAMPLES = re.findall(r"```csv file=(\S+) preset=(\S+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("name", "preset", "text"), EXAMPLES, ids=[preset for _, preset, _ in EXAMPLES])
def test_an_example_is_recognised(name: str, preset: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    source = open_source("auto", str(tmp_path))
    assert source.name == preset
    assert sum(source.read_day(day).interactions.num_rows for day in source.days()) == len(text.splitlines()) - 1


def test_every_shop_system_has_an_example() -> None:
    public = {"online_retail", "movielens", "amazon_reviews"}
    assert {preset.name for preset in PRESETS} - public == {preset for _, preset, _ in EXAMPLES} - {"canonical"}


def test_the_mapping_of_the_page_is_valid() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    mapping = parse_mapping(text, "docs/data.md")
    assert mapping.interactions.columns["user_id"] == ("kunde", "email")
    fields = set(Mapping.model_fields) | set(type(mapping.interactions).model_fields)
    assert set(re.findall(r"^(\w+) = ", text.split("[interactions.columns]")[0], re.MULTILINE)) <= fields


def test_the_sample_shop_can_be_built() -> None:
    folder = ROOT / "examples" / "tiny_shop"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 100_000
    report = check_source(str(folder))
    assert report.can_be_built
    assert not report.set_aside
    assert report.evaluation.startswith("yes")
    assert (report.shoppers, report.listed_products) == (60, 40)
