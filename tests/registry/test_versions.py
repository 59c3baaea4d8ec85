"""Version numbers: their form, order, and which comes next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_assets.registry.records import ModelVersion, Status, change_between
from recsys_assets.registry.versions import FIRST_VERSION, Change, Version, next_version
from tests.registry.samples import START, candidate, window

parts = st.integers(0, 12)
versions = st.builds(Version, parts, parts, parts)


def v(*texts: str) -> list[Version]:
    return [Version.parse(text) for text in texts]


@given(versions)
def test_text_and_version_are_inverse(version: Version) -> None:
    assert Version.parse(str(version)) == version


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3", "v1.2", "v1.2.3.4", "v01.2.3", "v1.2.3 ", "v1.2.3\n", "v1.-2.3", "V1.2.3", "v1.2.٣", "v1.2.3-rc"],
)
def test_other_texts_are_no_versions(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        Version.parse(text)


def test_negative_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        Version(1, -1, 0)


def test_order_is_numeric() -> None:
    expected = v("v0.9.9", "v1.0.0", "v1.0.2", "v1.0.10", "v1.9.0", "v1.10.0", "v2.0.0", "v10.0.0")
    assert sorted(expected[::-1]) == expected


@pytest.mark.parametrize(
    ("existing", "change", "base", "expected"),
    [
        ([], Change.PATCH, None, "v1.0.0"),
        ([], Change.MAJOR, None, "v1.0.0"),
        (["v1.0.0"], Change.PATCH, None, "v1.0.1"),
        (["v1.0.0"], Change.MINOR, None, "v1.1.0"),
        (["v1.0.0"], Change.MAJOR, None, "v2.0.0"),
        (["v1.0.0", "v1.0.4", "v1.1.0"], Change.PATCH, "v1.0.0", "v1.0.5"),
        (["v1.0.0", "v1.0.4", "v1.1.0"], Change.MINOR, "v1.0.0", "v1.2.0"),
        (["v1.0.0", "v1.0.4", "v1.1.0"], Change.MAJOR, "v1.0.0", "v2.0.0"),
        (["v1.0.0", "v1.0.4", "v1.1.0"], Change.PATCH, None, "v1.1.1"),
        (["v1.9.9", "v1.10.0"], Change.PATCH, None, "v1.10.1"),
        (["v1.3.0", "v2.0.0"], Change.MINOR, "v1.3.0", "v1.4.0"),
        (["v1.3.0", "v2.0.0"], Change.MAJOR, "v1.3.0", "v3.0.0"),
    ],
)
def test_next_version(existing: list[str], change: Change, base: str | None, expected: str) -> None:
    number = next_version(v(*existing), change, None if base is None else Version.parse(base))
    assert str(number) == expected


@given(st.sets(versions, min_size=1), st.sampled_from(Change), st.data())
def test_next_version_is_new_and_above_its_base(existing: set[Version], change: Change, data: st.DataObject) -> None:
    base = data.draw(st.sampled_from(sorted(existing)))
    number = next_version(existing, change, base)
    assert number not in existing
    assert number > base
    # Exactly the part that changed is higher; those after it start at zero, save in a line that goes on.
    if change is Change.PATCH:
        assert (number.major, number.minor) == (base.major, base.minor)
    elif change is Change.MINOR:
        assert (number.major, number.patch) == (base.major, 0)
        assert number.minor > base.minor
    else:
        assert (number.minor, number.patch) == (0, 0)
        assert number > max(existing)


def test_a_base_must_exist() -> None:
    for existing in ([], v("v1.0.0")):
        with pytest.raises(ValueError, match=r"base v9\.0\.0 is not among"):
            next_version(existing, Change.PATCH, Version(9, 0, 0))


def test_what_counts_as_which_change() -> None:
    original = candidate("a", parameters={"l": (1, 2), "a": 1.0})
    lineage = {name: getattr(original, name) for name in original.__dataclass_fields__}
    champion = ModelVersion(**lineage, version=FIRST_VERSION, created_at=START, status=Status.CHAMPION)
    same_recipe = {"data_window": window(5), "metrics": {}, "run_id": "other"}
    assert change_between(champion, candidate("b", parameters={"a": 1.0, "l": [1, 2]}, **same_recipe)) is Change.PATCH
    for changed in (
        {"parameters": {"a": 1.5, "l": [1, 2]}},
        {"parameters": {"a": 1, "l": [1, 2]}},
        {"parameters": {"l": [1, 2]}},
        {"model": "item_knn"},
        {"git_revision": "fffffff"},
    ):
        other = candidate("b", **{"parameters": {"a": 1.0, "l": [1, 2]}, **same_recipe, **changed})
        assert change_between(champion, other) is Change.MINOR, changed
    assert change_between(champion, candidate("b", bundle_schema=2)) is Change.MAJOR
