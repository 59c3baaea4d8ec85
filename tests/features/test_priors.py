"""The estimated Beta prior: hand-computed moments, limits, and recovery of a prior that is known."""

import ibis
import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.features.shared import RATE_STRENGTH_BOUNDS, UNDEFINED_RATE_STRENGTH, beta_prior


def prior(successes: list[int], trials: list[int]) -> tuple[float | None, float]:
    connection = ibis.duckdb.connect()
    counts = pa.table({"x": pa.array(successes, pa.int64()), "n": pa.array(trials, pa.int64())})
    connection.con.register("counts", counts)
    [row] = connection.to_pyarrow(beta_prior(connection.table("counts"), "x", "n")).to_pylist()
    return row["prior_mean"], row["prior_strength"]


def test_moments_by_hand() -> None:
    """Two groups, 1 of 4 and 3 of 4: mean 1/2, S = 2 * 4 * (1/4)^2 = 1/2, so
    rho = (1/2 / (1/4) - 1) / (8 - 32/8 - 1) = 1/3 and the strength is 3 - 1 = 2."""
    mean, strength = prior([1, 3], [4, 4])
    assert mean == pytest.approx(4 / 8)
    assert strength == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("successes", "trials", "mean"),
    [([3], [7], 3 / 7), ([1, 0, 1], [1, 1, 1], 2 / 3), ([0, 0], [5, 9], 0.0), ([5, 9], [5, 9], 1.0), ([], [], None)],
    ids=["one group", "one trial each", "no success", "only success", "no groups"],
)
def test_where_spread_is_undefined_the_stated_strength_is_used(
    successes: list[int], trials: list[int], mean: float | None
) -> None:
    assert prior(successes, trials) == (pytest.approx(mean) if mean is not None else None, UNDEFINED_RATE_STRENGTH)


def test_strength_stays_within_its_bounds() -> None:
    weakest, strongest = RATE_STRENGTH_BOUNDS
    assert prior([10, 10, 10], [20, 20, 20])[1] == pytest.approx(strongest)
    assert prior([50, 0, 50, 0], [50, 50, 50, 50])[1] == pytest.approx(weakest)


def test_a_known_prior_is_recovered() -> None:
    """20,000 rates drawn from Beta(2, 18): mean 1/10, strength 20."""
    rng = np.random.default_rng(0)
    trials = rng.integers(1, 60, 20_000)
    successes = rng.binomial(trials, rng.beta(2, 18, 20_000))
    mean, strength = prior(successes.tolist(), trials.tolist())
    assert mean == pytest.approx(0.1, rel=0.02)
    assert strength == pytest.approx(20, rel=0.1)
