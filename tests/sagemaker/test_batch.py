"""Lists for everybody, made here: not asked twice, and bad lines spoil no others."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lambda_api.handlers.inference_app import ModelUnavailable
from lambda_api.recommender.bundle import BundleError
from lambda_api.state.table import TableUnavailable
from recsys_assets.batch.errors import BatchError
from recsys_assets.batch.questions import QuestionSet, read_questions
from recsys_assets.publishing.histories import HISTORY_LENGTH
from recsys_deploy.batch import results
from recsys_deploy.batch.answering import (
    answer_here,
    answers_uri,
)
from recsys_deploy.batch.answers import is_answered
from recsys_deploy.batch.results import check_answers, record_key
from recsys_deploy.batch.run import questions_place, recommend_to_all
from tests.sagemaker.batch_shop import BatchShop, ask, hush, lists_of, make_batch_shop, subject


def test_every_shopper_has_a_list_in_the_lake_and_a_record(shop: BatchShop) -> None:
    questions = ask(shop)
    assert len(questions.parts) > 3
    outcome = recommend_to_all(shop.settings, shop.lake, shop.serving, subject(shop), answer_here, hush)
    table = lists_of(shop)
    shoppers = set(shop.lake.read("interactions", ("user_id",))["user_id"].to_pylist())
    assert outcome.records == outcome.tally.shoppers == len(shoppers) == questions.shoppers
    assert set(table["user_id"].to_pylist()) == shoppers
    events = shop.lake.read("interactions", ("user_id", "product_id", "interaction_type")).to_pylist()
    counts = Counter(row["user_id"] for row in events)
    bought = {
        (row["user_id"], row["product_id"])
        for row in events
        # What lies before the newest events is not read, here as in serving.
        if row["interaction_type"] == "purchase" and counts[row["user_id"]] <= HISTORY_LENGTH
    }
    assert len(bought) > 100
    shown = set(zip(table["user_id"].to_pylist(), table["product_id"].to_pylist(), strict=True))
    assert shown & bought == set()
    for user_id in sorted(shoppers)[:10]:
        stored = shop.serving.get(record_key(user_id))
        mine = [row for row in table.to_pylist() if row["user_id"] == user_id]
        assert stored is not None
        assert stored.attributes["product_ids"] == [row["product_id"] for row in mine]
        assert [row["rank"] for row in mine] == list(range(1, len(mine) + 1))
        assert {row["model_version"] for row in mine} == {stored.attributes["model_version"]} == {outcome.version}
    assert shop.serving.get(record_key("a stranger")) is None


def test_a_batch_cut_short_goes_on_where_it_was(shop: BatchShop) -> None:
    questions = ask(shop)
    place = questions_place(shop.settings)
    who, root = subject(shop), str(shop.settings.home / "batch")

    def die_at_the_third(weight: Any, line: str) -> None:
        if line.startswith("3 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_here(root, place, questions, who, die_at_the_third)
    uri = answers_uri(root, who, questions)
    assert [is_answered(uri, part) for part in questions.parts] == [True] * 3 + [False] * (len(questions.parts) - 3)
    half = Path(uri) / f"{questions.parts[0].name}.out"
    half.write_bytes(half.read_bytes()[:200])
    assert answer_here(root, place, questions, who, hush).parts_answered == len(questions.parts) - 2
    assert answer_here(root, place, questions, who, hush).parts_answered == 0


def test_the_same_lake_asks_the_same_and_a_new_event_only_changes_its_part(shop: BatchShop) -> None:
    first, again = ask(shop), ask(shop)
    assert first == again
    day = shop.lake.days("interactions")[-1]
    events = shop.lake.read("interactions", start=day)
    shop.lake.write_day("interactions", day, events.slice(1))
    changed = ask(shop)
    assert sum(a != b for a, b in zip(first.parts, changed.parts, strict=True)) == 1
    fewer = ask(shop, per_part=10_000)
    assert len(list((Path(questions_place(shop.settings)) / "parts").iterdir())) == len(fewer.parts) == 1


def spoil(shop: BatchShop, lines: dict[int, bytes | None]) -> tuple[str, QuestionSet]:
    """Answer, then replace lines of the first part's answers; ``None`` removes one."""
    questions = ask(shop, per_part=10_000)
    answered = answer_here(
        str(shop.settings.home / "batch"), questions_place(shop.settings), questions, subject(shop), hush
    )
    file = Path(answered.uri) / f"{questions.parts[0].name}.out"
    said: list[bytes | None] = list(file.read_bytes().splitlines())
    for number, line in lines.items():
        said[number] = line
    file.write_bytes(b"".join(line + b"\n" for line in said if line is not None))
    return answered.uri, questions


