"""Recognises a shop's files by their headers and makes the `Mapping` that reads them."""

import fnmatch
import glob
import re
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from typing import Final

import numpy as np

from recsys_assets.ingest.file_heads import FileHead, read_heads
from recsys_assets.ingest.files import CSV_SUFFIXES, JSON_SUFFIXES, TABLE_SUFFIXES, Folder, SourceFile, stem_of
from recsys_assets.ingest.layout import find_layout, is_canonical_name
from recsys_assets.ingest.mapping import CANONICAL, CONTRACTS, FILE_NAME, GENERIC, Mapping, TableMapping, parse_mapping
from recsys_assets.ingest.presets import CANONICAL_COLUMNS, PRESETS, Preset, Recipe
from recsys_assets.ingest.rows import explode_items, normalise
from recsys_assets.ingest.sample_formats import with_formats, with_sample_formats
from recsys_assets.ingest.source import SourceError
from recsys_assets.ingest.vocabulary import ORDER_COLUMNS, PURCHASE, RATING, SYNONYMS, VIEW
from recsys_assets.schema import INTERACTIONS

AUTO: Final = "auto"

_PRODUCT_FILE = r"product|item|catalog|article|movie|artikel|produkt|katalog|produit|articulo"
_USER_FILE = r"user|customer|client|member|shopper|kunde|nutzer|utilisateur"


def find_mapping(folder: Folder, source: str = AUTO, columns: Dictionary[str, str] | None = None) -> Mapping:
    """The mapping of ``folder``: that of `mapping_beside`, else what the headers say.

    Args:
        source: name of a preset, ``canonical`` or ``auto``.
        columns: canonical column of the interactions -> column of the file, where it is known.

    Raises:
        SourceError: the files fit no format or more than one; the message lists the columns that were found.
    """
    known, _ = mapping_beside(folder)
    if known is not None:
        return known.with_columns(columns) if columns else known
    heads = read_heads(folder)
    if source == CANONICAL:
        return with_sample_formats(_canonical(), heads)
    if source != AUTO:
        preset = next(preset for preset in PRESETS if preset.name == source)
        return _from_preset(folder, preset, heads, insist=True)
    if columns:
        return with_formats(folder, _generic(folder, heads, columns), heads)
    canonical = _fits_canonical(folder, heads)
    presets = [preset for preset in PRESETS if _recognised(preset, heads)]
    fitting = [*([CANONICAL] if canonical else []), *(preset.name for preset in presets)]
    if len(fitting) > 1:
        raise SourceError(
            f"{folder.uri}: more than one source fits ({', '.join(fitting)}); name one of them with RECSYS_SOURCE, or "
            "separate the files"
        )
    if canonical:
        return with_formats(folder, _canonical(_lacks_type(heads)), heads)
    return with_formats(
        folder, _from_preset(folder, presets[0], heads) if presets else _generic(folder, heads, {}), heads
    )


def mapping_beside(folder: Folder) -> tuple[Mapping | None, str]:
    """The mapping that a file beside the data holds, and the name of the file that is its place.

    That is ``mapping.toml``. Where the data are one file and the ``mapping.toml`` in its folder does not name it, it is
    ``<name of the file>.mapping.toml``.

    Raises:
        SourceError: the file is not a valid mapping.
    """
    single = folder.single_file
    own = f"{single}.{FILE_NAME}"
    text = folder.text_beside(own) if single else None
    if text is not None:
        return parse_mapping(text, folder.label(own)), own
    text = folder.text_beside(FILE_NAME)
    if text is None:
        return None, FILE_NAME
    mapping = parse_mapping(text, folder.label(FILE_NAME))
    return (None, own) if single and not _names_its_files(folder, mapping) else (mapping, FILE_NAME)


def _names_its_files(folder: Folder, mapping: Mapping) -> bool:
    try:
        find_layout(folder, mapping)
    except SourceError:
        return False
    return True


def _canonical(missing_type: str = "") -> Mapping:
    tables = dict(CANONICAL_COLUMNS)
    if missing_type:
        columns = {name: (name,) for name in INTERACTIONS.schema.names if name != "interaction_type"}
        tables["interactions"] = TableMapping(columns=columns, constants={"interaction_type": missing_type})
    return Mapping(preset=CANONICAL, **tables)


def _fits_canonical(folder: Folder, heads: Sequence[FileHead]) -> bool:
    """Whether names say that files hold canonical interactions, and no readable header contradicts them."""
    named = [head for head in heads if is_canonical_name(head.file)]
    readable = [head for head in named if head.names]
    if not named:
        return "interactions" in folder.entries()[1]
    if not readable:
        return any(stem_of(head.file.base_name) == "interactions" for head in named) or any(
            head.file.name.startswith(("interactions/", "date=")) for head in named
        )
    required = set(INTERACTIONS.required)
    return any(
        {"user_id", "product_id"} <= set(head.names) or len(required & set(head.names)) >= 3 for head in readable
    )


