"""Checkpoints keep every bit, survive damage, and hold nothing that could run."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from recsys_assets.models.resumable import Checkpoint
from recsys_assets.training.checkpoints import NpzCheckpoints


def checkpoints(folder: Path, complaints: list[Path] | None = None) -> NpzCheckpoints:
    def on_unreadable(path: Path, error: Exception) -> None:
        assert complaints is not None, error
        complaints.append(path)

    return NpzCheckpoints(folder, on_unreadable)


arrays = st_numpy.arrays(
    st.sampled_from([np.float32, np.float64, np.int64]), st_numpy.array_shapes(min_dims=0, max_dims=3, max_side=4)
)


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z_.0-9]{0,12}", fullmatch=True), arrays, max_size=4),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_every_bit_comes_back(tmp_path_factory: pytest.TempPathFactory, content: dict, loss: float) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints(folder).save(Checkpoint(arrays=content, state={"loss_sum": loss, "history": [{"loss": loss}]}))
    newest = checkpoints(folder).newest()
    assert newest is not None
    assert newest.state == {"loss_sum": loss, "history": [{"loss": loss}]}
    assert newest.arrays.keys() == content.keys()
    for name, array in content.items():
        assert newest.arrays[name].dtype == array.dtype
        assert newest.arrays[name].shape == array.shape
        assert newest.arrays[name].tobytes() == array.tobytes()


def test_the_newest_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    assert checkpoints(tmp_path / "none").newest() is None
    for epoch in range(12):
        checkpoints(tmp_path).save(Checkpoint({}, {"epoch": epoch}))
    assert len(list(tmp_path.iterdir())) == 2
    newest = checkpoints(tmp_path).newest()
    assert newest is not None
    assert newest.state == {"epoch": 11}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    for epoch in (1, 2):
        checkpoints(tmp_path).save(Checkpoint({"weight": np.arange(1000.0) + epoch}, {"epoch": epoch}))
    newest_file = max(tmp_path.iterdir())
    content = bytearray(newest_file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    newest_file.write_bytes(
        {"truncated": content[: len(content) // 2], "flipped": content, "empty": b"", "text": b"no archive"}[damage]
    )
    complaints: list[Path] = []
    found = checkpoints(tmp_path, complaints).newest()
    assert found is not None
    assert found.state == {"epoch": 1}
    assert found.arrays["weight"][0] == 1
    assert complaints == [newest_file]


def test_a_failed_save_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(Checkpoint({}, {"epoch": 1}))
    with pytest.raises(ValueError, match=r"[Oo]bject arrays"):
        checkpoints(tmp_path).save(Checkpoint({"thing": np.array([object()])}, {"epoch": 2}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoints(tmp_path).save(Checkpoint({}, {"loss": float("nan")}))
    newest = checkpoints(tmp_path).newest()
    assert newest is not None
    assert newest.state == {"epoch": 1}


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    hostile = tmp_path / "checkpoint-00000009.npz"
    np.savez(hostile, state=np.frombuffer(b"{}", np.uint8), **{"array/x": np.array([print], dtype=object)})
    complaints: list[Path] = []
    assert checkpoints(tmp_path, complaints).newest() is None
    assert complaints == [hostile]


def test_clear_starts_over(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(Checkpoint({}, {}))
    checkpoints(tmp_path).clear()
    assert checkpoints(tmp_path).newest() is None
