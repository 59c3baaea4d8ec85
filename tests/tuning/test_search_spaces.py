"""Search spaces: every value in them is accepted by its trainer, whichever way it travels."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_assets.models.zoo import TRAINERS, make_trainer
from recsys_assets.training.hyperparameters import as_text, read_job
from recsys_assets.training.search_spaces import SEARCH_SPACES, Dimension, OneOf, Real, Whole, search_space
from recsys_assets.tuning.search import Budget, tune
from tests.tuning.toy import ToyFold, make_toy

AS_OF = {"as_of": "2024-01-01T00:00:00+00:00"}


def values_of(dimension: Dimension) -> st.SearchStrategy[Any]:
    if isinstance(dimension, OneOf):
        return st.sampled_from(dimension.values)
    if isinstance(dimension, Whole):
        return st.integers(dimension.low, dimension.high)
    return st.floats(dimension.low, dimension.high)


@pytest.mark.parametrize("model", list(TRAINERS))
def test_every_model_of_the_zoo_has_a_space_that_holds_its_defaults(model: str) -> None:
    space, defaults = SEARCH_SPACES[model], make_trainer(model).parameters()
    assert space
    for name, dimension in space.items():
        assert defaults[name] in dimension, name


@pytest.mark.parametrize("model", list(TRAINERS))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_every_value_is_accepted_and_survives_the_way_through_a_training_job(model: str, data: st.DataObject) -> None:
    chosen = {name: data.draw(values_of(dimension), label=name) for name, dimension in SEARCH_SPACES[model].items()}
    trainer = make_trainer(model, chosen)
    assert {name: trainer.parameters()[name] for name in chosen} == chosen
    texts = {name: as_text(value) for name, value in chosen.items()}
    assert read_job({"model": model, **AS_OF, **texts}).trainer == trainer


def test_kinds_are_not_weighed_where_there_is_one() -> None:
    assert "type_weights" in search_space("ease", kinds_of_interaction=2)
    assert set(search_space("ease", kinds_of_interaction=1)) == set(SEARCH_SPACES["ease"]) - {"type_weights"}
    assert search_space("not in the zoo") == {}


@given(
    st.one_of(
        st.builds(Real, st.floats(-5, 1), st.floats(2, 5)),
        st.builds(Real, st.floats(1e-6, 1), st.floats(2, 1e6), st.just(True)),
        st.builds(Whole, st.integers(-5, 1), st.integers(2, 5)),
        st.builds(Whole, st.integers(1, 4), st.integers(5, 900), st.just(True)),
        st.just(OneOf((None, {"b": 1.0, "a": 2.0}, [1, 2], "text", 3))),
    ),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_what_the_search_tries_lies_in_the_dimension(dimension: Dimension, seed: int) -> None:
    tried: list[Any] = []

    def make(name: str, parameters: Any) -> Any:
        if not parameters:
            return _Holder(dimension.values[0] if isinstance(dimension, OneOf) else dimension.low)
        tried.append(parameters["v"])
        return _Holder(parameters["v"])

    tune("any", [ToyFold(1)], Budget(4), seed, space={"v": dimension}, make=make)
    assert len(tried) == 4
    assert all(value in dimension for value in tried)


class _Holder:
    name = "any"
    quality = 1.0

    def __init__(self, value: Any) -> None:
        self.value = value

    def fit(self, data: Any, report: Any = None) -> Any:
        return self

    def parameters(self) -> dict[str, Any]:
        return {"v": self.value}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Real(1.0, 1.0), "low < high"),
        (lambda: Real(0.0, float("inf")), "finite"),
        (lambda: Whole(0, 5, log=True), "above 0"),
        (lambda: OneOf(()), "at least one value"),
        (lambda: OneOf(({"a": 1, "b": 2}, {"b": 2, "a": 1})), "each once"),
    ],
)
def test_impossible_dimensions_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_booleans_are_no_numbers() -> None:
    assert True not in Real(0.0, 2.0)
    assert True not in Whole(0, 2)
    assert make_toy("toy", {}).parameters()["x"] in Real(0.0, 2.0)