def _lacks_type(heads: Sequence[FileHead]) -> str:
    """The interaction type to assume when no canonical file names one; empty when a file has the column."""
    readable = [head for head in heads if head.names and is_canonical_name(head.file)]
    if not readable or any("interaction_type" in head.names or len(head.names) < 3 for head in readable):
        return ""
    return _assumed_type(readable[0].normalised)


def _assumed_type(names: frozenset[str]) -> str:
    if any(normalise(name) in names for name in SYNONYMS["interactions"]["rating"]):
        return RATING
    return PURCHASE if names & ORDER_COLUMNS else VIEW


def _best_recipe(preset: Preset, head: FileHead) -> Recipe | None:
    """The recipe of ``preset`` for a file: by its name, else the one with the longest signature in its header."""
    for recipe in preset.recipes:
        if recipe.files and any(fnmatch.fnmatchcase(head.file.base_name.lower(), name) for name in recipe.files):
            return recipe if not head.names or recipe.table.delimiter != "," or not recipe.signature else None
    if preset.name == "personalize" and not all(name.isupper() for name in head.names):
        return None
    fitting = [recipe for recipe in preset.recipes if recipe.signature and recipe.signature <= head.normalised]
    return max(fitting, key=lambda recipe: len(recipe.signature), default=None)


def _recognised(preset: Preset, heads: Sequence[FileHead]) -> bool:
    """Whether a file is this preset's interactions, and no other preset knows it better."""
    for head in heads:
        recipe = _best_recipe(preset, head)
        if recipe is None or recipe.role != "interactions":
            continue
        others = (_best_recipe(other, head) for other in PRESETS if other.name != preset.name)
        if not any(other and len(other.signature) > len(recipe.signature) for other in others):
            return True
    return False


def _from_preset(folder: Folder, preset: Preset, heads: Sequence[FileHead], insist: bool = False) -> Mapping:
    """The mapping of ``preset`` for these files. With ``insist``, files without a known header are interactions."""
    found: dict[str, list[tuple[FileHead, Recipe]]] = {role: [] for role in CONTRACTS}
    rest = []
    for head in heads:
        recipe = _best_recipe(preset, head)
        (found[recipe.role].append((head, recipe)) if recipe else rest.append(head))
    guessed = insist and not found["interactions"]
    if guessed:
        first = next(recipe for recipe in preset.recipes if recipe.role == "interactions")
        found["interactions"] = [(head, first) for head in rest]
    if not found["interactions"]:
        raise SourceError(
            f"{folder.uri}: no file of the format {preset.name} ({preset.looks_like}); {_what_is_there(folder, heads)}"
        )
    tables = {}
    for role, members in found.items():
        if members:
            head, recipe = members[0]
            other = next((member for member, used in members if used is not recipe), None)
            if other is not None:
                raise SourceError(
                    f"{folder.uri}: holds both {head.file.name} and {other.file.name}, two kinds of {role}; keep "
                    "one of them, or write a mapping.toml"
                )
            tables[role] = recipe.table.model_copy(
                update={
                    "files": _patterns([head.file for head, _ in members]),
                    "delimiter": recipe.table.delimiter if recipe.table.header else head.delimiter,
                    "columns": recipe.table.columns if guessed else _present(recipe.table, head),
                }
            )
        elif role in preset.derived:
            derived = preset.derived[role]
            tables[role] = derived.model_copy(
                update={"columns": _present(derived, found["interactions"][0][0], tables)}
            )
    return Mapping(preset=preset.name, **tables)


def _present(
    table: TableMapping, head: FileHead, tables: Dictionary[str, TableMapping] | None = None
) -> dict[str, tuple[str, ...]]:
    """The columns of ``table`` with the names that the file has, as the file writes them."""
    if table.header or not head.names:
        return table.columns
    items = table if tables is None else tables["interactions"]
    try:
        raw = explode_items(head.sample, np.arange(head.sample.num_rows), items, head.file.name)[0]
        names = raw.column_names
    except SourceError:
        names = list(head.names)
    by_name = {normalise(name): name for name in reversed(names)}
    made = {"category_path", "list_price", "first_genre"}  # columns that the preset's own code adds
    found = {
        name: tuple(by_name.get(normalise(c), c) for c in columns if normalise(c) in by_name or c in made)
        for name, columns in table.columns.items()
    }
    return {name: columns for name, columns in found.items() if columns}


