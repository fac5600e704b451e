"""``health-pipeline ingest``: land files at once, or only say what their contracts make of them."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from health_pipeline.errors import InputError
from health_pipeline.home import Home

if TYPE_CHECKING:
    import datetime as dt

    from health_pipeline.pipeline import Pipeline
    from health_pipeline.raw.landed.landing import Progress
    from health_pipeline.raw.reading.contract import Checked

EXAMPLE_CHARACTERS = 300
"""Of a rejected row, so much of its text is shown."""
MOST_GAPS = 5
"""So many days without rows are named."""
LONGEST_SPAN = 400
"""Over more days than these, days without rows say nothing: shops open on few of them."""
FEW = 10
"""Of so many files each is told; of more those that say something new, and a sum of each table."""


@dataclass(frozen=True)
class Summary:
    """What a check found in a file, or what a landing's receipt says of it."""

    table: str
    form: str
    delivered: int
    accepted: int
    duplicates: int
    quarantined: int
    drift: Sequence[str]
    reasons: Mapping[str, int]
    days: Mapping[dt.date, Mapping[str, int]]

    @property
    def findings(self) -> set[tuple[str, str]]:
        """What is not as it should be, and in which table."""
        return {(self.table, said) for said in (*self.drift, *self.reasons)}


@dataclass
class _Sum:
    """What was found in the files of a table."""

    files: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    days: set[dt.date] = field(default_factory=set)

    def add(self, summary: Summary) -> None:
        self.files += 1
        self.rows["accepted"] += summary.accepted
        self.rows["repeated"] += summary.duplicates
        self.rows["quarantined"] += summary.quarantined
        self.days |= summary.days.keys()


def ingest(ecosystem: str, paths: Sequence[Path], table: str | None, check: bool, console: Console) -> None:
    """Land files, or check them, and print what was found in each.

    Of many: each finding once, the files with rows in quarantine, and the sums.

    Args:
        paths: files, or folders of files.
        table: whose contract all of them are to meet; by default what their names tell.
        check: validate only. Nothing is written but to a temporary folder.

    Raises:
        InputError: a path does not exist, a file can't be read, or, when checking, rows would go to quarantine.
    """
    from health_pipeline.catalog.yaml_file import did_you_mean
    from health_pipeline.pipeline import Pipeline

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    names = [t.name for t in pipeline.catalog.tables]
    if table is not None and table not in names:
        raise InputError(f"There is no table {table!r} in {pipeline.catalog.name}.", did_you_mean(table, names))
    files = list(_files(paths, console))
    unreadable, rejected = 0, Counter[str]()
    sums, said = dict[str, _Sum](), set[tuple[str, str]]()
    for number, file in enumerate(files, start=1):
        before = f"[{number} of {len(files)}] " if len(files) > 1 else ""
        try:
            with _progress(console, before) as progress:
                summary, examples = _one(pipeline, file, table, check, progress)
            if len(files) <= FEW or summary.findings - said:
                _print(file, summary, examples, console)
            elif summary.quarantined:  # whoever is to correct them has to know which
                console.print(Text.assemble(*_named(file, summary), f": {_numbers(summary)}"), soft_wrap=True)
            said |= summary.findings
            sums.setdefault(summary.table, _Sum()).add(summary)
            rejected[str(file)] += summary.quarantined
        except InputError as error:
            unreadable += 1
            console.print(Text.assemble(("✗ ", "bold red"), (str(file), "bold")), soft_wrap=True)
            console.print(Padding(Text(f"{error.message}\n{error.hint}".strip()), (0, 0, 1, 2)))
    if len(files) > FEW:
        _print_sums(sums, console)
    _conclude(ecosystem, check, len(files), unreadable, rejected, console)


def _files(paths: Sequence[Path], console: Console) -> Iterator[Path]:
    """The files meant by some paths, those of a folder in order of their names."""
    from health_pipeline.raw.landed.landing import HIDDEN, UNFINISHED
    from health_pipeline.raw.reading.reader import FORMATS

    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file()
            and not any(part.startswith(HIDDEN) for part in file.relative_to(path).parts)
            and not file.name.lower().endswith(UNFINISHED)
        ]
        readable = [file for file in found if file.name.lower().endswith(FORMATS)]
        if not readable:
            raise InputError(f"{path} holds no file to deliver.", f"These can be: {', '.join(FORMATS)}.")
        others = [file.name for file in found if file not in readable]
        if others:
            console.print(Text(f"Left alone: {', '.join(others)}\n", "dim"))
        yield from readable


@contextmanager
def _progress(console: Console, before: str) -> Iterator[Progress]:
    """What goes on at the moment, on a line that vanishes."""
    with console.status("") as status:
        yield lambda says: status.update(Text(before + says))


def _one(
    pipeline: Pipeline, file: Path, table: str | None, check: bool, progress: Progress
) -> tuple[Summary, Mapping[str, Mapping[str, object]]]:
    """Land or check one file; what was found, and of a check an example for each reason."""
    from health_pipeline.raw.landed.landing import table_of_file
    from health_pipeline.raw.reading.reader import file_format

    file_format(file)
    contract = pipeline.catalog.table(table) if table else table_of_file(file, pipeline.catalog)
    if not check:
        receipt = pipeline.landing.receive(file, table=contract.name, progress=progress)
        summary = Summary(
            receipt.table, receipt.format, receipt.delivered, receipt.accepted, receipt.duplicates, receipt.quarantined,
            receipt.drift, receipt.reasons, receipt.days,
        )  # fmt: skip
        return summary, {}
    with tempfile.TemporaryDirectory(prefix="health-pipeline-check-") as scratch:
        progress(f"Checking {file.name}")
        form, checked = pipeline.landing.check(file, contract, Path(scratch), progress)
        summary = Summary(
            contract.name, form, checked.delivered, checked.accepted, checked.duplicates, checked.quarantine.num_rows,
            checked.drift, checked.reasons, checked.days,
        )  # fmt: skip
        return summary, _examples(checked)


