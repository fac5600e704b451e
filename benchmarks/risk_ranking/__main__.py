"""Run the study: makes the twins, judges them, writes the page."""

from __future__ import annotations

import argparse
import pickle
import tempfile
from pathlib import Path

from benchmarks import risk_ranking
from benchmarks.figures import DOCS
from benchmarks.page import write_part
from benchmarks.risk_ranking.judged import judge, passing
from benchmarks.risk_ranking.mornings import Trial, trial
from benchmarks.risk_ranking.orders import ORACLE
from benchmarks.risk_ranking.page import STUDY, lines, summary
from benchmarks.risk_ranking.speed import LARGE, speed

SCENARIOS = ("counterfeit_wave", "off_platform_ring", "everything")
SEEDS = tuple(range(1, 11))


def kept(folder: Path | None, scenario: str, seed: int) -> Trial:
    """A twin's figures, from ``folder`` where they are there already."""
    file = folder / f"{scenario}-{seed}.pickle" if folder else None
    if file is not None and file.exists():
        done: Trial = pickle.loads(file.read_bytes())
        return done
    with tempfile.TemporaryDirectory() as place:
        made = trial(Path(place) / "twin", scenario, seed)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(made))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=risk_ranking.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed, printed only")
    parser.add_argument("--keep", type=Path, help="folder of finished twins; of one version of the program only")
    parser.add_argument("--speed", action="store_true", help="only what a day costs with many creators")
    given = parser.parse_args()
    if given.speed:
        write_part(DOCS / "risk-ranking.md", f"{STUDY}.speed", speed(LARGE))
        return
    trials = []
    for seed in SEEDS[:1] if given.quick else SEEDS:
        for scenario in SCENARIOS:
            trials.append(kept(given.keep, scenario, seed))
            t = trials[-1]
            one = judge(t, passing([t]))
            print(scenario, seed, {n: round(j.expected / one[ORACLE].expected, 3) for n, j in one.items()}, flush=True)
    part = lines(trials)
    if given.quick:
        print("\n".join(part))
    else:
        write_part(DOCS / "risk-ranking.md", f"{STUDY}.summary", summary(trials))
        write_part(DOCS / "risk-ranking.md", STUDY, part)


if __name__ == "__main__":
    main()
