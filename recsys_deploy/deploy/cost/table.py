"""Prints an estimate as a table."""

from rich.console import Console
from rich.table import Table

from recsys_deploy.deploy.cost.estimate import Estimate, Line
from recsys_deploy.deploy.cost.prices import REFERENCE


def print_estimate(console: Console, estimate: Estimate, environment: str, budget: float | None) -> None:
    """Print every line, the total, what is not priced, and the comparison with the budget (US dollars a month)."""
    table = Table(title=f"{environment}: a month in {estimate.region}, US dollars", title_justify="left")
    for name in ("service", "what"):
        table.add_column(name)
    for name in ("quantity", "USD", "price of"):
        table.add_column(name, justify="right")
    for line in estimate.lines:
        published = "" if line.price is None else line.price.published.isoformat()
        table.add_row(line.service, line.what, _quantity(line), _dollars(line), published)
    console.print(table)
    console.print(f"[bold]{estimate.known:,.2f} USD[/] with prices of {estimate.region}")
    if estimate.reference:
        console.print(
            f"[yellow]and about {estimate.reference:,.2f} USD[/] (marked ~) with prices of {REFERENCE}, because those "
            f"of {estimate.region} were not found",
        )
    if estimate.unpriced:
        left_out = ", ".join(f"{line.service} ({line.what})" for line in estimate.unpriced)
        console.print(f"[yellow]not priced:[/] {left_out}")
    if budget is not None:
        above = estimate.known + estimate.reference > budget
        word = "[red]above[/]" if above else "within"
        console.print(f"{word} the budget of {budget:,.0f} USD in terraform.tfvars (operations.monthly_budget_usd)")
    console.print(
        "Without free tiers, discounts and taxes. Public prices, second-hand, of the dates beside them: check them "
        "before you rely on this (recsys_deploy/deploy/cost/prices.toml has the source of each).",
        style="dim",
    )


def _quantity(line: Line) -> str:
    unit = f" {line.price.unit}" if line.price else ""
    shown = f"{line.quantity:,.0f}" if line.quantity >= 100 else f"{line.quantity:,.2f}"
    return f"{shown}{unit}"


def _dollars(line: Line) -> str:
    if line.dollars is not None:
        return f"{line.dollars:,.2f}"
    return "not priced" if line.reference is None else f"~{line.reference:,.2f}"
