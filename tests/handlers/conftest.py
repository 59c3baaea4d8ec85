"""The served shop of handler tests: made once, with state of its own for every test that writes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_api.handlers import dependencies
from lambda_api.handlers.dependencies import Serving
from lambda_api.settings import make_settings
from tests.patience import patient
from tests.serving_home import ServedHome, make_home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every operation of the document an id: schemathesis names them, but leaves all of them one id."""
    for item in items:
        if "[" in item.name and "[" not in item.nodeid:
            item._id = item.parent.id.child(item.name)


@pytest.fixture(scope="session")
def served_home(tmp_path_factory: pytest.TempPathFactory) -> ServedHome:
    """A home with a bundle, a catalogue, popular lists, histories and a routing record. Do not write to it."""
    return make_home(tmp_path_factory.mktemp("served"), products=400, shoppers=20)


@pytest.fixture
def serving(served_home: ServedHome, tmp_path: Path) -> Iterator[Serving]:
    """This process's dependencies on a fresh copy of the home; work after replies is done before them."""
    home = tmp_path / "home"
    shutil.copytree(served_home.settings.home, home)
    held = patient(make_settings({"home": home}))
    dependencies.use(held)
    yield held
    dependencies.use(None)
    held.close()
