"""Opens a source by its name, or by what the files are recognised as."""

from datetime import date

from lambda_api.settings import Settings
from recsys_assets.event_stream import events_root
from recsys_assets.ingest.detection import AUTO, find_mapping
from recsys_assets.ingest.files import Folder
from recsys_assets.ingest.live_events import LiveSource, StreamStage
from recsys_assets.ingest.mapped_source import MappedSource
from recsys_assets.ingest.mapping import CANONICAL, GENERIC, Mapping, parse_mapping
from recsys_assets.ingest.presets import PRESETS
from recsys_assets.ingest.source import Source, SourceError
from recsys_assets.lake import Lake

SYNTHETIC = "synthetic"


def source_names() -> tuple[str, ...]:
    """Names that `open_source` accepts."""
    return (AUTO, CANONICAL, *(preset.name for preset in PRESETS), SYNTHETIC)


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
    export = open_source(settings.source, settings.data, first_day=day, seed=settings.seed, mapping=settings.mapping)
    if settings.events == "export":
        return export
    return LiveSource(export, StreamStage(Lake(settings.lake_uri), events_root(settings)), settings.events)


def currency_of(settings: Settings) -> str:
    """ISO code of the currency that the data's mapping names; empty where none is named. Raises as `source_of`."""
    source = source_of(settings)
    source = source.export if isinstance(source, LiveSource) else source
    return source.mapping.currency if isinstance(source, MappedSource) else ""


def open_source(
    name: str, location: str | None, *, first_day: date | None = None, seed: int = 0, mapping: str | None = None
) -> Source:
    """The source called ``name`` at ``location``: a local folder or file, or an ``s3://`` prefix.

    Args:
        name: one of `source_names`. ``auto`` is ``synthetic`` without a location, else what the files are.
        location: ``None`` for the synthetic shop, needed for every other source.
        first_day: first day of the synthetic shop; other sources have the days of their files.
        seed: seed of the synthetic shop.
        mapping: path or URI of a ``mapping.toml`` elsewhere than beside the data.

    Raises:
        SourceError: unknown name, a location where there must be none or none where there must be one, or files that
            fit no format or more than one.
    """
    if name not in (*source_names(), GENERIC):
        raise SourceError(f"unknown source {name!r}; choose one of: {', '.join(source_names())}")
    if name == SYNTHETIC or (name == AUTO and location is None):
        if location is not None:
            raise SourceError(
                f"the synthetic shop reads no files, but the location {location} was given; drop one of the two"
            )
        # Takes a tenth of a second to import; a shop with files never needs it.
        from recsys_assets.ingest.synthetic.source import SyntheticShopSource

        return SyntheticShopSource(first_day=first_day, seed=seed)
    if location is None:
        raise SourceError(f"source {name!r} needs a location: a folder, a file or an s3:// prefix")
    folder = Folder(location)
    return MappedSource(folder, read_mapping(mapping) if mapping else find_mapping(folder, name))


def read_mapping(location: str) -> Mapping:
    """The mapping in the file at ``location``. Raises `SourceError` when it is not there or not valid."""
    parent, _, name = location.rpartition("/")
    text = Folder(parent or ".").text_beside(name)
    if text is None:
        raise SourceError(f"{location}: there is no such file; `recsys check` writes one")
    return parse_mapping(text, location)