def test_a_bad_line_is_counted_and_named_and_the_others_are_stored(
    shop: BatchShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MOST_BAD", 0.05)
    error = json.dumps({"error": {"code": "model_error", "message": "the model failed"}}).encode()
    _, questions = spoil(shop, {3: error, 7: b"garbage"})
    outcome = recommend_to_all(shop.settings, shop.lake, shop.serving, subject(shop), answer_here, hush)
    assert (outcome.tally.bad, outcome.tally.shoppers, outcome.records) == (2, *(questions.shoppers - 2,) * 2)
    assert outcome.tally.problems[0].startswith("part-00000.jsonl line 4:")
    assert "line 8" in outcome.tally.problems[1]


def test_too_many_bad_lines_leave_yesterdays_lists(shop: BatchShop) -> None:
    ask(shop, per_part=10_000)
    recommend_to_all(shop.settings, shop.lake, shop.serving, subject(shop), answer_here, hush)
    before = lists_of(shop)
    spoil(shop, dict.fromkeys(range(5), b"{}"))
    with pytest.raises(BatchError, match=r"5 of \d+ answers cannot be used .*nothing was stored"):
        recommend_to_all(shop.settings, shop.lake, shop.serving, subject(shop), answer_here, hush)
    assert lists_of(shop).equals(before)


def test_a_missing_line_is_not_guessed_at(shop: BatchShop) -> None:
    uri, questions = spoil(shop, {3: None})
    with pytest.raises(BatchError, match=r"has \d+ answers to \d+ questions; delete it and run the batch again"):
        check_answers(questions_place(shop.settings), questions, uri)


def test_a_damaged_part_of_questions_is_refused(shop: BatchShop) -> None:
    questions = ask(shop)
    part = Path(questions_place(shop.settings)) / "parts" / questions.parts[1].name
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(BatchError, match="differs from its manifest; materialise batch_questions again"):
        answer_here(str(shop.settings.home), questions_place(shop.settings), questions, subject(shop), hush)
    part.unlink()
    with pytest.raises(BatchError, match="is missing; materialise batch_questions again"):
        answer_here(str(shop.settings.home), questions_place(shop.settings), questions, subject(shop), hush)


def test_without_questions_a_champion_or_a_catalogue_it_is_said_what_to_do(tmp_path: Path) -> None:
    shop = make_batch_shop(tmp_path, promoted=False)
    with pytest.raises(BatchError, match="materialise batch_questions first"):
        read_questions(questions_place(shop.settings))
    with pytest.raises(BatchError, match="materialise registered_model first"):
        subject(shop)
    shop.fit_and_promote(tmp_path)
    with pytest.raises(BatchError, match="materialise serving_catalogue first"):
        subject(shop)
    shop.publish()
    who = subject(shop)
    (who.bundle / "manifest.json").unlink()
    with pytest.raises(BundleError):
        subject(shop)
    questions = ask(shop)
    with pytest.raises(ModelUnavailable):
        answer_here(str(tmp_path), questions_place(shop.settings), questions, who, hush)


def test_a_store_that_fails_leaves_a_batch_that_can_be_run_again(
    shop: BatchShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(shop)
    serving = shop.serving

    class Failing:
        def write(self, writes: Any) -> None:
            raise TableUnavailable("throttled")

    who = subject(shop)
    with pytest.raises(TableUnavailable):
        recommend_to_all(shop.settings, shop.lake, Failing(), who, answer_here, hush)  # type: ignore[arg-type]
    outcome = recommend_to_all(shop.settings, shop.lake, serving, who, answer_here, hush)
    assert (outcome.parts_answered, outcome.tally.bad) == (0, 0)
