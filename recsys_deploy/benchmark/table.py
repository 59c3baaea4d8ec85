"""Progress of a benchmark and the table of all models, for a terminal."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from recsys_assets.measurement.bootstrap import Interval, PairedComparison, bootstrap_intervals, paired_comparisons
from recsys_assets.tuning.search import Stop, TrialState, TuningResult
from recsys_deploy.benchmark.options import BenchmarkOptions
from recsys_deploy.benchmark.run import BenchmarkOutcome, ModelResult

HEADINGS = {"ndcg": "NDCG", "recall": "recall", "hit_rate": "hit rate", "mrr": "MRR"}


class ConsoleDisplay:
    """`Display` on a terminal: a bar for every step. In a log, where bars cannot move, a line when a step is over."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._over: set[TaskID] = set()
        self._bar = Progress(
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[newest]}"),
            console=console,
            disable=not console.is_terminal,
        )

    @contextmanager
    def live(self) -> Iterator["ConsoleDisplay"]:
        """Show bars until the block ends."""
        with self._bar:
            yield self

    def step(self, description: str, total: int) -> Callable[[int, str], None]:
        """A new bar."""
        task = self._bar.add_task(description, total=total, newest="")
        began = time.perf_counter()

        def advance(done: int, newest: str) -> None:
            self._bar.update(task, completed=done, newest=newest)
            if done == total and task not in self._over and not self._console.is_terminal:
                self._over.add(task)
                line = f"{description:<32} {time.perf_counter() - began:7.1f} s  {newest}"
                self._console.print(line.rstrip())

        return advance

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._bar.console.print(f"[yellow]note[/] {escape(text)}")


def print_outcome(console: Console, outcome: BenchmarkOutcome, options: BenchmarkOptions) -> None:
    """Every model, best on the test first; the chosen one is marked, and compared with each other by shopper."""
    judged = [model for model in outcome.models if model.metrics is not None]
    shown = tuple(judged[0].metrics or ()) if judged else ()
    intervals = _intervals(judged, options.seed)
    differences = _differences(judged, outcome.chosen, options.seed)
    table = Table(
        title=escape(outcome.description),
        caption="second lines: 95 % intervals over shoppers, bootstrap",
        show_lines=True,
    )
    table.add_column("model", no_wrap=True)
    headings = [f"folds\nNDCG@{options.k}", *(f"{HEADINGS[metric]}@{options.k}" for metric in shown)]
    for heading in (*headings, "chosen\nminus it, NDCG", "fit s", "trials"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in sorted(outcome.models, key=lambda model: -_headline(model)):
        chosen = model.name == outcome.chosen
        table.add_row(
            f"[bold]{model.name}[/]\n(chosen)" if chosen else model.name,
            f"{model.chosen_by:.4f}",
            *(_with_interval(intervals.get((model.name, metric))) for metric in shown),
            _difference(differences.get(model.name)),
            f"{model.fit_seconds:.1f}",
            str(len(model.tuning.trials)),
        )
    console.print(table)
    if any(len(model.seeds) > 1 for model in outcome.models):
        console.print(seeds_table(outcome, options))
    most_folds = max(len(model.tuning.trials[0].fold_scores) for model in outcome.models)
    for model in outcome.models:
        if details := _search_details(model.tuning, most_folds):
            console.print(f"{model.name}: {details}")
    for name, why in outcome.left_out.items():
        console.print(f"[yellow]left out[/] {name}: {escape(why)}")
    for note in outcome.notes:
        console.print(f"[yellow]note[/] {escape(note)}")
    console.print(
        f"wrote {outcome.rows:,} recommendations of [bold]{outcome.chosen}[/] for {outcome.shoppers:,} shoppers to "
        f"{escape(str(options.out))} in {outcome.seconds:.0f} s"
    )


def seeds_table(outcome: BenchmarkOutcome, options: BenchmarkOptions) -> Table:
    """Mean and range of NDCG over fits with different seeds, of the models that draw at random."""
    table = Table(title=f"NDCG@{options.k} over seeds {options.seed} to {options.seed + options.seeds - 1}")
    for heading in ("model", "mean", "lowest", "highest", "fits"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for model in sorted(outcome.models, key=lambda model: -_headline(model)):
        if len(model.seeds) > 1:
            figures = (sum(model.seeds) / len(model.seeds), min(model.seeds), max(model.seeds))
            table.add_row(model.name, *(f"{figure:.4f}" for figure in figures), str(len(model.seeds)))
    return table


def _headline(model: ModelResult) -> float:
    return model.chosen_by if model.metrics is None else float(model.metrics["ndcg"].mean())


def _intervals(judged: list[ModelResult], seed: int) -> Mapping[tuple[str, str], Interval | None]:
    values = {(model.name, name): of for model in judged for name, of in (model.metrics or {}).items()}
    return bootstrap_intervals(values, seed=seed)


def _differences(judged: list[ModelResult], chosen: str, seed: int) -> Mapping[str, PairedComparison]:
    ndcg = {model.name: model.metrics["ndcg"] for model in judged if model.metrics}
    if chosen not in ndcg:
        return {}
    others = {name: (ndcg[chosen], other) for name, other in ndcg.items() if name != chosen}
    return paired_comparisons(others, seed=seed)


def _with_interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.mean:.4f}\n[dim]{interval.low:.4f}-{interval.high:.4f}[/]"


def _difference(comparison: PairedComparison | None) -> str:
    if comparison is None:
        return "-"
    colour = "green" if comparison.low > 0 else "red" if comparison.high < 0 else "yellow"
    return f"[{colour}]{comparison.difference:+.4f}\n{comparison.low:+.4f} to {comparison.high:+.4f}[/]"


def _search_details(tuning: TuningResult, folds_given: int) -> str:
    counts = {state: sum(trial.state is state for trial in tuning.trials) for state in TrialState}
    details = [
        f"{counts[state]} of {len(tuning.trials)} trials {state}"
        for state in (TrialState.PRUNED, TrialState.FAILED)
        if counts[state]
    ]
    details += [f"time was up after {len(tuning.trials)} trials"] if tuning.stopped_by is Stop.TIME else []
    folds = len(tuning.trials[0].fold_scores)
    details += [f"judged on the newest {folds} of {folds_given} folds"] if folds < folds_given else []
    return ", ".join(details)
