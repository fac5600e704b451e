"""Found, how late, how precisely, and at what cost: the pipeline on simulated marketplaces whose truth is known.

Run ``python -m benchmarks.backtest_twin``: every bundled scenario with three seeds, 1,000 creators and 90 days each;
``--quick`` takes three scenarios with one seed. Writes its part of docs/backtest.md, unless scenarios are named::

    python -m benchmarks.backtest_twin counterfeit_wave --seeds 11 --homes /tmp/twins

``--homes`` keeps the loaded marketplaces, so that the next run only judges; ``--setting`` tries another setting. How a
report is matched with what was planted is told in :mod:`health_pipeline.backtest.score`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.page import write_part
from health_pipeline.backtest.attention import Cost, Minutes, cost, minutes_of
from health_pipeline.backtest.replay import Outcome, replay
from health_pipeline.backtest.score import Score, read_effects, score, truth_file
from health_pipeline.backtest.settings import read_setting
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Simulation
from health_pipeline.home import Home
from health_pipeline.incidents.wording import sentence
from health_pipeline.marketplace.scenario import bundled
from health_pipeline.pipeline import Pipeline
from health_pipeline.raw.landed.receive import receive_all
from health_pipeline.raw.loading import facts
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine

PAGE = Path(__file__).parent.parent / "docs" / "backtest.md"
CREATORS, DAYS, COUNTED, SEEDS = 1000, 90, 42, (11, 12, 13)
QUICK = ("counterfeit_wave", "logging_outage", "quiet")


@dataclass(frozen=True)
class Trial:
    """One marketplace, judged."""

    scenario: str
    seed: int
    outcome: Outcome
    cost: Cost
    score: Score
    false_minutes: float


def twin(home: Path, scenario: str, seed: int, creators: int = CREATORS, days: int = DAYS) -> Pipeline:
    """A marketplace, simulated and loaded without Dagster; what is there already is kept."""
    catalog = load_catalog("marketplace")
    simulation = Simulation(scenario=scenario, creators=creators, days=days, seed=seed)
    ecosystem = catalog.ecosystem.model_copy(update={"simulation": simulation})
    pipeline = Pipeline(catalog.model_copy(update={"ecosystem": ecosystem}), Home(home))
    receive_all(pipeline.catalog, pipeline.landing, pipeline.inbox, pipeline.simulation)
    engine = Engine()
    for name, step in pipeline.lasting_steps(engine).items():
        derive(step, facts.days(pipeline.landing, pipeline.catalog.table(name), pipeline.tables.facts[name]))
    for step in pipeline.load_steps(engine).values():
        derive(step, pipeline.delivered_days())
    return pipeline


def trial(home: Path, scenario: str, seed: int, setting: str) -> Trial:
    """Load and judge one marketplace, and score what was reported."""
    pipeline = twin(home, scenario, seed)
    catalog = pipeline.catalog
    [outcome] = replay(pipeline, [read_setting("A", setting, catalog)], COUNTED)
    truth = truth_file(pipeline)
    assert truth is not None, pipeline.home
    minutes = Minutes()
    scored = score(catalog, outcome, read_effects(truth))
    spent = cost(outcome, minutes)
    return Trial(scenario, seed, outcome, spent, scored, minutes_of(scored.false, minutes, outcome.judged))


def table(trials: Sequence[Trial]) -> list[str]:
    """A row per scenario, over its seeds."""
    lines = [
        "| scenario | found | delay, days | onset error, days | incidents a week | messages a week | precision | "
        "of a metric it moves | minutes a week, of them false |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    names = list(dict.fromkeys(t.scenario for t in trials))
    for name in names:
        lines.append(_row(f"`{name}`", [t for t in trials if t.scenario == name]))
    if len(names) > 1:
        lines.append(_row("**all**", trials))
    return [*lines, ""]


def _row(name: str, own: Sequence[Trial]) -> str:
    found = [f for t in own for f in t.score.findings if f.effect.wanted]
    delays = [f.delay for f in found if f.delay is not None]
    errors = [f.onset_error for f in found if f.onset_error is not None]
    verdicts = [v for t in own for v in t.score.verdicts]
    days = sum(t.cost.days for t in own)
    weekly = 7 / days if days else 0.0
    true, moved = sum(v.effect is not None for v in verdicts), sum(v.moved for v in verdicts)
    cells = [
        f"{sum(f.incident is not None for f in found)} of {len(found)}" if found else "–",
        _spread(delays), _spread(errors),
        f"{weekly * sum(t.cost.incidents for t in own):.1f}", f"{weekly * sum(t.cost.messages for t in own):.1f}",
        f"{true / len(verdicts):.0%}" if verdicts else "–", f"{moved / len(verdicts):.0%}" if verdicts else "–",
        f"{weekly * sum(t.cost.minutes for t in own):.0f}, {weekly * sum(t.false_minutes for t in own):.0f}",
    ]  # fmt: skip
    return f"| {name} | " + " | ".join(cells) + " |"


def _spread(values: Sequence[int]) -> str:
    if not values:
        return "–"
    low, high = min(values), max(values)
    return f"{statistics.median(values):g}" + (f" ({low} to {high})" if low != high else "")


def effects_table(trials: Sequence[Trial]) -> list[str]:
    """A row per planted effect, with a word for each seed."""
    lines = [
        "| scenario | planted | cause | seed: found after days (onset error) |", "| --- | --- | --- | --- |",
    ]  # fmt: skip
    rows: dict[tuple[str, str], tuple[str, str, list[str]]] = {}
    for t in trials:
        for f in t.score.findings:
            key = (t.scenario, f.effect.id)
            said = rows.setdefault(key, (f.effect.title, f.effect.cause, []))[2]
            if f.incident is not None:
                said.append(f"{t.seed}: {f.delay} ({f.onset_error:+d})")
            else:
                said.append(f"{t.seed}: missed" + (f", inside another from {f.inside}" if f.inside else ""))
    lines += [
        f"| `{name}` | {title} | {cause} | {'; '.join(said)} |" for (name, _), (title, cause, said) in rows.items()
    ]
    return [*lines, ""]


def details(t: Trial) -> list[str]:
    """Every incident of a trial with its verdict, for whoever wants to know why."""
    catalog = load_catalog("marketplace")
    lines = [f"{t.scenario}, seed {t.seed}: {len(t.outcome.judged)} judged days, {t.outcome.seconds:.0f} s"]
    for f in t.score.findings:
        at = (
            f"found {f.incident.day} as {f.incident.series or f.incident.table}, onset {f.incident.onset}"
            if f.incident
            else f"MISSED (inside another: {f.inside})"
        )
        lines.append(f"  planted {f.effect.id} {f.effect.start}..{f.effect.end} {'/'.join(f.effect.segments)}: {at}")
    for v in t.score.verdicts:
        i = v.reported.last
        said = f"{v.effect.id}{'' if v.moved else ' (other metric)'}" if v.effect else "FALSE"
        lines.append(
            f"  {i.first_reported} onset {i.onset} {i.state:<10} {said:<34} members {len(v.reported.first.members):>3}"
            f" score {v.reported.score:4.1f} told {v.reported.told or '-'!s:<10} {i.series or i.shape}: {sentence(catalog, v.reported.first)}"
        )
    return lines


def run(scenarios: Iterable[str], seeds: Sequence[int], homes: Path, setting: str, verbose: bool) -> list[Trial]:
    trials = []
    for scenario in scenarios:
        for seed in seeds:
            started = time.perf_counter()
            one = trial(homes / f"{scenario}-{seed}", scenario, seed, setting)
            trials.append(one)
            print(f"{scenario} {seed}: {time.perf_counter() - started:.0f} s", flush=True)
            if verbose:
                print("\n".join(details(one)), flush=True)
    return trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", help="names; by default all, and the page is written")
    parser.add_argument("--quick", action="store_true", help="three scenarios, one seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--homes", type=Path, help="keep the loaded marketplaces here")
    parser.add_argument("--setting", default="", help='as of the command, for instance "false_discovery_rate=0.01"')
    parser.add_argument("--verbose", action="store_true", help="list every incident with its verdict")
    given = parser.parse_args()
    scenarios = given.scenarios or (QUICK if given.quick else sorted(bundled()))
    seeds = given.seeds[:1] if given.quick else given.seeds
    with tempfile.TemporaryDirectory() as folder:
        trials = run(
            scenarios, seeds, given.homes or Path(folder), given.setting, given.verbose or bool(given.scenarios)
        )
    counted = sum(t.cost.days for t in trials)
    lines = [
        f"Written by `python -m benchmarks.backtest_twin{' --quick' if given.quick else ''}` on {dt.date.today()}: "
        f"{len(trials)} marketplaces of {CREATORS:,} creators and {DAYS} days (seeds {', '.join(map(str, seeds))}), "
        f"the last {COUNTED} days counted, {counted:,} judged days in all; setting: {trials[0].outcome.setting}. "
        "Marketplaces of one seed share their noise, so that the same false report can return in each. `found` is of "
        "effects with which something is wrong; numbers in brackets are the smallest and the largest.",
        "", *table(trials), *effects_table(trials),
    ]  # fmt: skip
    if given.scenarios or given.setting or not PAGE.exists():
        print("\n".join(lines))
    else:
        write_part(PAGE, "benchmarks.backtest_twin", lines)


if __name__ == "__main__":
    main()
