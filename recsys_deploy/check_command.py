"""``recsys check``: what data were taken for, every problem at once, and the ``mapping.toml`` that reads them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from lambda_api.errors import RecsysError
from lambda_api.settings import read_settings
from recsys_deploy.console.terminal import terminal

if TYPE_CHECKING:
    from recsys_assets.data_check import Report

console = terminal()


class UnusableData(RecsysError):
    """A shop cannot be built from the data; the message lists every problem with its remedy."""


def check(
    data: Annotated[str, typer.Argument(help="Folder, file or s3:// prefix of your data.")],
    mapping: Annotated[str | None, typer.Option(help="A mapping.toml elsewhere than beside the data.")] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="A column of yours, such as user_id=customer_id; repeat it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write mapping.toml; default: beside the data.")] = None,
    write: Annotated[bool, typer.Option("--write/--no-write", help="Write mapping.toml.")] = True,
) -> None:
    """Say in seconds what the data are taken for and what is wrong with them, before anything is built."""
    from recsys_assets.data_check import check_source

    if not data.strip():
        raise UnusableData("no data are named: the path is empty", remedy="write for example `recsys check export.csv`")
    columns = _columns(map_ or [])
    report = check_source(data, mapping, columns=columns or None, settings=read_settings(os.environ))
    print_report(report)
    if write and report.mapping is not None and mapping is None:
        _write_mapping(report, out, overwrite=bool(columns))
    if not report.can_be_built:
        raise typer.Exit(1)


def require_usable_data(data: str, mapping: str | None = None, source: str = "auto") -> dict[str, str]:
    """Print what the data were taken for, and stop before anything is built when they cannot be used.

    Returns:
        Environment variables of windows on which enough shoppers can be judged; none where the usual windows do.

    Raises:
        UnusableData: with every blocking problem and its remedy.
    """
    from recsys_assets.data_check import check_source

    report = check_source(data, mapping, source=source, settings=read_settings(os.environ))
    if report.can_be_built:
        console.print(_summary(report), markup=False, soft_wrap=True)
        for problem in report.problems:
            console.print(Text.assemble(("note ", "yellow"), str(problem)), soft_wrap=True)
        return dict(report.settings)
    raise _refusal(report)


def _refusal(report: "Report") -> UnusableData:
    shown = "\n - ".join(str(problem) for problem in report.blocking[:20])
    return UnusableData(
        f"{report.location}: {len(report.blocking)} problem(s):\n - {shown}",
        remedy=f"`recsys check {report.location}` shows everything",
    )


def save_mapping(data: str, pairs: list[str]) -> None:
    """Write the ``mapping.toml`` of ``data`` with columns given as ``name=column``.

    Raises:
        UnusableData: a pair is not ``name=column``, or the data cannot be used with them; nothing is written.
    """
    from recsys_assets.data_check import check_source

    report = check_source(data, columns=_columns(pairs), settings=read_settings(os.environ))
    if not report.can_be_built:
        raise _refusal(report)
    _write_mapping(report, None, overwrite=True)


def print_report(report: "Report") -> None:
    """The report in at most 80 columns where values allow it."""
    for name, value in _facts(report):
        line = Text(f"{name:<14}", style="bold")
        console.print(Text.assemble(line, value), soft_wrap=True)
    if report.mapping is not None:
        _print_columns(report)
    for problem in report.problems:
        label = ("problem", "bold red") if problem.blocking else ("note", "yellow")
        console.print()
        console.print(Text.assemble(label, " ", problem.where), soft_wrap=True)
        console.print(Padding(Text(problem.message), (0, 0, 0, 2)))
        if problem.remedy:
            console.print(Padding(Text.assemble(("remedy: ", "bold"), problem.remedy), (0, 0, 0, 2)))
    console.print()
    if report.can_be_built:
        console.print(Text.assemble(("usable", "bold green"), f": recsys run --data {report.location}"), soft_wrap=True)
    else:
        console.print(Text.assemble((f"{len(report.blocking)} problem(s)", "bold red"), " to correct first"))


def _facts(report: "Report") -> list[tuple[str, str]]:
    facts = [("data", report.location)]
    if report.mapping is None:
        return facts
    facts.append(("taken for", report.mapping.preset))
    for table, files in report.files.items():
        facts.append((table, _listed(files) or "derived from the interactions"))
        if table in report.unused:
            facts.append(("  not used", report.unused[table]))
    if report.unread:
        facts.append(("not read", _listed(report.unread)))
    facts += [(name, value) for name, value in report.formats.items()]
    if report.mapping.currency:
        facts.append(("currency", report.mapping.currency))
    if report.rows:
        more = " (the first files of a longer log)" if report.sampled else ""
        facts.append(("rows", f"{report.rows:,}{more}"))
    facts += [("set aside", f"{rows:,}: {reason}") for reason, rows in report.set_aside.items()]
    if report.event_counts:
        counts = sorted(report.event_counts.items(), key=lambda item: -item[1])
        facts.append(("events", ", ".join(f"{name} {count:,}" for name, count in counts[:12])))
    if report.days:
        facts.append(("days", f"{report.days[2]:,} from {report.days[0]} to {report.days[1]}"))
    facts.append(("shoppers", f"{report.shoppers:,}"))
    facts.append(("products", f"{report.products:,} in the events, {report.listed_products:,} in all"))
    facts.append(("evaluation", report.evaluation or "unknown"))
    return facts


def _summary(report: "Report") -> str:
    days = f", {report.days[2]:,} days from {report.days[0]} to {report.days[1]}" if report.days else ""
    name = report.mapping.preset if report.mapping else "unknown"
    return (
        f"data: {report.location} ({name}), {report.rows:,} events of {report.shoppers:,} shoppers and "
        f"{report.products:,} products{days}"
    )


def _print_columns(report: "Report") -> None:
    assert report.mapping is not None
    table = report.mapping.interactions
    shown = {name: " or ".join(columns) for name, columns in table.columns.items()}
    shown |= {name: f"always {value!r}" for name, value in table.constants.items()}
    if all(name == columns for name, columns in shown.items()):
        return
    console.print(Text("columns", style="bold"))
    for name, columns in shown.items():
        console.print(Text(f"  {name:<18}{columns}"), soft_wrap=True)


def _listed(files: tuple[str, ...]) -> str:
    return ", ".join(files[:3]) + (f" and {len(files) - 3:,} more" if len(files) > 3 else "")


def _columns(pairs: list[str]) -> dict[str, str]:
    columns = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not equals or not name.strip() or not column.strip():
            raise UnusableData(f"--map {pair!r} is not name=column", remedy="write for example --map user_id=customer")
        columns[name.strip()] = column.strip()
    return columns


def _write_mapping(report: "Report", out: Path | None, *, overwrite: bool) -> None:
    from recsys_assets.ingest.detection import mapping_beside
    from recsys_assets.ingest.files import Folder
    from recsys_assets.ingest.mapping import FILE_NAME, format_mapping

    assert report.mapping is not None
    place = Path(report.location).expanduser()
    _, name = mapping_beside(Folder(report.location))
    beside = (place if place.is_dir() else place.parent) / name
    target = out or (Path(FILE_NAME) if "://" in report.location else beside)
    if target.exists() and (not report.can_be_built or (not overwrite and out is None)):
        console.print(Text(f"kept {target}, which was there before"), soft_wrap=True)
        return
    if any("mapping.toml" not in str(problem) and problem.where != "evaluation" for problem in report.blocking):
        console.print(Text(f"{target} is written when the files have no problem"), soft_wrap=True)
        return
    try:
        target.write_text(format_mapping(report.mapping))
    except OSError:
        target = Path(FILE_NAME)
        target.write_text(format_mapping(report.mapping))
    console.print(Text(f"wrote {target}; edit it, and every command uses it"), soft_wrap=True)
    if target.resolve() != beside.resolve():
        console.print(Text(f"it is not beside the data: set RECSYS_MAPPING={target.resolve()}"), soft_wrap=True)