def _examples(checked: Checked) -> dict[str, dict[str, object]]:
    """For each reason one row of quarantine."""
    import pyarrow.compute as pc

    found = {}
    for reason in checked.reasons:
        row = checked.examples.get(reason)
        column, value = ("reason", reason) if row is None else ("row", row)
        place = pc.index(checked.quarantine[column], value).as_py()
        found[reason] = checked.quarantine.slice(place, 1).to_pylist()[0]
    return found


def _print(file: Path, summary: Summary, examples: Mapping[str, Mapping[str, object]], console: Console) -> None:
    console.print(Text.assemble(*_named(file, summary), f"  {summary.form}, table {summary.table}"), soft_wrap=True)
    lines: list[Text | Table] = [Text(_numbers(summary)), *(Text(line) for line in _span(summary.days))]
    lines += [Text.assemble(("drift: ", "yellow"), sentence) for sentence in summary.drift]
    if summary.reasons:
        lines.append(_reasons(summary.reasons, examples))
    for line in lines:
        console.print(Padding(line, (0, 0, 0, 2)), highlight=False)
    console.print()


def _named(file: Path, summary: Summary) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("! ", "yellow") if summary.quarantined else ("✓ ", "green"), (str(file), "bold")


def _numbers(summary: Summary) -> str:
    repeated = f", {summary.duplicates:,} repeated" if summary.duplicates else ""
    return f"{summary.delivered:,} rows: {summary.accepted:,} accepted{repeated}, {summary.quarantined:,} quarantined"


def _print_sums(sums: Mapping[str, _Sum], console: Console) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("table", overflow="fold")
    for heading in ("files", "accepted", "repeated", "quarantined", "first day", "last day"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, own in sorted(sums.items()):
        numbers = [own.files, *(own.rows[kind] for kind in ("accepted", "repeated", "quarantined"))]
        days = (str(end(own.days)) if own.days else "" for end in (min, max))
        table.add_row(name, *(f"{number:,}" for number in numbers), *days)
    console.print(table, highlight=False)
    console.print()


def _reasons(reasons: Mapping[str, int], examples: Mapping[str, Mapping[str, object]]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("rejected", justify="right")
    table.add_column("why" if not examples else "why, and the first such row", overflow="fold")
    for reason, rows in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        said, example = Text(reason), examples.get(reason)
        if example is not None:
            raw = str(example["raw"])
            shown = raw if len(raw) <= EXAMPLE_CHARACTERS else raw[:EXAMPLE_CHARACTERS] + " …"
            column = f", column {example['column']}" if example["column"] else ""
            said = Text.assemble(str(example["reason"]), (f"\nrow {example['row']:,}{column}: {shown}", "dim"))
        table.add_row(f"{rows:,}", said)
    return table


def _span(days: Mapping[dt.date, Mapping[str, int]]) -> Iterator[str]:
    """First and last day, how many between them have no rows, and how many rows each unit has."""
    if not days:
        yield "No day has an accepted row."
        return
    first, last = min(days), max(days)
    number = (last - first).days + 1
    if len(days) < number:
        yield f"{first} to {last}, rows on {len(days):,} of {number:,} days"
    else:
        yield f"{first} to {last}, {number:,} days" if number > 1 else f"{first}, one day"
    if len(days) < number <= LONGEST_SPAN:
        from health_pipeline.storage.engine import date_range

        missing = [day for day in date_range(first, last) if day not in days]
        named = ", ".join(map(str, missing[:MOST_GAPS])) + (", …" if len(missing) > MOST_GAPS else "")
        yield f"no rows on {named}"
    units = Counter[str]()
    for day in days.values():
        units.update(day)
    yield ", ".join(f"{unit} {rows:,}" for unit, rows in sorted(units.items()))


def _conclude(
    ecosystem: str,
    check: bool,
    files: int,
    unreadable: int,
    rejected: Counter[str],
    console: Console,
) -> None:
    bad = [file for file, rows in rejected.items() if rows]
    asked = "" if ecosystem == "eu_dsa" else f" --ecosystem {ecosystem}"
    if check:
        if unreadable or bad:
            raise InputError(
                f"{unreadable + len(bad)} of {files} {'file' if files == 1 else 'files'} would not arrive whole: "
                f"{unreadable:,} can't be read, {rejected.total():,} rows would go to quarantine.",
                "Correct them and check again; what is accepted would be loaded all the same.",
            )
        console.print(f"[green]All good.[/] Deliver: health-pipeline ingest{asked} PATH", highlight=False)
        return
    if bad:
        query = f'health-pipeline sql{asked} "FROM raw.quarantine"'
        console.print(f"[dim]The rejected rows are kept, each with its text: {query}[/]", highlight=False)
    if len(rejected):
        console.print(f"Landed {len(rejected):,} of {files:,}. Next: health-pipeline run{asked}", highlight=False)
    if unreadable:
        raise InputError(
            f"{unreadable:,} of {files:,} {'file' if files == 1 else 'files'} can't be read.",
            "Correct what is said above, and deliver them again.",
        )
