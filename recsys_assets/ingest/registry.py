"""Opens a source by its name, or finds out from the files which source fits."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from lambda_api.settings import Settings
from recsys_assets.ingest import amazon_reviews, canonical, movielens, online_retail
from recsys_assets.ingest.files import Folder
from recsys_assets.ingest.source import Source, SourceError

AUTO = "auto"
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class _FileSource:
    build: Callable[[str], Source]
    fits: Callable[[Folder], bool]
    layout: str


_FILE_SOURCES: dict[str, _FileSource] = {
    "canonical": _FileSource(canonical.CanonicalSource, canonical.fits, canonical.LAYOUT),
    "online_retail": _FileSource(online_retail.OnlineRetailSource, online_retail.fits, online_retail.LAYOUT),
    "amazon_reviews": _FileSource(amazon_reviews.AmazonReviewsSource, amazon_reviews.fits, amazon_reviews.LAYOUT),
    "movielens": _FileSource(movielens.MovielensSource, movielens.fits, movielens.LAYOUT),
}


def source_names() -> tuple[str, ...]:
    """Names that `open_source` accepts."""
    return (AUTO, *_FILE_SOURCES, SYNTHETIC)


def source_of(settings: Settings, *, first_day: date | None = None) -> Source:
    """The source that ``settings`` describe; ``first_day`` in place of theirs where it is given.

    Raises:
        SourceError: as `open_source`; and on AWS no data are named: an environment's shop is never taken for the
            synthetic one by accident, whose catalogue and model would replace the real ones.
    """
    if settings.target == "aws" and settings.data is None and settings.source == AUTO:
        raise SourceError(
            "no data are named for this environment: set RECSYS_DATA to the shop's s3:// prefix (Terraform: shop), or "
            "RECSYS_SOURCE=synthetic where a made-up shop is meant"
        )
    day = settings.first_day if first_day is None else first_day
    return open_source(settings.source, settings.data, first_day=day, seed=settings.seed)


def open_source(name: str, location: str | None, *, first_day: date | None = None, seed: int = 0) -> Source:
    """The source called ``name`` at ``location``, a local folder or an ``s3://`` prefix.

    Args:
        name: one of `source_names`. ``auto`` is ``synthetic`` without a location, else the one source whose files the
            folder holds.
        location: ``None`` for the synthetic shop, needed for every other source.
        first_day: first day of the synthetic shop; other sources have the days of their files.
        seed: seed of the synthetic shop.

    Raises:
        SourceError: unknown name, a location where there must be none or none where there must be one, a folder that
            no source or more than one fits (``auto`` only; the message lists what was looked for).
    """
    if name not in source_names():
        raise SourceError(f"unknown source {name!r}; choose one of: {', '.join(source_names())}")
    if name == SYNTHETIC or (name == AUTO and location is None):
        if location is not None:
            raise SourceError(
                f"the synthetic shop reads no files, but the location {location} was given; drop one of the two"
            )
        return _synthetic(first_day, seed)
    if location is None:
        raise SourceError(
            f"source {name!r} needs a location: a folder or an s3:// prefix with {_FILE_SOURCES[name].layout}"
        )
    return _FILE_SOURCES[_sniff(location) if name == AUTO else name].build(location)


def _sniff(location: str) -> str:
    folder = Folder(location)
    fitting = [name for name, source in _FILE_SOURCES.items() if source.fits(folder)]
    looked_for = "\n".join(f"  {name}: {source.layout}" for name, source in _FILE_SOURCES.items())
    if not fitting:
        raise SourceError(f"{location}: no source fits what is there; looked for\n{looked_for}")
    if len(fitting) > 1:
        raise SourceError(
            f"{location}: more than one source fits ({', '.join(fitting)}); name one of them, or separate the files:\n"
            f"{looked_for}"
        )
    return fitting[0]


def _synthetic(first_day: date | None, seed: int) -> Source:
    from recsys_assets.ingest.synthetic.source import SyntheticShopSource

    return SyntheticShopSource(first_day=first_day, seed=seed)
