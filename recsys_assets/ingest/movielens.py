"""Source for MovieLens ratings: the 1M release (``.dat`` files) and the 100K release (``u.data``).

Formats: the README files of https://files.grouplens.org/datasets/movielens/ml-1m and ml-100k (F. M. Harper and
J. A. Konstan, ACM TiiS 2015, https://doi.org/10.1145/2827872).
"""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import cast_where_clean, occurrence_numbers
from recsys_assets.ingest.files import Folder, SourceFile, no_drop
from recsys_assets.ingest.source import DayOfEvents, SourceError
from recsys_assets.ingest.tabular import EventsByDay, Rows, parse_csv, with_ids_of_events
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS

GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""Order of the 19 genre flags in the 100K release's ``u.item``."""


@dataclass(frozen=True)
class Release:
    """File names, field separator and columns of one release; ``users_file`` may be absent from the folder."""

    separator: bytes
    ratings_file: str
    movies_file: str
    users_file: str
    movies_columns: tuple[str, ...]
    users_columns: tuple[str, ...]


ML_1M = Release(
    separator=b"::",
    ratings_file="ratings.dat",
    movies_file="movies.dat",
    users_file="users.dat",
    movies_columns=("product_id", "name", "genres"),
    users_columns=("user_id", "gender", "age", "occupation", "location"),
)
ML_100K = Release(
    separator=b"|",
    ratings_file="u.data",
    movies_file="u.item",
    users_file="u.user",
    movies_columns=("product_id", "name", "release_date", "video_release_date", "imdb_url", *GENRES),
    users_columns=("user_id", "age", "gender", "occupation", "location"),
)
LAYOUT = "ratings.dat and movies.dat (1M), or u.data and u.item (100K)"
"""What is looked for, for messages."""

_RATINGS_COLUMNS = ("user_id", "product_id", "rating", "timestamp")
_NO_GENRE = ("unknown", "(no genres listed)")
_ONE_CHARACTER = b"\x1f"