def _generic(folder: Folder, heads: Sequence[FileHead], known: Dictionary[str, str]) -> Mapping:
    """A mapping from usual column names. Raises `SourceError` when no file has a user, a product and a time."""
    members: dict[str, list[tuple[FileHead, dict[str, str]]]] = {role: [] for role in CONTRACTS}
    for head in heads:
        name = head.file.base_name.lower()
        found = {role: _by_synonyms(head, role, known if role == "interactions" else {}) for role in CONTRACTS}
        if {"user_id", "product_id", "timestamp"} <= set(found["interactions"]):
            role = "interactions"
        elif "user_id" in found["users"] and re.search(_USER_FILE, name):
            role = "users"
        elif "product_id" in found["products"] and (len(found["products"]) > 1 or re.search(_PRODUCT_FILE, name)):
            role = "products"
        else:
            continue
        members[role].append((head, found[role]))
    if not members["interactions"]:
        raise _no_interactions(folder, heads)
    first, columns = members["interactions"][0]
    odd = next((head for head, other in members["interactions"] if other != columns), None)
    if odd is not None:
        raise SourceError(
            f"{folder.uri}: {first.file.name} and {odd.file.name} both look like interactions, with other columns; "
            "write a mapping.toml with [interactions] files, or separate them"
        )
    tables = {role: _table(found) for role, found in members.items() if found}
    if "interaction_type" not in columns:
        constants = {"interaction_type": _assumed_type(first.normalised)}
        tables["interactions"] = tables["interactions"].model_copy(update={"constants": constants})
    if "products" not in tables:
        taken = {columns.get(name) for name in ("product_id", "interaction_type", "user_id", "timestamp")}
        derived = {
            name: (column,)
            for name, column in _by_synonyms(first, "products", {}).items()
            if name not in ("product_id", "rating", "available") and column not in taken
        }
        tables["products"] = TableMapping(columns=derived)
    return Mapping(preset=GENERIC, **tables)


def _no_interactions(folder: Folder, heads: Sequence[FileHead]) -> SourceError:
    """The error for files of which none has a user, a product and a time; the first file's own if none is readable."""
    if not heads:
        files, _ = folder.entries(recursive=True)
        names = ", ".join(file.name for file in files[:5]) or "there is no file"
        return SourceError(
            f"{folder.uri}: no table found: {names}", remedy="save the table as CSV (.csv), JSON lines or Parquet"
        )
    problem = next((head.problem for head in heads if head.problem), None)
    if problem is not None and not any(head.names for head in heads):
        return problem
    return SourceError(
        f"{folder.uri}: no source fits what is there: no file has a column for the user, the product and the time; "
        f"{_what_is_there(folder, heads)}",
        remedy="name them, for example --map user_id=customer --map product_id=article --map timestamp=date; "
        "docs/data.md lists the formats that are recognised",
    )


def _table(members: Sequence[tuple[FileHead, Dictionary[str, str]]]) -> TableMapping:
    head, columns = members[0]
    return TableMapping(
        files=_patterns([head.file for head, _ in members]),
        delimiter=head.delimiter,
        columns={name: (column,) for name, column in columns.items()},
    )


def _by_synonyms(head: FileHead, role: str, known: Dictionary[str, str]) -> dict[str, str]:
    """Canonical column -> column of the file; ``known`` ones first, and a column of the file is used once."""
    by_name = {normalise(name): name for name in reversed(head.names)}
    found = {name: by_name[normalise(column)] for name, column in known.items() if normalise(column) in by_name}
    for name, synonyms in SYNONYMS[role].items():
        if name in found:
            continue
        column = next((by_name[s] for s in synonyms if s in by_name and by_name[s] not in found.values()), None)
        if column is not None:
            found[name] = column
    return found


def _patterns(files: Sequence[SourceFile]) -> tuple[str, ...]:
    """Patterns for these files and for later ones whose names differ in digits, with and without ``.gz``."""
    names: dict[str, None] = {}
    for file in files:
        name = re.sub(r"\d+", "*", glob.escape(file.name.removesuffix(".gz")))
        names |= dict.fromkeys(
            (name, f"{name}.gz") if name.lower().endswith((*CSV_SUFFIXES, *JSON_SUFFIXES)) else (name,)
        )
    return tuple(names)


def _what_is_there(folder: Folder, heads: Sequence[FileHead]) -> str:
    if not heads:
        return f"it holds no file that ends in {', '.join(TABLE_SUFFIXES)} or .zip"
    shown = [
        f"{head.file.name}: {', '.join(head.names) if head.names else head.problem or 'no header'}"
        for head in heads[:5]
    ]
    more = f" and {len(heads) - 5} more files" if len(heads) > 5 else ""
    return f"found {'; '.join(shown)}{more}"
