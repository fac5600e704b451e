"""``alerts.yaml``: which incidents are told to whom, when, and who may answer."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from health_pipeline.catalog.declared import Declared
from health_pipeline.catalog.yaml_file import did_you_mean

Verdict = Literal["real", "expected", "false_alarm", "new_normal"]
Role = Literal["viewer", "analyst", "lead", "admin"]
Hole = Literal["missing", "empty", "partial", "settling", "backlog"]

ROLES: tuple[Role, ...] = ("viewer", "analyst", "lead", "admin")
"""From the least to the most that one may do."""
HOLES: dict[Hole, str] = {"missing": "P2", "empty": "P2", "partial": "P3", "settling": "P3", "backlog": "P3"}
EVERYBODY = "*"
OWNER = "owner"
"""In a route's ``mention``: whoever owns the incident's metric."""


def _known_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(name, zoneinfo.available_timezones()) if "/" in name else ""
        hint = hint if hint.startswith("Did") else "Write it as in Asia/Jakarta."
        raise PydanticCustomError("zone", "is no time zone", {"hint": hint}) from None
    return name


def _clock(given: object) -> object:
    """``8:30`` as people write it; YAML itself knows no times."""
    if isinstance(given, str):
        try:
            return dt.datetime.strptime(given.strip(), "%H:%M").time()
        except ValueError:
            raise ValueError("should be a time of day, such as 08:30") from None
    if isinstance(given, dt.time):
        return given
    raise ValueError("should be a time of day in quotes, such as '08:30'")


def _every_hole(given: object) -> object:
    """What is not said of a kind of hole is as without the key."""
    return HOLES | given if isinstance(given, dict) else given


def _matching(pattern: str, example: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(given: str) -> str:
        if not compiled.fullmatch(given):
            raise ValueError(f"should be {example}")
        return given

    return AfterValidator(check)


Channel = Annotated[
    str, _matching(r"#[^\s<>&#,]{1,79}|[CG][A-Z0-9]{2,}", "a channel's ID, such as C0123456789, or #name")
]
Person = Annotated[str, _matching(r"[UWS][A-Z0-9]{2,}", "the ID of a Slack user (U…) or user group (S…)")]
Member = Annotated[str, _matching(r"[UW][A-Z0-9]{2,}|\*", "the ID of a Slack user (U…), or * for everybody")]
Mention = Annotated[
    str, _matching(r"owner|[UWS][A-Z0-9]{2,}", "owner, or the ID of a Slack user (U…) or user group (S…)")
]
Clock = Annotated[dt.time, BeforeValidator(_clock)]
Zone = Annotated[str, AfterValidator(_known_zone)]
Cause = Annotated[str, Field(min_length=1, max_length=75)]  # Slack shows no longer one in a menu


class Severity(Declared):
    """One step of urgency."""

    name: str = Field(min_length=1, max_length=20)
    minimum_score: float | None = Field(None, ge=0, description="smallest score; the last severity needs none")
    at_once: bool = Field(False, description="a message of its own at once; else in the morning digest")
    acknowledge_within_minutes: int | None = Field(None, ge=1, description="after that it is overdue, and told so")


class Digest(Declared):
    """The one message a morning with what is not urgent."""

    at: Clock = dt.time(8, 30)
    time_zone: Zone = "UTC"


class QuietHours(Declared):
    """When only what is critical is told; the rest waits in the outbox."""

    start: Clock
    end: Clock
    time_zone: Zone = "UTC"
    critical: tuple[str, ...] | None = Field(
        None, description="severities that are told all the same; by default the first"
    )


class Route(Declared):
    """Where incidents go that meet all of its conditions; the first route that fits decides."""

    severities: tuple[str, ...] = ()
    units: tuple[str, ...] = Field((), description="values of the delivering dimension; `all` for totals")
    families: tuple[str, ...] = Field((), description="families of metrics; `delivery` for holes in the data")
    metrics: tuple[str, ...] = ()
    channel: Channel | None = Field(None, description="by default the channel above")
    mention: tuple[Mention, ...] = Field((), description="who is mentioned in a message that is told at once")


class Alerts(Declared):
    """``alerts.yaml``."""

    channel: Channel = "#ecosystem-health"
    failures_channel: Channel = "#ecosystem-health-pipeline"
    minimum_score: float = Field(0.0, ge=0, description="incidents below it stay in the list and post nothing")
    per_day: int = Field(10, ge=1, description="at most so many incidents first reported on a day; the rest are listed")
    newest_days: int = Field(3, ge=1, description="incidents first reported longer ago are history, not news")
    per_hour: int = Field(
        6, ge=1, description="so many messages of their own an hour in a channel; more go into one roll-up"
    )
    severities: tuple[Severity, ...] = (
        Severity(name="P1", minimum_score=10.0, at_once=True, acknowledge_within_minutes=60),
        Severity(name="P2", minimum_score=5.0),
        Severity(name="P3"),
    )
    holes: Annotated[dict[Hole, str], BeforeValidator(_every_hole)] = Field(
        default=HOLES, description="severity of a hole in the data, which has no score"
    )
    digest: Digest = Digest()
    quiet_hours: QuietHours | None = None
    routes: tuple[Route, ...] = ()
    owners: dict[str, Person] = Field(
        default_factory=dict, description="owner of metrics -> Slack user or user group, for mentions"
    )
    roles: dict[Role, tuple[Member, ...]] = Field(
        default={"analyst": (EVERYBODY,)}, description="role -> Slack users; whoever is in none is a viewer"
    )
    causes: dict[Verdict, tuple[Cause, ...]] = Field(
        default={
            "real": ("abuse", "quality", "product or policy change", "not known yet"),
            "expected": ("campaign", "policy launch", "season"),
            "false_alarm": ("noise", "data problem", "definition changed"),
            "new_normal": ("growth", "lasting change"),
        },
        description="verdict -> causes to choose from",
    )

    def severity(self, name: str) -> Severity:
        return next(s for s in self.severities if s.name == name)

    def by_score(self, score: float | None) -> Severity:
        """The severity of an incident that scores so much; without a score the last."""
        return next(
            (
                s
                for s in self.severities
                if s.minimum_score is not None and score is not None and score >= s.minimum_score
            ),
            self.severities[-1],
        )

    @property
    def critical(self) -> tuple[str, ...]:
        """Severities that quiet hours do not hold."""
        if self.quiet_hours is None or self.quiet_hours.critical is None:
            return (self.severities[0].name,)
        return self.quiet_hours.critical