class MovielensSource:
    """Ratings, movies and people of a MovieLens release.

    * Each rating is one `rating`; ``interaction_id`` is ``<user>-<movie>-<n>``, n being 1 unless the pair repeats.
    * Products: title as name; category is the first genre named (1M) or flagged (100K), none for "unknown". Users:
      gender, age (1M gives brackets by their lower end, and 1 for under 18) and ZIP code as location.
    * Movies or people that only the ratings name have no more than their id.
    * Text is UTF-8 where it is valid UTF-8, else Latin-1, as published. Rows with too few or too many fields are set
      aside on the first day.

    The ratings are parsed once and kept until the file changes.
    """

    name: ClassVar[str] = "movielens"

    def __init__(self, location: str) -> None:
        self._folder = Folder(location)
        self._log: tuple[SourceFile, EventsByDay] | None = None

    def days(self) -> list[date]:
        """UTC days that have ratings; parses them. Raises `SourceError`."""
        return self._events().days()

    def read_day(self, day: date) -> DayOfEvents:
        """The day's ratings; raises `SourceError` as `Source.read_day` says."""
        events = self._events()
        if day not in events.bounds:
            raise no_drop(self._folder.uri, day, events.days())
        rows, malformed = events.of(day)
        return DayOfEvents(cast_where_clean(rows, INTERACTIONS), malformed, rows.num_rows + malformed.num_rows)

    def products(self) -> pa.Table:
        """Movies, by product_id; all canonical columns. Raises `SourceError`, also for a malformed movie."""
        release, files = self._release()
        movies = self._entities(files, release.movies_file, release, release.movies_columns)
        genre = _first_named_genre(movies) if release is ML_1M else _first_flagged_genre(movies)
        genre = pc.if_else(pc.is_in(genre, pa.array(_NO_GENRE)), None, genre)
        known = movies.select(["product_id", "name"]).append_column("category", genre)
        products = with_ids_of_events(known, "product_id", self._events().rows["product_id"])
        return PRODUCTS.conform(products.append_column("available", pa.repeat(pa.scalar(True), products.num_rows)))

    def users(self) -> pa.Table:
        """People, by user_id; all canonical columns. Raises `SourceError`, also for a malformed line."""
        release, files = self._release()
        known = USERS.schema.empty_table()
        if release.users_file in files:
            people = self._entities(files, release.users_file, release, release.users_columns)
            known = cast_where_clean(people, USERS)
        users = with_ids_of_events(known, "user_id", self._events().rows["user_id"])
        absent = [field for field in USERS.schema if field.name not in users.column_names]
        for field in absent:
            users = users.append_column(field, pa.nulls(users.num_rows, field.type))
        return users.select(USERS.schema.names)

    def _release(self) -> tuple[Release, dict[str, SourceFile]]:
        files = {file.name: file for file in self._folder.entries()[0]}
        found = [release for release in (ML_1M, ML_100K) if release.ratings_file in files]
        if not found:
            raise SourceError(f"{self._folder.uri}: no ratings; looked for {LAYOUT}")
        if len(found) > 1:
            raise SourceError(f"{self._folder.uri}: holds both ratings.dat and u.data; keep one release per folder")
        return found[0], files

    def _events(self) -> EventsByDay:
        release, files = self._release()
        file = files[release.ratings_file]
        if self._log is None or self._log[0] != file:
            separator = b"\t" if release is ML_100K else release.separator
            rows = self._read(file, separator, _RATINGS_COLUMNS)
            table = rows.table
            pair = pc.binary_join_element_wise(table["user_id"], table["product_id"], "-")
            occurrence = pa.array(occurrence_numbers(pair)).cast(pa.string())
            table = table.append_column("interaction_id", pc.binary_join_element_wise(pair, occurrence, "-"))
            table = table.append_column("interaction_type", pa.repeat(pa.scalar("rating"), table.num_rows))
            self._log = (file, EventsByDay.cut(table, rows.malformed, self._folder.label(file.name)))
        return self._log[1]

    def _entities(
        self, files: dict[str, SourceFile], name: str, release: Release, columns: tuple[str, ...]
    ) -> pa.Table:
        if name not in files:
            raise SourceError(f"{self._folder.label(name)}: missing; looked for {LAYOUT}; unpack the whole release")
        rows = self._read(files[name], release.separator, columns)
        if rows.malformed.num_rows:
            first = rows.malformed.slice(0, 1).to_pylist()[0]
            raise SourceError(
                f"{self._folder.label(name)}: line {first['source_row']} has the wrong number of fields: "
                f"{first['raw']}; repair the line"
            )
        return rows.table

    def _read(self, file: SourceFile, separator: bytes, columns: tuple[str, ...]) -> Rows:
        data = self._folder.read(file)
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            data = data.decode("latin-1").encode("utf-8")
        if len(separator) > 1:
            data, separator = data.replace(separator, _ONE_CHARACTER), _ONE_CHARACTER
        rows = parse_csv(
            data,
            columns,
            label=self._folder.label(file.name),
            base_name=file.name,
            delimiter=separator.decode(),
            quote=None,
        )
        if not rows.count:
            raise SourceError(f"{self._folder.label(file.name)}: no rows; unpack the release again")
        return rows


def fits(folder: Folder) -> bool:
    """Whether ``folder`` looks like a MovieLens release."""
    return bool({file.name for file in folder.entries()[0]} & {ML_1M.ratings_file, ML_100K.ratings_file})


def _first_named_genre(movies: pa.Table) -> pa.ChunkedArray:
    return pc.list_element(pc.split_pattern(movies["genres"], "|"), 0)


def _first_flagged_genre(movies: pa.Table) -> pa.ChunkedArray:
    genre: pa.ChunkedArray = pa.chunked_array([pa.nulls(movies.num_rows, pa.string())])
    for name in reversed(GENRES):
        genre = pc.if_else(pc.fill_null(pc.equal(movies[name], "1"), False), name, genre)
    return genre
