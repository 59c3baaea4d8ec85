"""Chooses the split of a log by the settings."""

from lambda_api.settings import Settings
from recsys_assets.splits.temporal import TemporalSplit, Timestamps, split_by_dates, split_by_days, split_by_share


def choose_split(timestamps: Timestamps, settings: Settings) -> TemporalSplit:
    """By ``validation_start`` and ``test_start`` where they are set, else by days, or by shares on a short log.

    A log is short where the days would hold more of its interactions than the shares.

    Raises:
        ValueError: the settings do not fit the log; the message names them.
    """
    if settings.validation_start is None and settings.test_start is None:
        try:
            by_share = split_by_share(timestamps, settings.validation_share, settings.test_share)
        except ValueError as error:
            raise ValueError(f"RECSYS_VALIDATION_SHARE and RECSYS_TEST_SHARE do not fit the log: {error}") from error
        try:
            by_days = split_by_days(timestamps, settings.validation_days, settings.test_days)
        except ValueError:
            return by_share  # no event in the validation days, or nothing before them
        return max(by_share, by_days, key=lambda split: split.test_start)
    if settings.validation_start is None or settings.test_start is None:
        raise ValueError("RECSYS_VALIDATION_START and RECSYS_TEST_START go together: set both or neither")
    try:
        return split_by_dates(timestamps, settings.validation_start, settings.test_start)
    except ValueError as error:
        raise ValueError(f"RECSYS_VALIDATION_START and RECSYS_TEST_START do not fit the log: {error}") from error
