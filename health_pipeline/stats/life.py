"""The life of a reported shift: what it is, whether it goes on, and whether something new is but its echo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["spike", "level", "slope"]
Phase = Literal["new", "ongoing", "recovered", "settled"]

SPIKE_DAYS = 2
SETTLED_DAYS = 42  # a level that lasted so long is the new normal
REFINED_DAYS = 14  # after a report its onset is looked for again, and its interval allows for having been selected
QUIET_DAYS = 28  # a further step the same way is reported only if it is half as large as the one under way
GROWING_DAYS = 7  # and not at all so soon after the report: the shift under way is still growing
OVER = 4.0  # log-likelihood by which a shift must have ended
BACK = 0.2  # share of a shift that may be left when it is over
OVER_A_DAY = 2.5  # most that one day may say to that, of a shift of more than SPIKE_DAYS
OPEN = np.int64(2**40)


@dataclass
class Active:
    """A reported shift; days as numbers since 1970, sizes on the additive scale.

    Attributes:
        reported, onset, onset_low, onset_high: the day of the report; the likeliest first day, and its interval.
        p, q, tested: as in :class:`.Shift`, of the day of the report.
        share: of the judged series reported that day, for the interval.
        size, error: as the newest fit has them.
        end: the first day that is back, ``OPEN`` while it lasts.
        over, over_since: evidence that it has ended, and since when there is any.
        told: its last row has been written.
    """

    reported: int
    onset: int
    onset_low: int
    onset_high: int
    kind: Kind
    p: float
    q: float
    tested: int
    share: float
    size: float = 0.0
    error: float = 0.0
    end: int = int(OPEN)
    over: float = 0.0
    over_since: int = 0
    told: bool = False

    @property
    def open(self) -> bool:
        return self.end == OPEN

    def weigh(self, day: int, z: float, variance: float) -> None:
        """Page's cumulative sum of the evidence that the series is back at its baseline; ends the shift at ``OVER``.

        Args:
            z: the day's value less what it was to be without this shift, on the additive scale.
            variance: of ``z``.
        """
        says = ((z - self.size) ** 2 - z**2) / (2.0 * variance)
        left = z if self.size > 0 else -z
        if says > 0.0 and left > max(BACK * abs(self.size), min(1.5 * BACK * abs(self.size), 2.5 * variance**0.5)):
            says = 0.0  # less than it was, but not back
        if day - self.onset > SPIKE_DAYS:
            says = float(np.clip(says, -OVER_A_DAY, OVER_A_DAY))
        if self.over <= 0.0:
            self.over_since = day
        self.over = max(0.0, self.over + says)
        if self.over >= OVER:
            self.end = max(self.over_since, self.onset + 1)

    def explains(self, day: int, size: float) -> bool:
        """Whether a candidate of this size is the same shift, still growing."""
        young = day - self.reported
        return bool(np.sign(size) == np.sign(self.size)) and (
            young <= GROWING_DAYS or (young < QUIET_DAYS and abs(size) < 0.5 * abs(self.size))
        )

    def is_undone_by(self, size: float) -> bool:
        """Whether a candidate of this size is the way back."""
        return bool(np.sign(size) != np.sign(self.size)) and (
            abs(size) > 0.4 * abs(self.size) and abs(size) < 1.6 * abs(self.size)
        )

    def close(self, day: int, onset: int) -> None:
        """End it by a step back that is seen on ``day`` and began on the day ``onset``."""
        self.end = min(max(onset, self.onset + 1), max(day, self.onset + 1))
        self.over = OVER

    def refit(self, day: int, size: float, error: float) -> None:
        """Take up what the day's fit says of it. If what is left of it points the other way, it is over."""
        if self.open and self.reported != day and size * self.size <= 0.0:
            self.end = max(self.onset + 1, self.over_since or day)
        else:
            self.size, self.error = size, error

    def grow_older(self, day: int, known: bool) -> Phase:
        """The phase it is in on a day; kind and ``told`` follow from it.

        Args:
            known: it is a step of its series' fit; if not, it is in the level already.
        """
        if self.kind == "spike" and self.open and day - self.onset >= SPIKE_DAYS:
            self.kind = "level"
        if not self.open and self.end - self.onset <= SPIKE_DAYS:
            self.kind = "spike"
        phase: Phase = "new" if self.reported == day else "ongoing"
        if not self.open:
            phase = "recovered"
        elif self.reported != day and (day - self.onset >= SETTLED_DAYS or not known):
            phase = "settled"
        self.told = phase in ("recovered", "settled")
        return phase
